// mslt eval: how well a model predicts prepared data.
#include <fmt/format.h>
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <memory>
#include <ostream>

#include "base/fail.h"
#include "cli/command.h"
#include "cli/device_options.h"
#include "cli/numbers.h"
#include "cli/ranges.h"
#include "data/data_folder.h"
#include "data/known_ids.h"
#include "formats/model_parts.h"
#include "mslt/model.h"
#include "train/evaluate.h"

namespace mslt::cli {
namespace {

struct Arguments {
  std::string model;
  LoadOptions load;
  EvaluateOptions options;
};

void evaluate_model(Arguments arguments, Context& context) {
  const DataInfo data = read_data_info(arguments.options.data);
  const Tokenizer tokenizer = load_data_tokenizer(arguments.options.data, data);
  Model model = Model::load(arguments.model, arguments.load);
  print_warning(*model.parts().backend, context);
  print_notes(model.notes(), context);
  if (model.has_tokenizer()) {
    require_same_tokenizer(model.tokenizer(), arguments.model, tokenizer, arguments.options.data);
  } else {
    context.err << fmt::format(
        "Warning: {} has no tokenizer.json, so it cannot be checked that the data was prepared with the model's.\n",
        arguments.model);
  }
  require_known_ids(arguments.options.data, data, tokenizer, model.config().vocab_size, arguments.model);
  EvaluateOptions& options = arguments.options;
  if (options.seq_len == 0) options.seq_len = model.config().max_positions;
  Model::Parts& parts = model.parts();
  TrainingPass pass(*parts.loaded.transformer, options.batch, options.seq_len, TrainingPass::Mode::evaluate);
  std::vector<std::uint32_t> bytes = bytes_of_tokens(tokenizer);
  bytes[data.eos_id] = 0;
  const EvaluationResult result = evaluate(*parts.backend, pass, options, bytes);
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
                        {"bytes", result.bytes}});
    return;
  }
  context.out << fmt::format("Loss {:.4f}, perplexity {:.2f}, {:.3f} bits per byte over {} tokens\n", result.loss,
                             result.perplexity, result.bits_per_byte, result.targets);
}

}  // namespace

void add_eval_command(CLI::App& app, Context& context) {
  const auto arguments = std::make_shared<Arguments>();
  arguments->options.batch = 8;
  arguments->options.seq_len = 0;
  CLI::App* command = add_command(app, context, "eval", "Loss, perplexity and bits per byte on prepared data",
                                  "  mslt eval --model run --data data\n"
                                  "  mslt eval --model run --data data --split train --max-batches 100 --json\n");
  command->add_option("--model", arguments->model, "A run folder or Hugging Face model folder")->required();
  command->add_option("--data", arguments->options.data, "Folder that data prepare wrote")->required();
  command->add_option("--split", arguments->options.split, "val or train");
  command->add_option("--device", arguments->load.device, "auto, cpu, cuda, metal or msl-host");
  add_tuning_option(*command, arguments->load.tuning);
  command->add_option("--dtype", arguments->load.dtype, "f32, bf16 or f16 weights in memory");
  add_integer(*command, "--batch-size", arguments->options.batch, "Sequences at once", batch_range);
  add_integer(*command, "--seq-len", arguments->options.seq_len, "Tokens of a sequence; 0 for the model's context",
              seq_len_range);
  add_integer(*command, "--max-batches", arguments->options.max_batches, "Batches to evaluate; 0 for all",
              {.unit = "batches"});
  command->callback([=, &context] {
    context.action = [=, &context] {
      evaluate_model(*arguments, context);
    };
  });
}

}  // namespace mslt::cli
