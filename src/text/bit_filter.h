// A small set of hashes that tells for most absent ones that they are absent.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

namespace mslt {

// A bit for each value of a hash's upper bits. `Hash` is an unsigned integer whose upper bits are well mixed. Several
// threads may read at once.
template <class Hash>
class BitFilter {
 public:
  BitFilter() = default;
  // `bits`: a power of two from 64 on.
  explicit BitFilter(std::size_t bits)
      : words_(bits / 64), shift_(std::numeric_limits<Hash>::digits - std::countr_zero(bits)) {}

  void add(Hash hash) { words_[place_of(hash) / 64] |= std::uint64_t{1} << (place_of(hash) % 64); }
  // Whether the hash, or another with the same upper bits, was added.
  bool may_hold(Hash hash) const { return ((words_[place_of(hash) / 64] >> (place_of(hash) % 64)) & 1) != 0; }

 private:
  std::size_t place_of(Hash hash) const { return hash >> shift_; }

  std::vector<std::uint64_t> words_;
  int shift_ = 0;
};

}  // namespace mslt
