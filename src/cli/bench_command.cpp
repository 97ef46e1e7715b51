// mslt bench: the speed of training, generation, single operations and tokenizing, compared with this machine's limits.
#include <fmt/format.h>
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <ostream>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "backend/timed_backend.h"
#include "base/mapped_file.h"
#include "cli/bench.h"
#include "cli/command.h"
#include "cli/device_options.h"
#include "cli/model_options.h"
#include "cli/numbers.h"
#include "cli/parallel_options.h"
#include "cli/ranges.h"
#include "cli/sampling_options.h"
#include "cli/settings.h"
#include "cli/texts.h"
#include "cli/units.h"
#include "mslt/tokenizer.h"

namespace mslt::cli {
namespace {

// Where the time of `steps` steps goes: what each operation takes. `bench` runs them on the backend that it is
// given, and is handed what to call where they begin and end.
template <class Bench>
void print_operations(Backend& backend, std::int64_t steps, const Context& context, const Bench& bench) {
  TimedBackend timing(backend);
  StepTimeline timeline;
  bench(timing, [&](bool begins) {
    if (begins) {
      timing.begin_step();
    } else {
      timeline = timing.end_step();
    }
  });
  // Operations of one name on tensors of the same sizes: name, shape of the first tensor, bytes.
  using Key = std::tuple<std::string_view, std::string, double>;
  struct Times {
    std::int64_t calls = 0;
    double seconds = 0.0;  // of all calls
    Work work;             // of one call
  };
  std::map<Key, Times> all;
  for (const OperationTime& one : timeline.operations) {
    Times& times = all[{one.operation, one.shape, one.work.bytes}];
    ++times.calls;
    times.seconds += one.seconds;
    times.work = one.work;
  }
  using Row = std::pair<Key, Times>;
  std::vector<Row> rows(all.begin(), all.end());
  std::ranges::sort(rows, std::greater(), [](const Row& row) { return row.second.seconds; });
  nlohmann::ordered_json json = nlohmann::ordered_json::array();
  double together = 0.0;
  for (const auto& [key, times] : rows) {
    const double calls = static_cast<double>(times.calls) / static_cast<double>(steps);
    const double each = times.seconds / static_cast<double>(times.calls);
    together += calls * each;
    json.push_back({{"operation", std::get<0>(key)},
                    {"shape", std::get<1>(key)},
                    {"calls_a_step", calls},
                    {"seconds", each},
                    {"flops_per_second", times.work.flops / each},
                    {"bytes_per_second", times.work.bytes / each}});
    if (context.json) continue;
    context.out << fmt::format("{:<23} {:<16} {:>5} x {:>7.1f} us = {:>8.1f} us  {:>7}FLOP/s  {:>7}/s\n",
                               std::get<0>(key), std::get<1>(key), calls, 1e6 * each, 1e6 * calls * each,
                               format_count(times.work.flops / each), format_bytes(times.work.bytes / each));
  }
  if (context.json) return context.print_json(json);
  context.out << fmt::format("Together, one after another: {} a step\n", format_duration(together));
}

constexpr const char* operations_help = "Print instead what each operation of a step takes";

// What all processes reach beside what the first one reaches while the others wait.
struct Scaling {
  int processes = 1;
  double alone = 0.0;  // tokens/s
  double share(double together) const { return together / (processes * alone); }
};

// Training on all processes; on several, the leading one alone first.
TrainBenchResult bench_processes(Backend& backend, TrainBenchOptions options, Communicator& communicator,
                                 Scaling& scaling) {
  if (communicator.is_alone()) return bench_train(backend, options);
  scaling.processes = communicator.size();
  if (communicator.leads()) scaling.alone = bench_train(backend, options).tokens_per_second;
  communicator.barrier();
  options.others = &communicator;
  return bench_train(backend, options);
}

void print_train_bench(const TrainBenchResult& result, const TrainBenchOptions& options, const Scaling& scaling,
                       Context& context) {
  const double ceiling = scaling.processes * result.peak / result.flops_per_token;
  const bool on_device = result.device_bytes > 0;
  const std::size_t used = on_device ? result.device_bytes : result.resident_bytes;
  if (context.json) {
    nlohmann::ordered_json json = {{"tokens_per_second", result.tokens_per_second},
                                   {"step_seconds", result.step_seconds},
                                   {"device_seconds_a_step", result.device_seconds},
                                   {"peak_flops_per_second", result.peak},
                                   {"flops_per_token", result.flops_per_token},
                                   {"ceiling_tokens_per_second", ceiling},
                                   {"share_of_ceiling", result.tokens_per_second / ceiling},
                                   {"recompute", name_of(result.plan.recompute)},
                                   {"planned_bytes", result.plan.total()},
                                   {"resident_bytes", result.resident_bytes},
                                   {"device_bytes", result.device_bytes}};
    if (scaling.processes > 1) {
      json["processes"] = scaling.processes;
      json["alone_tokens_per_second"] = scaling.alone;
      json["scaling_efficiency"] = scaling.share(result.tokens_per_second);
    }
    context.print_json(json);
    return;
  }
  context.out << fmt::format("{} tokens/s; a step takes {} (mean of {})\n", format_count(result.tokens_per_second),
                             format_duration(result.step_seconds), options.steps);
  if (scaling.processes > 1) {
    context.out << fmt::format(
        "{} processes: {:.2f} times the {} tokens/s of one alone; {:.0f} % of the ideal {} tokens/s\n",
        scaling.processes, result.tokens_per_second / scaling.alone, format_count(scaling.alone),
        100.0 * scaling.share(result.tokens_per_second), format_count(scaling.processes * scaling.alone));
  }
  if (result.device_seconds > 0.0) {
    context.out << fmt::format("Device time per step, by its own clock: {}\n", format_duration(result.device_seconds));
  }
  context.out << fmt::format(
      "Ceiling set by matrix products: {} tokens/s at {}FLOP/s, measured before and after; {:.0f} % reached\n"
      "Memory: {} planned, {} {} ({:.2f} times)\n",
      format_count(ceiling), format_count(result.peak), 100.0 * result.tokens_per_second / ceiling,
      format_bytes(static_cast<double>(result.plan.total())), format_bytes(static_cast<double>(used)),
      on_device ? "of the device's used at most" : "peak resident",
      static_cast<double>(used) / static_cast<double>(result.plan.total()));
}

struct TrainBenchArguments {
  TrainBenchOptions options;
  ModelOptions model;
  ParallelOptions parallel;
  std::shared_ptr<DeviceOptions> device;
  bool operations = false;
};

void run_train_bench(TrainBenchArguments& arguments, Context& context) {
  TrainBenchOptions& options = arguments.options;
  options.model = arguments.model.config();
  const Communicator& communicator = *context.communicator;
  if (arguments.operations && !communicator.leads()) return;
  note_zero_alone(options.zero, communicator.is_alone(), context.err);
  DeviceOptions device = *arguments.device;
  device.device = own_device(arguments.parallel, device.device, context);
  const std::unique_ptr<Backend> backend = make_backend(device, context);
  if (arguments.operations) {
    print_operations(*backend, options.steps, context, [&](Backend& timing, const auto& timed) {
      options.timed = timed;
      bench_train(timing, options);
    });
    return;
  }
  Scaling scaling;
  const TrainBenchResult result = bench_processes(*backend, options, *context.communicator, scaling);
  if (communicator.leads()) print_train_bench(result, options, scaling, context);
}

void add_train_bench(CLI::App& bench, Context& context) {
  const auto arguments = std::make_shared<TrainBenchArguments>();
  TrainBenchOptions& options = arguments->options;
  arguments->model.preset = "mini";
  CLI::App* command = add_command(bench, context, "train",
                                  "Tokens per second of training, and the share of the ceiling set by matrix products; "
                                  "of several processes, each with a batch, beside one alone",
                                  "  mslt bench train --preset mini --vocab-size 2048 --batch-size 16\n"
                                  "  mpirun -n 2 mslt bench train --preset mini --batch-size 8\n");
  add_model_options(*command, arguments->model);
  arguments->device = add_device_options(*command);
  add_parallel_options(*command, arguments->parallel);
  command->add_option("--dtype", options.dtype, training_dtype_help);
  add_memory_options(*command, options);
  add_zero_option(*command, options.zero);
  add_integer(*command, "--batch-size", options.batch_size, "Sequences at once", batch_range);
  add_integer(*command, "--seq-len", options.seq_len, "Tokens per sequence; 0 for the model's context", seq_len_range);
  add_integer(*command, "--vocab-size", options.vocab_size, "Tokens in the vocabulary", vocab_range);
  add_integer(*command, "--steps", options.steps, "Timed steps, after some that are not",
              {.least = 1, .most = most_timed_steps, .unit = "steps"});
  add_switch(*command, "--operations", arguments->operations, operations_help);
  command->callback([=, &context] {
    context.action = [=, &context] {
      on_all_processes(arguments->parallel, arguments->device->device, context,
                       [&] { run_train_bench(*arguments, context); });
    };
  });
}

void add_generate_bench(CLI::App& bench, Context& context) {
  const auto options = std::make_shared<GenerateBenchOptions>();
  const auto model = std::make_shared<ModelOptions>();
  model->preset = "mini";
  CLI::App* command = add_command(bench, context, "generate",
                                  "Tokens per second of decoding, and the share of the ceiling set by memory bandwidth",
                                  "  mslt bench generate --preset gpt2 --batch-size 1 --dtype bf16\n"
                                  "  mslt bench generate --preset mini --temperature 0\n");
  add_model_options(*command, *model);
  const std::shared_ptr<DeviceOptions> device = add_device_options(*command);
  command->add_option("--dtype", options->dtype, "f32, bf16 or f16");
  command->add_option("--quantize", options->quantize,
                      "Matrices in memory: none, int8 or int4, in groups of 32; int4 leaves 8 bits to the output head");
  add_integer(*command, "--batch-size", options->batch_size, "Sequences at once", batch_range);
  add_integer(*command, "--prompt-tokens", options->prompt_tokens, "Tokens of the prompt", token_range);
  add_integer(*command, "--new-tokens", options->new_tokens, "Tokens to decode", token_range);
  add_sampling_options(*command, options->sampling);
  const auto operations = std::make_shared<bool>(false);
  add_switch(*command, "--operations", *operations, operations_help);
  command->callback([=, &context] {
    context.action = [=, &context] {
      options->model = model->config();
      const std::unique_ptr<Backend> backend = make_backend(*device, context);
      if (*operations) {
        print_operations(*backend, options->new_tokens, context, [&](Backend& timing, const auto& timed) {
          options->timed = timed;
          bench_generate(timing, *options);
        });
        return;
      }
      const GenerateBenchResult result = bench_generate(*backend, *options);
      const double ceiling = result.bandwidth / result.bytes_per_step * static_cast<double>(options->batch_size);
      if (context.json) {
        context.print_json({{"first_prompt_seconds", result.first_prompt_seconds},
                            {"first_step_seconds", result.first_step_seconds},
                            {"prefill_tokens_per_second", result.prefill_tokens_per_second},
                            {"decode_tokens_per_second", result.decode_tokens_per_second},
                            {"bandwidth_bytes_per_second", result.bandwidth},
                            {"bytes_per_step", result.bytes_per_step},
                            {"ceiling_tokens_per_second", ceiling},
                            {"share_of_ceiling", result.decode_tokens_per_second / ceiling}});
        return;
      }
      context.out << fmt::format(
          "Prompt: {} tokens/s, {} for the first prompt; then {} tokens/s, {} for the first step\n"
          "Ceiling set by memory bandwidth: {} tokens/s, reading {} per step at {}/s; {:.0f} % reached\n",
          format_count(result.prefill_tokens_per_second), format_duration(result.first_prompt_seconds),
          format_count(result.decode_tokens_per_second), format_duration(result.first_step_seconds),
          format_count(ceiling), format_bytes(result.bytes_per_step), format_bytes(result.bandwidth),
          100.0 * result.decode_tokens_per_second / ceiling);
    };
  });
}

void add_kernels_bench(CLI::App& bench, Context& context) {
  const auto options = std::make_shared<KernelBenchOptions>();
  const auto model = std::make_shared<ModelOptions>();
  model->preset = "mini";
  CLI::App* command = add_command(bench, context, "kernels", "Time of each operation at a model's shapes",
                                  "  mslt bench kernels --preset mini --batch-size 16\n");
  add_model_options(*command, *model);
  const std::shared_ptr<DeviceOptions> device = add_device_options(*command);
  command->add_option("--dtype", options->dtype, "f32, bf16 or f16");
  add_integer(*command, "--batch-size", options->batch_size, "Sequences at once", batch_range);
  command->callback([=, &context] {
    context.action = [=, &context] {
      options->model = model->config();
      nlohmann::ordered_json rows = nlohmann::ordered_json::array();
      for (const KernelBenchResult& row : bench_kernels(*make_backend(*device, context), *options)) {
        rows.push_back({{"operation", row.operation},
                        {"seconds", row.seconds},
                        {"flops_per_second", row.flops / row.seconds},
                        {"bytes_per_second", row.bytes / row.seconds}});
        if (!context.json) {
          context.out << fmt::format("{:<28} {:>9}  {:>9}FLOP/s  {:>9}/s\n", row.operation,
                                     format_duration(row.seconds), format_count(row.flops / row.seconds),
                                     format_bytes(row.bytes / row.seconds));
        }
      }
      if (context.json) context.print_json(rows);
    };
  });
}

struct TokenizerArguments {
  std::vector<std::string> inputs;
  std::uint32_t vocab_size = 1776;
  std::string pattern = "gpt2";
  int repeats = 5;
};

void bench_tokenizer(const TokenizerArguments& arguments, Context& context) {
  std::string text;
  for (const std::string& input : arguments.inputs) {
    const MappedFile file(input);
    text += file.text();
    file.require_intact();
  }
  TokenizerTrainOptions options;
  options.vocab_size = arguments.vocab_size;
  options.pattern = split_pattern_from_name(arguments.pattern);
  const double train_seconds = time_once([&] { Tokenizer::train_on_text(text, options); });
  const Tokenizer tokenizer = Tokenizer::train_on_text(text, options);
  std::vector<TokenId> ids;
  const double encode_seconds = median_seconds(arguments.repeats, [&] { ids = tokenizer.encode(text); });
  std::string decoded;
  const double decode_seconds = median_seconds(arguments.repeats, [&] { decoded = tokenizer.decode(ids); });
  const auto bytes = static_cast<double>(text.size());
  if (context.json) {
    context.print_json({{"bytes", text.size()},
                        {"tokens", ids.size()},
                        {"train_seconds", train_seconds},
                        {"encode_bytes_per_second", bytes / encode_seconds},
                        {"decode_bytes_per_second", bytes / decode_seconds}});
    return;
  }
  context.out << fmt::format("{} of text, {:.2f} bytes per token\nTraining {} tokens: {}\n", format_bytes(bytes),
                             bytes / static_cast<double>(ids.size()), tokenizer.vocab_size(),
                             format_duration(train_seconds))
              << fmt::format("Encoding: {}/s, decoding: {}/s, one thread\n", format_bytes(bytes / encode_seconds),
                             format_bytes(bytes / decode_seconds));
}

void add_tokenizer_bench(CLI::App& bench, Context& context) {
  const auto arguments = std::make_shared<TokenizerArguments>();
  CLI::App* command = add_command(bench, context, "tokenizer", "Speed of training, encoding and decoding on a text",
                                  "  mslt bench tokenizer --input book.txt\n");
  add_texts(*command, "--input", arguments->inputs, "Text files")->required();
  add_integer(*command, "--vocab-size", arguments->vocab_size, "Tokens to train", trained_vocab_range);
  command->add_option("--pattern", arguments->pattern, "gpt2, llama3, qwen2, o200k or none");
  add_integer(*command, "--repeats", arguments->repeats, "Runs; the median counts",
              {.least = 1, .most = 1000, .unit = "runs"});
  command->callback([=, &context] {
    context.action = [=, &context] {
      bench_tokenizer(*arguments, context);
    };
  });
}

}  // namespace

void add_bench_command(CLI::App& app, Context& context) {
  CLI::App* bench = app.add_subcommand("bench", "Measure speed on this machine, compared with its limits");
  bench->require_subcommand(1);
  add_train_bench(*bench, context);
  add_generate_bench(*bench, context);
  add_kernels_bench(*bench, context);
  add_tokenizer_bench(*bench, context);
}

}  // namespace mslt::cli
