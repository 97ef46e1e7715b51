// Tests of chat templates: texts that jinja2 makes of the same templates, bounds and errors.
#include "text/chat_template.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <string>

#include "base/file.h"
#include "base/test_errors.h"
#include "mslt/error.h"

namespace mslt {
namespace {

using Json = nlohmann::ordered_json;

std::string render(std::string_view source, const Json& variables = Json::object(), const ChatLimits& limits = {}) {
  ChatInput input;
  input.variables = variables;
  return ChatTemplate(source, "the template", limits).render(input);
}

std::string refusal(std::string_view source, const Json& variables = Json::object(), const ChatLimits& limits = {}) {
  return test::error_of(ErrorKind::input, [&] { static_cast<void>(render(source, variables, limits)); });
}

// Compares with what tests/interop/chat_template_oracle.py --golden has written.
class GoldenTemplates : public testing::Test {
 protected:
  GoldenTemplates() {
    ::setenv("TZ", "UTC", 1);
    ::tzset();
    const std::filesystem::path folder = std::filesystem::path(MSLT_TEST_DATA) / "golden" / "chat_templates";
    golden_ = Json::parse(read_file(folder / "expected.json", 1 << 24));
    folder_ = folder;
  }

  static void compare(const Json& expected, const ChatTemplate* parsed, const std::string& source,
                      const ChatInput& input) {
    try {
      const std::string text = parsed != nullptr ? parsed->render(input) : ChatTemplate(source).render(input);
      ASSERT_TRUE(expected.contains("text")) << "it must be refused; it gives " << text;
      EXPECT_EQ(text, expected["text"].get<std::string>());
    } catch (const Error& error) {
      ASSERT_TRUE(expected.contains("error")) << error.what();
      const auto said = expected["error"].get<std::string>();
      if (!said.empty()) {
        EXPECT_EQ(error.what(), said);
      }
    }
  }

  Json golden_;
  std::filesystem::path folder_;
};

TEST_F(GoldenTemplates, GiveTheTextsOfJinja) {
  ASSERT_GT(golden_["templates"].size(), 600U);
  for (const Json& expected : golden_["templates"]) {
    const auto source = expected["template"].get<std::string>();
    SCOPED_TRACE(source);
    ChatInput input;
    input.variables = golden_["variables"];
    input.add_generation_prompt = false;
    input.now = golden_["now"].get<std::time_t>();
    compare(expected, nullptr, source, input);
  }
}

TEST_F(GoldenTemplates, RenderConversations) {
  ASSERT_GT(golden_["conversations"].size(), 100U);
  std::map<std::string, ChatTemplate> parsed;
  for (const Json& expected : golden_["conversations"]) {
    const auto name = expected["name"].get<std::string>();
    const Json& request = expected["request"];
    SCOPED_TRACE(name + " " + request.dump());
    if (!parsed.contains(name)) parsed.emplace(name, ChatTemplate(read_file(folder_ / name, 1 << 20)));
    ChatInput input;
    input.messages = request["messages"];
    input.tools = request["tools"];
    input.add_generation_prompt = request["add_generation_prompt"].get<bool>();
    input.variables = request["variables"];
    input.now = golden_["now"].get<std::time_t>();
    compare(expected, &parsed.at(name), name, input);
  }
}

TEST(ChatTemplate, NamesTheTemplateAndTheLine) {
  EXPECT_EQ(refusal("a\nb\n{{ x.y }}"), "the template, line 3: 'x' is undefined.");
  EXPECT_EQ(refusal("{% if true %}\n{{ 1 +"), "the template, line 2: a tag has no end; expected '}}'.");
  EXPECT_EQ(refusal("a\n{% include 'x' %}"),
            "the template, line 2: 'include' is not supported: chat templates stand alone.");
  EXPECT_EQ(refusal("{{ raise_exception('Only users may ask.') }}"), "Only users may ask.");
}

TEST(ChatTemplate, RefusesWhatIsNoText) {
  EXPECT_NE(refusal("\xff").find("UTF-8"), std::string::npos);
  EXPECT_EQ(render("{{ a }}", {{"a", "x\xff"}}), "x\xEF\xBF\xBD");
  ChatLimits limits;
  limits.source_bytes = 3;
  EXPECT_NE(refusal("abcd", Json::object(), limits).find("4 bytes; at most 3"), std::string::npos);
}

TEST(ChatTemplate, BoundsItsWork) {
  ChatLimits few;
  few.steps = 1000;
  EXPECT_NE(
      refusal("{% for i in range(100) %}{% for j in range(100) %}{% endfor %}{% endfor %}", {}, few).find("steps"),
      std::string::npos);
  ChatLimits small;
  small.output_bytes = 1000;
  const char* too_long[] = {
      "{{ 'a' * 1001 }}",
      "{{ 'a' * 9223372036854775807 }}",
      "{{ ['a'] * 9223372036854775807 }}",
      "{{ '%01000000d' % 1 }}",
      "{{ 'a'.center(1000000000) }}",
      "{{ 'ab'.replace('', 'c' * 900) }}",
      "{{ [1]|tojson(indent=2000) }}",
      "{% for i in range(300) %}abcd{% endfor %}",
      "{% set n = namespace(s='ab') %}{% for i in range(30) %}{% set n.s = n.s + n.s %}{% endfor %}"};
  for (const char* source : too_long) {
    SCOPED_TRACE(source);
    EXPECT_NE(refusal(source, Json::object(), small).find("allowed"), std::string::npos);
  }
}

TEST(ChatTemplate, BoundsItsDepth) {
  const auto repeated = [](std::string_view part, std::size_t times) {
    std::string text;
    for (std::size_t i = 0; i < times; ++i) text += part;
    return text;
  };
  constexpr std::size_t many = 20'000;
  const std::string too_deep[] = {
      "{{ " + repeated("(", many) + "1" + repeated(")", many) + " }}",
      "{{ " + repeated("-", many) + "1 }}",
      "{{ " + repeated("not ", many) + "1 }}",
      "{{ 1" + repeated(" + 1", many) + " }}",
      "{{ x" + repeated("|upper", many) + " }}",
      "{{ x" + repeated(".a", many) + " }}",
      "{{ x" + repeated(" if x else x", many) + " }}",
      repeated("{% if x %}", many),
      repeated("{% for i in x %}", many),
      "{% macro f(n) %}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}",
      "{% set n = namespace(x=1) %}{% for i in range(9999) %}{% set n.x = [n.x] %}{% endfor %}",
      "{% set n = namespace(x=[1]) %}{% for i in range(9999) %}{% set n.x = n.x|map('string') %}{% endfor %}{{ "
      "n.x|list }}",
      "{% set n = namespace() %}{% set n.x = n %}{{ n }}",
      "{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}",
  };
  for (const std::string& source : too_deep) {
    SCOPED_TRACE(source.substr(0, 80));
    EXPECT_NE(refusal(source).find("deep"), std::string::npos);
  }
}

TEST(ChatTemplate, ReleasesValuesThatReferToThemselves) {
  // Checked by the leak detector of AddressSanitizer.
  EXPECT_EQ(render("{% set n = namespace() %}{% set n.x = [n] %}{% macro f() %}{{ g }}{% endmacro %}{% set g = f %}"),
            "");
  EXPECT_EQ(render("{% set n = namespace(f=0) %}{% for i in range(20000) %}{% set before = n.f %}"
                   "{% macro g() %}{{ before }}{% endmacro %}{% set n.f = g %}{% endfor %}"),
            "");
  EXPECT_EQ(
      render("{% set n = namespace(x=0) %}{% for i in range(20000) %}{% set n.x = namespace(y=n.x) %}{% endfor %}"),
      "");
}

TEST(ChatTemplate, OutlivesItsCopies) {
  const ChatTemplate original("{{ messages[0].content }}");
  const auto copy = std::make_unique<ChatTemplate>(original);
  ChatInput input;
  input.messages = Json::array({{{"role", "user"}, {"content", "hi"}}});
  EXPECT_EQ(copy->render(input), "hi");
  EXPECT_EQ(original.render(input), "hi");
}

TEST(ChatTemplate, RefusesChangesToLists) {
  EXPECT_NE(refusal("{{ [1].append(2) }}").find("cannot change lists"), std::string::npos);
  EXPECT_NE(refusal("{% set n = namespace(_x=1) %}").find("underscore"), std::string::npos);
}

}  // namespace
}  // namespace mslt
