// Tests of constraints to JSON schemas: texts, masks, refusals and limits.
#include "grammar/json_constraint.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>

#include "grammar/json_test.h"

namespace mslt {
namespace {

using Json = nlohmann::ordered_json;

// A check of the keywords in these tests, written apart from the compiler.
bool satisfies(const Json& root, const Json& schema, const Json& value) {
  if (schema.is_boolean()) return schema.get<bool>();
  if (schema.contains("$ref")) {
    return satisfies(root, root.at(Json::json_pointer(schema["$ref"].get<std::string>().substr(1))), value);
  }
  for (const char* keyword : {"anyOf", "oneOf"}) {
    if (!schema.contains(keyword)) continue;
    const Json& parts = schema[keyword];
    return std::any_of(parts.begin(), parts.end(), [&](const Json& part) { return satisfies(root, part, value); });
  }
  if (schema.contains("enum")) return std::count(schema["enum"].begin(), schema["enum"].end(), value) > 0;
  if (schema.contains("const")) return schema["const"] == value;
  if (schema.contains("type")) {
    const Json types = schema["type"].is_array() ? schema["type"] : Json::array({schema["type"]});
    const auto is = [&](const Json& type) {
      return type == "object"    ? value.is_object()
             : type == "array"   ? value.is_array()
             : type == "string"  ? value.is_string()
             : type == "boolean" ? value.is_boolean()
             : type == "null"    ? value.is_null()
             : type == "integer" ? value.is_number_integer()
                                 : value.is_number();
    };
    if (std::none_of(types.begin(), types.end(), is)) return false;
  }
  if (value.is_object()) {
    const Json properties = schema.value("properties", Json::object());
    for (const Json& name : schema.value("required", Json::array())) {
      if (!value.contains(name.get<std::string>())) return false;
    }
    for (const auto& [name, member] : value.items()) {
      const Json& own = properties.contains(name) ? properties[name] : schema.value("additionalProperties", Json(true));
      if (!satisfies(root, own, member)) return false;
    }
  }
  if (value.is_array()) {
    const Json prefix = schema.value("prefixItems", Json::array());
    if (value.size() < schema.value("minItems", 0U) || value.size() > schema.value("maxItems", 1000U)) return false;
    for (std::size_t i = 0; i < value.size(); ++i) {
      if (!satisfies(root, i < prefix.size() ? prefix[i] : schema.value("items", Json(true)), value[i])) return false;
    }
  }
  if (value.is_string()) {
    const auto text = value.get<std::string>();
    const auto size = static_cast<std::size_t>(
        std::count_if(text.begin(), text.end(), [](char byte) { return (byte & 0xC0) != 0x80; }));
    if (size < schema.value("minLength", 0U) || size > schema.value("maxLength", 100'000U)) return false;
  }
  if (value.is_number()) {
    const auto number = value.get<double>();
    if (schema.contains("minimum") && number < schema["minimum"]) return false;
    if (schema.contains("maximum") && number > schema["maximum"]) return false;
    if (schema.contains("exclusiveMinimum") && number <= schema["exclusiveMinimum"]) return false;
    if (schema.contains("exclusiveMaximum") && number >= schema["exclusiveMaximum"]) return false;
  }
  return true;
}

Json person() {
  return Json::parse(R"({"type": "object", "properties": {
    "name": {"type": "string", "minLength": 1, "maxLength": 5},
    "age": {"type": "integer", "minimum": 0, "maximum": 120},
    "tags": {"type": "array", "items": {"enum": ["red", "green", "\u00e9\"t\u00e9"]}, "maxItems": 3}},
    "required": ["name", "age"], "additionalProperties": false})");
}

std::vector<Json> schemas() {
  std::vector<Json> all{person()};
  for (const char* text :
       {R"({})", R"({"type": "string"})", R"({"type": ["integer", "null"]})", R"({"type": "number"})",
        R"({"type": "array", "items": {"type": "boolean"}, "minItems": 2})",
        R"({"type": "array", "prefixItems": [{"type": "string"}, {"type": "null"}], "items": {"type": "integer"}})",
        R"({"type": "array", "prefixItems": [{"type": "string"}], "minItems": 3, "maxItems": 4})",
        R"({"anyOf": [{"type": "object", "properties": {"kind": {"const": "a"}, "x": {"type": "integer"}},
               "required": ["kind", "x"]}, {"type": "object", "properties": {"kind": {"const": "ab"}}}]})",
        R"({"$defs": {"node": {"type": "object", "properties": {"value": {"type": "integer"},
               "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}}, "required": ["value", "next"],
               "additionalProperties": false}}, "$ref": "#/$defs/node"})",
        R"({"type": "object", "properties": {"a": {"type": "integer"}, "ab": {"type": "null"}},
               "additionalProperties": {"type": "string"}})",
        R"({"type": "object", "properties": {"a": true, "b": true, "c": true}, "required": ["b", "z"]})",
        R"({"allOf": [{"type": "object", "properties": {"a": {"type": "null"}}, "required": ["a"]},
               {"properties": {"b": {"type": "boolean"}}}]})",
        R"({"type": "number", "minimum": -2, "exclusiveMaximum": 3})",
        R"({"type": "integer", "minimum": -17, "exclusiveMaximum": 1203})"}) {
    all.push_back(Json::parse(text));
  }
  return all;
}

TEST(JsonConstraint, RandomTextsParseAndSatisfyTheirSchema) {
  const ByteTexts texts;
  PhiloxStream random(1, 0, 0);
  for (const Json& schema : schemas()) {
    const auto constraints = texts.constraints(schema);
    for (int round = 0; round < 30; ++round) {
      const std::string text = texts.random_text(constraints, random, random.below(60));
      const Json value = Json::parse(text, nullptr, false);
      ASSERT_FALSE(value.is_discarded()) << schema << " gave " << text;
      // allOf is merged by the test's eye: both parts are about one object.
      if (!schema.contains("allOf")) {
        EXPECT_TRUE(satisfies(schema, schema, value)) << schema << " gave " << text;
      } else {
        for (const Json& part : schema["allOf"]) EXPECT_TRUE(satisfies(schema, part, value)) << text;
      }
    }
  }
}

TEST(JsonConstraint, MasksAreThoseOfTheBytesOfEachToken) {
  const ByteTexts texts;
  PhiloxStream random(2, 0, 0);
  for (const Json& schema : schemas()) {
    const auto constraints = texts.constraints(schema);
    std::string text = texts.random_text(constraints, random, 20);
    // With a state of its own, so nothing is remembered from the walk.
    const auto again = texts.constraints(schema);
    text.resize(random.below(static_cast<std::uint32_t>(text.size() + 1)));
    const auto at = [&](const JsonConstraints& from) {
      auto constraint = from.make();
      for (const char byte : text) constraint->accept(texts.byte_id(byte));
      return constraint;
    };
    const auto mask = texts.mask(*at(again));
    for (TokenId id = 0; id < texts.tokenizer().vocab_size(); ++id) {
      const std::string_view bytes = texts.tokenizer().token_bytes(id);
      bool expected = !texts.tokenizer().is_special(id);
      const auto constraint = at(constraints);
      for (std::size_t i = 0; expected && i < bytes.size(); ++i) {
        try {
          constraint->accept(texts.byte_id(bytes[i]));
        } catch (const Error&) {
          expected = false;
        }
      }
      EXPECT_EQ(ByteTexts::allows(mask, id), expected) << schema << " after " << text << " token " << bytes;
    }
  }
}

TEST(JsonConstraint, RefusesTextsAtTheFirstWrongByte) {
  const ByteTexts texts;
  const auto constraints = texts.constraints(person());
  EXPECT_EQ(texts.refused_at(constraints, R"({"name":"Ada", "age": 36})"), whole_text);
  EXPECT_EQ(texts.refused_at(constraints, R"({"name":"Ada","age":36,"tags":["red", "\u00e9"]})"), 39u);
  EXPECT_EQ(texts.refused_at(constraints, R"({"age":36})"), 2u);
  EXPECT_EQ(texts.refused_at(constraints, R"({"name":""})"), 9u);
  EXPECT_EQ(texts.refused_at(constraints, R"({"name":"Robert")"), 14u);
  EXPECT_EQ(texts.refused_at(constraints, R"({"name":"Ada","age":121})"), 22u);
  EXPECT_EQ(texts.refused_at(constraints, R"({"name":"Ada","age":036})"), 21u);
  EXPECT_EQ(texts.refused_at(constraints, R"({"name":"Ada","age":36,"x)"), 24u);
  EXPECT_EQ(texts.refused_at(constraints, R"({"name":"Ada"})"), 13u);
  EXPECT_EQ(texts.refused_at(constraints, R"({"name":  "A)"), 9u);
  EXPECT_EQ(texts.refused_at(constraints, R"({"name":"Ada","age":3)"), 21u);
  EXPECT_EQ(texts.refused_at(constraints, R"( {)"), 0u);
}

TEST(JsonConstraint, StringsAreJsonStringsOfUtf8) {
  const ByteTexts texts;
  const auto any = texts.constraints(Json::parse(R"({"type": "string"})"));
  const auto one = texts.constraints(Json::parse(R"({"type": "string", "minLength": 1, "maxLength": 1})"));
  for (const char* text : {"\"\\ud83d\\ude00\"", "\"\\uD7ff\"", "\"\\ue000\"", "\"\U0001F600\"", "\"\u00e9\"",
                           "\"\\\\\"", "\"\\/\"", "\"\\u0000\"", "\"\x7F\"", "\"\uFFFF\"", "\"\U0010FFFF\""}) {
    EXPECT_EQ(texts.refused_at(any, text), whole_text) << text;
    EXPECT_EQ(texts.refused_at(one, text), whole_text) << text;
    EXPECT_FALSE(Json::parse(text, nullptr, false).is_discarded());
  }
  EXPECT_EQ(texts.refused_at(any, "\"\\udc00"), 4u);         // the second of two surrogates
  EXPECT_EQ(texts.refused_at(any, "\"\\ud83dx"), 7u);        // the first alone
  EXPECT_EQ(texts.refused_at(any, "\"\\ud83d\\u0041"), 9u);  // with no second
  EXPECT_EQ(texts.refused_at(any, "\"\n"), 1u);
  EXPECT_EQ(texts.refused_at(any, "\"\xC0\x80"), 1u);
  EXPECT_EQ(texts.refused_at(any, "\"\xE0\x80"), 2u);
  EXPECT_EQ(texts.refused_at(any, "\"\xED\xA0"), 2u);
  EXPECT_EQ(texts.refused_at(any, "\"\xF4\x90"), 2u);
  EXPECT_EQ(texts.refused_at(any, "\"\xE2\x82\""), 3u);
  EXPECT_EQ(texts.refused_at(any, "\"\\x"), 2u);
}

TEST(JsonConstraint, AnyObjectNestsToALimit) {
  const ByteTexts texts;
  const auto constraints = texts.any_object();
  EXPECT_EQ(texts.refused_at(constraints, R"({"a":[1, {"b":null}],"":"x"})"), whole_text);
  EXPECT_EQ(texts.refused_at(constraints, "[]"), 0u);
  EXPECT_EQ(texts.refused_at(constraints, "{},"), 2u);
  EXPECT_EQ(texts.refused_at(constraints, "{\"a\":1,}"), 7u);
  std::string deep = "{\"a\":";
  for (int i = 0; i < 100; ++i) deep += '[';
  EXPECT_EQ(texts.refused_at(constraints, deep), 5u + 64u);
}

TEST(JsonConstraint, EndsWhereNothingCanFollow) {
  const ByteTexts texts;
  const auto constraints = texts.constraints(Json::parse(R"({"enum": [1, 12, true]})"));
  const auto constraint = constraints.make();
  EXPECT_FALSE(constraint->may_end());
  constraint->accept(texts.byte_id('1'));
  EXPECT_TRUE(constraint->may_end());
  EXPECT_FALSE(constraint->must_end());
  constraint->accept(texts.byte_id('2'));
  EXPECT_TRUE(constraint->must_end());
  const auto mask = texts.mask(*constraint);
  EXPECT_EQ(std::count(mask.begin(), mask.end(), 0U), static_cast<std::ptrdiff_t>(mask.size()));
  expect_error(ErrorKind::input, "cannot follow", [&] { constraint->accept(texts.byte_id('3')); });
  expect_error(ErrorKind::input, "cannot follow", [&] { constraint->accept(100'000); });
}

TEST(JsonConstraint, FormatsAreThoseOfTheirStandards) {
  const ByteTexts texts;
  const auto refused = [&](const char* format, const std::string& text) {
    return texts.refused_at(texts.constraints({{"type", "string"}, {"format", format}}), '"' + text + '"');
  };
  EXPECT_EQ(refused("date", "2024-02-29"), whole_text);
  EXPECT_EQ(refused("date", "2023-02-29"), 10u);
  EXPECT_EQ(refused("date", "1900-02-29"), 10u);
  EXPECT_EQ(refused("date", "2000-02-29"), whole_text);
  EXPECT_EQ(refused("date", "2024-04-31"), 10u);
  EXPECT_EQ(refused("time", "23:59:59.5Z"), whole_text);
  EXPECT_EQ(refused("time", "24:00:00Z"), 2u);
  EXPECT_EQ(refused("date-time", "2026-11-27T07:00:00+01:00"), whole_text);
  EXPECT_EQ(refused("uuid", "123e4567-e89b-12d3-a456-426614174000"), whole_text);
  EXPECT_EQ(refused("ipv4", "255.0.10.1"), whole_text);
  EXPECT_EQ(refused("ipv4", "256.0.10.1"), 3u);
  EXPECT_EQ(refused("email", "ada.l@example.org"), whole_text);
  EXPECT_EQ(refused("email", "ada@"), 5u);
  EXPECT_EQ(refused("hostname", "a-b.example.org"), whole_text);
}

TEST(JsonConstraint, NumbersKeepTheirBounds) {
  const ByteTexts texts;
  for (const auto& [low, high] : {std::pair(-120, 45), {0, 0}, {7, 1013}, {-99, -10}, {-5, 0}}) {
    const auto constraints = texts.constraints({{"type", "integer"}, {"minimum", low}, {"maximum", high}});
    for (int value = -1100; value <= 1100; ++value) {
      EXPECT_EQ(texts.refused_at(constraints, std::to_string(value)) == whole_text, low <= value && value <= high)
          << value << " in " << low << " to " << high;
    }
  }
  const auto positive = texts.constraints({{"type", "number"}, {"exclusiveMinimum", 0}, {"maximum", 2}});
  for (const char* text : {"0.1", "0.001", "1", "1.99", "2"}) {
    EXPECT_EQ(texts.refused_at(positive, text), whole_text) << text;
  }
  for (const char* text : {"0", "0.0", "-1", "2.5", "00", "1.", "1e5"}) {
    EXPECT_NE(texts.refused_at(positive, text), whole_text) << text;
  }
}

TEST(JsonConstraint, NamesWhatASchemaMustNotHold) {
  const auto refuse = [](const char* schema, std::string_view part) {
    expect_error(ErrorKind::input, part, [&] { JsonGrammar::from_schema(Json::parse(schema)); });
  };
  refuse(R"({"properties": {"a": {"type": "array", "uniqueItems": true}}})", "#/properties/a/uniqueItems");
  refuse(R"({"type": "text"})", "#/type");
  refuse(R"({"type": "string", "format": "uri"})", "#/format");
  refuse(R"({"type": "number", "minimum": 0.5})", "#/minimum");
  refuse(R"({"type": "integer", "multipleOf": 3})", "#/multipleOf");
  refuse(R"({"minLength": -1})", "#/minLength");
  refuse(R"({"$ref": "other.json"})", "#/$ref");
  refuse(R"({"$ref": "#/$defs/x"})", "#/$ref");
  refuse(R"({"$ref": "#"})", "refers to itself");
  refuse(R"({"$defs": {"a": {"anyOf": [{"$ref": "#/$defs/b"}]}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"})",
         "refers to itself");
  refuse(R"({"allOf": [{"$ref": "#"}, {"$ref": "#"}]})", "#");
  refuse(R"({"allOf": [{"type": "string"}, {"type": "null"}]})", "two different values of type");
  refuse(R"({"type": "array", "items": {"$ref": "#"}, "minItems": 1})", "No JSON text");
  refuse(R"({"type": "object", "properties": {"a": false}, "required": ["a"]})", "No JSON text");
  refuse(R"({"enum": []})", "#/enum");
  refuse(R"({"anyOf": {}})", "#/anyOf");
  refuse(R"([])", "#");
  refuse(R"({"type": "string", "maxLength": 100000})", "more than 100000 states");
  Json deep = true;
  for (int i = 0; i < 70; ++i) deep = {{"type", "array"}, {"items", deep}};
  expect_error(ErrorKind::input, "deeper", [&] { JsonGrammar::from_schema(deep); });
}

TEST(JsonConstraint, AmbiguousSchemasStayBounded) {
  const ByteTexts texts;
  const auto constraints = texts.constraints(Json::parse(
      R"({"anyOf": [{"type": "array", "items": {"$ref": "#"}}, {"type": "array", "items": {"$ref": "#"}, "minItems": 0},
          {"type": "array", "items": {"$ref": "#"}, "maxItems": 2}, {"type": "null"}]})"));
  const auto constraint = constraints.make();
  for (int i = 0; i < 20; ++i) constraint->accept(texts.byte_id('['));
  for (int i = 0; i < 20; ++i) constraint->accept(texts.byte_id(']'));
  EXPECT_TRUE(constraint->may_end());
}

TEST(JsonConstraint, ForgetsStatesWithoutLosingItsPlace) {
  const ByteTexts texts;
  const auto constraints = texts.constraints(Json::parse(R"({"type": "string", "maxLength": 20000})"));
  const auto constraint = constraints.make();
  constraint->accept(texts.byte_id('"'));
  for (int i = 0; i < 20'000; ++i) {
    if (i % 2'000 == 0) texts.mask(*constraint);
    constraint->accept(texts.byte_id('a'));
  }
  const auto mask = texts.mask(*constraint);
  EXPECT_TRUE(ByteTexts::allows(mask, texts.byte_id('"')));
  EXPECT_FALSE(ByteTexts::allows(mask, texts.byte_id('a')));
}

TEST(JsonConstraint, TheMakerKeepsSchemas) {
  const ByteTexts texts;
  const auto maker = json_constraint_maker(texts.tokenizer(), texts.tokenizer().vocab_size() + 40);
  for (int round = 0; round < 20; ++round) {
    const auto constraint = maker(round % 2 == 0 ? Json() : Json{{"const", round}})();
    // The model has more ids than the tokenizer.
    std::vector<std::uint32_t> allowed((texts.tokenizer().vocab_size() + 40 + 31) / 32, ~0U);
    constraint->allow(allowed);
    EXPECT_EQ(ByteTexts::allows(allowed, texts.byte_id('{')), round % 2 == 0);
    EXPECT_FALSE(ByteTexts::allows(allowed, texts.tokenizer().vocab_size() + 1));
  }
  expect_error(ErrorKind::input, "#/type", [&] { maker({{"type", 3}}); });
}

}  // namespace
}  // namespace mslt
