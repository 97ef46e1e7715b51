// The largest logits, and drawing by all of them, on the CPU.
#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <vector>

#include "backend/cpu/blocks.h"
#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/float_data.h"
#include "backend/cpu/scratch.h"
#include "base/parallel.h"
#include "base/philox.h"
#include "base/weighted_draw.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/sampling.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "backend/cpu/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mslt {
namespace HWY_NAMESPACE {
namespace {

// The index of the first element of x[first, n) above `bound`, or n.
std::int64_t next_above(const float* x, std::int64_t first, std::int64_t n, float bound) {
  const FloatTag d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  std::int64_t i = first;
  for (; i + lanes <= n; i += lanes) {
    const auto above = hn::Gt(hn::LoadU(d, x + i), hn::Set(d, bound));
    if (!hn::AllFalse(d, above)) return i + static_cast<std::int64_t>(hn::FindFirstTrue(d, above));
  }
  for (; i < n; ++i) {
    if (x[i] > bound) return i;
  }
  return n;
}

// The index of the first of the largest elements; ignores NaN; 0 if there is nothing else.
std::int64_t first_largest(const float* x, std::int64_t n) {
  const FloatTag d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  auto largest = hn::Set(d, -std::numeric_limits<float>::infinity());
  std::int64_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    const auto value = hn::LoadU(d, x + i);
    largest = hn::IfThenElse(hn::Gt(value, largest), value, largest);
  }
  float result = hn::GetLane(hn::MaxOfLanes(d, largest));
  for (; i < n; ++i) result = x[i] > result ? x[i] : result;
  for (i = 0; i + lanes <= n; i += lanes) {
    const auto equal = hn::Eq(hn::LoadU(d, x + i), hn::Set(d, result));
    if (!hn::AllFalse(d, equal)) return i + static_cast<std::int64_t>(hn::FindFirstTrue(d, equal));
  }
  for (; i < n; ++i) {
    if (x[i] == result) return i;
  }
  return 0;
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace mslt
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mslt {
namespace {

HWY_EXPORT(next_above);
HWY_EXPORT(first_largest);

// Sort order of the contract: larger values first, then smaller indices. NaN is below everything.
std::uint64_t sort_key(float value, std::int64_t index) {
  const auto bits = std::bit_cast<std::uint32_t>(value + 0.0f);  // -0 becomes 0
  std::uint32_t ordered = (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
  if (value != value) ordered = 0;
  return (std::uint64_t{ordered} << 32) | (0xffffffffu - static_cast<std::uint32_t>(index));
}

std::int32_t index_of_key(std::uint64_t key) {
  return static_cast<std::int32_t>(0xffffffffu - static_cast<std::uint32_t>(key));
}

// The k largest keys of x[0, n), in descending order.
std::vector<std::uint64_t> largest_keys(const float* x, std::int64_t n, std::int64_t k) {
  std::vector<std::uint64_t> keys;
  keys.reserve(static_cast<std::size_t>(k));
  for (std::int64_t i = 0; i < k; ++i) keys.push_back(sort_key(x[i], i));
  // A min-heap of the k largest so far; only an element above its top replaces it.
  std::make_heap(keys.begin(), keys.end(), std::greater<>());
  std::int64_t i = k;
  while (i < n) {
    const float least = x[index_of_key(keys.front())];
    if (least == least) i = HWY_DYNAMIC_DISPATCH(next_above)(x, i, n, least);
    if (i < n) {
      const std::uint64_t key = sort_key(x[i], i);
      if (key > keys.front()) {
        std::pop_heap(keys.begin(), keys.end(), std::greater<>());
        keys.back() = key;
        std::push_heap(keys.begin(), keys.end(), std::greater<>());
      }
      ++i;
    }
  }
  std::sort(keys.begin(), keys.end(), std::greater<>());
  return keys;
}

// One bit for each token, or none.
class TokenBits {
 public:
  explicit TokenBits(std::span<std::int32_t> words) : words_(words) {}
  explicit operator bool() const { return !words_.empty(); }
  bool has(std::size_t token) const { return !words_.empty() && ((word(token) >> (token % 32)) & 1u) != 0; }
  void add(std::size_t token) {
    if (!words_.empty()) words_[token / 32] = static_cast<std::int32_t>(word(token) | (1u << (token % 32)));
  }

 private:
  std::uint32_t word(std::size_t token) const { return static_cast<std::uint32_t>(words_[token / 32]); }
  std::span<std::int32_t> words_;
};

// Makes these logits impossible. Whether there are none.
bool exclude_what_is_not_finite(std::span<float> logits) {
  constexpr std::uint32_t exponent = 0x7f800000u;
  std::uint32_t none = 1;
  for (float& logit : logits) {
    const bool is_finite = (std::bit_cast<std::uint32_t>(logit) & exponent) != exponent;
    logit = is_finite ? logit : impossible_logit;
    none &= is_finite ? 1u : 0u;
  }
  return none != 0;
}

// A row's logits, of which those that are not finite become impossible, in blocks that pay for a thread. Whether all
// were finite.
bool read_logits(const FloatData& data, std::int64_t first, std::span<float> to) {
  constexpr std::int64_t block = 8192;
  const auto count = static_cast<std::int64_t>(to.size());
  std::atomic<bool> all_finite = true;
  parallel_for((count + block - 1) / block, Cost{.flops = 8, .bytes = 8} * block, [&](std::int64_t b) {
    const std::int64_t begin = b * block;
    const auto own =
        to.subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(std::min(block, count - begin)));
    const float* const x = data.read(first + begin, static_cast<std::int64_t>(own.size()), own.data());
    if (x != own.data()) std::copy_n(x, own.size(), own.data());
    if (!exclude_what_is_not_finite(own)) all_finite.store(false, std::memory_order_relaxed);
  });
  return all_finite;
}

// Most likely tokens that are sought first if only they can be drawn.
constexpr std::uint32_t most_candidates = 256;

// A token of `logits`, which it overwrites with what stays possible.
std::size_t draw_token(std::span<float> logits, const DrawSettings& settings, std::uint32_t draws, WeightedDraw& draw) {
  const auto largest = static_cast<std::size_t>(
      HWY_DYNAMIC_DISPATCH(first_largest)(logits.data(), static_cast<std::int64_t>(logits.size())));
  if (logits[largest] == impossible_logit) return 0;
  if (settings.temperature <= 0.0f) return largest;
  const std::uint64_t seed = (std::uint64_t{settings.seed_high} << 32) | settings.seed_low;
  const double share = PhiloxStream(seed, draws, settings.sample).uniform_double();
  const DrawLimits limits = {.top_k = settings.top_k, .top_p = settings.top_p, .min_p = settings.min_p};
  if (settings.top_k == 0 || settings.top_k > most_candidates || settings.top_k >= logits.size()) {
    return draw.draw(logits, logits[largest], settings.temperature, limits, share);
  }
  std::vector<float> candidates;
  std::vector<std::size_t> tokens;
  for (const std::uint64_t key : largest_keys(logits.data(), static_cast<std::int64_t>(logits.size()),
                                              static_cast<std::int64_t>(settings.top_k))) {
    tokens.push_back(static_cast<std::size_t>(index_of_key(key)));
    candidates.push_back(logits[tokens.back()]);
  }
  return tokens[draw.draw(candidates, candidates.front(), settings.temperature, limits, share)];
}

}  // namespace

void CpuBackend::execute(const DrawTokens& op) {
  const std::int64_t columns = op.logits.shape()[-1];
  const std::int64_t rows = op.logits.shape().rows();
  const auto words = static_cast<std::size_t>(token_words(op.vocab));
  const FloatData data(op.logits);
  float* const values = op.values.host<float>().data();
  std::int32_t* const tokens = op.tokens.host<std::int32_t>().data();
  std::int32_t* const draws = op.draws.host<std::int32_t>().data();
  const std::span<const std::int32_t> settings = op.settings.host<std::int32_t>();
  draws_.resize(static_cast<std::size_t>(parallel_threads()));
  float* const buffers = scratch_->floats(static_cast<std::size_t>(op.vocab * parallel_threads()));
  parallel_for_slots(rows, Cost{.flops = 32, .bytes = 4} * op.vocab, [&](std::int64_t row, int slot) {
    const std::span<float> buffer(buffers + slot * op.vocab, static_cast<std::size_t>(op.vocab));
    const auto at = static_cast<std::size_t>(row);
    const bool has_own = op.excluded && op.excluded.shape().rank() == 2;
    const TokenBits excluded(op.excluded ? op.excluded.host<std::int32_t>().subspan(has_own ? at * words : 0, words)
                                         : std::span<std::int32_t>());
    TokenBits seen(op.seen ? op.seen.host<std::int32_t>().subspan(at * words, words) : std::span<std::int32_t>());
    const DrawSettings set =
        DrawSettings::unpacked(settings.subspan(at * DrawSettings::words).first<DrawSettings::words>());
    const bool finite = read_logits(data, row * columns, buffer);
    if (excluded) {
      for (std::size_t i = 0; i < buffer.size(); ++i) {
        if (excluded.has(i)) buffer[i] = impossible_logit;
      }
    }
    const float value = buffer[static_cast<std::size_t>(HWY_DYNAMIC_DISPATCH(first_largest)(buffer.data(), op.vocab))];
    if (seen && set.repetition_penalty != 1.0f) {
      for (std::size_t i = 0; i < buffer.size(); ++i) {
        if (seen.has(i)) buffer[i] *= buffer[i] > 0.0f ? 1.0f / set.repetition_penalty : set.repetition_penalty;
      }
    }
    values[row] = finite && value != impossible_logit ? value : std::numeric_limits<float>::quiet_NaN();
    const std::size_t token =
        draw_token(buffer, set, static_cast<std::uint32_t>(draws[row]), draws_[static_cast<std::size_t>(slot)]);
    tokens[row] = static_cast<std::int32_t>(token);
    draws[row] += set.temperature > 0.0f ? 1 : 0;
    seen.add(token);
  });
}

void CpuBackend::execute(const Argmax& op) {
  const std::int64_t columns = op.logits.shape()[-1];
  const std::int64_t rows = op.logits.shape().rows();
  const FloatData data(op.logits);
  float* value = op.values.host<float>().data();
  std::int32_t* index = op.indices.host<std::int32_t>().data();
  for_blocks(rows, 1, Cost{.flops = 4, .bytes = 4} * op.vocab, [&](std::int64_t row, std::int64_t) {
    std::vector<float> buffer(data.dtype() == DType::f32 ? 0 : static_cast<std::size_t>(op.vocab));
    const float* x = data.read(row * columns, op.vocab, buffer.data());
    const std::int64_t at = HWY_DYNAMIC_DISPATCH(first_largest)(x, op.vocab);
    value[row] = x[at];
    index[row] = static_cast<std::int32_t>(at);
  });
}

void CpuBackend::execute(const TopK& op) {
  const std::int64_t columns = op.logits.shape()[-1];
  const std::int64_t rows = op.logits.shape().rows();
  const std::int64_t k = op.values.shape()[-1];
  const FloatData data(op.logits);
  float* value = op.values.host<float>().data();
  std::int32_t* index = op.indices.host<std::int32_t>().data();
  for_blocks(rows, 1, Cost{.flops = 4, .bytes = 4} * op.vocab, [&](std::int64_t row, std::int64_t) {
    std::vector<float> buffer(data.dtype() == DType::f32 ? 0 : static_cast<std::size_t>(op.vocab));
    const float* x = data.read(row * columns, op.vocab, buffer.data());
    const std::vector<std::uint64_t> keys = largest_keys(x, op.vocab, k);
    for (std::int64_t i = 0; i < k; ++i) {
      const std::int32_t at = index_of_key(keys[static_cast<std::size_t>(i)]);
      index[row * k + i] = at;
      value[row * k + i] = x[at];
    }
  });
}

}  // namespace mslt
#endif
