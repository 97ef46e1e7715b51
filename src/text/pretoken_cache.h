// A cache of the ids of recent pre-tokens: exact keys, two to a set, so that a rare one does not push out a frequent
// one. A set of short pieces is one cache line.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <span>
#include <string_view>

#include "mslt/tokenizer.h"

namespace mslt {

// Holds pieces of at most max_bytes that become at most max_ids tokens, in 2 * sets slots. Not thread-safe.
template <std::size_t key_pairs, std::size_t ids_in_slot, std::size_t sets>
class PretokenCache {
  static_assert(std::has_single_bit(sets));
  // Pairs of words: such a value stays in two registers.
  using Key = std::array<__uint128_t, key_pairs>;

 public:
  // The last byte of a key is the piece's size.
  static constexpr std::size_t max_bytes = sizeof(Key) - 1;
  static constexpr std::size_t max_ids = ids_in_slot;

  struct Slot {
    Key key;
    std::array<TokenId, ids_in_slot> ids;
    std::uint32_t count;
  };

  // Where a piece is, if it is here.
  class Place {
   public:
    Place() = default;

   private:
    friend PretokenCache;
    Key key_;
    Slot* set_;
  };

  // Computes the place of a piece and starts to load it, so that a later find does not wait. `piece` has 1 to max_bytes
  // bytes; `readable` bytes of memory from its start may be read.
  Place place(std::string_view piece, std::size_t readable) {
    Place place;
    place.key_ = key_of(piece, readable);
    place.set_ = sets_[set_of(place.key_)].slots.data();
    for (std::size_t line = 0; line < sizeof(Slot); line += 64)
      __builtin_prefetch(reinterpret_cast<const char*>(place.set_) + line);
    return place;
  }

  // The slot of a piece, or null.
  const Slot* find(const Place& place) const {
    if (equal(place.set_[0].key, place.key_)) [[likely]] {
      return place.set_;
    }
    return equal(place.set_[1].key, place.key_) ? place.set_ + 1 : nullptr;
  }

  // Stores at most max_ids ids in place of the older piece of the set.
  void insert(const Place& place, std::span<const TokenId> ids) {
    place.set_[1] = place.set_[0];
    place.set_[0].key = place.key_;
    place.set_[0].count = static_cast<std::uint32_t>(ids.size());
    std::ranges::copy(ids, place.set_[0].ids.begin());
  }

 private:
  static Key key_of(std::string_view piece, std::size_t readable) {
    // Reads all bytes of a key, so that no branch depends on the size.
    std::array<char, sizeof(Key)> copy{};
    const char* bytes = piece.data();
    if (readable < sizeof(Key)) [[unlikely]] {
      std::memcpy(copy.data(), piece.data(), piece.size());
      bytes = copy.data();
    }
    Key key;
    for (std::size_t i = 0; i < key_pairs; ++i) {
      key[i] = load(bytes + sizeof(key[i]) * i) & load(mask.data() + sizeof(key) - piece.size() + sizeof(key[i]) * i);
    }
    key[key_pairs - 1] |= static_cast<__uint128_t>(piece.size()) << 120;
    return key;
  }

  static std::size_t set_of(const Key& key) {
    std::uint64_t hash = 0;
    for (const __uint128_t pair : key) {
      const __uint128_t product =
          static_cast<__uint128_t>(hash ^ static_cast<std::uint64_t>(pair) ^ 0x9E3779B97F4A7C15u) *
          (static_cast<std::uint64_t>(pair >> 64) ^ 0xD6E8FEB86659FD93u);
      hash = static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
    }
    return (hash ^ (hash >> 29)) % sets;
  }

  struct alignas(64) Set {
    std::array<Slot, 2> slots;
  };

  Set* first_set() {
    if (!memory_) throw std::bad_alloc();
    void* first = memory_.get();
    std::size_t space = (sets + 1) * sizeof(Set);
    return static_cast<Set*>(std::align(alignof(Set), sets * sizeof(Set), first, space));
  }

  // Without a branch for each pair.
  static bool equal(const Key& a, const Key& b) {
    __uint128_t difference = 0;
    for (std::size_t i = 0; i < key_pairs; ++i) difference |= a[i] ^ b[i];
    return difference == 0;
  }

  static __uint128_t load(const void* bytes) {
    __uint128_t pair;
    std::memcpy(&pair, bytes, sizeof(pair));
    return pair;
  }

  // A window that starts s bytes before the middle masks the first s bytes.
  static constexpr auto mask = [] {
    std::array<unsigned char, 2 * sizeof(Key)> bytes{};
    for (std::size_t i = 0; i < sizeof(Key); ++i) bytes[i] = 0xFF;
    return bytes;
  }();

  // NOLINTBEGIN(cppcoreguidelines-no-malloc): calloc takes large memory from the system as zeros, so only what is used
  // costs time; no container does. All zeros is no key.
  struct Free {
    void operator()(void* memory) const { std::free(memory); }
  };
  std::unique_ptr<void, Free> memory_{std::calloc(sets + 1, sizeof(Set))};
  // NOLINTEND(cppcoreguidelines-no-malloc)
  Set* sets_ = first_set();
};

}  // namespace mslt
