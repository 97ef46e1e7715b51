// Routes: the server's paths, who may use them, and what each does.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "mslt/engine.h"
#include "serve/generation.h"
#include "serve/http_message.h"
#include "serve/metrics.h"
#include "serve/served_model.h"

namespace mslt::serve {

struct RouteOptions {
  std::vector<std::string> api_keys = {};  // none: everybody may use the API
  std::string cors_origin = {};            // the one foreign origin whose pages may use the API, or *; empty: none
  double request_seconds = 600.0;          // most time of one answer; 0: any
};

// The model and the engine outlive it. All functions may be called from any thread.
class Routes {
 public:
  Routes(const ServedModel& model, Engine& engine, RouteOptions options);

  // Answers a request, at once or later; throws nothing that the client caused.
  void handle(const std::shared_ptr<HttpExchange>& exchange);
  // The response to what is no valid request.
  HttpResponse refusal(int status, const std::string& message);
  // From now on new answers are refused with 503.
  void drain() { is_draining_ = true; }
  // Tells /metrics how many connections there are.
  void count_connections_by(std::function<std::size_t()> count) { connections_ = std::move(count); }

 private:
  using Action = void (Routes::*)(const std::shared_ptr<HttpExchange>&);
  struct Route;

  void dispatch(const std::shared_ptr<HttpExchange>& exchange, const Route& route);
  void check_key(const HttpRequest& request) const;
  void check_origin(const HttpRequest& request) const;
  void respond(const std::shared_ptr<HttpExchange>& exchange, HttpResponse response);
  HttpResponse error_response(const std::exception_ptr& error) const;
  HttpHeaders common_headers() const;

  void page(const std::shared_ptr<HttpExchange>& exchange);
  void health(const std::shared_ptr<HttpExchange>& exchange);
  void metrics(const std::shared_ptr<HttpExchange>& exchange);
  void models(const std::shared_ptr<HttpExchange>& exchange);
  void one_model(const std::shared_ptr<HttpExchange>& exchange);
  void completions(const std::shared_ptr<HttpExchange>& exchange);
  void chat_completions(const std::shared_ptr<HttpExchange>& exchange);
  void tokenize(const std::shared_ptr<HttpExchange>& exchange);
  void detokenize(const std::shared_ptr<HttpExchange>& exchange);

  void generate(const std::shared_ptr<HttpExchange>& exchange, bool is_chat);
  Json model_entry() const;
  static const Route& find(std::string_view path);

  const ServedModel& model_;
  Engine& engine_;
  RouteOptions options_;
  Metrics metrics_;
  std::function<std::size_t()> connections_ = [] {
    return std::size_t{0};
  };
  std::atomic<bool> is_draining_{false};
};

// A text that nobody can guess: `prefix` and 24 hexadecimal digits.
std::string random_name(std::string_view prefix);

}  // namespace mslt::serve
