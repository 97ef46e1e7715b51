// mslt eval: how well a model predicts prepared data.
#include <fmt/format.h>
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <memory>
#include <optional>
#include <ostream>

#include "base/fail.h"
#include "base/printable.h"
#include "cli/command.h"
#include "cli/device_options.h"
#include "cli/numbers.h"
#include "cli/progress.h"
#include "cli/ranges.h"
#include "data/data_folder.h"
#include "data/known_ids.h"
#include "formats/model_parts.h"
#include "mslt/model.h"
#include "train/evaluate.h"

namespace mslt::cli {
namespace {

// Unless --seq-len asks for longer ones: a long context takes much memory, and time that grows with its square.
constexpr std::int64_t customary_seq_len = 1024;

struct EvalArguments {
  std::string model;
  LoadOptions load;
  std::optional<std::int64_t> batch;
  bool no_bos = false;
  EvaluateOptions options;
};

// For examples: the longest one, at most the context.
void choose_padded_shape(EvalArguments& arguments, const Config& config, DType dtype, std::uint64_t memory,
                         Context& context) {
  EvaluateOptions& options = arguments.options;
  const TokenStream& tokens = *options.tokens;
  if (options.seq_len == 0) {
    options.seq_len = std::min(static_cast<std::int64_t>(tokens.longest_example()) - 1, config.max_positions);
  }
  const auto length = static_cast<std::uint64_t>(options.seq_len);
  options.batch = choose_evaluation_shape(config, dtype, tokens.examples() * length + 1, 0, arguments.batch,
                                          options.seq_len, memory)
                      .batch;
  const std::uint64_t cut = tokens.examples_above(length + 1);
  context.err << fmt::format("Evaluating {} examples, padded to {} tokens, {} at once{}.\n", tokens.examples(), length,
                             options.batch, cut > 0 ? fmt::format("; {} are longer and are cut there", cut) : "");
}

// Chosen from data and memory unless given; tells which.
void choose_shape(EvalArguments& arguments, const Model& model, Context& context) {
  EvaluateOptions& options = arguments.options;
  const Config& config = model.config();
  const Model::Parts& parts = model.parts();
  const DeviceInfo& device = parts.backend->device();
  const DType dtype = device.trains_16_bit ? parts.loaded.transformer->dtype() : DType::f32;
  // The rest is for the weights, the device's own buffers and other programs.
  const std::uint64_t memory = device.memory_bytes / 4;
  const auto prefix = static_cast<std::int64_t>(options.prefix.size());
  if (options.tokens->examples() > 0) return choose_padded_shape(arguments, config, dtype, memory, context);
  Config measured = config;
  if (options.seq_len == 0) measured.max_positions = std::min(config.max_positions, customary_seq_len);
  const EvaluationShape shape = choose_evaluation_shape(measured, dtype, options.tokens->size(), prefix,
                                                        arguments.batch, options.seq_len, memory);
  context.err << fmt::format(
      "Evaluating {} tokens in sequences of {} tokens, {} at once{}{}.\n", options.tokens->size(), shape.seq_len,
      shape.batch,
      shape.seq_len < config.max_positions
          ? fmt::format("; the model's context holds {}, --seq-len takes other lengths", config.max_positions)
          : "",
      prefix > 0 ? fmt::format("; {} stands before each", printable(model.tokenizer().decode(options.prefix))) : "");
  options.batch = shape.batch;
  options.seq_len = shape.seq_len;
}

void evaluate_model(EvalArguments arguments, Context& context) {
  const DataInfo data = read_data_info(arguments.options.data);
  const Tokenizer tokenizer = load_data_tokenizer(arguments.options.data, data);
  Model model = load_model(arguments.model, arguments.load, context);
  if (model.has_tokenizer()) {
    require_same_tokenizer(model.tokenizer(), arguments.model, tokenizer, arguments.options.data);
  } else {
    context.err << fmt::format(
        "Warning: {} has no tokenizer.json, so it cannot be checked that the data was prepared with the model's.\n",
        arguments.model);
  }
  require_known_ids(arguments.options.data, data, tokenizer, model.config().vocab_size, arguments.model);
  EvaluateOptions& options = arguments.options;
  // Examples have theirs.
  if (!arguments.no_bos && !data.holds_examples()) {
    options.prefix.assign(model.text_prefix().begin(), model.text_prefix().end());
  }
  options.tokens = std::make_shared<const TokenStream>(options.data, options.split);
  choose_shape(arguments, model, context);
  Model::Parts& parts = model.parts();
  TrainingPass pass(*parts.loaded.transformer, options.batch, options.seq_len, TrainingPass::Mode::evaluate);
  ProgressLine progress(context.err, context.err_is_terminal);
  options.progress = [&, start = std::chrono::steady_clock::now()](std::int64_t done, std::int64_t batches) {
    // Short evaluations need none.
    if (std::chrono::steady_clock::now() - start < std::chrono::seconds(1)) return;
    progress.update(fmt::format("evaluating: batch {} of {}", done, batches));
  };
  const EvaluationResult result = evaluate(*parts.backend, pass, options, bytes_of_tokens(tokenizer, data));
  progress.clear();
  if (!std::isfinite(result.loss)) {
    fail(ErrorKind::numeric,
         "The loss on {} is {}: with the weights of {}, numbers leave the range that they are computed in. Try --dtype "
         "f32.",
         options.data.string(), result.loss, arguments.model);
  }
  if (context.json) {
    context.print_json({{"loss", result.loss},
                        {"perplexity", result.perplexity},
                        {"bits_per_byte", result.bits_per_byte},
                        {"targets", result.targets},
                        {"bytes", result.bytes},
                        {"batch_size", options.batch},
                        {"seq_len", options.seq_len}});
    return;
  }
  context.out << fmt::format("Loss {:.4f}, perplexity {:.2f}, {:.3f} bits per byte over {} tokens\n", result.loss,
                             result.perplexity, result.bits_per_byte, result.targets);
}

}  // namespace

void add_eval_command(CLI::App& app, Context& context) {
  const auto arguments = std::make_shared<EvalArguments>();
  arguments->options.seq_len = 0;
  CLI::App* command = add_command(app, context, "eval", "Loss, perplexity and bits per byte on prepared data",
                                  "  mslt eval --model run --data data\n"
                                  "  mslt eval --model run --data data --split train --max-batches 100 --json\n");
  add_model_option(*command, arguments->model);
  command->add_option("--data", arguments->options.data, "Folder that data prepare wrote")->required();
  command->add_option("--split", arguments->options.split, "val or train");
  add_load_options(*command, arguments->load);
  add_integer(*command, "--batch-size", arguments->batch, "Sequences at once; by default 8 if they fit", batch_range);
  add_integer(*command, "--seq-len", arguments->options.seq_len,
              "Tokens per sequence; 0 for 1024, or fewer where context, data or memory allow no more", seq_len_range);
  add_switch(*command, "--no-bos", arguments->no_bos,
             "Leave out the prefix that the tokenizer's files put before each text");
  add_integer(*command, "--max-batches", arguments->options.max_batches, "Batches to evaluate; 0 for all",
              {.unit = "batches"});
  command->callback([=, &context] {
    context.action = [=, &context] {
      evaluate_model(*arguments, context);
    };
  });
}

}  // namespace mslt::cli
