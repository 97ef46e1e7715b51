// In which order the host driver runs what nothing orders: threadgroups, and a group's threads between their meetings.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace mslt::msl::host {

struct RunOrder {
  enum class Kind { forward, reversed, random };
  Kind kind = Kind::forward;
  std::uint64_t seed = 0;  // of a random one

  friend bool operator==(const RunOrder&, const RunOrder&) = default;
};

// "forward", "reversed", "random:SEED" or "random", for which a seed is made up. Throws Error(usage) for anything else.
RunOrder parse_run_order(std::string_view text);

// What parse_run_order takes for it.
std::string to_string(const RunOrder& order);

// Which of `count` things comes at `place`: a permutation of 0 to count - 1, in a random order another one for each
// `stream`. `place` must be below `count`.
std::uint64_t thing_at(const RunOrder& order, std::uint64_t place, std::uint64_t count, std::uint64_t stream);

// A well mixed function of its argument.
std::uint64_t mixed(std::uint64_t value);

}  // namespace mslt::msl::host
