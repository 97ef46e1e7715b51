// Counter-based random numbers: Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011).
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <numbers>

namespace mslt {

using PhiloxBlock = std::array<std::uint32_t, 4>;

// Ten rounds of Philox on `counter` under `key`: a pure function, so every thread or device that knows (seed, step,
// operation, element) gets the same four words. Always inlined: tests call it for each number of large tensors, from
// code that builds with sanitizers do optimise, and a call would lead to any object's copy.
[[gnu::always_inline]] inline PhiloxBlock philox(PhiloxBlock counter, std::array<std::uint32_t, 2> key) {
  // As scalars, which builds with sanitizers compute some times faster than elements of arrays.
  auto [x0, x1, x2, x3] = counter;
  auto [key0, key1] = key;
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t p0 = std::uint64_t{0xD2511F53u} * x0;
    const std::uint64_t p1 = std::uint64_t{0xCD9E8D57u} * x2;
    x0 = static_cast<std::uint32_t>(p1 >> 32) ^ x1 ^ key0;
    x1 = static_cast<std::uint32_t>(p1);
    x2 = static_cast<std::uint32_t>(p0 >> 32) ^ x3 ^ key1;
    x3 = static_cast<std::uint32_t>(p0);
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
  return {x0, x1, x2, x3};
}

// The words of (seed, step, operation, element): element e uses word e % 4 of the block with counter
// {e / 4 low, e / 4 high, step, operation} under the key {seed low, seed high}.
[[gnu::always_inline]] inline PhiloxBlock philox_block(std::uint64_t seed, std::uint32_t step, std::uint32_t operation,
                                                       std::uint64_t block_index) {
  return philox(
      {static_cast<std::uint32_t>(block_index), static_cast<std::uint32_t>(block_index >> 32), step, operation},
      {static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)});
}

inline std::uint32_t philox_word(std::uint64_t seed, std::uint32_t step, std::uint32_t operation,
                                 std::uint64_t element) {
  return philox_block(seed, step, operation, element / 4)[element % 4];
}

// A word as a float in [0, 1): its upper 24 bits over 2^24.
inline float uniform_from_word(std::uint32_t word) {
  return static_cast<float>(word >> 8) * 0x1p-24f;
}

// Standard normal by Box–Muller.
[[gnu::always_inline]] inline float normal_from_words(std::uint32_t radius, std::uint32_t angle) {
  const double u = 1.0 - static_cast<double>(radius) * 0x1p-32;
  const double v = static_cast<double>(angle) * 0x1p-32;
  return static_cast<float>(std::sqrt(-2.0 * std::log(u)) * std::cos(2.0 * std::numbers::pi * v));
}

// A sequential reader of one (seed, step, operation) stream; satisfies UniformRandomBitGenerator. Copyable; the
// position is its whole state. Not safe to share between threads.
class PhiloxStream {
 public:
  using result_type = std::uint32_t;
  PhiloxStream(std::uint64_t seed, std::uint32_t step, std::uint32_t operation, std::uint64_t position = 0)
      : seed_(seed), step_(step), operation_(operation), position_(position) {}

  static constexpr result_type min() { return 0; }
  static constexpr result_type max() { return 0xFFFFFFFFu; }
  result_type operator()() { return philox_word(seed_, step_, operation_, position_++); }

  std::uint64_t position() const { return position_; }

  // Uniform in [0, 1), 24 bits.
  float uniform() { return uniform_from_word((*this)()); }

  // Uniform in [0, 1), 53 bits.
  double uniform_double() {
    const std::uint64_t high = (*this)();
    const std::uint64_t low = (*this)();
    return static_cast<double>(((high << 32) | low) >> 11) * 0x1p-53;
  }

  // Uniform in [0, bound), without bias (Lemire, "Fast random integer generation in an interval", 2019). bound > 0.
  std::uint64_t below(std::uint64_t bound) {
    while (true) {
      const std::uint64_t high = (*this)();
      const std::uint64_t word = (high << 32) | (*this)();
      const __uint128_t product = static_cast<__uint128_t>(word) * bound;
      const auto low = static_cast<std::uint64_t>(product);
      if (low >= bound || low >= (0 - bound) % bound) return static_cast<std::uint64_t>(product >> 64);
    }
  }

  // Standard normal; uses two words a call.
  float normal() {
    const std::uint32_t radius = (*this)();
    return normal_from_words(radius, (*this)());
  }

 private:
  std::uint64_t seed_;
  std::uint32_t step_;
  std::uint32_t operation_;
  std::uint64_t position_;
};

}  // namespace mslt
