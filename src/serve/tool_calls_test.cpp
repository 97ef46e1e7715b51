// Tests of calls of tools: finding them in answers of each style, and what a forced call may be.
#include "serve/tool_calls.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "grammar/json_constraint.h"
#include "serve/api_error.h"
#include "serve/test_engine.h"
#include "serve/tool_choice.h"

namespace mslt::serve {
namespace {

// "name(arguments)" of each call, and the text, of an answer that comes in pieces of `size` bytes.
std::string found_in(const std::string& answer, ToolCallStyle style, std::size_t size = 1, bool is_opened = false) {
  ToolCallReader reader(style, is_opened);
  std::string text;
  std::string calls;
  const auto take = [&](const ToolCallReader::Found& found) {
    text += found.text;
    for (const ToolCall& call : found.calls) calls += call.name + "(" + call.arguments + ")";
  };
  for (std::size_t at = 0; at < answer.size(); at += size) take(reader.push(answer.substr(at, size)));
  take(reader.finish());
  return calls + "|" + text;
}

TEST(ToolCallReaderTest, LeavesAsTextWhatIsNoCall) {
  ToolCallReader reader(ToolCallStyle::hermes);
  ToolCallReader::Found found = reader.push("a < b <tool_call>{broken}</tool_call> c <tool");
  EXPECT_EQ(found.text, "a < b <tool_call>{broken}</tool_call> c");
  EXPECT_TRUE(found.calls.empty());
  found = reader.finish();
  EXPECT_EQ(found.text, " <tool");
  EXPECT_EQ(reader.push("<tool_call>{\"name\": 1}").text, "");
  EXPECT_EQ(reader.finish().text, "<tool_call>{\"name\": 1}");
  EXPECT_EQ(reader.push("<tool_call>{\"name\": \"f\"}").text, "");
  EXPECT_EQ(reader.finish().calls.size(), 1u);
}

TEST(ToolCallReaderTest, KnowsTheStyleOfLlama) {
  constexpr auto llama = ToolCallStyle::llama;
  EXPECT_EQ(found_in(R"( {"name": "f", "parameters": {"x": 1}})", llama), "f({\"x\":1})|");
  EXPECT_EQ(found_in(R"({"name": "f", "parameters": {"x": "a; b"}}; {"name": "g", "parameters": {}};)", llama),
            "f({\"x\":\"a; b\"})g({})|");
  for (const std::string text : {R"({"name": "f"})", R"({"name": "f", "parameters": 1})", R"({"a": {"b": 2}})", "{",
                                 "A word: {\"name\": \"f\", \"parameters\": {}}", "", "  "}) {
    EXPECT_EQ(found_in(text, llama), "|" + text);
  }
  // Text is not held back.
  EXPECT_EQ(ToolCallReader(llama).push("Hello").text, "Hello");
}

TEST(ToolCallReaderTest, KnowsTheStyleOfMistral) {
  constexpr auto mistral = ToolCallStyle::mistral;
  const std::string calls = R"([{"name": "f", "arguments": {"x": 1}, "id": "abc"}, {"name": "g", "arguments": {}}])";
  // The mark is a special token, which shows no text, or a text.
  for (const std::string mark : {"", "[TOOL_CALLS]", "[TOOL_CALLS] ", " "}) {
    EXPECT_EQ(found_in(mark + calls, mistral), "f({\"x\":1})g({})|") << mark;
  }
  for (const std::string text : {"[1, 2]", "[]", "[TOOL", R"([{"name": "f", "arguments": {}}, 3])", "a [", ""}) {
    EXPECT_EQ(found_in(text, mistral, 3), "|" + text);
  }
}

TEST(ToolCallReaderTest, GoesOnBehindAnOpening) {
  constexpr auto hermes = ToolCallStyle::hermes;
  EXPECT_EQ(found_in(R"({"name": "f", "arguments": {}})", hermes, 1, true), "f({})|");
  // One that was cut is text, without what the model did not write.
  EXPECT_EQ(found_in(R"({"name": "f", "ar)", hermes, 4, true), R"(|{"name": "f", "ar)");
  EXPECT_EQ(found_in(R"([{"name": "f", "arguments": {}}])", ToolCallStyle::mistral, 1, true), "f({})|");
}

TEST(ToolCallStyleTest, IsRecognisedFromTheTemplate) {
  EXPECT_EQ(tool_call_style("{{ '<tool_call>\\n{\"name\": ' }}"), ToolCallStyle::hermes);
  EXPECT_EQ(tool_call_style("<tool_call><function=f>"), ToolCallStyle::none);
  EXPECT_EQ(tool_call_style("{{ '{\"name\": \"' + name + '\", ' }}{{ '\"parameters\": ' }}"), ToolCallStyle::llama);
  EXPECT_EQ(tool_call_style("{{ '[TOOL_CALLS] [' }}"), ToolCallStyle::mistral);
  EXPECT_EQ(tool_call_style("{{ '[TOOL_CALLS]' + name + '[ARGS]' }}"), ToolCallStyle::none);
  EXPECT_EQ(tool_call_style("{{ message.content }}"), ToolCallStyle::none);
}

// Two tools; the first one's parameters refer to a part of themselves.
const Json& tools() {
  static const Json value = Json::parse(R"([
    {"type": "function", "function": {"name": "find", "parameters": {"type": "object", "required": ["at"],
      "properties": {"at": {"$ref": "#/$defs/place"}}, "$defs": {"place": {"enum": ["here", "there"]}}}}},
    {"type": "function", "function": {"name": "stop"}}])");
  return value;
}

// Whether a constraint to a forced call permits `text` as a whole.
bool permits(const ToolChoice& choice, ToolCallStyle style, const std::string& text) {
  const ServedModel model = test_model();
  const auto make = json_constraint_maker(model.tokenizer, model.vocab_size)(call_schema(choice, tools(), style));
  const std::unique_ptr<TokenConstraint> constraint = make();
  for (const TokenId token : model.tokenizer.encode(text)) {
    std::vector<std::uint32_t> allowed(static_cast<std::size_t>(model.vocab_size + 31) / 32);
    constraint->allow(allowed);
    if ((allowed[token / 32] >> (token % 32) & 1) == 0) return false;
    constraint->accept(token);
  }
  return constraint->may_end();
}

TEST(CallSchemaTest, PermitsCallsOfTheToolsAlone) {
  const ToolChoice any{.forces_call = true};
  constexpr auto hermes = ToolCallStyle::hermes;
  EXPECT_TRUE(permits(any, hermes, R"({"name": "find", "arguments": {"at": "here"}})"));
  EXPECT_TRUE(permits(any, hermes, R"({"name": "stop", "arguments": {}})"));
  EXPECT_FALSE(permits(any, hermes, R"({"name": "find", "arguments": {"at": "else"}})"));
  EXPECT_FALSE(permits(any, hermes, R"({"name": "find", "arguments": {}})"));
  EXPECT_FALSE(permits(any, hermes, R"({"name": "stop", "arguments": {"at": "here"}})"));
  EXPECT_FALSE(permits(any, hermes, R"({"name": "other", "arguments": {}})"));
  const ToolChoice one{.forces_call = true, .forces_one = true, .name = "find"};
  EXPECT_FALSE(permits(one, hermes, R"({"name": "stop", "arguments": {}})"));
  EXPECT_TRUE(permits(one, ToolCallStyle::llama, R"({"name": "find", "parameters": {"at": "there"}})"));
  const std::string stop = R"({"name": "stop", "arguments": {}})";
  EXPECT_TRUE(permits(any, ToolCallStyle::mistral, "[" + stop + ", " + stop + "]"));
  EXPECT_FALSE(permits(any, ToolCallStyle::mistral, "[]"));
  EXPECT_FALSE(
      permits({.forces_call = true, .forces_one = true}, ToolCallStyle::mistral, "[" + stop + ", " + stop + "]"));
  EXPECT_THROW(call_schema(any, tools(), ToolCallStyle::none), ApiError);
}

}  // namespace
}  // namespace mslt::serve
