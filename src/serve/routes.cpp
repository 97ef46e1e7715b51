// The paths of the server.
#include "serve/routes.h"

#include <fmt/format.h>

#include <array>
#include <ctime>
#include <random>

#include "base/printable.h"
#include "serve/api_error.h"
#include "serve/api_request.h"
#include "serve/page.h"

namespace mslt::serve {

struct Routes::Route {
  std::string_view path;    // ends in / for those with more behind it
  std::string_view method;  // GET includes HEAD; empty: any
  bool needs_key = false;
  Action action = nullptr;
};

namespace {

constexpr std::string_view model_path = "/v1/models/";

// Takes a time that depends on the length of `given` alone.
bool equal_secrets(std::string_view given, std::string_view secret) {
  unsigned different = given.size() == secret.size() ? 0u : 1u;
  for (std::size_t i = 0; i < given.size(); ++i) {
    different |= static_cast<unsigned char>(given[i]) ^ static_cast<unsigned char>(secret[i % secret.size()]);
  }
  return different == 0;
}

// "%2F" as "/".
std::string decode_percents(std::string_view text) {
  const auto digit = [](char letter) {
    if (letter >= '0' && letter <= '9') return letter - '0';
    const int low = letter | 0x20;
    return low >= 'a' && low <= 'f' ? low - 'a' + 10 : -1;
  };
  std::string result;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size() + 0 && digit(text[i + 1]) >= 0 && digit(text[i + 2]) >= 0) {
      result += static_cast<char>(digit(text[i + 1]) * 16 + digit(text[i + 2]));
      i += 2;
    } else {
      result += text[i];
    }
  }
  return result;
}

std::vector<std::string> echoed(const ApiRequest& request, const ServedModel& model) {
  std::vector<std::string> texts;
  if (!request.echo) return texts;
  for (const Prompt& prompt : request.prompts) {
    const auto* text = std::get_if<std::string>(&prompt);
    texts.push_back(text != nullptr ? *text : model.tokenizer.decode(std::get<std::vector<TokenId>>(prompt)));
  }
  return texts;
}

}  // namespace

std::string random_name(std::string_view prefix) {
  std::random_device device;
  return fmt::format("{}{:08x}{:08x}{:08x}", prefix, device(), device(), device());
}

Routes::Routes(const ServedModel& model, Engine& engine, RouteOptions options)
    : model_(model), engine_(engine), options_(std::move(options)) {}

const Routes::Route& Routes::find(std::string_view path) {
  static constexpr std::array<Route, 9> routes{{
      {"/", "GET", false, &Routes::page},
      {"/health", "GET", false, &Routes::health},
      {"/metrics", "GET", true, &Routes::metrics},
      {"/v1/models", "GET", true, &Routes::models},
      {model_path, "GET", true, &Routes::one_model},
      {"/v1/completions", "POST", true, &Routes::completions},
      {"/v1/chat/completions", "POST", true, &Routes::chat_completions},
      {"/tokenize", "POST", true, &Routes::tokenize},
      {"/detokenize", "POST", true, &Routes::detokenize},
  }};
  static constexpr Route none{"other", "", false, nullptr};
  for (const Route& route : routes) {
    const bool has_more = route.path.size() > 1 && route.path.ends_with('/');
    if (has_more ? path.starts_with(route.path) && path.size() > route.path.size() : path == route.path) return route;
  }
  return none;
}

void Routes::handle(const std::shared_ptr<HttpExchange>& exchange) {
  const Route& route = find(exchange->request().path);
  try {
    dispatch(exchange, route);
  } catch (...) {
    respond(exchange, error_response(std::current_exception()));
  }
}

void Routes::dispatch(const std::shared_ptr<HttpExchange>& exchange, const Route& route) {
  const HttpRequest& request = exchange->request();
  // A browser asks before it sends a key.
  if (request.method == "OPTIONS") {
    respond(exchange, {.status = 204});
    return;
  }
  check_origin(request);
  if (route.needs_key) check_key(request);
  if (route.action == nullptr) {
    throw ApiError(404, fmt::format("There is nothing at {}; the API is below /v1.", printable(request.path)), {},
                   "unknown_url");
  }
  const bool fits = route.method == request.method || (route.method == "GET" && request.method == "HEAD");
  if (!fits) {
    HttpResponse response = error_response(std::make_exception_ptr(ApiError(
        405, fmt::format("{} takes {}, not {}.", printable(request.path), route.method, printable(request.method)), {},
        "method_not_allowed")));
    response.headers.emplace_back("Allow", route.method == "GET" ? "GET, HEAD, OPTIONS" : "POST, OPTIONS");
    respond(exchange, std::move(response));
    return;
  }
  (this->*route.action)(exchange);
}

void Routes::check_key(const HttpRequest& request) const {
  if (options_.api_keys.empty()) return;
  constexpr std::string_view scheme = "Bearer ";
  const std::string_view given = request.header("authorization");
  bool is_known = false;
  for (const std::string& key : options_.api_keys) {
    is_known |= given.starts_with(scheme) && equal_secrets(given.substr(scheme.size()), key);
  }
  if (!is_known) {
    throw ApiError(401, "The API key is missing or wrong; send it as Authorization: Bearer KEY.", {},
                   "invalid_api_key");
  }
}

void Routes::check_origin(const HttpRequest& request) const {
  const std::string_view site = request.header("sec-fetch-site");
  if (request.method != "POST" || site.empty() || site == "same-origin" || site == "none") return;
  const std::string& allowed = options_.cors_origin;
  if (allowed == "*" || (!allowed.empty() && request.header("origin") == allowed)) return;
  throw ApiError(403, "Pages of other origins may not use this server; --cors ORIGIN allows one.", {},
                 "origin_not_allowed");
}

void Routes::respond(const std::shared_ptr<HttpExchange>& exchange, HttpResponse response) {
  metrics_.count_response(find(exchange->request().path).path, response.status);
  for (auto& header : common_headers()) response.headers.push_back(std::move(header));
  exchange->respond(std::move(response));
}

HttpHeaders Routes::common_headers() const {
  HttpHeaders headers{{"X-Content-Type-Options", "nosniff"}};
  if (options_.cors_origin.empty()) return headers;
  // The origin is the server's choice, never the request's, and credentials are not allowed.
  headers.emplace_back("Access-Control-Allow-Origin", options_.cors_origin);
  headers.emplace_back("Access-Control-Allow-Methods", "GET, POST, OPTIONS");
  headers.emplace_back("Access-Control-Allow-Headers", "Authorization, Content-Type, *");
  headers.emplace_back("Access-Control-Max-Age", "600");
  return headers;
}

HttpResponse Routes::error_response(const std::exception_ptr& error) const {
  const ApiError api = to_api_error(error);
  HttpResponse response{.status = api.status(), .body = dump(api.body())};
  if (api.status() == 401) response.headers.emplace_back("WWW-Authenticate", "Bearer");
  if (api.status() == 429 || api.status() == 503) response.headers.emplace_back("Retry-After", "2");
  return response;
}

HttpResponse Routes::refusal(int status, const std::string& message) {
  metrics_.count_response("other", status);
  HttpResponse response = error_response(std::make_exception_ptr(ApiError(status, message)));
  for (auto& header : common_headers()) response.headers.push_back(std::move(header));
  return response;
}

void Routes::page(const std::shared_ptr<HttpExchange>& exchange) {
  const std::string nonce = random_name("");
  respond(exchange, {.content_type = "text/html; charset=utf-8",
                     .body = page_with_nonce(nonce),
                     .headers = {{"Content-Security-Policy", page_policy(nonce)},
                                 {"Referrer-Policy", "no-referrer"},
                                 {"Cache-Control", "no-store"}}});
}

void Routes::health(const std::shared_ptr<HttpExchange>& exchange) {
  const bool draining = is_draining_;
  respond(exchange, {.status = draining ? 503 : 200, .body = dump({{"status", draining ? "draining" : "ok"}})});
}

void Routes::metrics(const std::shared_ptr<HttpExchange>& exchange) {
  respond(exchange, {.content_type = "text/plain; version=0.0.4; charset=utf-8",
                     .body = metrics_.text(engine_.statistics(), connections_())});
}

Json Routes::model_entry() const {
  return {{"id", model_.id},
          {"object", "model"},
          {"created", model_.created},
          {"owned_by", "mslt"},
          {"max_model_len", model_.context},
          {"has_chat_template", model_.chat_tokens != nullptr}};
}

void Routes::models(const std::shared_ptr<HttpExchange>& exchange) {
  respond(exchange, {.body = dump({{"object", "list"}, {"data", Json::array({model_entry()})}})});
}

void Routes::one_model(const std::shared_ptr<HttpExchange>& exchange) {
  const std::string id = decode_percents(std::string_view(exchange->request().path).substr(model_path.size()));
  if (id != model_.id) {
    throw ApiError(404, fmt::format("The model {} does not exist here; this server has {}.", printable(id), model_.id),
                   "model", "model_not_found");
  }
  respond(exchange, {.body = dump(model_entry())});
}

void Routes::completions(const std::shared_ptr<HttpExchange>& exchange) {
  generate(exchange, false);
}

void Routes::chat_completions(const std::shared_ptr<HttpExchange>& exchange) {
  generate(exchange, true);
}

void Routes::generate(const std::shared_ptr<HttpExchange>& exchange, bool is_chat) {
  if (is_draining_) throw ApiError(503, "The server is about to end; it takes no new requests.", {}, "draining");
  const Json body = parse_body(exchange->request().body);
  const ApiRequest request = is_chat ? read_chat(body, model_) : read_completion(body, model_);
  std::random_device device;
  const std::uint64_t seed = (std::uint64_t{device()} << 32) | device();
  std::vector<Request> requests = engine_requests(request, model_, seed);
  Answer answer({.id = random_name(is_chat ? "chatcmpl-" : "cmpl-"),
                 .model = model_.id,
                 .created = static_cast<std::int64_t>(std::time(nullptr)),
                 .is_chat = is_chat,
                 .include_usage = request.include_usage,
                 .tool_calls = request.tool_calls,
                 .opens_call = request.forces_call,
                 .logprobs = request.logprobs,
                 .choices_per_prompt = request.n,
                 .echoes = echoed(request, model_)},
                requests.size(), model_.tokenizer);
  const GenerationParts parts{engine_, metrics_, options_.request_seconds};
  if (request.stream) {
    HttpResponse head{.content_type = "text/event-stream; charset=utf-8", .headers = common_headers()};
    head.headers.emplace_back("Cache-Control", "no-cache");
    // Tells nginx not to gather events.
    head.headers.emplace_back("X-Accel-Buffering", "no");
    Generation::stream(parts, exchange, std::move(requests), std::move(answer), std::move(head));
    metrics_.count_response(find(exchange->request().path).path, 200);
    return;
  }
  Generation::whole(parts, exchange, std::move(requests), std::move(answer),
                    [this, path = find(exchange->request().path).path](Answer& ended) {
                      HttpResponse response;
                      try {
                        response.body = dump(ended.document());
                      } catch (const ApiError&) {
                        response = error_response(std::current_exception());
                      }
                      metrics_.count_response(path, response.status);
                      for (auto& header : common_headers()) response.headers.push_back(std::move(header));
                      return response;
                    });
}

void Routes::tokenize(const std::shared_ptr<HttpExchange>& exchange) {
  const Json body = parse_body(exchange->request().body);
  const Members members(body);
  // Servers differ in the name.
  std::optional<std::string> text = members.text("content");
  if (!text) text = members.text("prompt");
  if (!text) refuse_member("content", "content is missing: the text to tokenize.");
  const bool parse = members.boolean("parse_special").value_or(true);
  std::vector<TokenId> ids =
      members.boolean("add_special").value_or(members.boolean("add_special_tokens").value_or(false))
          ? text_tokens(*text, model_)
          : model_.tokenizer.encode(*text, parse ? SpecialTokens::parse : SpecialTokens::as_text);
  respond(exchange, {.body = dump({{"tokens", ids}, {"count", ids.size()}, {"max_model_len", model_.context}})});
}

void Routes::detokenize(const std::shared_ptr<HttpExchange>& exchange) {
  const Json body = parse_body(exchange->request().body);
  const Json* ids = Members(body).array("tokens");
  if (ids == nullptr) refuse_member("tokens", "tokens is missing: an array of token ids.");
  const std::string text = model_.tokenizer.decode(token_ids(*ids, "tokens", model_.vocab_size));
  respond(exchange, {.body = dump({{"content", text}, {"prompt", text}})});
}

}  // namespace mslt::serve
