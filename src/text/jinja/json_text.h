// JSON as values.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "text/jinja/value.h"

namespace mslt::jinja {

// Objects become dicts in their order. Ill-formed UTF-8 becomes U+FFFD; integers beyond 64 bits with sign, floats.
// Throws Failure for values that nest too deep.
Value value_from_json(const nlohmann::ordered_json& json, Budget& budget);

}  // namespace mslt::jinja
