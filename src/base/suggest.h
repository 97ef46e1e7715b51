// Names that were probably meant.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace mslt {

// How many letters must be inserted, removed, replaced or swapped with their neighbour to turn one word into the other
// (optimal string alignment, case and leading dashes included).
std::size_t edit_distance(std::string_view a, std::string_view b);

// The names nearest to `word`, in their order: those at the smallest distance, if that is at most a third of the word's
// letters (at least one, dashes at its front not counted), else those that begin with it. Three at most.
std::vector<std::string> near_names(std::string_view word, std::span<const std::string> names);

// " Did you mean --steps?", or nothing where no name is near. Begins with a space.
std::string did_you_mean(const std::vector<std::string>& names);

// Both at once: what to add to a message that lists `names`, none of which is `word`.
std::string near_name_hint(std::string_view word, std::span<const std::string_view> names);

}  // namespace mslt
