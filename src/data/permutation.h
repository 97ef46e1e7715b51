// A seeded permutation of [0, n) that is computed, not stored.
#pragma once

#include <cstdint>

#include "base/philox.h"

namespace mslt {

// A balanced Feistel network of six rounds whose round function is Philox, on the smallest domain 2^(2k) >= n (k >= 3);
// what falls outside [0, n) is sent through again until it falls inside ("cycle walking", Black and Rogaway, "Ciphers
// with arbitrary finite domains", 2002): at most four times on average, and a bijection of [0, n). A value; safe to use
// from several threads.
class Permutation {
 public:
  // n > 0; the same (n, seed, epoch) give the same permutation everywhere.
  Permutation(std::uint64_t n, std::uint64_t seed, std::uint64_t epoch) : n_(n), seed_(seed), epoch_(epoch) {
    while (half_bits_ < 32 && (n - 1) >> (2 * half_bits_) != 0) ++half_bits_;
  }

  std::uint64_t size() const { return n_; }

  // Where `index`, which must be below size(), goes.
  std::uint64_t operator()(std::uint64_t index) const {
    do {
      index = encrypt(index);
    } while (index >= n_);
    return index;
  }

 private:
  // Keeps these blocks away from those that philox_block gives to elements below 2^34.
  static constexpr std::uint32_t round_tag = 0x5045524D;

  std::uint64_t encrypt(std::uint64_t value) const {
    const std::uint64_t mask = (std::uint64_t{1} << half_bits_) - 1;
    std::uint64_t left = value >> half_bits_;
    std::uint64_t right = value & mask;
    for (std::uint32_t round = 0; round < 6; ++round) {
      const PhiloxBlock words = philox({static_cast<std::uint32_t>(right), round_tag + round,
                                        static_cast<std::uint32_t>(epoch_), static_cast<std::uint32_t>(epoch_ >> 32)},
                                       {static_cast<std::uint32_t>(seed_), static_cast<std::uint32_t>(seed_ >> 32)});
      const std::uint64_t next = left ^ (words[0] & mask);
      left = right;
      right = next;
    }
    return (left << half_bits_) | right;
  }

  std::uint64_t n_;
  std::uint64_t seed_;
  std::uint64_t epoch_;
  unsigned half_bits_ = 3;
};

}  // namespace mslt
