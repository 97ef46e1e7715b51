// The sets of characters named in expressions: \p{Greek}, [:alpha:].
#pragma once

#include <optional>
#include <string_view>

#include "text/character_set.h"

namespace mslt {

// The property named in \p{}, ignoring case, spaces, hyphens and underscores; nothing for an unknown one. Pure.
std::optional<CharacterSet> expression_property(std::string_view name);

// The class named in [: :], spelled exactly. Pure.
std::optional<CharacterSet> expression_class(std::string_view name);

}  // namespace mslt
