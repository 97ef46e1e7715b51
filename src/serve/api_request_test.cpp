// Tests of reading requests: what is taken, what is refused, and how.
#include "serve/api_request.h"

#include <gtest/gtest.h>

#include "serve/api_error.h"
#include "serve/test_engine.h"

namespace mslt::serve {
namespace {

class ApiRequestTest : public testing::Test {
 protected:
  std::vector<Request> completion(std::string_view body) {
    return engine_requests(read_completion(parse_body(body), model_), model_, 5);
  }
  std::vector<Request> chat(std::string_view body) {
    return engine_requests(read_chat(parse_body(body), model_), model_, 5);
  }
  std::string text_of(const Request& request) { return model_.tokenizer.decode(request.prompt); }

  // "status param code" of the refusal.
  template <class Action>
  static std::string refusal(Action&& action) {
    try {
      action();
    } catch (const ApiError& error) {
      const Json body = error.body()["error"];
      const auto text = [&](const char* name) {
        return body[name].is_null() ? "-" : body[name].get<std::string>();
      };
      return std::to_string(error.status()) + " " + text("param") + " " + text("code");
    }
    return "accepted";
  }
  std::string refused_completion(std::string_view body) {
    return refusal([&] { completion(body); });
  }
  std::string refused_chat(std::string_view body) {
    return refusal([&] { chat(body); });
  }

  ServedModel model_ = test_model();
};

TEST_F(ApiRequestTest, TakesEachFormOfPrompt) {
  EXPECT_EQ(text_of(completion(R"({"prompt": "ab"})").at(0)), "ab");
  EXPECT_EQ(completion(R"({"prompt": ["a", "b", "c"], "n": 2})").size(), 6u);
  EXPECT_EQ(completion(R"({"prompt": [7, 8]})").at(0).prompt, (std::vector<TokenId>{7, 8}));
  EXPECT_EQ(completion(R"({"prompt": [[7], [8, 9]]})").at(1).prompt, (std::vector<TokenId>{8, 9}));
  EXPECT_EQ(refused_completion(R"({})"), "400 prompt -");
  EXPECT_EQ(refused_completion(R"({"prompt": []})"), "400 prompt -");
  EXPECT_EQ(refused_completion(R"({"prompt": [260]})"), "400 prompt -");
  EXPECT_EQ(refused_completion(R"({"prompt": [-1]})"), "400 prompt -");
  EXPECT_EQ(refused_completion(R"({"prompt": [1, "a"]})"), "400 prompt -");
  EXPECT_EQ(refused_completion(R"({"prompt": {"a": 1}})"), "400 prompt -");
}

TEST_F(ApiRequestTest, PutsThePrefixBeforeATextOnce) {
  model_.text_prefix = {1};
  const std::string special = std::string(model_.tokenizer.token_bytes(1));
  const std::vector<TokenId> with = completion(R"({"prompt": "a"})").at(0).prompt;
  ASSERT_EQ(with.size(), 2u);
  EXPECT_EQ(with[0], 1u);
  EXPECT_EQ(completion(R"({"prompt": ")" + special + R"(a"})").at(0).prompt, with);
  EXPECT_EQ(completion(R"({"prompt": ""})").at(0).prompt, (std::vector<TokenId>{1}));
}

TEST_F(ApiRequestTest, ReadsTheSettings) {
  const Request request = std::move(completion(R"({
    "model": "tiny", "prompt": "a", "max_tokens": 3, "temperature": 0, "top_p": 0.5, "top_k": 4, "min_p": 0.25,
    "repetition_penalty": 1.5, "presence_penalty": -1, "frequency_penalty": 2, "logit_bias": {"7": -100},
    "stop": ["x", "y"], "seed": -1, "logprobs": 2, "ignore_eos": true, "user": "u", "unknown": [1]})")
                                        .at(0));
  EXPECT_EQ(request.max_new_tokens, 3);
  EXPECT_EQ(request.sampling.temperature, 0.0f);
  EXPECT_EQ(request.sampling.top_p, 0.5f);
  EXPECT_EQ(request.sampling.top_k, 4);
  EXPECT_EQ(request.sampling.min_p, 0.25f);
  EXPECT_EQ(request.sampling.repetition_penalty, 1.5f);
  EXPECT_EQ(request.sampling.seed, ~std::uint64_t{0});
  EXPECT_EQ(request.presence_penalty, -1.0f);
  EXPECT_EQ(request.frequency_penalty, 2.0f);
  ASSERT_EQ(request.logit_bias.size(), 1u);
  EXPECT_EQ(request.logit_bias[0], (std::pair<TokenId, float>{7, -100.0f}));
  EXPECT_EQ(request.stop, (std::vector<std::string>{"x", "y"}));
  EXPECT_EQ(request.logprobs, 2);
  EXPECT_TRUE(request.ignore_eos);
}

TEST_F(ApiRequestTest, HasTheDefaultsOfTheApi) {
  const Request request = std::move(completion(R"({"prompt": "a", "stop": null, "seed": null, "n": null})").at(0));
  EXPECT_EQ(request.max_new_tokens, 16);
  EXPECT_EQ(request.sampling.temperature, 1.0f);
  EXPECT_EQ(request.sampling.seed, 5u);
  EXPECT_FALSE(request.logprobs);
  // Or those of the model.
  model_.sampling = {.temperature = 0.5f, .top_k = 9, .top_p = 0.75f};
  const Request recommended = std::move(completion(R"({"prompt": "a", "top_k": 3, "top_p": null})").at(0));
  EXPECT_EQ(recommended.sampling.temperature, 0.5f);
  EXPECT_EQ(recommended.sampling.top_k, 3);
  EXPECT_EQ(recommended.sampling.top_p, 0.75f);
  // A chat may fill the context.
  model_.context = 50;
  const Request chatting = std::move(chat(R"({"messages": [{"role": "u", "content": "hi"}]})").at(0));
  EXPECT_EQ(chatting.max_new_tokens, 50 - static_cast<std::int64_t>(chatting.prompt.size()));
}

TEST_F(ApiRequestTest, GivesEachAnswerItsSeedButTheFirstTheClients) {
  const std::vector<Request> requests = completion(R"({"prompt": ["a", "b"], "n": 2, "seed": 9})");
  EXPECT_EQ(requests[0].sampling.seed, 9u);
  EXPECT_NE(requests[1].sampling.seed, 9u);
  EXPECT_EQ(requests[2].sampling.seed, requests[0].sampling.seed);
  EXPECT_EQ(requests[3].sampling.seed, requests[1].sampling.seed);
}

TEST_F(ApiRequestTest, NamesTheMemberAtFault) {
  const auto with = [&](const std::string& member) {
    return refused_completion(R"({"prompt": "a", )" + member + "}");
  };
  EXPECT_EQ(with(R"("temperature": 2.5)"), "400 temperature -");
  EXPECT_EQ(with(R"("temperature": "1")"), "400 temperature -");
  EXPECT_EQ(with(R"("top_p": -0.1)"), "400 top_p -");
  EXPECT_EQ(with(R"("n": 0)"), "400 n -");
  EXPECT_EQ(with(R"("n": 129)"), "400 n -");
  EXPECT_EQ(with(R"("n": 1.5)"), "400 n -");
  EXPECT_EQ(with(R"("n": 2.0)"), "accepted");
  EXPECT_EQ(with(R"("max_tokens": 0)"), "400 max_tokens -");
  EXPECT_EQ(with(R"("seed": 99999999999999999999)"), "400 seed -");
  EXPECT_EQ(with(R"("seed": 18446744073709551615)"), "400 seed -");
  EXPECT_EQ(with(R"("stream": 1)"), "400 stream -");
  EXPECT_EQ(with(R"("stream_options": {"include_usage": 3})"), "400 stream_options.include_usage -");
  EXPECT_EQ(with(R"("stop": "")"), "400 stop -");
  EXPECT_EQ(with(R"("stop": [1])"), "400 stop -");
  EXPECT_EQ(with(R"("logit_bias": {"260": 1})"), "400 logit_bias -");
  EXPECT_EQ(with(R"("logit_bias": {"1": 101})"), "400 logit_bias -");
  EXPECT_EQ(with(R"("logit_bias": {"one": 1})"), "400 logit_bias -");
  EXPECT_EQ(with(R"("suffix": "s")"), "400 suffix -");
  EXPECT_EQ(with(R"("best_of": 2)"), "400 best_of -");
  EXPECT_EQ(with(R"("best_of": 2, "n": 2)"), "accepted");
  EXPECT_EQ(with(R"("echo": true, "logprobs": 1)"), "400 echo -");
  EXPECT_EQ(with(R"("logprobs": 21)"), "400 logprobs -");
  EXPECT_EQ(with(R"("model": "other")"), "404 model model_not_found");
  EXPECT_EQ(with(R"("response_format": {"type": "xml"})"), "400 response_format.type -");
  EXPECT_EQ(with(R"("response_format": {"type": "json_schema"})"), "400 response_format.json_schema.schema -");
  EXPECT_EQ(with(R"("response_format": {"type": "json_object"})"), "400 response_format -");
  EXPECT_EQ(with(R"("response_format": {"type": "text"})"), "accepted");
}

TEST_F(ApiRequestTest, RefusesTextsThatAreNoBoundedObject) {
  const auto parse = [](const std::string& text) {
    return refusal([&] { parse_body(text); });
  };
  EXPECT_EQ(parse(""), "400 - -");
  EXPECT_EQ(parse("[1]"), "400 - -");
  EXPECT_EQ(parse("{\"a\": 1"), "400 - -");
  EXPECT_EQ(parse("{\"a\": \"\xFF\"}"), "400 - -");
  EXPECT_EQ(parse("{\"a\": 1e999}"), "400 - -");
  EXPECT_EQ(parse(R"({"a": )" + std::string(100, '[') + std::string(100, ']') + "}"), "400 - -");
  std::string many = "{";
  for (int i = 0; i < 1025; ++i) many += (i > 0 ? ", \"" : "\"") + std::to_string(i) + "\": 1";
  EXPECT_EQ(parse(many + "}"), "400 - -");
  EXPECT_EQ(parse(R"({"a": [{"b": 1}, {"b": 2}]})"), "accepted");
}

TEST_F(ApiRequestTest, RefusesPromptsThatDoNotFit) {
  model_.context = 4;
  EXPECT_EQ(refused_completion(R"({"prompt": [7, 7, 7, 7]})"), "400 prompt context_length_exceeded");
  EXPECT_EQ(completion(R"({"prompt": [7, 7, 7], "max_tokens": 9})").at(0).max_new_tokens, 1);
  model_.max_prompt_tokens = 2;
  EXPECT_EQ(refused_completion(R"({"prompt": [7, 7, 7]})"), "400 prompt context_length_exceeded");
  EXPECT_EQ(refused_chat(R"({"messages": [{"role": "u", "content": "long"}]})"),
            "400 messages context_length_exceeded");
}

TEST_F(ApiRequestTest, ReadsConversations) {
  const Request request = std::move(chat(R"({"max_completion_tokens": 2, "messages": [
    {"role": "system", "content": "s"},
    {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}]})")
                                        .at(0));
  EXPECT_EQ(text_of(request), "system:\"s\";user:\"a\\nb\";");
  EXPECT_EQ(request.max_new_tokens, 2);
  const auto with = [&](const std::string& message) {
    return refused_chat(R"({"messages": [)" + message + "]}");
  };
  EXPECT_EQ(with(""), "400 messages -");
  EXPECT_EQ(with("1"), "400 messages[0] -");
  EXPECT_EQ(with(R"({"content": "a"})"), "400 messages[0].role -");
  EXPECT_EQ(with(R"({"role": "u"})"), "400 messages[0].content -");
  EXPECT_EQ(with(R"({"role": "u", "content": 1})"), "400 messages[0].content -");
  EXPECT_EQ(with(R"({"role": "u", "content": "a"}, {"role": "u", "content": [{"type": "image_url"}]})"),
            "400 messages[1].content -");
  model_.chat_tokens = nullptr;
  EXPECT_EQ(with(R"({"role": "u", "content": "a"})"), "400 messages -");
}

TEST_F(ApiRequestTest, ShowsTemplatesTheArgumentsOfCallsAsObjects) {
  const ApiRequest request = read_chat(parse_body(R"({"messages": [{"role": "assistant", "tool_calls": [
        {"type": "function", "function": {"name": "f", "arguments": "{\"b\": 1, \"a\": 2}"}},
        {"type": "function", "function": {"name": "g", "arguments": "broken"}}]}]})"),
                                       model_);
  const Json& calls = request.chat.messages[0]["tool_calls"];
  EXPECT_EQ(calls[0]["function"]["arguments"].dump(), R"({"b":1,"a":2})");
  EXPECT_EQ(calls[1]["function"]["arguments"], "broken");
}

TEST_F(ApiRequestTest, ShowsTemplatesWhatElseAMessageHas) {
  const ApiRequest request = read_chat(
      parse_body(R"({"messages": [{"role": "assistant", "content": null, "reasoning_content": "r", "thinking": {"a": 1},
                                   "name": "n"}]})"),
      model_);
  EXPECT_EQ(request.chat.messages[0].dump(),
            R"({"role":"assistant","content":null,"reasoning_content":"r","thinking":{"a":1},"name":"n"})");
}

TEST_F(ApiRequestTest, PassesToolsUnlessTheyAreForbidden) {
  const std::string tools = R"("tools": [{"type": "function", "function": {"name": "f"}}])";
  const std::string messages = R"({"messages": [{"role": "u", "content": "a"}], )";
  EXPECT_EQ(read_chat(parse_body(messages + tools + "}"), model_).tool_calls, ToolCallStyle::hermes);
  const ApiRequest without = read_chat(parse_body(messages + tools + R"(, "tool_choice": "none"})"), model_);
  EXPECT_EQ(without.tool_calls, ToolCallStyle::none);
  EXPECT_TRUE(without.chat.tools.is_null());
  EXPECT_EQ(refused_chat(messages + tools + R"(, "tool_choice": "any"})"), "400 tool_choice -");
  EXPECT_EQ(refused_chat(messages + tools + R"(, "tool_choice": {"type": "function"}})"), "400 tool_choice -");
  EXPECT_EQ(refused_chat(messages + R"("tools": [{"name": "f"}]})"), "400 tools -");
}

TEST_F(ApiRequestTest, ForcesCallsByTheirSchema) {
  Json seen;
  model_.json_constraints = [&](const Json& schema) {
    seen = schema;
    if (schema.dump().find("multipleOf") != std::string::npos) fail(ErrorKind::input, "multipleOf is not supported.");
    return [] {
      return std::unique_ptr<TokenConstraint>();
    };
  };
  const auto with = [](const std::string& parameters, const std::string& choice, const std::string& more = "") {
    return R"({"messages": [{"role": "u", "content": "a"}], "tools": [
      {"type": "function", "function": {"name": "f", "parameters": )" +
           parameters + R"(}}, {"type": "function", "function": {"name": "g"}}], "tool_choice": )" + choice + more +
           "}";
  };
  const std::string named = R"({"type": "function", "function": {"name": "f"}})";
  const Request request = std::move(chat(with(R"({"properties": {"x": {"type": "integer"}}})", named)).at(0));
  EXPECT_TRUE(text_of(request).ends_with("<tool_call>\n")) << text_of(request);
  ASSERT_EQ(seen["anyOf"].size(), 1u);
  EXPECT_EQ(seen["anyOf"][0]["properties"]["name"]["const"], "f");
  EXPECT_EQ(seen["$defs"]["0"].dump(), R"({"properties":{"x":{"type":"integer"}},"type":"object"})");
  // Whatever the format of an answer that is text.
  EXPECT_EQ(refused_chat(with("null", R"("required")", R"(, "response_format": {"type": "json_object"})")), "accepted");
  ASSERT_EQ(seen["anyOf"].size(), 2u);
  EXPECT_EQ(seen["$defs"]["1"]["additionalProperties"], false);
  EXPECT_EQ(refused_chat(with(R"({"type": "string"})", R"("required")")), "400 tools -");
  EXPECT_EQ(refused_chat(with("[]", R"("required")")), "400 tools -");
  EXPECT_EQ(refused_chat(with(R"({"multipleOf": 2})", R"("required")")), "400 tools -");
  EXPECT_EQ(refused_chat(with("{}", R"({"type": "function", "function": {"name": "h"}})")), "400 tool_choice -");
  EXPECT_EQ(refused_chat(with("{}", R"({"type": "function", "function": {"name": 1}})")), "400 tool_choice -");
  EXPECT_EQ(refused_chat(with("{}", "1")), "400 tool_choice -");
  EXPECT_EQ(refused_chat(R"({"messages": [{"role": "u", "content": "a"}], "tool_choice": "required"})"),
            "400 tool_choice -");
  model_.tool_calls = ToolCallStyle::none;
  EXPECT_EQ(refused_chat(with("{}", R"("required")")), "400 tool_choice -");
  EXPECT_EQ(refused_chat(with("{}", R"("auto")")), "accepted");
}

TEST_F(ApiRequestTest, AsksForConstraintsOfEachAnswer) {
  Json seen;
  model_.json_constraints = [&](const Json& schema) {
    if (schema == Json{{"type", "odd"}}) fail(ErrorKind::input, "type odd is not supported.");
    seen = schema;
    return [] {
      return std::unique_ptr<TokenConstraint>();
    };
  };
  const auto with = [&](const std::string& schema) {
    return refused_completion(R"({"prompt": "a", "n": 2, "response_format": {"type": "json_schema", "json_schema":
      {"name": "x", "schema": )" +
                              schema + "}}}");
  };
  EXPECT_EQ(with(R"({"type": "object"})"), "accepted");
  EXPECT_EQ(seen["type"], "object");
  EXPECT_EQ(with(R"({"type": "odd"})"), "400 response_format -");
  EXPECT_EQ(refused_completion(R"({"prompt": "a", "response_format": {"type": "json_object"}})"), "accepted");
  EXPECT_TRUE(seen.is_null());
}

}  // namespace
}  // namespace mslt::serve
