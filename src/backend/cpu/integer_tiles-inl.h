// Products of rows with a quantised weight in integers: the input becomes 16-bit integers with a scale a group, so that
// a vector multiplies twice as many as of floats, and no weight becomes a float. Include it after foreach_target.h.
#if defined(MSLT_BACKEND_CPU_INTEGER_TILES_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef MSLT_BACKEND_CPU_INTEGER_TILES_INL_H
#undef MSLT_BACKEND_CPU_INTEGER_TILES_INL_H
#else
#define MSLT_BACKEND_CPU_INTEGER_TILES_INL_H
#endif

#include <algorithm>
#include <cstdint>
#include <limits>
#include <numeric>
#include <type_traits>

#include "backend/cpu/matvec_task.h"
#include "backend/cpu/weight_groups-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mslt {
namespace HWY_NAMESPACE {
namespace {

using IntegerTag = hn::RebindToSigned<FloatTag>;
using Integers = hn::Vec<IntegerTag>;

// Whether vectors hold whole words of four bytes.
constexpr bool has_vectors = HWY_TARGET != HWY_SCALAR;

// Weights of 4 bits in the order of their memory: a chunk is one vector of words, each with eight nibbles of one group.
// As halves of words, vector s holds the s-th nibble of each: of group g's 16 bytes, that of half m is element
// 2m + s / 2 + 16 · (s mod 2). So no weight is moved from lane to lane, and the input is put in the same order.
constexpr std::int64_t nibbles_a_half = 4;
constexpr std::int64_t words_a_group = 4;
constexpr std::int64_t chunk_groups = HWY_MAX(vector_lanes / words_a_group, 1);
constexpr std::int64_t chunk_elements = chunk_groups * group;

// A piece is a chunk of 4-bit weights, or a group of 8-bit ones. Without vectors it is a group of either.
template <class T>
constexpr bool has_nibbles = std::is_same_v<T, std::uint8_t>;
template <class T>
constexpr bool has_chunks = has_nibbles<T> && has_vectors;
template <class T>
constexpr std::int64_t piece_elements = has_chunks<T> ? chunk_elements : group;
// Of a group of the weight: a scale, and with 4 bits a minimum. The input has as many to multiply them with: a scale,
// and the sum of the group's elements; without vectors a scale alone.
template <class T>
constexpr std::int64_t factors_a_group = has_nibbles<T> ? 2 : 1;
template <class T>
constexpr std::int64_t input_factors_a_group = has_chunks<T> ? 2 : 1;

// Bytes of a row of the weight, and its factors.
template <class T>
HWY_INLINE std::int64_t row_bytes(std::int64_t inner) {
  return inner / (has_nibbles<T> ? 2 : 1);
}
template <class T>
HWY_INLINE std::int64_t row_factors(std::int64_t inner) {
  return inner / group * factors_a_group<T>;
}

template <class T>
HWY_INLINE std::int64_t pieces_of(std::int64_t inner) {
  return (inner + piece_elements<T> - 1) / piece_elements<T>;
}

// One row of the input: the integers of all its pieces, behind them the factors, and zeros up to a vector after those.
template <class T>
HWY_INLINE std::int64_t integer_floats(std::int64_t inner) {
  return pieces_of<T>(inner) * piece_elements<T> / 2;
}
template <class T>
HWY_INLINE std::int64_t integer_row_floats(std::int64_t inner) {
  return integer_floats<T>(inner) + inner / group * input_factors_a_group<T> + vector_lanes;
}

// integers[i] · (the result) ≈ elements[i] for a group, with an error of at most half the result. The result is NaN if
// an element is not finite, and zero if all are too small for a scale.
HWY_INLINE float quantise_group(const float* elements, std::int16_t* integers) {
  const FloatTag d;
  const hn::Rebind<std::int16_t, FloatTag> d16;
  constexpr float largest_integer = std::numeric_limits<std::int16_t>::max();
  Floats largest = hn::Zero(d);
  Floats not_finite = hn::Zero(d);  // or NaN
  for (std::int64_t j = 0; j < group; j += vector_lanes) {
    const Floats x = hn::LoadU(d, elements + j);
    largest = hn::Max(largest, hn::Abs(x));
    not_finite = hn::Add(not_finite, hn::Sub(x, x));
  }
  const float scale = hn::GetLane(hn::MaxOfLanes(d, largest)) / largest_integer;
  const bool small = !(scale >= std::numeric_limits<float>::min());
  const Floats inverse = hn::Set(d, small ? 0.0f : 1.0f / scale);
  for (std::int64_t j = 0; j < group; j += vector_lanes) {
    const Floats rounded = hn::Round(hn::Mul(hn::LoadU(d, elements + j), inverse));
    hn::StoreU(hn::DemoteTo(d16, to_integers(d, limited(d, rounded, -largest_integer, largest_integer))), d16,
               integers + j);
  }
  return (small ? 0.0f : scale) + hn::GetLane(hn::SumOfLanes(d, not_finite));
}

// A row of the input in its own order.
template <class T>
HWY_INLINE void quantise_row(const float* from, std::int64_t inner, float* to) {
  auto* const integers = reinterpret_cast<std::int16_t*>(to);
  float* const scales = to + integer_floats<T>(inner);
  for (std::int64_t g = 0; g < inner / group; ++g) {
    scales[g] = quantise_group(from + g * group, integers + g * group);
  }
  std::fill_n(scales + inner / group, vector_lanes, 0.0f);
}

#if HWY_TARGET == HWY_SCALAR

// sums[c · R + r] of R rows of the input from row i on and N rows of the weight from row n on, whose factors are
// factor_stride floats from each other.
template <std::int64_t R, std::int64_t N, class T>
HWY_INLINE void add_integer_tile(const MatvecTask<T>& task, std::int64_t i, std::int64_t n, std::int64_t apart,
                                 const float* factors, std::int64_t factor_stride, Floats* sums) {
  const FloatTag d;
  for (std::int64_t g = 0; g < task.inner / group; ++g) {
    for (std::int64_t s = 0; s < R * N; ++s) {
      const float* const in = task.in + (i + s % R) * task.in_stride;
      const auto* const x = reinterpret_cast<const std::int16_t*>(in) + g * group;
      const T* const row = task.values + (n + s / R * apart) * row_bytes<T>(task.inner);
      const float* const own = factors + s / R * factor_stride + g * factors_a_group<T>;
      const Floats scale = hn::Set(d, own[0]);
      const Floats minimum = hn::Set(d, has_nibbles<T> ? own[1] : 0.0f);
      Floats sum = hn::Zero(d);
      for (std::int64_t j = 0; j < group; ++j) {
        const Floats weight = hn::MulAdd(load_weights(d, row, g * group, j), scale, minimum);
        sum = hn::MulAdd(weight, hn::Set(d, static_cast<float>(x[j])), sum);
      }
      sums[s] = hn::MulAdd(sum, hn::Set(d, in[integer_floats<T>(task.inner) + g]), sums[s]);
    }
  }
}

#else

using HalfTag = hn::RepartitionToNarrow<IntegerTag>;
using Halves = hn::Vec<HalfTag>;
constexpr std::int64_t half_lanes = 2 * vector_lanes;

// Σ a · b of the two halves of each word.
HWY_INLINE Integers add_products(Halves a, Halves b, Integers sum) {
  Integers other = hn::Zero(IntegerTag());
  // Targets that put something into `other` have vectors of one group, whose lanes may change places.
  sum = hn::ReorderWidenMulAccumulate(IntegerTag(), a, b, sum, other);
  if constexpr (vector_lanes <= words_a_group) sum = hn::Add(sum, other);
  return sum;
}

// The same for 4-bit weights, in the order of chunks. What lies between the last group and the end of its chunk becomes
// zero.
template <class T>
  requires has_chunks<T>
HWY_INLINE void quantise_row(const float* from, std::int64_t inner, float* to) {
  using Eight = hn::CappedTag<std::int16_t, group / nibbles_a_half>;
  const Eight d8;
  auto* integers = reinterpret_cast<std::int16_t*>(to);
  float* factors = to + integer_floats<std::uint8_t>(inner);
  for (std::int64_t first = 0; first < inner; first += chunk_elements, integers += chunk_elements) {
    for (std::int64_t g = 0; g < chunk_groups; ++g) {
      HWY_ALIGN std::int16_t own[group] = {};
      const std::int64_t at = first + g * group;
      if (at < inner) {
        const float scale = quantise_group(from + at, own);
        *factors++ = scale;
        *factors++ = scale * static_cast<float>(std::accumulate(own, own + group, 0));
      }
      for (std::int64_t half = 0; half < 2; ++half) {
        hn::Vec<Eight> even = hn::Zero(d8);
        hn::Vec<Eight> odd = even;
        hn::LoadInterleaved2(d8, own + half * group / 2, even, odd);
        std::int16_t* const place = integers + g * (group / nibbles_a_half);
        hn::StoreU(even, d8, place + half * half_lanes);
        hn::StoreU(odd, d8, place + (2 + half) * half_lanes);
      }
    }
  }
  std::fill_n(factors, vector_lanes, 0.0f);
}

// The bytes of chunk c of a row of `inner` elements; zeros after its last group.
HWY_INLINE Halves load_chunk(const std::uint8_t* row, std::int64_t c, std::int64_t inner) {
  const hn::RebindToUnsigned<IntegerTag> dw;
  const auto* const words = reinterpret_cast<const std::uint32_t*>(row) + c * vector_lanes;
  const std::int64_t rest = inner / group * words_a_group - c * vector_lanes;
  const auto loaded = rest >= vector_lanes ? hn::LoadU(dw, words)
                                           : hn::MaskedLoad(hn::FirstN(dw, static_cast<std::size_t>(rest)), dw, words);
  return hn::BitCast(HalfTag(), loaded);
}

// sums[c · R + r] of R rows of the input from row i on and N rows of the weight from row n on, whose factors are
// factor_stride floats from each other; up to a vector of floats behind them is read. A lane's order of additions
// depends on neither R nor N.
template <std::int64_t R, std::int64_t N>
HWY_INLINE void add_integer_tile(const MatvecTask<std::int8_t>& task, std::int64_t i, std::int64_t n,
                                 std::int64_t apart, const float* factors, std::int64_t factor_stride, Floats* sums) {
  const FloatTag d;
  const HalfTag dh;
  const hn::Rebind<std::int8_t, HalfTag> d8;
  constexpr std::int64_t vectors = group / half_lanes;
  const std::int64_t groups = task.inner / group;
  const std::int8_t* const weights = task.values + n * task.inner;
  const auto* const in = reinterpret_cast<const std::int16_t*>(task.in + i * task.in_stride);
  const float* const scales = task.in + i * task.in_stride + integer_floats<std::int8_t>(task.inner);
  HWY_ALIGN float both[R * N][vector_lanes];
  const auto add_group = [&](std::int64_t first, std::int64_t g, Floats* to) HWY_ATTR {
    HWY_UNROLL(4)
    for (std::int64_t c = 0; c < N; ++c) {
      const std::int8_t* const row = weights + c * apart * task.inner + (first + g) * group;
      Halves weight[vectors];
      for (std::int64_t v = 0; v < vectors; ++v) weight[v] = hn::PromoteTo(dh, hn::LoadU(d8, row + v * half_lanes));
      HWY_UNROLL(4)
      for (std::int64_t r = 0; r < R; ++r) {
        const std::int16_t* const x = in + 2 * r * task.in_stride + (first + g) * group;
        Integers sum = hn::Zero(IntegerTag());
        for (std::int64_t v = 0; v < vectors; ++v) {
          sum = add_products(weight[v], hn::LoadU(dh, x + v * half_lanes), sum);
        }
        to[c * R + r] = hn::MulAdd(hn::ConvertTo(d, sum), hn::Set(d, both[c * R + r][g]), to[c * R + r]);
      }
    }
  };
  // Two sums in turns hide the latency of additions.
  Floats odd[R * N];
  for (std::int64_t s = 0; s < R * N; ++s) odd[s] = hn::Zero(d);
  for (std::int64_t first = 0; first < groups; first += vector_lanes) {
    for (std::int64_t c = 0; c < N; ++c) {
      const Floats own = hn::LoadU(d, factors + c * factor_stride + first);
      for (std::int64_t r = 0; r < R; ++r) {
        hn::Store(hn::Mul(own, hn::LoadU(d, scales + r * task.in_stride + first)), d, both[c * R + r]);
      }
    }
    const std::int64_t count = std::min(groups - first, vector_lanes);
    std::int64_t g = 0;
    for (; g + 2 <= count; g += 2) {
      for (std::int64_t c = 0; c < N; ++c) {
        prefetch(weights + c * apart * task.inner + (first + g) * group, bytes_ahead);
      }
      add_group(first, g, sums);
      add_group(first, g + 1, odd);
    }
    if (g < count) add_group(first, g, sums);
  }
  for (std::int64_t s = 0; s < R * N; ++s) sums[s] = hn::Add(sums[s], odd[s]);
}

template <std::int64_t R, std::int64_t N>
HWY_INLINE void add_integer_tile(const MatvecTask<std::uint8_t>& task, std::int64_t i, std::int64_t n,
                                 std::int64_t apart, const float* factors, std::int64_t factor_stride, Floats* sums) {
  const FloatTag d;
  const IntegerTag di;
  const HalfTag dh;
  const hn::RebindToUnsigned<HalfTag> du;
  constexpr std::int64_t chunk_factors = 2 * chunk_groups;  // half a vector
  const std::int64_t bytes_a_row = row_bytes<std::uint8_t>(task.inner);
  const std::int64_t chunks = pieces_of<std::uint8_t>(task.inner);
  const std::uint8_t* const weights = task.values + n * bytes_a_row;
  const auto* const in = reinterpret_cast<const std::int16_t*>(task.in + i * task.in_stride);
  const float* const in_factors = task.in + i * task.in_stride + integer_floats<std::uint8_t>(task.inner);
  // A group's scale for each of its words, from the pairs of two chunks.
  const auto places = hn::ShiftLeft<1>(hn::ShiftRight<2>(hn::Iota(di, 0)));
  const auto first_places = hn::IndicesFromVec(d, places);
  const auto second_places = hn::IndicesFromVec(d, hn::Add(places, hn::Set(di, chunk_factors)));
  const auto low = hn::Set(du, 15);
  const auto add_chunk = [&](std::int64_t chunk, std::int64_t c, const Floats* both, auto indices) HWY_ATTR {
    const std::uint8_t* const row = weights + c * apart * bytes_a_row;
    prefetch(row + chunk * chunk_elements / 2, bytes_ahead);
    const auto bytes = hn::BitCast(du, load_chunk(row, chunk, task.inner));
    const Halves nibbles[nibbles_a_half] = {
        hn::BitCast(dh, hn::And(bytes, low)), hn::BitCast(dh, hn::And(hn::ShiftRight<4>(bytes), low)),
        hn::BitCast(dh, hn::And(hn::ShiftRight<8>(bytes), low)), hn::BitCast(dh, hn::ShiftRight<12>(bytes))};
    HWY_UNROLL(4)
    for (std::int64_t r = 0; r < R; ++r) {
      const std::int16_t* const x = in + 2 * r * task.in_stride + chunk * chunk_elements;
      Integers sum = hn::Zero(di);
      for (std::int64_t s = 0; s < nibbles_a_half; ++s) {
        sum = add_products(nibbles[s], hn::LoadU(dh, x + s * half_lanes), sum);
      }
      sums[c * R + r] = hn::MulAdd(hn::ConvertTo(d, sum), hn::TableLookupLanes(both[r], indices), sums[c * R + r]);
    }
  };
  // A weight is nibble · scale + minimum. The sums of minima are in every other lane.
  Floats minima[R * N];
  for (std::int64_t s = 0; s < R * N; ++s) minima[s] = hn::Zero(d);
  for (std::int64_t chunk = 0; chunk < chunks; chunk += 2) {
    HWY_UNROLL(4)
    for (std::int64_t c = 0; c < N; ++c) {
      const Floats own = hn::LoadU(d, factors + c * factor_stride + chunk * chunk_factors);
      Floats both[R];
      for (std::int64_t r = 0; r < R; ++r) {
        both[r] = hn::Mul(own, hn::LoadU(d, in_factors + r * task.in_stride + chunk * chunk_factors));
        minima[c * R + r] = hn::Add(minima[c * R + r], both[r]);
      }
      add_chunk(chunk, c, both, first_places);
      if (chunk + 1 < chunks) add_chunk(chunk + 1, c, both, second_places);
    }
  }
  for (std::int64_t s = 0; s < R * N; ++s) sums[s] = hn::Add(sums[s], hn::OddEven(minima[s], hn::Zero(d)));
}

#endif

// Floats of a row's factors, with room for a vector behind them.
template <class T>
HWY_INLINE std::int64_t factor_floats(std::int64_t inner) {
  return row_factors<T>(inner) + vector_lanes;
}

// The factors of a row of the weight, and zeros behind them.
template <class T>
HWY_INLINE void load_factors(const MatvecTask<T>& task, std::int64_t row, float* to) {
  const FloatTag d;
  const std::int64_t width = row_factors<T>(task.inner);
  const Float16* const from = task.factors + row * width;
  if ((task.columns - row - 1) * width < vector_lanes) {
    convert(from, to, width);
  } else {
    for (std::int64_t i = 0; i < width; i += vector_lanes) {
      prefetch(from + i, bytes_ahead);
      hn::StoreU(load_floats(d, from + i), d, to + i);
    }
  }
  hn::StoreU(hn::Zero(d), d, to + width);
}

// Whether the factors of all a task's rows are loaded before its weight. That of 4 bits takes longer to multiply than
// to read, and what it waits for otherwise is shorter than the work of loading factors for each tile.
template <class T>
constexpr bool loads_factors_first = has_nibbles<T>;

// `room` has the factors of the row n and those behind it, or is for those of N rows.
template <class T, std::int64_t R, std::int64_t N>
HWY_INLINE void output_integer_tile(const MatvecTask<T>& task, std::int64_t i, std::int64_t n, std::int64_t apart,
                                    float* room) {
  const FloatTag d;
  const std::int64_t width = factor_floats<T>(task.inner);
  const std::int64_t factor_stride = loads_factors_first<T> ? apart * width : width;
  if (!loads_factors_first<T>) {
    for (std::int64_t c = 0; c < N; ++c) load_factors(task, n + c * apart, room + c * width);
  }
  Floats sums[R * N];
  for (std::int64_t s = 0; s < R * N; ++s) sums[s] = hn::Zero(d);
  add_integer_tile<R, N>(task, i, n, apart, room, factor_stride, sums);
  for (std::int64_t c = 0; c < N; ++c) {
    for (std::int64_t r = 0; r < R; ++r) {
      task.out[(i + r) * task.columns + n + c * apart] = hn::GetLane(hn::SumOfLanes(d, sums[c * R + r]));
    }
  }
}

template <class T, std::int64_t R, std::int64_t N>
HWY_INLINE void output_integer_rows(const MatvecTask<T>& task, std::int64_t i, std::int64_t begin, std::int64_t end,
                                    float* room) {
  const std::int64_t apart = (end - begin) / N;
  const std::int64_t step = loads_factors_first<T> ? factor_floats<T>(task.inner) : 0;
  for (std::int64_t n = 0; n < apart; ++n) output_integer_tile<T, R, N>(task, i, begin + n, apart, room + n * step);
  for (std::int64_t n = apart * N; n < end - begin; ++n) {
    output_integer_tile<T, R, 1>(task, i, begin + n, 1, room + n * step);
  }
}

// Rows of the weight that meet a single row of the input at a time.
constexpr std::int64_t columns_of_one_row = 4;

// Columns [begin, end) of rows [i, rows_end). `room` is for the factors of all these columns, or of one tile.
template <class T>
HWY_INLINE void output_integer_columns(const MatvecTask<T>& task, std::int64_t i, std::int64_t rows_end,
                                       std::int64_t begin, std::int64_t end, float* room) {
  for (; i + 4 <= rows_end; i += 4) output_integer_rows<T, 4, 1>(task, i, begin, end, room);
  if (i + 2 <= rows_end) {
    output_integer_rows<T, 2, 2>(task, i, begin, end, room);
    i += 2;
  }
  if (i < rows_end) output_integer_rows<T, 1, columns_of_one_row>(task, i, begin, end, room);
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace mslt
HWY_AFTER_NAMESPACE();
#endif
