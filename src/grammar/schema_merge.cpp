// Following references and merging keywords.
#include "grammar/schema_merge.h"

#include <algorithm>
#include <string_view>

#include "base/fail.h"
#include "base/printable.h"

namespace mslt {
namespace {

constexpr int max_references = 64;

// Without a reference at its top.
SchemaJson followed(const SchemaJson& root, SchemaJson schema, const std::string& where, int depth) {
  if (depth > max_references) fail(ErrorKind::input, "{} follows more than {} references.", where, max_references);
  if (!schema.is_object() || !schema.contains("$ref")) return schema;
  const SchemaJson& target = resolve_reference(root, schema["$ref"], where);
  schema.erase("$ref");
  SchemaJson whole = followed(root, target, where, depth + 1);
  return schema.empty() ? whole : merge_schemas(root, whole, schema, where);
}

void merge_required(SchemaJson& required, const SchemaJson& more) {
  if (!required.is_array() || !more.is_array()) return;
  for (const SchemaJson& name : more) {
    if (std::find(required.begin(), required.end(), name) == required.end()) required.push_back(name);
  }
}

}  // namespace

bool is_annotation(const std::string& keyword) {
  constexpr std::string_view annotations[] = {"title",     "description", "default",     "examples",     "example",
                                              "$comment",  "$schema",     "$id",         "deprecated",   "readOnly",
                                              "writeOnly", "$defs",       "definitions", "discriminator"};
  return std::find(std::begin(annotations), std::end(annotations), keyword) != std::end(annotations);
}

const SchemaJson& resolve_reference(const SchemaJson& root, const SchemaJson& reference, const std::string& where) {
  if (!reference.is_string()) fail(ErrorKind::input, "{}/$ref is not a text.", where);
  const auto& text = reference.get_ref<const std::string&>();
  if (!text.starts_with('#')) {
    fail(ErrorKind::input, "{}/$ref is {}; only references within the schema, such as #/$defs/name, are supported.",
         where, printable(text));
  }
  try {
    const SchemaJson::json_pointer pointer(text.substr(1));
    if (root.contains(pointer)) return root.at(pointer);
  } catch (const nlohmann::json::exception&) {
    // Not a JSON pointer: nothing has this name.
  }
  fail(ErrorKind::input, "{}/$ref is {}, which the schema does not have.", where, printable(text));
}

SchemaJson merge_schemas(const SchemaJson& root, const SchemaJson& first, const SchemaJson& second,
                         const std::string& where) {
  SchemaJson merged = followed(root, first, where, 0);
  const SchemaJson other = followed(root, second, where, 0);
  if (merged == true) return other;
  if (other == true) return merged;
  if (!merged.is_object() || !other.is_object()) {
    if (merged == false || other == false) return false;
    fail(ErrorKind::input, "{} is neither an object nor true or false.", where);
  }
  const auto closes = [](const SchemaJson& schema) {
    return schema.contains("additionalProperties") && schema["additionalProperties"] != true;
  };
  const bool conflicts =
      (merged.contains("properties") && closes(other)) || (other.contains("properties") && closes(merged));
  if (conflicts && merged != other) {
    fail(ErrorKind::input, "{} joins properties with additionalProperties of another schema, which is not supported.",
         where);
  }
  for (const auto& [keyword, value] : other.items()) {
    if (!merged.contains(keyword) || is_annotation(keyword)) {
      merged[keyword] = value;
    } else if (keyword == "properties" && value.is_object() && merged[keyword].is_object()) {
      for (const auto& [name, property] : value.items()) {
        SchemaJson& known = merged[keyword];
        if (!known.contains(name)) {
          known[name] = property;
        } else if (known[name] != property) {
          fail(ErrorKind::input, "{} joins two different schemas of the property {}, which is not supported.", where,
               printable(name));
        }
      }
    } else if (keyword == "required") {
      merge_required(merged[keyword], value);
    } else if (merged[keyword] != value) {
      fail(ErrorKind::input, "{} joins two different values of {}, which is not supported.", where, printable(keyword));
    }
  }
  return merged;
}

}  // namespace mslt
