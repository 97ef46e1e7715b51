// Compiling JSON schemas to grammars of bytes.
#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/fail.h"
#include "base/printable.h"
#include "grammar/byte_grammar.h"
#include "grammar/json_automaton.h"
#include "grammar/json_constraint.h"
#include "grammar/json_numbers.h"
#include "grammar/json_values.h"
#include "grammar/pattern.h"
#include "grammar/schema_merge.h"
#include "grammar/string_formats.h"
#include "grammar/string_pattern.h"

namespace mslt {
namespace {

using Json = SchemaJson;

constexpr int max_schema_depth = 64;
constexpr std::size_t max_schema_bytes = 262'144;
constexpr std::size_t max_merged_bytes = 16'777'216;

constexpr std::string_view known_keywords[] = {"type",
                                               "properties",
                                               "required",
                                               "additionalProperties",
                                               "items",
                                               "prefixItems",
                                               "minItems",
                                               "maxItems",
                                               "enum",
                                               "const",
                                               "anyOf",
                                               "oneOf",
                                               "allOf",
                                               "$ref",
                                               "minLength",
                                               "maxLength",
                                               "pattern",
                                               "format",
                                               "minimum",
                                               "exclusiveMinimum",
                                               "exclusiveMaximum",
                                               "maximum",
                                               "nullable"};

constexpr std::string_view type_names[] = {"object", "array", "string", "number", "integer", "boolean", "null"};

std::string json_text(const Json& value) {
  return value.dump(-1, ' ', false);
}

class SchemaCompiler {
 public:
  explicit SchemaCompiler(const Json& root) : root_(root) {}

  ByteGrammar compile() {
    if (json_text(root_).size() > max_schema_bytes) {
      fail(ErrorKind::input, "The JSON schema has more than {} bytes.", max_schema_bytes);
    }
    const RuleId whole = grammar_.add_rule("#");
    references_.emplace("#", whole);
    value(root_, "#", grammar_.rules()[whole].start, grammar_.rules()[whole].end, 0);
    while (!pending_.empty()) {
      const auto [reference, rule] = std::move(pending_.back());
      pending_.pop_back();
      const Json& target = resolve_reference(root_, reference, reference);
      value(target, reference, grammar_.rules()[rule].start, grammar_.rules()[rule].end, 0);
    }
    grammar_.finish();
    return std::move(grammar_);
  }

  ByteGrammar compile_any_object() {
    const RuleId whole = grammar_.add_rule("#");
    values_.any_object(grammar_.rules()[whole].start, grammar_.rules()[whole].end);
    grammar_.finish();
    return std::move(grammar_);
  }

 private:
  [[noreturn]] static void reject(const std::string& where, std::string_view keyword, std::string_view why) {
    fail(ErrorKind::input, "{}/{} {}.", where, printable(keyword), why);
  }

  Json merged(const Json& first, const Json& second, const std::string& where) {
    Json result = merge_schemas(root_, first, second, where);
    merged_bytes_ += json_text(result).size();
    if (merged_bytes_ > max_merged_bytes) {
      fail(ErrorKind::input, "The JSON schema's combinations come to more than {} bytes.", max_merged_bytes);
    }
    return result;
  }

  // A value that satisfies `schema`, from one node to another.
  void value(const Json& schema, const std::string& where, NodeId from, NodeId to, int depth) {
    if (depth > max_schema_depth) {
      fail(ErrorKind::input, "{} is nested deeper than {} levels, or combines itself.", where, max_schema_depth);
    }
    if (schema.is_boolean()) {
      if (schema.get<bool>()) values_.any_value(from, to);
      return;
    }
    if (!schema.is_object()) fail(ErrorKind::input, "{} is neither an object nor true or false.", where);
    Json rest = Json::object();
    for (const auto& [keyword, unused] : schema.items()) {
      if (is_annotation(keyword)) continue;
      if (std::find(std::begin(known_keywords), std::end(known_keywords), keyword) == std::end(known_keywords)) {
        reject(where, keyword, "is not supported");
      }
      rest[keyword] = unused;
    }
    if (rest.contains("$ref")) {
      if (rest.size() == 1) return reference(rest["$ref"], where, from, to);
      return value(merged(rest, true, where), where, from, to, depth + 1);
    }
    if (rest.contains("allOf")) return all_of(std::move(rest), where, from, to, depth);
    for (const std::string keyword : {"anyOf", "oneOf"}) {
      if (rest.contains(keyword)) return any_of(keyword, std::move(rest), where, from, to, depth);
    }
    if (rest.contains("enum") || rest.contains("const")) return listed(rest, where, from, to);
    for (const std::string_view type : types_of(rest, where)) typed(type, rest, where, from, to, depth);
  }

  void reference(const Json& target, const std::string& where, NodeId from, NodeId to) {
    resolve_reference(root_, target, where);
    const auto& name = target.get_ref<const std::string&>();
    auto known = references_.find(name);
    if (known == references_.end()) {
      known = references_.emplace(name, grammar_.add_rule(name)).first;
      pending_.emplace_back(name, known->second);
    }
    grammar_.add_call(from, known->second, to);
  }

  static const Json& array_of(const Json& schema, const std::string& keyword, const std::string& where) {
    const Json& list = schema[keyword];
    if (!list.is_array() || list.empty()) reject(where, keyword, "is not an array with elements");
    return list;
  }

  void all_of(Json rest, const std::string& where, NodeId from, NodeId to, int depth) {
    const Json parts = array_of(rest, "allOf", where);
    rest.erase("allOf");
    for (std::size_t i = 0; i < parts.size(); ++i) {
      rest = rest.empty() ? parts[i] : merged(rest, parts[i], fmt::format("{}/allOf/{}", where, i));
    }
    value(rest, where, from, to, depth + 1);
  }

  void any_of(const std::string& keyword, Json rest, const std::string& where, NodeId from, NodeId to, int depth) {
    const Json parts = array_of(rest, keyword, where);
    rest.erase(keyword);
    for (std::size_t i = 0; i < parts.size(); ++i) {
      const std::string part = fmt::format("{}/{}/{}", where, keyword, i);
      if (rest.empty()) {
        value(parts[i], part, from, to, depth + 1);
      } else {
        value(merged(rest, parts[i], part), part, from, to, depth + 1);
      }
    }
  }

  static std::vector<std::string_view> types_of(const Json& schema, const std::string& where) {
    std::vector<std::string_view> types;
    const auto add = [&](const Json& name) {
      const auto* known =
          name.is_string() ? std::find(std::begin(type_names), std::end(type_names), name.get_ref<const std::string&>())
                           : std::end(type_names);
      if (known == std::end(type_names)) {
        reject(where, "type", "is none of object, array, string, number, integer, boolean, null");
      }
      if (std::find(types.begin(), types.end(), *known) == types.end()) types.push_back(*known);
    };
    const auto has = [&](std::initializer_list<const char*> keywords) {
      return std::any_of(keywords.begin(), keywords.end(), [&](const char* one) { return schema.contains(one); });
    };
    if (schema.contains("type")) {
      const Json& type = schema["type"];
      if (type.is_array()) {
        for (const Json& name : type) add(name);
      } else {
        add(type);
      }
    } else if (has({"properties", "required", "additionalProperties"})) {
      types.push_back("object");
    } else if (has({"items", "prefixItems", "minItems", "maxItems"})) {
      types.push_back("array");
    } else if (has({"minLength", "maxLength", "pattern", "format"})) {
      types.push_back("string");
    } else if (has({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"})) {
      types.push_back("number");
    } else {
      types = {"object", "array", "string", "number", "boolean", "null"};
    }
    if (schema.contains("nullable")) {
      if (!schema["nullable"].is_boolean()) reject(where, "nullable", "is neither true nor false");
      if (schema["nullable"] == true) add("null");
    }
    // A number covers integers.
    if (std::find(types.begin(), types.end(), "number") != types.end()) std::erase(types, "integer");
    return types;
  }

  static bool has_type(const Json& value, std::span<const std::string_view> types) {
    const auto is = [&](std::string_view name) {
      return std::find(types.begin(), types.end(), name) != types.end();
    };
    switch (value.type()) {
      case Json::value_t::null:
        return is("null");
      case Json::value_t::object:
        return is("object");
      case Json::value_t::array:
        return is("array");
      case Json::value_t::string:
        return is("string");
      case Json::value_t::boolean:
        return is("boolean");
      case Json::value_t::number_integer:
      case Json::value_t::number_unsigned:
        return is("number") || is("integer");
      default:
        return is("number") || (is("integer") && value.get<double>() == std::floor(value.get<double>()));
    }
  }

  // Texts that may share a start.
  void listed(const Json& schema, const std::string& where, NodeId from, NodeId to) {
    for (const auto& [keyword, unused] : schema.items()) {
      if (keyword != "enum" && keyword != "const" && keyword != "type" && keyword != "nullable") {
        reject(where, keyword, "is not supported beside enum or const");
      }
    }
    std::vector<Json> values;
    if (schema.contains("enum")) {
      const Json& list = array_of(schema, "enum", where);
      values.assign(list.begin(), list.end());
    } else {
      values.push_back(schema["const"]);
    }
    if (schema.contains("const")) std::erase_if(values, [&](const Json& one) { return one != schema["const"]; });
    const std::vector<std::string_view> types = types_of(schema, where);
    std::map<std::pair<NodeId, char>, NodeId> next;
    for (const Json& one : values) {
      if (!has_type(one, types)) continue;
      NodeId at = from;
      for (const char byte : json_text(one)) {
        const auto [found, is_new] = next.try_emplace({at, byte}, 0);
        if (is_new) {
          found->second = grammar_.add_node();
          grammar_.add_text(at, {&byte, 1}, found->second);
        }
        at = found->second;
      }
      grammar_.add_jump(at, to);
    }
  }

  void typed(std::string_view type, const Json& schema, const std::string& where, NodeId from, NodeId to, int depth) {
    if (type == "object") return object(schema, where, from, to, depth);
    if (type == "array") return array(schema, where, from, to, depth);
    if (type == "string") return string(schema, where, from, to);
    if (type == "number" || type == "integer") return number(type, schema, where, from, to);
    if (type == "null") return grammar_.add_text(from, "null", to);
    grammar_.add_text(from, "true", to);
    grammar_.add_text(from, "false", to);
  }

  static std::optional<std::uint32_t> count_of(const Json& schema, const char* keyword, const std::string& where) {
    if (!schema.contains(keyword)) return std::nullopt;
    const Json& value = schema[keyword];
    const double number = value.is_number() ? value.get<double>() : -1.0;
    if (number < 0 || number != std::floor(number) || number > ByteGrammar::max_nodes) {
      reject(where, keyword, fmt::format("is not a number from 0 to {}", ByteGrammar::max_nodes));
    }
    return static_cast<std::uint32_t>(number);
  }

  void string(const Json& schema, const std::string& where, NodeId from, NodeId to) {
    const LengthBounds bounds{count_of(schema, "minLength", where).value_or(0), count_of(schema, "maxLength", where)};
    const bool by_pattern = schema.contains("pattern");
    const bool by_format = schema.contains("format");
    if (by_pattern && by_format) reject(where, "format", "is not supported beside a pattern");
    if (by_pattern || by_format) {
      const char* keyword = by_pattern ? "pattern" : "format";
      const Json& given = schema[keyword];
      if (!given.is_string()) reject(where, keyword, "is not a text");
      const auto pattern =
          by_pattern ? std::optional(given.get<std::string>()) : format_pattern(given.get<std::string>());
      if (!pattern) {
        reject(where, keyword,
               fmt::format("{} is not supported; date, time, date-time, uuid, email, hostname and ipv4 are",
                           printable(given.get<std::string>())));
      }
      const std::string name = where + "/" + keyword;
      return add_pattern(grammar_, values_.text(from, "\""), parse_pattern(*pattern, name), bounds, to, name);
    }
    if (bounds.least == 0 && !bounds.most) return values_.any_string(from, to);
    if (bounds.most && *bounds.most < bounds.least) return;
    NodeId at = values_.text(from, "\"");
    for (std::uint32_t i = 0; i < bounds.most.value_or(bounds.least); ++i) {
      if (i >= bounds.least) grammar_.add_text(at, "\"", to);
      const NodeId next = grammar_.add_node();
      values_.any_character(at, next);
      at = next;
    }
    if (!bounds.most) values_.any_character(at, at);
    grammar_.add_text(at, "\"", to);
  }

  static std::optional<double> bound_of(const Json& schema, const char* keyword, const std::string& where) {
    if (!schema.contains(keyword)) return std::nullopt;
    const Json& value = schema[keyword];
    if (!value.is_number()) reject(where, keyword, "is not a number");
    if (std::abs(value.get<double>()) > 1e15) reject(where, keyword, "is beyond 1e15, which is not supported");
    return value.get<double>();
  }

  void number(std::string_view type, const Json& schema, const std::string& where, NodeId from, NodeId to) {
    const auto inclusive_low = bound_of(schema, "minimum", where);
    const auto exclusive_low = bound_of(schema, "exclusiveMinimum", where);
    const auto inclusive_high = bound_of(schema, "maximum", where);
    const auto exclusive_high = bound_of(schema, "exclusiveMaximum", where);
    NumberBounds bounds;
    const auto integral = [&](double value, const char* keyword) {
      if (value != std::floor(value)) reject(where, keyword, "is not an integer, which is not supported");
      return static_cast<std::int64_t>(value);
    };
    const bool is_integer = type == "integer";
    bounds.least_excluded = exclusive_low && (!inclusive_low || *exclusive_low >= *inclusive_low);
    bounds.most_excluded = exclusive_high && (!inclusive_high || *exclusive_high <= *inclusive_high);
    if (const auto low = bounds.least_excluded ? exclusive_low : inclusive_low) {
      const bool rounds = is_integer && *low != std::floor(*low);
      bounds.least_excluded = bounds.least_excluded && !rounds;
      bounds.least = rounds ? static_cast<std::int64_t>(std::ceil(*low))
                            : integral(*low, exclusive_low == low ? "exclusiveMinimum" : "minimum");
    }
    if (const auto high = bounds.most_excluded ? exclusive_high : inclusive_high) {
      const bool rounds = is_integer && *high != std::floor(*high);
      bounds.most_excluded = bounds.most_excluded && !rounds;
      bounds.most = rounds ? static_cast<std::int64_t>(std::floor(*high))
                           : integral(*high, exclusive_high == high ? "exclusiveMaximum" : "maximum");
    }
    if (is_integer) return add_integer(grammar_, from, bounds, to);
    if (!bounds.least && !bounds.most) return values_.any_number(from, to);
    add_number(grammar_, from, bounds, to);
  }

  void array(const Json& schema, const std::string& where, NodeId from, NodeId to, int depth) {
    const std::uint32_t least = count_of(schema, "minItems", where).value_or(0);
    const std::optional<std::uint32_t> most = count_of(schema, "maxItems", where);
    static const Json empty = Json::array();
    const Json& prefix = schema.contains("prefixItems") ? array_of(schema, "prefixItems", where) : empty;
    const auto prefix_size = static_cast<std::uint32_t>(prefix.size());
    // A tuple is as long as its schemas, unless asked for more.
    const bool goes_on = schema.contains("items") || prefix.empty() || least > prefix_size;
    const RuleId rule = goes_on ? item_rule(schema, where, depth) : 0;
    const auto element = [&](std::uint32_t index, NodeId start, NodeId end) {
      if (index >= prefix_size) return grammar_.add_call(start, rule, end);
      value(prefix[index], fmt::format("{}/prefixItems/{}", where, index), start, end, depth + 1);
    };
    const std::uint32_t listed = std::max(prefix_size, least);
    const std::uint32_t count = most.value_or(listed);
    NodeId at = values_.text(from, "[");
    if (least == 0) grammar_.add_text(at, "]", to);
    for (std::uint32_t index = 0; index < count && (index < prefix_size || goes_on); ++index) {
      const NodeId behind = grammar_.add_node();
      element(index, index == 0 ? at : values_.separator(at, ","), behind);
      if (index + 1 >= least) grammar_.add_text(behind, "]", to);
      at = behind;
    }
    if (most || !goes_on) return;
    const NodeId start = grammar_.add_node();
    grammar_.add_jump(count == 0 ? at : values_.separator(at, ","), start);
    const NodeId behind = grammar_.add_node();
    element(listed, start, behind);
    grammar_.add_text(behind, "]", to);
    grammar_.add_jump(values_.separator(behind, ","), start);
  }

  RuleId item_rule(const Json& schema, const std::string& where, int depth) {
    const RuleId rule = grammar_.add_rule(where + "/items");
    const NodeId start = grammar_.rules()[rule].start;
    const NodeId end = grammar_.rules()[rule].end;
    if (schema.contains("items")) {
      value(schema["items"], where + "/items", start, end, depth + 1);
    } else {
      values_.any_value(start, end);
    }
    return rule;
  }

  void object(const Json& schema, const std::string& where, NodeId from, NodeId to, int depth) {
    static const Json no_properties = Json::object();
    const Json& properties = schema.contains("properties") ? schema["properties"] : no_properties;
    if (!properties.is_object()) reject(where, "properties", "is not an object");
    std::vector<std::pair<std::string, const Json*>> members;
    for (const auto& [name, property] : properties.items()) members.emplace_back(name, &property);
    std::vector<std::string> required;
    if (schema.contains("required")) {
      const Json& list = schema["required"];
      if (!list.is_array()) reject(where, "required", "is not an array");
      for (const Json& name : list) {
        if (!name.is_string()) reject(where, "required", "holds what is not a text");
        required.push_back(name.get<std::string>());
      }
    }
    static const Json anything = true;
    const Json& additional = schema.contains("additionalProperties") ? schema["additionalProperties"] : anything;
    for (const std::string& name : required) {
      if (!properties.contains(name)) members.emplace_back(name, &additional);
    }
    std::sort(required.begin(), required.end());
    const bool is_open = schema.contains("additionalProperties") ? additional != false : properties.empty();

    // Before each member: without one before it, and with one.
    NodeId first = values_.text(from, "{");
    NodeId further = grammar_.add_node();
    for (const auto& [name, property] : members) {
      const NodeId next_first = grammar_.add_node();
      const NodeId next_further = grammar_.add_node();
      if (!std::binary_search(required.begin(), required.end(), name)) {
        grammar_.add_jump(first, next_first);
        grammar_.add_jump(further, next_further);
      }
      const NodeId key = grammar_.add_node();
      grammar_.add_jump(first, key);
      grammar_.add_jump(values_.separator(further, ","), key);
      const std::string spelled = json_text(Json(name));
      value(*property, where + "/properties/" + name, values_.separator(values_.text(key, spelled), ":"), next_further,
            depth + 1);
      first = next_first;
      further = next_further;
    }
    grammar_.add_text(first, "}", to);
    grammar_.add_text(further, "}", to);
    if (!is_open) return;
    const NodeId key = grammar_.add_node();
    grammar_.add_jump(first, key);
    grammar_.add_jump(values_.separator(further, ","), key);
    const NodeId named = grammar_.add_node();
    if (members.empty()) {
      values_.any_string(key, named);
    } else {
      std::vector<std::string> names;
      for (const auto& [name, unused] : members) names.push_back(name);
      values_.other_string(names, key, named);
    }
    const NodeId behind = grammar_.add_node();
    value(additional, where + "/additionalProperties", values_.separator(named, ":"), behind, depth + 1);
    grammar_.add_jump(values_.separator(behind, ","), key);
    grammar_.add_text(behind, "}", to);
  }

  const Json& root_;
  ByteGrammar grammar_;
  JsonValues values_{grammar_};
  std::map<std::string, RuleId, std::less<>> references_;
  std::vector<std::pair<std::string, RuleId>> pending_;
  std::size_t merged_bytes_ = 0;
};

}  // namespace

JsonGrammar::JsonGrammar(std::unique_ptr<const Automaton> automaton) : automaton_(std::move(automaton)) {}
JsonGrammar::JsonGrammar(JsonGrammar&&) noexcept = default;
JsonGrammar& JsonGrammar::operator=(JsonGrammar&&) noexcept = default;
JsonGrammar::~JsonGrammar() = default;

JsonGrammar JsonGrammar::from_schema(const nlohmann::ordered_json& schema) {
  try {
    return JsonGrammar(std::make_unique<const Automaton>(SchemaCompiler(schema).compile()));
  } catch (const nlohmann::json::exception&) {
    fail(ErrorKind::input, "The JSON schema holds a text that is not UTF-8.");
  }
}

JsonGrammar JsonGrammar::any_object() {
  const SchemaJson unused = true;
  return JsonGrammar(std::make_unique<const Automaton>(SchemaCompiler(unused).compile_any_object()));
}

}  // namespace mslt
