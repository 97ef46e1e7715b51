// References within JSON schemas, and schemas that hold together made one.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace mslt {

using SchemaJson = nlohmann::ordered_json;

// Whether a keyword says nothing about which texts are valid.
bool is_annotation(const std::string& keyword);

// What "#/..." names in `root`. Throws Error(input) naming `where` if there is no such part.
const SchemaJson& resolve_reference(const SchemaJson& root, const SchemaJson& reference, const std::string& where);

// A schema for what satisfies both. References at the top of either are followed. Throws Error(input) naming `where`
// and the keyword if they cannot be merged: two different values of one keyword, other than of properties and required.
SchemaJson merge_schemas(const SchemaJson& root, const SchemaJson& first, const SchemaJson& second,
                         const std::string& where);

}  // namespace mslt
