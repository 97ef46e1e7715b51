// Reading requests in the form of OpenAI's API.
#include "serve/api_request.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <limits>

#include "serve/api_error.h"
#include "serve/api_messages.h"
#include "serve/tool_choice.h"

namespace mslt::serve {
namespace {

constexpr std::int64_t most_tokens = std::int64_t{1} << 31;
constexpr std::int64_t most_choices = 128;
constexpr std::size_t most_stops = 16;
constexpr std::int64_t most_logprobs = 20;
constexpr std::int64_t default_completion_tokens = 16;  // as OpenAI's

void check_model(const Members& members, const ServedModel& model) {
  const auto name = members.text("model");
  if (!name || *name == model.id) return;
  throw ApiError(404, fmt::format("The model {} does not exist here; this server has {}.", *name, model.id), "model",
                 "model_not_found");
}

std::vector<std::string> read_stop(const Members& members) {
  const Json* value = members.find("stop");
  if (value == nullptr) return {};
  const Json array = value->is_array() ? *value : Json::array({*value});
  std::vector<std::string> stop;
  for (const Json& text : array) {
    if (!text.is_string() || text.get_ref<const std::string&>().empty()) {
      refuse_member("stop", "stop must be a string that is not empty, or an array of such strings.");
    }
    stop.push_back(text.get<std::string>());
  }
  if (stop.size() > most_stops) refuse_member("stop", fmt::format("stop may hold {} strings at most.", most_stops));
  return stop;
}

std::vector<std::pair<TokenId, float>> read_logit_bias(const Members& members, std::int64_t vocab_size) {
  std::vector<std::pair<TokenId, float>> result;
  const Json* value = members.object("logit_bias");
  if (value == nullptr) return result;
  for (const auto& [key, bias] : value->items()) {
    TokenId id = 0;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), id);
    const bool is_id = error == std::errc() && end == key.data() + key.size() && id < vocab_size;
    if (!is_id || !bias.is_number() || !(std::abs(bias.get<double>()) <= 100.0)) {
      refuse_member("logit_bias", fmt::format("logit_bias must map token ids from 0 to {} to numbers from -100 to 100.",
                                              vocab_size - 1));
    }
    result.emplace_back(id, bias.get<float>());
  }
  return result;
}

void read_format(const Members& members, ApiRequest& request) {
  const Json* value = members.object("response_format");
  if (value == nullptr) return;
  const Members format(*value, "response_format.");
  const std::string type = format.text("type").value_or("");
  if (type == "text") return;
  if (type == "json_object") {
    request.format = AnswerFormat::json_object;
    return;
  }
  if (type != "json_schema") {
    refuse_member("response_format.type", "response_format.type must be text, json_object or json_schema.");
  }
  request.format = AnswerFormat::json_schema;
  const Json* wrapped = format.object("json_schema");
  // Some clients leave the wrapping out.
  const Json* schema =
      wrapped != nullptr ? Members(*wrapped, "response_format.json_schema.").find("schema") : format.find("schema");
  if (schema == nullptr) {
    refuse_member("response_format.json_schema.schema", "response_format.json_schema.schema must be a JSON schema.");
  }
  request.schema = *schema;
}

void read_sampling(const Members& members, SamplingOptions& sampling) {
  const auto real = [&](const char* name, double least, double most, float& target) {
    if (const auto value = members.number(name, least, most)) target = static_cast<float>(*value);
  };
  real("temperature", 0.0, 2.0, sampling.temperature);
  real("top_p", 0.0, 1.0, sampling.top_p);
  real("min_p", 0.0, 1.0, sampling.min_p);
  real("repetition_penalty", 0.01, 100.0, sampling.repetition_penalty);
  // OpenAI allows 0, which leaves the most likely token.
  sampling.top_p = std::max(sampling.top_p, std::numeric_limits<float>::min());
  // Some clients say -1 for all.
  if (const auto top_k = members.integer("top_k", -1, most_tokens)) sampling.top_k = std::max<std::int64_t>(*top_k, 0);
}

// What both kinds of requests have.
ApiRequest read_common(const Members& members, const ServedModel& model) {
  check_model(members, model);
  ApiRequest request;
  request.n = members.integer("n", 1, most_choices).value_or(1);
  request.stream = members.boolean("stream").value_or(false);
  if (const Json* options = members.object("stream_options")) {
    request.include_usage = Members(*options, "stream_options.").boolean("include_usage").value_or(false);
  }
  request.sampling = model.sampling;
  read_sampling(members, request.sampling);
  if (const auto seed =
          members.integer("seed", std::numeric_limits<std::int64_t>::min(), std::numeric_limits<std::int64_t>::max())) {
    request.sampling.seed = static_cast<std::uint64_t>(*seed);
    request.has_seed = true;
  }
  request.presence_penalty = static_cast<float>(members.number("presence_penalty", -2.0, 2.0).value_or(0.0));
  request.frequency_penalty = static_cast<float>(members.number("frequency_penalty", -2.0, 2.0).value_or(0.0));
  request.logit_bias = read_logit_bias(members, model.vocab_size);
  request.max_new_tokens = members.integer("max_completion_tokens", 1, most_tokens);
  const auto max_tokens = members.integer("max_tokens", 1, most_tokens);
  if (!request.max_new_tokens) request.max_new_tokens = max_tokens;
  request.stop = read_stop(members);
  request.ignore_eos = members.boolean("ignore_eos").value_or(false);
  read_format(members, request);
  return request;
}

std::vector<Prompt> read_prompts(const Members& members, std::int64_t vocab_size) {
  constexpr const char* valid =
      "prompt must be a string, an array of strings, an array of token ids or an array of such "
      "arrays.";
  const Json* value = members.find("prompt");
  if (value == nullptr) refuse_member("prompt", "prompt is missing.");
  if (value->is_string()) return {value->get<std::string>()};
  if (!value->is_array() || value->empty()) refuse_member("prompt", valid);
  if (value->front().is_number()) return {token_ids(*value, "prompt", vocab_size)};
  if (value->size() > most_choices) {
    refuse_member("prompt", fmt::format("prompt may hold {} prompts at most.", most_choices));
  }
  std::vector<Prompt> prompts;
  for (const Json& prompt : *value) {
    if (prompt.is_string()) {
      prompts.emplace_back(prompt.get<std::string>());
    } else if (prompt.is_array()) {
      prompts.emplace_back(token_ids(prompt, "prompt", vocab_size));
    } else {
      refuse_member("prompt", valid);
    }
  }
  return prompts;
}

// Another, unrelated seed for each answer but the first, which has the client's. Steele et al., 2014 (SplitMix64).
std::uint64_t seed_of(std::uint64_t seed, std::size_t choice) {
  if (choice == 0) return seed;
  std::uint64_t mixed = seed + 0x9E3779B97F4A7C15u * choice;
  mixed = (mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9u;
  mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EBu;
  return mixed ^ (mixed >> 31);
}

std::function<std::unique_ptr<TokenConstraint>()> constraint_maker(const ApiRequest& request,
                                                                   const ServedModel& model) {
  if (request.format == AnswerFormat::text && !request.forces_call) return nullptr;
  const char* member = request.forces_call ? "tools" : "response_format";
  if (!model.json_constraints) {
    refuse_member(request.forces_call ? "tool_choice" : member, "This server cannot restrict answers to JSON.");
  }
  try {
    if (request.forces_call) return model.json_constraints(request.call_schema);
    return model.json_constraints(request.format == AnswerFormat::json_schema ? request.schema : Json());
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::input) throw;
    refuse_member(member, error.what());
  }
}

std::vector<std::vector<TokenId>> prompt_tokens(const ApiRequest& request, const ServedModel& model) {
  std::vector<std::vector<TokenId>> prompts;
  if (request.is_chat) {
    if (!model.chat_tokens) {
      refuse_member("messages", fmt::format("The model {} has no chat template; use /v1/completions.", model.id));
    }
    prompts.push_back(model.chat_tokens(request.chat));
    if (request.forces_call) {
      const std::vector<TokenId> opening =
          model.tokenizer.encode(call_opening(request.tool_calls), SpecialTokens::parse);
      prompts.back().insert(prompts.back().end(), opening.begin(), opening.end());
    }
  }
  for (const Prompt& prompt : request.prompts) {
    const auto* text = std::get_if<std::string>(&prompt);
    prompts.push_back(text != nullptr ? text_tokens(*text, model) : std::get<std::vector<TokenId>>(prompt));
  }
  return prompts;
}

void check_length(const std::vector<TokenId>& prompt, const ApiRequest& request, const ServedModel& model) {
  const char* member = request.is_chat ? "messages" : "prompt";
  if (prompt.empty()) refuse_member(member, fmt::format("{} makes no token.", member));
  const auto tokens = static_cast<std::int64_t>(prompt.size());
  if (tokens >= model.context || (model.max_prompt_tokens > 0 && tokens > model.max_prompt_tokens)) {
    const std::int64_t most =
        model.max_prompt_tokens > 0 ? std::min(model.max_prompt_tokens, model.context - 1) : model.context - 1;
    throw ApiError(400,
                   fmt::format("The prompt has {} tokens; this server takes {} at most, of a context of {}.", tokens,
                               most, model.context),
                   member, "context_length_exceeded");
  }
}

}  // namespace

ApiRequest read_completion(const Json& body, const ServedModel& model) {
  const Members members(body);
  ApiRequest request = read_common(members, model);
  request.prompts = read_prompts(members, model.vocab_size);
  if (static_cast<std::int64_t>(request.prompts.size()) * request.n > most_choices) {
    refuse_member("n", fmt::format("A request has {} answers at most, of all its prompts.", most_choices));
  }
  request.echo = members.boolean("echo").value_or(false);
  request.logprobs = members.integer("logprobs", 0, most_logprobs);
  if (!members.text("suffix").value_or("").empty()) refuse_member("suffix", "suffix is not supported.");
  if (members.integer("best_of", 1, most_choices).value_or(request.n) != request.n) {
    refuse_member("best_of", "best_of is not supported; it may only be what n is.");
  }
  if (request.echo && request.logprobs) refuse_member("echo", "echo is not supported with logprobs.");
  if (!request.max_new_tokens) request.max_new_tokens = default_completion_tokens;
  return request;
}

ApiRequest read_chat(const Json& body, const ServedModel& model) {
  const Members members(body);
  ApiRequest request = read_common(members, model);
  request.is_chat = true;
  request.chat = read_conversation(members);
  const ToolChoice choice = read_tool_choice(members, request.chat.tools);
  if (!choice.allows_calls) request.chat.tools = nullptr;
  if (!request.chat.tools.is_null()) request.tool_calls = model.tool_calls;
  if (choice.forces_call) {
    request.forces_call = true;
    request.call_schema = call_schema(choice, request.chat.tools, model.tool_calls);
  }
  const auto top = members.integer("top_logprobs", 0, most_logprobs);
  if (members.boolean("logprobs").value_or(false)) {
    request.logprobs = top.value_or(0);
  } else if (top.value_or(0) > 0) {
    refuse_member("top_logprobs", "top_logprobs needs logprobs to be true.");
  }
  return request;
}

std::vector<TokenId> text_tokens(const std::string& text, const ServedModel& model) {
  std::vector<TokenId> ids = model.tokenizer.encode(text, SpecialTokens::parse);
  const auto& prefix = model.text_prefix;
  const bool has_prefix = ids.size() >= prefix.size() && std::equal(prefix.begin(), prefix.end(), ids.begin());
  if (!has_prefix) ids.insert(ids.begin(), prefix.begin(), prefix.end());
  // As generation does, an empty text begins a document.
  if (ids.empty()) {
    if (const auto end = model.tokenizer.eos_id()) ids.push_back(*end);
  }
  return ids;
}

std::vector<Request> engine_requests(const ApiRequest& request, const ServedModel& model, std::uint64_t seed) {
  const auto make_constraint = constraint_maker(request, model);
  std::vector<Request> requests;
  for (const std::vector<TokenId>& prompt : prompt_tokens(request, model)) {
    check_length(prompt, request, model);
    const std::int64_t room = model.context - static_cast<std::int64_t>(prompt.size());
    for (std::int64_t k = 0; k < request.n; ++k) {
      Request one{.prompt = prompt, .sampling = request.sampling};
      one.sampling.seed = seed_of(request.has_seed ? request.sampling.seed : seed, static_cast<std::size_t>(k));
      one.presence_penalty = request.presence_penalty;
      one.frequency_penalty = request.frequency_penalty;
      one.logit_bias = request.logit_bias;
      one.max_new_tokens = std::min(request.max_new_tokens.value_or(room), room);
      one.stop = request.stop;
      one.ignore_eos = request.ignore_eos;
      one.logprobs = request.logprobs;
      if (make_constraint) one.constraint = make_constraint();
      requests.push_back(std::move(one));
    }
  }
  return requests;
}

}  // namespace mslt::serve
