// Suggestions for misspelled names.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace mslt {

// The number of letters to insert, remove, replace or swap with their neighbour to turn one word into the other
// (optimal string alignment, including case and leading dashes).
std::size_t edit_distance(std::string_view a, std::string_view b);

// The names nearest to `word`, in their order: those at the smallest distance, if that is at most a third of the word's
// letters (at least one, without leading dashes), else those that begin with it. At most three.
std::vector<std::string> near_names(std::string_view word, std::span<const std::string> names);

// " Did you mean --steps?", or nothing if no name is near. Begins with a space.
std::string did_you_mean(const std::vector<std::string>& names);

// Both at once: an addition to a message that lists `names`, which do not include `word`.
std::string near_name_hint(std::string_view word, std::span<const std::string_view> names);

}  // namespace mslt
