// The sets of characters that expressions name: \p{Greek}, [:alpha:].
#pragma once

#include <optional>
#include <string_view>

#include "text/character_set.h"

namespace mslt {

// The property that stands in \p{}, without regard to case, spaces, hyphens and underscores; nothing for an unknown
// one. Pure.
std::optional<CharacterSet> expression_property(std::string_view name);

// The class that stands in [: :], which is exactly as named here. Pure.
std::optional<CharacterSet> expression_class(std::string_view name);

}  // namespace mslt
