// Orders by name, and random orders as permutations that take no memory.
#include "backend/msl/drivers/host/run_order.h"

#include <bit>
#include <charconv>
#include <random>

#include "base/fail.h"

namespace mslt::msl::host {

std::uint64_t mixed(std::uint64_t value) {
  value += 0x9e3779b97f4a7c15u;
  value = (value ^ value >> 30) * 0xbf58476d1ce4e5b9u;
  value = (value ^ value >> 27) * 0x94d049bb133111ebu;
  return value ^ value >> 31;
}

RunOrder parse_run_order(std::string_view text) {
  constexpr std::string_view random = "random";
  if (text == "forward") return {};
  if (text == "reversed") return {.kind = RunOrder::Kind::reversed};
  if (text == random) return {.kind = RunOrder::Kind::random, .seed = std::random_device()()};
  if (text.starts_with(random) && text.substr(random.size()).starts_with(':')) {
    const std::string_view digits = text.substr(random.size() + 1);
    RunOrder order = {.kind = RunOrder::Kind::random};
    const auto parsed = std::from_chars(digits.data(), digits.data() + digits.size(), order.seed);
    if (parsed.ec == std::errc() && parsed.ptr == digits.data() + digits.size()) return order;
  }
  fail(ErrorKind::usage, "There is no order '{}'. Valid are forward, reversed, random and random:SEED.", text);
}

std::string to_string(const RunOrder& order) {
  switch (order.kind) {
    case RunOrder::Kind::forward:
      return "forward";
    case RunOrder::Kind::reversed:
      return "reversed";
    case RunOrder::Kind::random:
      return fmt::format("random:{}", order.seed);
  }
  return {};
}

std::uint64_t thing_at(const RunOrder& order, std::uint64_t place, std::uint64_t count, std::uint64_t stream) {
  if (order.kind == RunOrder::Kind::forward || count < 2) return place;
  if (order.kind == RunOrder::Kind::reversed) return count - 1 - place;
  // Each step is a bijection on numbers of so many bits; numbers that are too large are mapped again.
  const int bits = std::bit_width(count - 1);
  const std::uint64_t mask = ~std::uint64_t{0} >> (64 - bits);
  const int shift = (bits + 1) / 2;
  const std::uint64_t key = mixed(order.seed + mixed(stream));
  std::uint64_t at = place;
  do {
    for (std::uint64_t round = 1; round <= 3; ++round) {
      const std::uint64_t factor = mixed(key + round);
      at = (at + (factor >> 32)) & mask;
      at ^= at >> shift;
      at = at * (factor | 1u) & mask;
    }
  } while (at >= count);
  return at;
}

}  // namespace mslt::msl::host
