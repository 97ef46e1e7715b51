// mslt info: what the files of models, tokenizers and data hold.
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "base/fail.h"
#include "base/file.h"
#include "base/gguf.h"
#include "base/paths.h"
#include "base/printable.h"
#include "cli/command.h"
#include "cli/device_options.h"
#include "cli/units.h"
#include "data/data_folder.h"
#include "data/shard.h"
#include "formats/model_chat.h"
#include "formats/model_info.h"
#include "formats/pytorch_files.h"
#include "text/gguf_tokenizer.h"
#include "text/token_label.h"
#include "text/vocabulary_files.h"

namespace mslt::cli {
namespace {

// Elements of f32: the weights; to train, gradients and two moments as well.
constexpr std::uint64_t run_bytes_per_parameter = 4;
constexpr std::uint64_t train_bytes_per_parameter = 16;

using AllWeights = std::map<std::string, ModelInfo::Weights>;

nlohmann::ordered_json weights_json(const AllWeights& all) {
  nlohmann::ordered_json json = nlohmann::ordered_json::object();
  for (const auto& [type, weights] : all) json[type] = {{"tensors", weights.tensors}, {"bytes", weights.bytes}};
  return json;
}

void print_row(std::string_view name, std::string_view value, Context& context) {
  context.out << fmt::format("{:<12} {}\n", name, value);
}

void print_weights(const AllWeights& all, Context& context) {
  for (const auto& [type, weights] : all) {
    print_row("Weights",
              fmt::format("{} in {} tensor{}: {}", type, weights.tensors, weights.tensors == 1 ? "" : "s",
                          format_bytes(static_cast<double>(weights.bytes))),
              context);
  }
}

bool has_template(const ModelInfo& info) {
  return !chat_template_sources(info.model.files).empty();
}

void print_json(const ModelInfo& info, Context& context) {
  const Config& config = info.config;
  const ModelTokenIds& tokens = info.model.generation.tokens;
  const nlohmann::ordered_json weights = weights_json(info.weights);
  const auto parameters = static_cast<std::uint64_t>(config.parameter_count());
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
                      {"run_bytes", info.run_bytes},
                      {"packed_matrices", info.packed_matrices},
                      {"train_bytes", train_bytes_per_parameter * parameters},
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
  const auto row = [&](std::string_view name, std::string_view value) {
    print_row(name, value, context);
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
  print_weights(info.weights, context);
  row("Memory",
      fmt::format("to run, {} of weights{}, and {} for each token of context; to train, {} without activations",
                  format_bytes(static_cast<double>(info.run_bytes)),
                  info.packed_matrices == 0
                      ? " in f32 (half in 16 bits)"
                      : fmt::format(", {} of the matrices in 8 or 4 bits as in the file ({} with --quantize none)",
                                    info.packed_matrices,
                                    format_bytes(static_cast<double>(run_bytes_per_parameter) * parameters)),
                  format_bytes(static_cast<double>(cache_bytes_per_position(config))),
                  format_bytes(static_cast<double>(train_bytes_per_parameter) * parameters)));
  row("Tokenizer", info.model.tokenizer ? fmt::format("{} tokens", info.model.tokenizer->vocab_size()) : "none");
  row("Tokens", special_tokens(info));
  row("Template", has_template(info) ? "for chats" : "none");
}

void describe_shard(const std::filesystem::path& path, Context& context) {
  const ShardReader shard(path);
  const auto bits = 8 * static_cast<int>(shard.width());
  if (context.json) {
    context.print_json({{"format", "token shard"}, {"tokens", shard.size()}, {"bits", bits}});
    return;
  }
  print_row("Format", fmt::format("token shard, {} bits for each", bits), context);
  print_row("Tokens", fmt::format("{}", shard.size()), context);
}

std::string counted(std::uint64_t count, std::string_view what) {
  return fmt::format("{} {}{}", count, what, count == 1 ? "" : "s");
}

void describe_data(const std::filesystem::path& folder, Context& context) {
  const DataInfo data = read_data_info(folder);
  if (context.json) {
    context.print_json({{"format", "data folder"},
                        {"train_tokens", data.train.tokens},
                        {"validation_tokens", data.val.tokens},
                        {"train_documents", data.train.documents},
                        {"validation_documents", data.val.documents},
                        {"vocab_size", data.vocab_size},
                        {"eos_token_id", data.eos_id}});
    return;
  }
  print_row("Format", "data folder", context);
  const auto split = [&](std::string_view name, const SplitInfo& info) {
    print_row(name,
              fmt::format("{} tokens of {} in {}", info.tokens,
                          info.documents == 0 ? "parts of documents"
                                              : counted(info.documents, data.holds_examples() ? "example" : "document"),
                          counted(info.shards.size(), "shard")),
              context);
  };
  split("Training", data.train);
  split("Validation", data.val);
  print_row("Tokenizer", fmt::format("{} tokens; the id {} ends texts", data.vocab_size, data.eos_id), context);
}

void describe_safetensors(const std::filesystem::path& path, Context& context) {
  const AllWeights weights = read_safetensors_info(path);
  if (context.json) {
    context.print_json({{"format", "safetensors file"}, {"weights", weights_json(weights)}});
    return;
  }
  print_row("Format", "safetensors file", context);
  print_weights(weights, context);
}

void describe_tokenizer(const std::filesystem::path& path, Context& context) {
  // A .tiktoken file does not say how text is split, which does not matter here.
  const bool is_tiktoken = path.extension() == ".tiktoken";
  const Tokenizer tokenizer =
      Tokenizer::load(path, is_tiktoken ? std::optional(SplitPattern::none) : std::optional<SplitPattern>());
  const std::string splitting = is_tiktoken           ? "unknown"
                                : tokenizer.pattern() ? std::string(name_of(*tokenizer.pattern()))
                                                      : "steps of its own";
  if (context.json) {
    nlohmann::ordered_json special = nlohmann::ordered_json::object();
    for (const SpecialToken& token : tokenizer.special_tokens()) special[printable(token.text)] = token.id;
    context.print_json(
        {{"format", "tokenizer"},
         {"tokens", tokenizer.vocab_size()},
         {"pattern", splitting},
         {"special_tokens", special},
         {"text_prefix", std::vector<TokenId>(tokenizer.text_prefix().begin(), tokenizer.text_prefix().end())}});
    return;
  }
  print_row("Format", "tokenizer", context);
  print_row("Vocabulary",
            fmt::format("{} tokens, {} of them special", tokenizer.vocab_size(), tokenizer.special_tokens().size()),
            context);
  print_row("Pattern", splitting, context);
  std::vector<std::string> labels;
  const auto add = [&](std::string_view what, std::optional<TokenId> id) {
    if (id) labels.push_back(fmt::format("{} {}", what, token_label(tokenizer, *id)));
  };
  if (!tokenizer.text_prefix().empty()) add("before texts", tokenizer.text_prefix().front());
  add("begin", tokenizer.bos_id());
  add("end", tokenizer.eos_id());
  add("padding", tokenizer.pad_id());
  print_row("Tokens", labels.empty() ? "none" : fmt::format("{}", fmt::join(labels, ", ")), context);
}

constexpr std::string_view kinds =
    "a run, checkpoint, Hugging Face or data folder, a GGUF or safetensors file, a token shard or a tokenizer";

bool begins_as_json(const std::filesystem::path& path) {
  std::ifstream file(path);
  char first = 0;
  return file >> first && first == '{';
}

// Of a checkpoint, or of a run's newest one that is there.
void print_progress(const std::filesystem::path& folder, Context& context) {
  std::filesystem::path newest = folder;
  if (!path_exists(folder / "manifest.json")) {
    std::optional<std::int64_t> step;
    std::error_code error;
    for (auto at = std::filesystem::directory_iterator(folder / "checkpoints", error);
         at != std::filesystem::directory_iterator(); at.increment(error)) {
      const std::string name = at->path().filename().string();
      constexpr std::string_view before = "step-";
      std::int64_t number = -1;
      if (name.starts_with(before)) std::from_chars(name.data() + before.size(), name.data() + name.size(), number);
      if (number < 0 || (step && number <= *step)) continue;
      if (!path_exists(at->path() / "manifest.json")) continue;
      step = number;
      newest = at->path();
    }
    if (!step) return;
  }
  constexpr std::uint64_t most_bytes = 1 << 20;
  const auto json = nlohmann::json::parse(read_file(newest / "manifest.json", most_bytes), nullptr, false);
  if (!json.is_object() || !json.value("step", nlohmann::json()).is_number_integer()) return;
  const nlohmann::json loss = json.value("validation_loss", nlohmann::json());
  print_row("Training",
            fmt::format("to step {}{}", json["step"].get<std::int64_t>(),
                        loss.is_number() ? fmt::format(", validation loss {:.4f}", loss.get<double>()) : ""),
            context);
}

void describe_model(const std::filesystem::path& path, Context& context) {
  const ModelInfo info = read_model_info(path);
  print_notes(info.model.notes, context);
  if (context.json) return print_json(info, context);
  print(info, context);
  print_progress(path, context);
}

// What a file says of itself, whose model mslt cannot run.
void describe_unsupported(const Gguf& file, std::string_view reason, Context& context) {
  AllWeights weights;
  for (const GgufTensor& tensor : file.tensors()) {
    ModelInfo::Weights& of_type = weights[std::string(tensor.block.name)];
    ++of_type.tensors;
    of_type.bytes += tensor.data.size();
  }
  const std::string format = fmt::format("GGUF version {}", file.version());
  const auto text = [&](std::string_view key) {
    try {
      return printable(file.text(key, ""));
    } catch (const Error&) {
      return std::string();
    }
  };
  const std::string architecture = text("general.architecture");
  const std::string name = text("general.name");
  if (context.json) {
    context.print_json({{"format", format},
                        {"architecture", architecture},
                        {"name", name},
                        {"keys", file.keys().size()},
                        {"weights", weights_json(weights)},
                        {"unsupported", reason}});
    return;
  }
  print_row("Format", format, context);
  if (!architecture.empty()) print_row("Architecture", architecture, context);
  if (!name.empty()) print_row("Name", name, context);
  print_row("Keys", fmt::format("{}", file.keys().size()), context);
  if (weights.empty()) print_row("Weights", "none", context);
  print_weights(weights, context);
  print_row("Unsupported", reason, context);
}

void describe_gguf_file(const std::filesystem::path& path, Context& context) {
  const GgufFile file(path);
  // Some hold a tokenizer alone.
  const bool has_weights = !file.contents().tensors().empty() || !has_tokenizer(file.contents());
  try {
    has_weights ? describe_model(path, context) : describe_tokenizer(path, context);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::input) throw;
    describe_unsupported(file.contents(), error.what(), context);
  }
}

void describe(const std::filesystem::path& path, Context& context) {
  if (is_gguf_file(path)) return describe_gguf_file(path, context);
  if (is_folder(path)) {
    if (path_exists(path / "config.json")) return describe_model(path, context);
    if (path_exists(path / "data.json")) return describe_data(path, context);
    if (tokenizer_file_in(path)) return describe_tokenizer(path, context);
    return describe_model(path, context);
  }
  if (is_shard(path)) return describe_shard(path, context);
  if (path.extension() == ".safetensors") return describe_safetensors(path, context);
  refuse_pytorch_files(path);
  if (!path_exists(path)) fail(ErrorKind::io, "There is no {}; info takes {}.", path.string(), kinds);
  if (std::ranges::find(model_folder_files(), path.filename().string()) != model_folder_files().end() &&
      path.filename() != "tokenizer.json") {
    fail(ErrorKind::input, "{} is a part of a model folder; name the folder.", path.string());
  }
  if (path.extension() != ".tiktoken" && !begins_as_json(path) && !is_vocabulary_file(path)) {
    fail(ErrorKind::input, "{} is none of the files that info knows, which are {}.", path.string(), kinds);
  }
  describe_tokenizer(path, context);
}

}  // namespace

void add_info_command(CLI::App& app, Context& context) {
  const auto path = std::make_shared<std::string>();
  CLI::App* command =
      add_command(app, context, "info", "What the files of a model, a tokenizer or data hold",
                  "  mslt info run\n  mslt info model.gguf --json\n  mslt info data/train_000000.bin\n");
  command
      ->add_option(
          "path", *path,
          "A run, checkpoint, Hugging Face or data folder; a GGUF or safetensors file, token shard or tokenizer")
      ->required();
  command->callback([=, &context] {
    context.action = [=, &context] {
      describe(*path, context);
    };
  });
}

}  // namespace mslt::cli
