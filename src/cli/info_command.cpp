// mslt info: what a model's files hold.
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "cli/command.h"
#include "cli/device_options.h"
#include "cli/units.h"
#include "formats/model_info.h"
#include "text/token_label.h"

namespace mslt::cli {
namespace {

// Elements of f32: the weights; to train, gradients and two moments as well.
constexpr double run_bytes_per_parameter = 4.0;
constexpr double train_bytes_per_parameter = 16.0;

bool has_template(const ModelInfo& info) {
  const auto& files = info.model.files;
  if (files.contains("chat_template.jinja") || files.contains("chat_template.json")) return true;
  const auto config = files.find("tokenizer_config.json");
  if (config == files.end()) return false;
  const auto json = nlohmann::json::parse(config->second, nullptr, false);
  return json.is_object() && !json.value("chat_template", nlohmann::json()).is_null();
}

void print_json(const ModelInfo& info, Context& context) {
  const Config& config = info.config;
  const ModelTokenIds& tokens = info.model.generation.tokens;
  nlohmann::ordered_json weights = nlohmann::ordered_json::object();
  for (const auto& [type, of_type] : info.weights) {
    weights[type] = {{"tensors", of_type.tensors}, {"bytes", of_type.bytes}};
  }
  const auto optional = [](const auto& id) {
    return id ? nlohmann::ordered_json(*id) : nlohmann::ordered_json(nullptr);
  };
  context.print_json({{"format", info.format},
                      {"family", name_of(info.model.family)},
                      {"parameters", config.parameter_count()},
                      {"context", config.max_positions},
                      {"layers", config.layers},
                      {"channels", config.channels},
                      {"heads", config.heads},
                      {"kv_heads", config.kv_heads},
                      {"head_size", config.head_size},
                      {"ffn_size", config.ffn_size},
                      {"vocab_size", config.vocab_size},
                      {"tied_embeddings", config.tied_embeddings},
                      {"weights", weights},
                      {"cache_bytes_per_token", cache_bytes_per_position(config)},
                      {"tokens", info.model.tokenizer ? info.model.tokenizer->vocab_size() : 0},
                      {"bos_token_id", optional(tokens.bos)},
                      {"eos_token_ids", tokens.eos},
                      {"pad_token_id", optional(tokens.pad)},
                      {"text_prefix", info.model.text_prefix},
                      {"chat_template", has_template(info)}});
}

std::string special_tokens(const ModelInfo& info) {
  const ModelTokenIds& tokens = info.model.generation.tokens;
  const auto label = [&](std::uint32_t id) {
    return info.model.tokenizer ? token_label(*info.model.tokenizer, id) : fmt::format("the id {}", id);
  };
  std::vector<std::string> parts;
  if (!info.model.text_prefix.empty()) parts.push_back("before texts " + label(info.model.text_prefix.front()));
  if (tokens.bos) parts.push_back("begin " + label(*tokens.bos));
  for (const std::uint32_t id : tokens.eos) parts.push_back("end " + label(id));
  if (tokens.pad) parts.push_back("padding " + label(*tokens.pad));
  return parts.empty() ? "none" : fmt::format("{}", fmt::join(parts, ", "));
}

void print(const ModelInfo& info, Context& context) {
  const Config& config = info.config;
  const auto row = [&](std::string_view name, const std::string& value) {
    context.out << fmt::format("{:<12} {}\n", name, value);
  };
  const auto parameters = static_cast<double>(config.parameter_count());
  row("Format", info.format);
  row("Family", std::string(name_of(info.model.family)));
  row("Parameters", fmt::format("{} ({} without embeddings)", format_count(parameters),
                                format_count(static_cast<double>(config.non_embedding_parameter_count()))));
  row("Shape",
      fmt::format("{} layers of {} channels, {} heads of {} ({} for keys and values), feed-forward {}", config.layers,
                  config.channels, config.heads, config.head_size, config.kv_heads, config.ffn_size));
  row("Vocabulary", fmt::format("{}, {} output head", config.vocab_size, config.tied_embeddings ? "tied" : "separate"));
  row("Context", fmt::format("{} tokens", config.max_positions));
  for (const auto& [type, weights] : info.weights) {
    row("Weights", fmt::format("{} in {} tensor{}: {}", type, weights.tensors, weights.tensors == 1 ? "" : "s",
                               format_bytes(static_cast<double>(weights.bytes))));
  }
  row("Memory", fmt::format("{} of weights in f32, and {} for each token of context; {} to train, without activations",
                            format_bytes(run_bytes_per_parameter * parameters),
                            format_bytes(static_cast<double>(cache_bytes_per_position(config))),
                            format_bytes(train_bytes_per_parameter * parameters)));
  row("Tokenizer", info.model.tokenizer ? fmt::format("{} tokens", info.model.tokenizer->vocab_size()) : "none");
  row("Tokens", special_tokens(info));
  row("Template", has_template(info) ? "for chats" : "none");
}

}  // namespace

void add_info_command(CLI::App& app, Context& context) {
  const auto path = std::make_shared<std::string>();
  CLI::App* command = add_command(app, context, "info", "What a model folder or GGUF file holds",
                                  "  mslt info run\n  mslt info model.gguf --json\n");
  command->add_option("path", *path, "A run folder, a Hugging Face model folder or a GGUF file")->required();
  command->callback([=, &context] {
    context.action = [=, &context] {
      const ModelInfo info = read_model_info(*path);
      print_notes(info.model.notes, context);
      context.json ? print_json(info, context) : print(info, context);
    };
  });
}

}  // namespace mslt::cli
