// The grammar of Jinja.
#pragma once

#include <cstddef>
#include <string_view>

#include "text/jinja/node.h"

namespace mslt::jinja {

// The tree of a template of valid UTF-8. Throws SyntaxFailure naming the line, also for what Jinja knows and chat
// templates have no use for (inheritance and imports), and for trees deeper than `depth`.
NodePtr parse(std::string_view source, std::size_t depth);

}  // namespace mslt::jinja
