// mslt serve: OpenAI's API over HTTP.
#include <fmt/format.h>
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <ostream>
#include <sstream>
#include <thread>

#include "base/fail.h"
#include "base/file.h"
#include "base/process_limits.h"
#include "cli/command.h"
#include "cli/device_options.h"
#include "cli/interrupt.h"
#include "cli/numbers.h"
#include "cli/ranges.h"
#include "cli/sampling_options.h"
#include "formats/model_parts.h"
#include "mslt/engine.h"
#include "mslt/model.h"
#include "serve/http_server.h"
#include "serve/make_served_model.h"
#include "serve/routes.h"

namespace mslt::cli {
namespace {

constexpr const char* key_variable = "MSLT_API_KEY";
constexpr std::uint64_t other_descriptors = 64;
constexpr std::chrono::milliseconds look_again{20};

struct ServeArguments {
  std::string model;
  std::string name;
  std::string eos;
  std::string api_key;
  std::string api_key_file;
  std::int64_t max_prompt_tokens = 0;
  double drain_seconds = 30.0;
  LoadOptions load;
  EngineOptions engine;
  serve::HttpOptions http;
  serve::RouteOptions routes;
};

// One key per line; a key that is empty would let everybody in.
std::vector<std::string> keys_in(const std::string& text) {
  std::vector<std::string> keys;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    const std::size_t end = line.find_last_not_of(" \t\r");
    if (end != std::string::npos) keys.push_back(line.substr(0, end + 1));
  }
  return keys;
}

std::vector<std::string> api_keys(const ServeArguments& arguments) {
  std::vector<std::string> keys = keys_in(arguments.api_key);
  if (!arguments.api_key_file.empty()) {
    const std::vector<std::string> more = keys_in(read_file(arguments.api_key_file, 1u << 20));
    if (more.empty()) fail(ErrorKind::input, "--api-key-file {} holds no key.", arguments.api_key_file);
    keys.insert(keys.end(), more.begin(), more.end());
  }
  if (const char* variable = std::getenv(key_variable); keys.empty() && variable != nullptr) keys = keys_in(variable);
  return keys;
}

std::string model_name(const ServeArguments& arguments) {
  if (!arguments.name.empty()) return arguments.name;
  const std::filesystem::path path = std::filesystem::weakly_canonical(arguments.model);
  return path.filename().string();
}

// As many connections as the system allows descriptors for.
std::size_t allowed_connections(std::size_t wanted, Context& context) {
  const std::uint64_t allowed = allow_descriptors(wanted + other_descriptors);
  if (allowed >= wanted + other_descriptors) return wanted;
  const std::size_t fewer = allowed > 2 * other_descriptors ? allowed - other_descriptors : other_descriptors;
  context.err << fmt::format("Note: the limit on descriptors (ulimit -n) allows {} connections, not {}.\n", fewer,
                             wanted);
  return fewer;
}

void tell_start(const serve::ServedModel& model, const serve::HttpServer& server, const ServeArguments& arguments,
                bool has_keys, Context& context) {
  const bool is_v6 = arguments.http.host.find(':') != std::string::npos;
  const std::string host = is_v6 ? "[" + arguments.http.host + "]" : arguments.http.host;
  const std::string url = fmt::format("http://{}:{}", host, server.port());
  if (context.json) {
    context.print_json({{"url", url}, {"model", model.id}, {"context", model.context}});
  } else {
    const std::string key = has_keys ? fmt::format(" -H \"Authorization: Bearer ${}\"", key_variable) : "";
    const bool chats = model.chat_tokens != nullptr;
    context.out << fmt::format(
        "{} serves {}, context {} tokens. Try:\n  curl {}/v1/{} -H 'Content-Type: application/json'{} \\\n    -d "
        "'{}'\n",
        url, model.id, model.context, url, chats ? "chat/completions" : "completions", key,
        chats ? R"({"messages": [{"role": "user", "content": "Hello"}]})" : R"({"prompt": "Hello", "max_tokens": 32})");
  }
  context.out << std::flush;
  if (!server.is_loopback() && !has_keys) {
    context.err << "Warning: other machines can use this server, and there is no API key; --api-key-file sets one.\n";
  }
  if (!model.chat_tokens && !context.json) {
    context.err << "The model has no chat template, so /v1/chat/completions is refused.\n";
  }
}

// Returns when no answer is under way or the limit is over; whether all ended.
bool drain(serve::Routes& routes, serve::HttpServer& server, double seconds, Context& context) {
  routes.drain();
  server.close_after_responses();
  if (server.exchanges() > 0) {
    context.err << fmt::format("Ending when {} answers are complete, in {} s at most; a second signal ends at once.\n",
                               server.exchanges(), seconds);
  }
  const auto limit = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
  while (server.exchanges() > 0 && std::chrono::steady_clock::now() < limit) std::this_thread::sleep_for(look_again);
  return server.exchanges() == 0;
}

void serve_model(ServeArguments arguments, Context& context) {
  arguments.engine.validate();
  arguments.routes.api_keys = api_keys(arguments);
  const bool has_keys = !arguments.routes.api_keys.empty();
  Model model = load_model(arguments.model, arguments.load, context);
  if (!arguments.eos.empty()) model.end_at(arguments.eos);
  serve::ServedModel served = serve::make_served_model(model, model_name(arguments), arguments.max_prompt_tokens);
  // Clients name their own in each request.
  take_recommended(model, [](const char*) { return false; }, served.sampling, context);
  const std::unique_ptr<Engine> engine = make_engine(model, arguments.engine);
  serve::Routes routes(served, *engine, arguments.routes);
  arguments.http.max_connections = allowed_connections(arguments.http.max_connections, context);
  const InterruptGuard interrupt;
  serve::HttpServer server(
      arguments.http, [&](std::shared_ptr<serve::HttpExchange> exchange) { routes.handle(exchange); },
      [&](int status, const std::string& message) { return routes.refusal(status, message); });
  routes.count_connections_by([&] { return server.connections(); });
  tell_start(served, server, arguments, has_keys, context);
  while (!interrupt.interrupted()) std::this_thread::sleep_for(look_again);
  if (!drain(routes, server, arguments.drain_seconds, context)) {
    context.err << "The time is over; the remaining answers are cut.\n";
    context.status = interrupt_status();
  }
  server.stop();
}

void add_limits(CLI::App& command, ServeArguments& arguments) {
  constexpr RealRange seconds{.most = 1e6, .unit = "seconds"};
  EngineOptions& engine = arguments.engine;
  add_integer(command, "--max-running", engine.max_running, "Answers that are written at a time",
              {.least = 1, .most = 4096, .unit = "answers"});
  add_integer(command, "--max-queued", engine.max_queued, "Answers that wait; more are refused with 429",
              {.most = 1 << 20, .unit = "answers"});
  add_integer(command, "--cache-positions", engine.cache_positions,
              "Size of the KV cache of all answers together; 0 for max-running texts of 2,048, or what memory holds",
              {.unit = "tokens"});
  add_integer(command, "--prefill-tokens", engine.prefill_tokens, "Tokens of prompts in a step, beside the answers'",
              {.least = 1, .most = 1 << 20, .unit = "tokens"});
  add_integer(command, "--max-prompt-tokens", arguments.max_prompt_tokens,
              "Longest prompt; 0 for what the context holds", {.most = 1u << 31, .unit = "tokens"});
  add_integer(command, "--max-body-bytes", arguments.http.max_body_bytes, "Largest request",
              {.least = 1024, .most = 1u << 30, .unit = "bytes"});
  add_integer(command, "--max-connections", arguments.http.max_connections, "Connections at a time",
              {.least = 1, .most = 1u << 20, .unit = "connections"});
  add_real(command, "--request-seconds", arguments.routes.request_seconds, "Most time of an answer; 0 for any",
           seconds);
  add_real(command, "--drain-seconds", arguments.drain_seconds, "Time for answers to finish after SIGTERM or Ctrl-C",
           seconds);
}

}  // namespace

void add_serve_command(CLI::App& app, Context& context) {
  const auto arguments = std::make_shared<ServeArguments>();
  arguments->http.max_connections = 4096;
  CLI::App* command = add_command(app, context, "serve", "Serve a model by OpenAI's API, with a web page",
                                  "  mslt serve --model run\n"
                                  "  mslt serve --model model.gguf --port 8000 --quantize int8\n"
                                  "  MSLT_API_KEY=secret mslt serve --model run --host 0.0.0.0\n");
  add_model_option(*command, arguments->model);
  command->add_option("--model-name", arguments->name, "The model's name for clients, instead of its file's");
  command->add_option("--host", arguments->http.host, "Address to listen on; 0.0.0.0 lets other machines in");
  add_integer(*command, "--port", arguments->http.port, "Port to listen on; 0 for any that is free", {.unit = {}});
  command->add_option("--api-key", arguments->api_key,
                      "Key that clients must send; better from the variable MSLT_API_KEY or a file, since other users "
                      "see arguments");
  command->add_option("--api-key-file", arguments->api_key_file, "File with such keys, one per line");
  command->add_option("--cors", arguments->routes.cors_origin,
                      "The one other origin whose pages may use the server, such as https://example.org; * for all");
  add_limits(*command, *arguments);
  add_load_options(*command, arguments->load);
  command->add_option("--eos", arguments->eos, "The token that ends a text, instead of the one the model's files name");
  command->callback([=, &context] {
    context.action = [=, &context] {
      serve_model(*arguments, context);
    };
  });
}

}  // namespace mslt::cli
