// Finding the rank that the others wait for.
#pragma once

#include <optional>
#include <string>

#include "parallel/communicator.h"

namespace mslt {

// All ranks call it with the seconds that the last steps took them, `own` without waiting for others and `all` of them
// together. Returns a sentence on the slowest rank and its host, on every rank, where it took a quarter longer than the
// median of the others and steps would be a tenth shorter without it.
std::optional<std::string> find_slowest_rank(Communicator& communicator, double own, double all);

}  // namespace mslt
