// mslt tune: measures the fastest launch parameters of the kernels on this device and stores them.
#include <fmt/format.h>
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <filesystem>
#include <memory>
#include <ostream>

#include "backend/msl/autotuner.h"
#include "backend/msl/tuning_store.h"
#include "backend/registry.h"
#include "base/fail.h"
#include "base/printable.h"
#include "cli/command.h"
#include "cli/interrupt.h"
#include "cli/model_options.h"
#include "cli/numbers.h"
#include "cli/progress.h"
#include "cli/ranges.h"
#include "cli/shell_quote.h"

namespace mslt::cli {
namespace {

struct TuneArguments {
  std::string device = "auto";
  ModelOptions model;
  std::string dtype = "f32";
  std::int64_t batch_size = 4;
  std::int64_t seq_len = 0;
  std::int64_t vocab_size = 0;
  int repeats = msl::TuneOptions().repeats;
  std::filesystem::path output;
};

msl::TuneShape tune_shape(const TuneArguments& arguments) {
  Config config = arguments.model.config();
  if (arguments.vocab_size > 0) config.vocab_size = arguments.vocab_size;
  config.validate();
  const std::int64_t steps = arguments.seq_len > 0 ? arguments.seq_len : config.max_positions;
  constexpr std::int64_t most_tokens = std::int64_t{1} << 26;
  if (steps > most_tokens || arguments.batch_size > most_tokens / steps) {
    fail(ErrorKind::usage, "--batch-size {} and --seq-len {} make more than {} tokens.", arguments.batch_size, steps,
         most_tokens);
  }
  return {.batch = arguments.batch_size,
          .steps = steps,
          .channels = config.channels,
          .ffn_size = config.ffn_size,
          .vocab_size = config.vocab_size,
          .heads = config.heads,
          .kv_heads = config.kv_heads,
          .head_size = config.head_size,
          .parameters = config.parameter_count(),
          .dtype = dtype_from_name(arguments.dtype)};
}

std::string describe(const TuneArguments& arguments, const msl::TuneShape& shape) {
  return fmt::format("{}: {} channels, feed-forward {}, vocabulary {}; {} sequences of {} tokens, {}",
                     arguments.model.preset, shape.channels, shape.ffn_size, shape.vocab_size, shape.batch, shape.steps,
                     name_of(shape.dtype));
}

std::string format_value(std::int64_t value) {
  return value == msl::any_size ? "any" : fmt::format("{}", value);
}

double seconds_of(const msl::TunedField& field, std::int64_t value) {
  for (const msl::CandidateTime& candidate : field.candidates) {
    if (candidate.value == value) return candidate.seconds;
  }
  return 0.0;
}

void print_table(const msl::TuneResult& result, std::ostream& out) {
  out << fmt::format("{:<23} {:>8} {:>8} {:>7}  {}\n", "launch", "table", "chosen", "faster", "µs of each candidate");
  for (const msl::TunedField& field : result.fields) {
    std::string times;
    for (const msl::CandidateTime& candidate : field.candidates) {
      times +=
          fmt::format("{}{} {:.1f}", times.empty() ? "" : ", ", format_value(candidate.value), 1e6 * candidate.seconds);
    }
    for (const std::int64_t value : field.refused) times += fmt::format(", {} too large", format_value(value));
    if (field.candidates.empty()) times = "alike at these sizes";
    const double before = seconds_of(field, field.table);
    const double after = seconds_of(field, field.chosen);
    const std::string gain = field.chosen == field.table ? "" : fmt::format("{:.0f} %", 100.0 * (before / after - 1.0));
    out << fmt::format("{:<23} {:>8} {:>8} {:>7}  {}\n", field.name, format_value(field.table),
                       format_value(field.chosen), gain, times);
  }
}

nlohmann::ordered_json to_json(const msl::TuneResult& result) {
  nlohmann::ordered_json fields = nlohmann::ordered_json::array();
  for (const msl::TunedField& field : result.fields) {
    nlohmann::ordered_json candidates = nlohmann::ordered_json::array();
    for (const msl::CandidateTime& candidate : field.candidates) {
      candidates.push_back({{"value", candidate.value}, {"microseconds", 1e6 * candidate.seconds}});
    }
    fields.push_back({{"name", field.name},
                      {"table", field.table},
                      {"chosen", field.chosen},
                      {"noise", field.noise},
                      {"candidates", candidates},
                      {"refused", field.refused},
                      {"workloads", field.workloads}});
  }
  return fields;
}

msl::TuneResult measure(std::unique_ptr<msl::Device> device, const msl::TuneShape& shape,
                        const TuneArguments& arguments, const InterruptGuard& interrupt, Context& context) {
  ProgressLine progress(context.err, context.err_is_terminal);
  msl::TuneOptions options;
  options.repeats = arguments.repeats;
  options.progress = [&](const msl::TuneProgress& at) {
    progress.update(fmt::format("{}/{}  {}: {}", at.done + 1, at.total, at.field, at.workload));
    return !interrupt.interrupted();
  };
  return msl::autotune(std::move(device), shape, options);
}

void tune(const TuneArguments& arguments, Context& context) {
  const msl::TuneShape shape = tune_shape(arguments);
  std::unique_ptr<msl::Device> device = make_msl_device(arguments.device);
  const DeviceInfo info = device->info();
  const bool is_stored = arguments.output.empty();
  const std::filesystem::path output = is_stored ? msl::stored_tuning_file(info) : arguments.output;
  if (output.empty()) {
    fail(ErrorKind::usage,
         "There is no folder to store the tuning in, since neither XDG_CACHE_HOME nor HOME is set; name a file with "
         "--output.");
  }
  const std::string measured_with = describe(arguments, shape);
  const InterruptGuard interrupt;
  const msl::TuneResult result = measure(std::move(device), shape, arguments, interrupt, context);
  msl::write_tuning(
      output, {.backend = info.backend, .device = info.name, .measured_with = measured_with, .tuning = result.tuning});
  interrupt.end_if_interrupted(output.string() + " is written.");
  if (context.json) {
    context.print_json({{"device", info.backend},
                        {"name", info.name},
                        {"measured_with", measured_with},
                        {"output", output.string()},
                        {"fields", to_json(result)}});
    return;
  }
  context.out << fmt::format("{} ({}), {}\n", info.name, info.backend, measured_with);
  print_table(result, context.out);
  const std::string use = is_stored ? std::string() : fmt::format(" --tuning {}", shell_quote(output.string()));
  context.out << fmt::format("Stored in {}\n", printable(output.string()));
  if (is_stored) {
    context.err << "All commands use it on this device from now on; --tuning none ignores it.\n";
  }
  context.err << fmt::format("Next: {} bench train --device {} --preset {} --dtype {}{}\n", context.program,
                             info.backend, arguments.model.preset, arguments.dtype, use);
}

}  // namespace

void add_tune_command(CLI::App& app, Context& context) {
  const auto arguments = std::make_shared<TuneArguments>();
  arguments->model.preset = "gpt2";
  CLI::App* command = add_command(app, context, "tune", "Find the fastest launch parameters of this device's kernels",
                                  "  mslt tune\n"
                                  "  mslt tune --device cuda --preset gpt2 --dtype bf16 --batch-size 16\n"
                                  "  mslt tune --device metal --preset mini --output m2.json\n"
                                  "  mslt train --data data --output run --tuning m2.json\n");
  add_model_options(*command, arguments->model);
  command->add_option("--device", arguments->device, "auto, cuda, metal or msl-host; of several GPUs cuda:1, say");
  command->add_option("--dtype", arguments->dtype, "f32, bf16 or f16");
  add_integer(*command, "--batch-size", arguments->batch_size, "Sequences at once", batch_range);
  add_integer(*command, "--seq-len", arguments->seq_len, "Tokens per sequence; 0 for the model's context",
              seq_len_range);
  add_integer(*command, "--vocab-size", arguments->vocab_size, "Tokens in the vocabulary; 0 for the model's",
              {.most = vocab_range.most, .unit = vocab_range.unit});
  add_integer(*command, "--repeats", arguments->repeats, "Samples per candidate; the median counts",
              {.least = 3, .most = 1000, .unit = "samples"});
  command->add_option("--output", arguments->output, "File to write instead of the one that all commands load");
  command->callback([=, &context] {
    context.action = [=, &context] {
      tune(*arguments, context);
    };
  });
}

}  // namespace mslt::cli
