// The order in which the host driver runs unordered work: threadgroups, and a group's threads between meetings.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace mslt::msl::host {

struct RunOrder {
  enum class Kind { forward, reversed, random };
  Kind kind = Kind::forward;
  std::uint64_t seed = 0;  // for a random order

  friend bool operator==(const RunOrder&, const RunOrder&) = default;
};

// "forward", "reversed", "random:SEED" or "random", which chooses a seed. Throws Error(usage) for anything else.
RunOrder parse_run_order(std::string_view text);

// The text that parse_run_order accepts for it.
std::string to_string(const RunOrder& order);

// The thing at `place` among `count` things: a permutation of 0 to count - 1; a random order has another one for each
// `stream`. `place` must be below `count`.
std::uint64_t thing_at(const RunOrder& order, std::uint64_t place, std::uint64_t count, std::uint64_t stream);

// A well-mixed hash of its argument.
std::uint64_t mixed(std::uint64_t value);

}  // namespace mslt::msl::host
