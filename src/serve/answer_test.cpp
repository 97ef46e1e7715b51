// Tests of responses, whole and streamed, and of calls of tools in them.
#include "serve/answer.h"

#include <gtest/gtest.h>

#include "base/fail.h"
#include "serve/api_error.h"
#include "serve/test_engine.h"

namespace mslt::serve {
namespace {

RequestEvent text_event(const std::string& text) {
  RequestEvent event;
  event.text = text;
  return event;
}

RequestEvent end_event(const std::string& text, FinishReason reason) {
  RequestEvent event = text_event(text);
  event.end = RequestSummary{.reason = reason, .prompt_tokens = 5, .cached_prompt_tokens = 3, .new_tokens = 2};
  return event;
}

// The JSON of each event; "[DONE]" as a text.
std::vector<Json> events_of(const std::string& stream) {
  std::vector<Json> events;
  std::size_t from = 0;
  while (from < stream.size()) {
    const std::size_t end = stream.find("\n\n", from);
    EXPECT_EQ(stream.substr(from, 6), "data: ");
    const std::string data = stream.substr(from + 6, end - from - 6);
    events.push_back(data == "[DONE]" ? Json(data) : Json::parse(data));
    from = end + 2;
  }
  return events;
}

class AnswerTest : public testing::Test {
 protected:
  Answer answer(AnswerOptions options, std::size_t choices = 1) {
    options.id = "chatcmpl-7";
    options.model = "tiny";
    return {options, choices, model_.tokenizer};
  }

  ServedModel model_ = test_model();
};

TEST_F(AnswerTest, IsOneDocument) {
  Answer chat = answer({.is_chat = true}, 2);
  chat.add(0, text_event("Hel"));
  chat.add(1, end_event("x", FinishReason::length));
  EXPECT_FALSE(chat.has_ended());
  chat.add(0, end_event("lo", FinishReason::eos));
  ASSERT_TRUE(chat.has_ended());
  const Json body = chat.document();
  EXPECT_EQ(body["object"], "chat.completion");
  EXPECT_EQ(body["choices"][0]["message"]["content"], "Hello");
  EXPECT_EQ(body["choices"][0]["finish_reason"], "stop");
  EXPECT_TRUE(body["choices"][0]["logprobs"].is_null());
  EXPECT_EQ(body["choices"][1]["finish_reason"], "length");
  // Both choices are of one prompt only if the request says so.
  EXPECT_EQ(body["usage"]["prompt_tokens"], 10);
  EXPECT_EQ(body["usage"]["completion_tokens"], 4);
}

TEST_F(AnswerTest, CountsAPromptOnceForAllItsAnswers) {
  Answer text = answer({.choices_per_prompt = 2}, 4);
  for (std::size_t i = 0; i < 4; ++i) text.add(i, end_event("a", FinishReason::stop));
  const Json usage = text.document()["usage"];
  EXPECT_EQ(usage.dump(), R"({"prompt_tokens":10,"completion_tokens":8,"total_tokens":18,)"
                          R"("prompt_tokens_details":{"cached_tokens":6}})");
}

TEST_F(AnswerTest, StreamsAChat) {
  Answer chat = answer({.is_chat = true});
  std::vector<Json> events = events_of(chat.take_events());
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0]["object"], "chat.completion.chunk");
  EXPECT_EQ(events[0]["choices"][0]["delta"].dump(), R"({"role":"assistant","content":""})");
  EXPECT_FALSE(events[0].contains("usage"));
  EXPECT_EQ(chat.take_events(), "");
  chat.add(0, text_event("a"));
  chat.add(0, text_event("b"));
  events = events_of(chat.take_events());
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0]["choices"][0]["delta"].dump(), R"({"content":"ab"})");
  EXPECT_TRUE(events[0]["choices"][0]["finish_reason"].is_null());
  chat.add(0, end_event("c", FinishReason::length));
  events = events_of(chat.take_events());
  ASSERT_EQ(events.size(), 3u);
  EXPECT_EQ(events[0]["choices"][0]["delta"]["content"], "c");
  EXPECT_EQ(events[1]["choices"][0]["delta"].dump(), "{}");
  EXPECT_EQ(events[1]["choices"][0]["finish_reason"], "length");
  EXPECT_EQ(events[2], "[DONE]");
  EXPECT_EQ(chat.take_events(), "");
}

TEST_F(AnswerTest, StreamsTheUsageOnlyIfAsked) {
  Answer text = answer({.include_usage = true, .echoes = {"ab"}});
  text.add(0, end_event("c", FinishReason::stop));
  const std::vector<Json> events = events_of(text.take_events());
  ASSERT_EQ(events.size(), 4u);
  EXPECT_EQ(events[0]["object"], "text_completion");
  EXPECT_EQ(events[0]["choices"][0]["text"], "abc");
  EXPECT_TRUE(events[0]["usage"].is_null());
  EXPECT_TRUE(events[0].contains("usage"));
  EXPECT_EQ(events[1]["choices"][0]["finish_reason"], "stop");
  EXPECT_TRUE(events[2]["choices"].empty());
  EXPECT_EQ(events[2]["usage"]["total_tokens"], 7);
}

TEST_F(AnswerTest, ReportsAFailureOfOneChoice) {
  Answer chat = answer({.is_chat = true}, 2);
  chat.fail(std::make_exception_ptr(Error(ErrorKind::device, "The device failed.")));
  EXPECT_TRUE(chat.has_ended());
  EXPECT_THROW(chat.document(), ApiError);
  const std::vector<Json> events = events_of(chat.take_events());
  EXPECT_EQ(events.back()["error"]["type"], "server_error");
  EXPECT_EQ(events.back()["error"]["message"], "The device failed.");
}

TEST_F(AnswerTest, ShowsLogProbabilities) {
  RequestEvent event = end_event("ab", FinishReason::eos);
  const TokenId a = model_.tokenizer.encode("a").at(0);
  const TokenId b = model_.tokenizer.encode("b").at(0);
  event.tokens = {{{a, -0.25f}, {{a, -0.25f}, {b, -1.5f}}}, {{b, -INFINITY}, {}}, {{2, -0.5f}, {}}};
  RequestEvent same = event;
  Answer chat = answer({.is_chat = true, .logprobs = 2});
  chat.add(0, std::move(event));
  const Json content = chat.document()["choices"][0]["logprobs"]["content"];
  // The token that ends the text is left out.
  ASSERT_EQ(content.size(), 2u);
  EXPECT_EQ(content[0]["token"], "a");
  EXPECT_EQ(content[0]["bytes"].dump(), "[97]");
  EXPECT_EQ(content[0]["logprob"], -0.25);
  EXPECT_EQ(content[0]["top_logprobs"][1]["logprob"], -1.5);
  EXPECT_EQ(content[1]["logprob"], -9999.0);
  Answer text = answer({.logprobs = 2});
  text.add(0, std::move(same));
  const Json old = text.document()["choices"][0]["logprobs"];
  EXPECT_EQ(old["tokens"].dump(), R"(["a","b"])");
  EXPECT_EQ(old["text_offset"].dump(), "[0,1]");
  EXPECT_EQ(old["top_logprobs"][0].dump(), R"({"a":-0.25,"b":-1.5})");
}

TEST_F(AnswerTest, TurnsCallsOfToolsIntoMembers) {
  const std::string text =
      "Let me see.\n<tool_call>\n{\"name\": \"f\", \"arguments\": {\"x\": [1]}}\n</tool_call>\n"
      "<tool_call>{\"name\": \"g\"}</tool_call>";
  Answer whole = answer({.is_chat = true, .tool_calls = ToolCallStyle::hermes});
  whole.add(0, end_event(text, FinishReason::eos));
  const Json choice = whole.document()["choices"][0];
  EXPECT_EQ(choice["message"]["content"], "Let me see.");
  ASSERT_EQ(choice["message"]["tool_calls"].size(), 2u);
  EXPECT_EQ(choice["message"]["tool_calls"][0]["function"].dump(), R"({"name":"f","arguments":"{\"x\":[1]}"})");
  EXPECT_NE(choice["message"]["tool_calls"][0]["id"], choice["message"]["tool_calls"][1]["id"]);
  EXPECT_EQ(choice["finish_reason"], "tool_calls");

  // Letter by letter, nothing of a call leaks.
  Answer streamed = answer({.is_chat = true, .tool_calls = ToolCallStyle::hermes});
  std::string content;
  Json calls = Json::array();
  std::string last;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool ends = i + 1 == text.size();
    streamed.add(0, ends ? end_event(text.substr(i, 1), FinishReason::eos) : text_event(text.substr(i, 1)));
    for (const Json& event : events_of(streamed.take_events())) {
      if (event == "[DONE]") continue;
      const Json& delta = event["choices"][0]["delta"];
      content += delta.value("content", "");
      for (const Json& call : delta.value("tool_calls", Json::array())) calls.push_back(call);
      if (event["choices"][0]["finish_reason"].is_string()) last = event["choices"][0]["finish_reason"];
    }
  }
  EXPECT_EQ(content, "Let me see.");
  ASSERT_EQ(calls.size(), 2u);
  EXPECT_EQ(calls[1]["index"], 1);
  EXPECT_EQ(calls[1]["function"]["name"], "g");
  EXPECT_EQ(last, "tool_calls");
}

}  // namespace
}  // namespace mslt::serve
