// Dropout on the CPU.
#include "backend/cpu/dropout.h"

#include <algorithm>
#include <array>

#include "backend/cpu/blocks.h"
#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/float_data.h"
#include "base/philox.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/dropout.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "backend/cpu/lanes-inl.h"

#ifndef MSLT_BACKEND_CPU_DROPOUT_ONCE
#define MSLT_BACKEND_CPU_DROPOUT_ONCE
namespace mslt {

// Blocks of random words generated at a time, and their words; a multiple of any vector of 64-bit lanes.
inline constexpr std::int64_t philox_blocks = 256;
using PhiloxWords = std::array<std::uint32_t, 4 * philox_blocks>;

}  // namespace mslt
#endif

HWY_BEFORE_NAMESPACE();
namespace mslt {
namespace HWY_NAMESPACE {
namespace {

using WideTag = hn::ScalableTag<std::uint64_t>;
using Wide = hn::Vec<WideTag>;

#if HWY_TARGET == HWY_SCALAR
Wide multiply_low(Wide a, std::uint32_t factor) {
  return hn::Set(WideTag(), (hn::GetLane(a) & 0xffffffffu) * factor);
}
#else
// The 64-bit products of the lanes' lower halves.
HWY_INLINE Wide multiply_low(Wide a, std::uint32_t factor) {
  const hn::Repartition<std::uint32_t, WideTag> narrow;
  return hn::MulEven(hn::BitCast(narrow, a), hn::Set(narrow, factor));
}
#endif

// The four counters of one block per 64-bit lane of a vector, in the lower halves; the upper halves hold remains of
// products that nothing reads.
struct Counters {
  Wide c0, c1, c2, c3;
};

HWY_INLINE void philox_round(Counters& c, std::uint64_t key0, std::uint64_t key1) {
  const WideTag d;
  const auto p0 = multiply_low(c.c0, 0xD2511F53u);
  const auto p1 = multiply_low(c.c2, 0xCD9E8D57u);
  c.c0 = hn::Xor(hn::ShiftRight<32>(p1), hn::Xor(c.c1, hn::Set(d, key0)));
  c.c2 = hn::Xor(hn::ShiftRight<32>(p0), hn::Xor(c.c3, hn::Set(d, key1)));
  c.c1 = p1;
  c.c3 = p0;
}

HWY_INLINE void store_words(const Counters& c, std::uint32_t* words) {
  const WideTag d;
  const auto low = hn::Set(d, std::uint64_t{0xffffffffu});
  const auto words01 = hn::Or(hn::And(c.c0, low), hn::ShiftLeft<32>(c.c1));
  const auto words23 = hn::Or(hn::And(c.c2, low), hn::ShiftLeft<32>(c.c3));
  hn::StoreInterleaved2(words01, words23, d, reinterpret_cast<std::uint64_t*>(words));
}

// The words of `blocks` consecutive Philox blocks, a multiple of 16, as philox_block() of base/philox.h computes them.
// Two vectors at a time hide the latency of the rounds.
void philox_words(const DropoutState& state, std::uint64_t first_block, std::int64_t blocks, std::uint32_t* words) {
  const WideTag d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  const auto step = hn::Set(d, std::uint64_t{state.step});
  const auto operation = hn::Set(d, std::uint64_t{state.operation});
  for (std::int64_t i = 0; i < blocks; i += 2 * lanes) {
    const auto index_a = hn::Iota(d, first_block + static_cast<std::uint64_t>(i));
    const auto index_b = hn::Iota(d, first_block + static_cast<std::uint64_t>(i + lanes));
    Counters a = {index_a, hn::ShiftRight<32>(index_a), step, operation};
    Counters b = {index_b, hn::ShiftRight<32>(index_b), step, operation};
    auto key0 = static_cast<std::uint32_t>(state.seed);
    auto key1 = static_cast<std::uint32_t>(state.seed >> 32);
    for (int round = 0; round < 10; ++round) {
      philox_round(a, key0, key1);
      philox_round(b, key0, key1);
      key0 += 0x9E3779B9u;
      key1 += 0xBB67AE85u;
    }
    store_words(a, words + 4 * i);
    store_words(b, words + 4 * (i + lanes));
  }
}

// out[i] = in[i] · scale if the uniform number of words[i] is at least `probability`, else 0.
void keep_floats(const std::uint32_t* words, float probability, float scale, const float* in, std::int64_t n,
                 float* out) {
  for_lanes(n, [=](auto d, std::int64_t i) HWY_ATTR {
    const hn::RebindToUnsigned<decltype(d)> du;
    const hn::RebindToSigned<decltype(d)> di;
    const auto upper = hn::BitCast(di, hn::ShiftRight<8>(hn::LoadU(du, words + i)));
    const auto uniform = hn::Mul(hn::ConvertTo(d, upper), hn::Set(d, 0x1p-24f));
    const auto scaled = hn::Mul(hn::LoadU(d, in + i), hn::Set(d, scale));
    hn::StoreU(hn::IfThenElseZero(hn::Ge(uniform, hn::Set(d, probability)), scaled), d, out + i);
  });
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace mslt
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mslt {
namespace {

HWY_EXPORT(philox_words);
HWY_EXPORT(keep_floats);

}  // namespace

void apply_dropout(const DropoutState& state, std::int64_t first, std::int64_t n, const float* in, float* out) {
  if (state.probability == 0.0f) {
    if (in != out) std::copy_n(in, n, out);
    return;
  }
  alignas(64) PhiloxWords words;
  for (std::int64_t i = 0; i < n;) {
    const std::int64_t skipped = (first + i) % 4;
    const std::int64_t count = std::min(n - i, 4 * philox_blocks - skipped);
    // A multiple of 16 blocks fills whole vectors of every target.
    const std::int64_t blocks = (count + skipped + 63) / 64 * 16;
    HWY_DYNAMIC_DISPATCH(philox_words)(state, static_cast<std::uint64_t>(first + i) / 4, blocks, words.data());
    HWY_DYNAMIC_DISPATCH(keep_floats)
    (words.data() + skipped, state.probability, state.scale, in + i, count, out + i);
    i += count;
  }
}

void CpuBackend::execute(const DropElements& op) {
  const DropoutState state(op.dropout);
  const FloatData from(op.in);
  const FloatData to(op.out);
  for_blocks(op.in.elements(), element_block, {.flops = 64, .bytes = 8}, [&](std::int64_t first, std::int64_t n) {
    alignas(64) std::array<float, element_block> buffer;
    const float* values = from.read(first, n, buffer.data());
    float* target = to.target(first, buffer.data());
    apply_dropout(state, first, n, values, target);
    to.commit(first, n, target);
  });
}

}  // namespace mslt
#endif
