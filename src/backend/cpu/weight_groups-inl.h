// Unpacking weights in registers, plain ones and quantised groups. Include it after foreach_target.h.
#if defined(MSLT_BACKEND_CPU_WEIGHT_GROUPS_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef MSLT_BACKEND_CPU_WEIGHT_GROUPS_INL_H
#undef MSLT_BACKEND_CPU_WEIGHT_GROUPS_INL_H
#else
#define MSLT_BACKEND_CPU_WEIGHT_GROUPS_INL_H
#endif

#include <cstdint>
#include <type_traits>

#include "backend/cpu/float_vectors-inl.h"
#include "tensor/quantize.h"

HWY_BEFORE_NAMESPACE();
namespace mslt {
namespace HWY_NAMESPACE {
namespace {

using WordTag = hn::RebindToUnsigned<FloatTag>;
using Words = hn::Vec<WordTag>;

constexpr std::int64_t group = quantisation_group;
constexpr std::int64_t vector_lanes = HWY_MIN(HWY_LANES(float), 16);

// Elements [k + j, k + j + lanes) of a row of weights, j < group, for k a multiple of the group; unscaled.
template <class T>
HWY_INLINE Floats load_weights(FloatTag d, const T* row, std::int64_t k, std::int64_t j) {
  return load_floats(d, row + k + j);
}
HWY_INLINE Floats load_weights(FloatTag d, const std::int8_t* row, std::int64_t k, std::int64_t j) {
  const hn::Rebind<std::int8_t, FloatTag> d8;
  const hn::RebindToSigned<FloatTag> d32;
  return hn::ConvertTo(d, hn::PromoteTo(d32, hn::LoadU(d8, row + k + j)));
}
HWY_INLINE Floats load_weights(FloatTag d, const std::uint8_t* row, std::int64_t k, std::int64_t j) {
  const hn::Rebind<std::int8_t, FloatTag> d8;
  const hn::RebindToSigned<FloatTag> d32;
  constexpr std::int64_t half = group / 2;
  const auto bytes = hn::PromoteTo(d32, hn::LoadU(hn::RebindToUnsigned<decltype(d8)>(), row + k / 2 + j % half));
  const auto nibbles = j < half ? hn::And(bytes, hn::Set(d32, 15)) : hn::ShiftRight<4>(bytes);
  return hn::ConvertTo(d, nibbles);
}

// Weights of 4 bits in the order of their memory: a chunk is one vector of words, each with eight nibbles of one group.
// Vector p holds the p-th nibble of every word; word l has bytes 4·(l mod 4) and the next three of group l / 4. So no
// weight is moved from lane to lane, and `spread_input` puts the other factor in the same order.
constexpr std::int64_t nibbles_a_word = 8;
constexpr std::int64_t words_a_group = 4;
constexpr std::int64_t chunk_elements = nibbles_a_word * vector_lanes;
// Floats of the other factor: behind a chunk's elements, the sum of those of each word.
constexpr std::int64_t chunk_floats = chunk_elements + vector_lanes;

HWY_INLINE std::int64_t chunks_of(std::int64_t elements) {
  return (elements + chunk_elements - 1) / chunk_elements;
}

// Nibble S of each word. A float of 2^(23 - 4S) has its bits of value 1 where the nibble is: no shift is
// needed.
template <int S>
HWY_INLINE Floats masked_nibble(FloatTag d, Words words) {
  const WordTag dw;
  static_assert(S <= 4);
  constexpr int exponent = 23 - 4 * S;
  constexpr std::uint32_t mask = std::uint32_t{15} << (4 * S);
  constexpr std::uint32_t power = std::uint32_t{127 + exponent} << 23;
  const Words bits = hn::OrAnd(hn::Set(dw, power), words, hn::Set(dw, mask));
  return hn::Sub(hn::BitCast(d, bits), hn::Set(d, static_cast<float>(1 << exponent)));
}

// The same for any S, with one constant instead of three of each S: 16 registers hold it.
template <int S>
HWY_INLINE Floats shifted_nibble(FloatTag d, Words words) {
  const WordTag dw;
  const Words shifted = hn::ShiftRight<4 * S>(words);
  const Words nibble = S == 7 ? shifted : hn::And(shifted, hn::Set(dw, 15));
  return hn::ConvertTo(d, hn::BitCast(hn::RebindToSigned<FloatTag>(), nibble));
}

// Nibble P by the way that suits the registers; `rest` are the words without their three lowest nibbles.
template <int P>
HWY_INLINE Floats nibble(FloatTag d, Words words, Words rest) {
  if constexpr (vector_lanes < 16) {
    return shifted_nibble<P>(d, words);
  } else if constexpr (P <= 4) {
    return masked_nibble<P>(d, words);
  } else {
    return masked_nibble<P - 3>(d, rest);
  }
}

// use(p, weights) for the eight vectors of a chunk.
template <class Use>
HWY_INLINE void for_each_nibble(FloatTag d, Words words, const Use& use) {
  const Words rest = hn::ShiftRight<12>(words);
  use(0, nibble<0>(d, words, rest));
  use(1, nibble<1>(d, words, rest));
  use(2, nibble<2>(d, words, rest));
  use(3, nibble<3>(d, words, rest));
  use(4, nibble<4>(d, words, rest));
  use(5, nibble<5>(d, words, rest));
  use(6, nibble<6>(d, words, rest));
  use(7, nibble<7>(d, words, rest));
}

// The words of chunk c of a row of `count` elements; zeros after its last group.
HWY_INLINE Words load_chunk(const std::uint8_t* row, std::int64_t c, std::int64_t count) {
  const WordTag dw;
  const auto* const words = reinterpret_cast<const std::uint32_t*>(row) + c * vector_lanes;
  const std::int64_t rest = count / nibbles_a_word - c * vector_lanes;
  if (rest >= vector_lanes) return hn::LoadU(dw, words);
  return hn::MaskedLoad(hn::FirstN(dw, static_cast<std::size_t>(rest)), dw, words);
}

// A weight is nibble · scale + minimum.
struct Factors {
  Floats scales;
  Floats minima;
};

// Those of each word of chunk c, from the pairs of a row's groups. Reads up to a vector beyond those of the chunk.
#if HWY_TARGET == HWY_SCALAR
HWY_INLINE Factors load_chunk_factors(FloatTag d, const float* factors, std::int64_t c) {
  const float* const pair = factors + 2 * (c / words_a_group);
  return {hn::Set(d, pair[0]), hn::Set(d, pair[1])};
}
#else
HWY_INLINE Factors load_chunk_factors(FloatTag d, const float* factors, std::int64_t c) {
  const hn::RebindToSigned<FloatTag> di;
  const auto places = hn::ShiftLeft<1>(hn::ShiftRight<2>(hn::Iota(di, 0)));
  const Floats pairs = hn::LoadU(d, factors + 2 * (c * vector_lanes / words_a_group));
  return {hn::TableLookupLanes(pairs, hn::IndicesFromVec(d, places)),
          hn::TableLookupLanes(pairs, hn::IndicesFromVec(d, hn::Add(places, hn::Set(di, 1))))};
}
#endif

// Copies `count` elements, whole groups, in the order of chunks: vector p of chunk c at to + (9c + p) · lanes. What
// lies between the last group and the end of its chunk becomes zero.
#if HWY_TARGET == HWY_SCALAR
HWY_INLINE void spread_elements(const float* from, std::int64_t count, float* to) {
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t word = i / nibbles_a_word;
    const std::int64_t p = i % nibbles_a_word;
    to[i + word] = from[word / words_a_group * group + word % words_a_group * 4 + p / 2 + p % 2 * (group / 2)];
  }
}
#else
HWY_INLINE void spread_elements(const float* from, std::int64_t count, float* to) {
  using Quarter = hn::CappedTag<float, words_a_group>;
  const Quarter d;
  constexpr std::int64_t groups_a_chunk = vector_lanes / words_a_group;
  for (std::int64_t g = 0; g < chunks_of(count) * groups_a_chunk; ++g) {
    float* const place = to + g / groups_a_chunk * chunk_floats + g % groups_a_chunk * words_a_group;
    for (std::int64_t half = 0; half < 2; ++half) {
      hn::Vec<Quarter> v0 = hn::Zero(d);
      hn::Vec<Quarter> v1 = v0;
      hn::Vec<Quarter> v2 = v0;
      hn::Vec<Quarter> v3 = v0;
      if (g * group < count) hn::LoadInterleaved4(d, from + g * group + half * group / 2, v0, v1, v2, v3);
      hn::StoreU(v0, d, place + (0 + half) * vector_lanes);
      hn::StoreU(v1, d, place + (2 + half) * vector_lanes);
      hn::StoreU(v2, d, place + (4 + half) * vector_lanes);
      hn::StoreU(v3, d, place + (6 + half) * vector_lanes);
    }
  }
}
#endif

// The same, and behind each chunk its sums.
HWY_INLINE void spread_input(const float* from, std::int64_t count, float* to) {
  const FloatTag d;
  spread_elements(from, count, to);
  for (std::int64_t c = 0; c < chunks_of(count); ++c, to += chunk_floats) {
    Floats sum = hn::LoadU(d, to);
    for (std::int64_t p = 1; p < nibbles_a_word; ++p) sum = hn::Add(sum, hn::LoadU(d, to + p * vector_lanes));
    hn::StoreU(sum, d, to + chunk_elements);
  }
}

// A row of quantised weights as floats.
template <class T>
HWY_INLINE void dequantise_row(const T* row, const Float16* factors, std::int64_t count, float* to) {
  constexpr bool has_minimum = std::is_same_v<T, std::uint8_t>;
  const FloatTag d;
  for (std::int64_t k = 0; k < count; k += group) {
    const Float16* const own = factors + k / group * (has_minimum ? 2 : 1);
    const Floats scale = hn::Set(d, to_float(own[0]));
    const Floats minimum = has_minimum ? hn::Set(d, to_float(own[1])) : hn::Zero(d);
    for (std::int64_t j = 0; j < group; j += vector_lanes) {
      hn::StoreU(hn::MulAdd(load_weights(d, row, k, j), scale, minimum), d, to + k + j);
    }
  }
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace mslt
HWY_AFTER_NAMESPACE();
#endif
