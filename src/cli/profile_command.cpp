// mslt profile: where the time of a training step goes.
#include <fmt/format.h>
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <memory>
#include <ostream>
#include <string>

#include "cli/command.h"
#include "cli/model_options.h"
#include "cli/numbers.h"
#include "cli/ranges.h"
#include "cli/units.h"
#include "profile/inner_loop.h"
#include "profile/predict.h"

namespace mslt::cli {
namespace {

// Whose share of the arithmetic is told.
constexpr std::string_view usual_product = "matmul_forward_direct";
constexpr std::string_view usual_attention = "attention_forward";

struct ProfileArguments {
  ModelOptions model;
  std::string predict;
  std::string dtype = "f32";
  std::int64_t batch_size = 16;
  std::int64_t seq_len = 0;
  std::int64_t vocab_size = 1776;
};

nlohmann::ordered_json to_json(const StepPrediction& step, const Chip& chip) {
  nlohmann::ordered_json kernels = nlohmann::ordered_json::array();
  for (const KernelPrediction& kernel : step.kernels) {
    kernels.push_back({{"kernel", kernel.kernel},
                       {"dispatches", kernel.dispatches},
                       {"bytes", kernel.bytes},
                       {"flops", kernel.flops},
                       {"seconds", kernel.seconds},
                       {"bound", name_of(kernel.bound)}});
  }
  return {{"prediction", true},
          {"chip", chip.name},
          {"assumed_compute_share", arithmetic_share(chip, usual_product)},
          {"assumed_attention_share", arithmetic_share(chip, usual_attention)},
          {"assumed_bandwidth_share", chip.bandwidth_share},
          {"assumed_dispatch_seconds", chip.dispatch_seconds},
          {"step_seconds", step.seconds},
          {"tokens_per_second", step.tokens_per_second},
          {"dispatches", step.dispatches},
          {"bytes", step.bytes},
          {"flops", step.flops},
          {"kernels", kernels}};
}

std::string milliseconds(double seconds) {
  return fmt::format("{:.{}f} ms", 1e3 * seconds, seconds < 0.01 ? 2 : 0);
}

void print(std::ostream& out, const StepPrediction& step, const Chip& chip) {
  out << fmt::format(
      "PREDICTION for {}, not a measurement: {:.1f} TFLOP/s and {:.0f} GB/s as published, of which products are "
      "assumed\n"
      "to reach {:.0f} %, attention {:.0f} % and memory {:.0f} %, with {:.0f} µs between two kernels.\n\n",
      chip.device, chip.flops / 1e12, chip.bandwidth / 1e9, 100.0 * arithmetic_share(chip, usual_product),
      100.0 * arithmetic_share(chip, usual_attention), 100.0 * chip.bandwidth_share, 1e6 * chip.dispatch_seconds);
  out << fmt::format("{:<34} {:>8} {:>10} {:>10} {:>9} {:>6}  {}\n", "kernel", "launches", "bytes", "FLOPs", "time", "",
                     "bound by");
  for (const KernelPrediction& kernel : step.kernels) {
    out << fmt::format("{:<34} {:>8} {:>10} {:>10} {:>9} {:>4.1f} %  {}\n", kernel.kernel, kernel.dispatches,
                       format_bytes(kernel.bytes), format_count(kernel.flops), milliseconds(kernel.seconds),
                       100.0 * kernel.seconds / step.seconds, name_of(kernel.bound));
  }
  out << fmt::format("{:<34} {:>8} {:>10} {:>10} {:>9}\n\n{} tokens/s predicted\n", "together", step.dispatches,
                     format_bytes(step.bytes), format_count(step.flops), milliseconds(step.seconds),
                     format_count(step.tokens_per_second));
}

void profile_train(const ProfileArguments& arguments, Context& context) {
  const Chip& chip = chip_from_name(arguments.predict);
  Config config = arguments.model.config();
  config.vocab_size = arguments.vocab_size;
  config.validate();
  const std::int64_t seq_len = arguments.seq_len > 0 ? arguments.seq_len : config.max_positions;
  const StepPrediction step =
      predict_training_step(config, dtype_from_name(arguments.dtype), arguments.batch_size, seq_len, chip);
  if (context.json) {
    context.print_json(to_json(step, chip));
  } else {
    print(context.out, step, chip);
  }
}

}  // namespace

void add_profile_command(CLI::App& app, Context& context) {
  CLI::App* profile = app.add_subcommand("profile", "Where the time of a step goes, kernel by kernel");
  profile->require_subcommand(1);
  const auto arguments = std::make_shared<ProfileArguments>();
  CLI::App* command = add_command(*profile, context, "train", "A training step, predicted for a chip",
                                  "  mslt profile train --predict m3-max --preset mini --batch-size 16\n");
  add_model_options(*command, arguments->model);
  std::string names;
  for (const Chip& chip : chips()) names += (names.empty() ? "" : " or ") + std::string(chip.name);
  command->add_option("--predict", arguments->predict, "The chip: " + names)->required();
  command->add_option("--dtype", arguments->dtype, "f32, bf16 or f16");
  add_integer(*command, "--batch-size", arguments->batch_size, "Sequences at once", batch_range);
  add_integer(*command, "--seq-len", arguments->seq_len, "Tokens per sequence; 0 for the model's context",
              seq_len_range);
  add_integer(*command, "--vocab-size", arguments->vocab_size, "Tokens in the vocabulary", vocab_range);
  command->callback([arguments, &context] {
    context.action = [arguments, &context] {
      profile_train(*arguments, context);
    };
  });
}

}  // namespace mslt::cli
