// Tests of regular expressions in schemas, against std::regex.
#include "grammar/pattern.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <regex>
#include <string>

#include "base/philox.h"
#include "base/test_errors.h"
#include "grammar/json_test.h"

namespace mslt {
namespace {

nlohmann::ordered_json pattern_schema(const std::string& pattern) {
  return {{"type", "string"}, {"pattern", pattern}};
}

TEST(Pattern, AgreesWithTheStandardLibrary) {
  const ByteTexts texts;
  PhiloxStream random(5, 0, 0);
  for (const std::string pattern :
       {"^a*b$", "^(ab|a)(bc|c)?$", "b", "^[^ab]{2,3}$", "^a?b?c?$", "a$|^c", "^(a|b)*c(a|b)$", "^(?:a{2}){1,2}$",
        "^\\w+\\d?$", "^.b\\.?$", "^$", "", "[a-c]b+?c", "(^a|b)c", "^x?[\\d\\-b]+$"}) {
    const auto constraints = texts.constraints(pattern_schema(pattern));
    const std::regex expected(pattern, std::regex::ECMAScript);
    int matches = 0;
    for (int round = 0; round < 300; ++round) {
      std::string text;
      for (std::size_t size = random.below(6); size > 0; --size) text.push_back("aabbcc1.-"[random.below(9)]);
      const bool valid = std::regex_search(text, expected);
      matches += valid ? 1 : 0;
      EXPECT_EQ(texts.refused_at(constraints, '"' + text + '"') == whole_text, valid) << pattern << " on " << text;
    }
    EXPECT_GT(matches, 0) << pattern;
  }
}

TEST(Pattern, IsRefusedAtTheFirstByteThatCannotLeadToAMatch) {
  const ByteTexts texts;
  const auto constraints = texts.constraints(pattern_schema("^ab+\\u00e9$"));
  EXPECT_EQ(texts.refused_at(constraints, "\"abb\u00e9\""), whole_text);
  EXPECT_EQ(texts.refused_at(constraints, "\"abb\u00e8\""), 5u);
  EXPECT_EQ(texts.refused_at(constraints, "\"abbc"), 4u);
  EXPECT_EQ(texts.refused_at(constraints, "\"ab\""), 3u);
  EXPECT_EQ(texts.refused_at(texts.constraints(pattern_schema("^[\"\\\\\\n]{3}$")), R"("\"\\\n")"), whole_text);
}

TEST(Pattern, CountsCharactersBesideIt) {
  const ByteTexts texts;
  nlohmann::ordered_json schema = pattern_schema("^[a-z\u00e9]+$");
  schema["minLength"] = 2;
  schema["maxLength"] = 3;
  const auto constraints = texts.constraints(schema);
  EXPECT_EQ(texts.refused_at(constraints, "\"a\""), 2u);
  EXPECT_EQ(texts.refused_at(constraints, "\"\u00e9\u00e9\u00e9\""), whole_text);
  EXPECT_EQ(texts.refused_at(constraints, "\"abcd"), 4u);
}

TEST(Pattern, RefusesWhatAutomataLack) {
  for (const std::string pattern : {"a(?=b)", "(?<!a)b", "(a)\\1", "\\bword", "a++", "*a", "(a", "a)", "[a", "a{3,2}",
                                    "a{1001}", "[z-a]", "\\p{L}", "a{", "^*", "\\u12", "\\ud800"}) {
    expect_error(ErrorKind::input, "#/pattern", [&] { JsonGrammar::from_schema(pattern_schema(pattern)); });
  }
  expect_error(ErrorKind::input, "too large", [] { JsonGrammar::from_schema(pattern_schema("(a{1000}){1000}")); });
  expect_error(ErrorKind::input, "too large", [] { JsonGrammar::from_schema(pattern_schema("(a|b)*a(a|b){20}$")); });
  expect_error(ErrorKind::input, "No JSON text", [] { JsonGrammar::from_schema(pattern_schema("a^b")); });
}

}  // namespace
}  // namespace mslt
