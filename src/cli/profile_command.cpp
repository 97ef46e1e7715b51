// mslt profile: where the time of a step goes, and whether it got worse.
#include <fmt/format.h>
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "base/fail.h"
#include "base/file.h"
#include "base/printable.h"
#include "cli/command.h"
#include "cli/device_options.h"
#include "cli/exit_status.h"
#include "cli/model_options.h"
#include "cli/numbers.h"
#include "cli/profile_output.h"
#include "cli/profile_predict.h"
#include "cli/progress.h"
#include "cli/ranges.h"
#include "cli/settings.h"
#include "formats/model_info.h"
#include "profile/baseline.h"
#include "profile/predict.h"
#include "profile/profile_report.h"
#include "profile/trace.h"

namespace mslt::cli {
namespace {

constexpr int most_rounds = 10'000;
constexpr std::int64_t usual_vocab_size = 1776;  // of a preset that is trained: what mslt tokenizer train makes

struct ProfileArguments {
  ModelOptions model;
  WorkloadOptions workload;
  std::string model_path;
  std::string predict;
  std::int64_t vocab_size = 0;  // 0: the model's
  int rounds = 30;
  bool prompt = false;
  bool measure_peaks = false;
  std::filesystem::path trace;
  std::filesystem::path report;
  std::filesystem::path save_baseline;
  std::filesystem::path baseline;
  std::string tolerance = "5%";
};

// "5%" or "5 %" as 0.05.
double parse_tolerance(const std::string& text) {
  std::string number = text;
  if (!number.empty() && number.back() == '%') number.pop_back();
  while (!number.empty() && number.back() == ' ') number.pop_back();
  return 0.01 * parse_double("--tolerance", number, {.least = 0.0, .most = 1000.0, .unit = "percent"});
}

struct Measured {
  StepSamples samples;
  ProfileSummary summary;
};

Measured measure(const ProfileArguments& arguments, const DeviceOptions& device, Context& context) {
  const std::unique_ptr<Backend> backend = make_backend(device, context);
  Measured measured;
  StepSamples& samples = measured.samples;
  const DType dtype = dtype_from_name(arguments.workload.dtype);
  samples.peaks = device_peaks(*backend, dtype, arguments.measure_peaks);
  samples.what = describe(arguments.workload.kind);
  const std::string model = arguments.model_path.empty() ? arguments.model.preset : arguments.model_path;
  samples.subject = subject_of(backend->device(), arguments.workload, model);
  ProgressLine progress(context.err, context.err_is_terminal);
  std::optional<CpuCounters> counters;
  if (backend->device().backend == "cpu") {
    counters.emplace();
    samples.counters_refused = counters->refusal();
  }
  TimedBackend timed(*backend, counters ? &*counters : nullptr);
  const std::unique_ptr<Workload> workload = make_workload(timed, arguments.workload);
  sample_steps(samples, timed, *workload, arguments.rounds,
               [&](int round) { progress.update(fmt::format("step {} of {}", round + 1, arguments.rounds)); });
  progress.clear();
  measured.summary = summarise(samples);
  if (const double fastest = fastest_flops(measured.summary); fastest > samples.peaks.flops) {
    samples.beaten_flops = std::exchange(samples.peaks.flops, fastest);
    samples.peaks = keep_better_peaks(backend->device(), dtype, samples.peaks);
    measured.summary = summarise(samples);
  }
  return measured;
}

void profile(ProfileArguments arguments, const DeviceOptions& device, Context& context) {
  WorkloadOptions& workload = arguments.workload;
  workload.model =
      arguments.model_path.empty() ? arguments.model.config() : read_model_info(arguments.model_path).config;
  const bool trains_preset = workload.kind == WorkloadKind::train && arguments.model_path.empty();
  if (arguments.vocab_size == 0 && trains_preset) arguments.vocab_size = usual_vocab_size;
  if (arguments.vocab_size > 0) workload.model.vocab_size = arguments.vocab_size;
  if (arguments.prompt) workload.kind = WorkloadKind::prompt;
  if (!arguments.predict.empty()) return predict_training(arguments.predict, workload, context);
  const double tolerance = parse_tolerance(arguments.tolerance);
  // Before the work: a baseline that cannot be read costs no measurement.
  std::optional<Baseline> before;
  if (!arguments.baseline.empty()) before = read_baseline(arguments.baseline);

  const auto [samples, summary] = measure(arguments, device, context);
  const Baseline now = baseline_of(samples, summary);
  std::optional<BaselineComparison> comparison;
  if (before) comparison = compare_baselines(*before, now, tolerance);
  if (context.json) {
    context.print_json(profile_json(samples, summary, comparison ? &*comparison : nullptr));
  } else {
    print_profile(context.out, samples, summary);
    if (comparison) print_comparison(context.out, *comparison, tolerance);
  }
  const auto written = [&](const std::filesystem::path& path, const std::string& text) {
    if (path.empty()) return;
    write_file(path, text);
    context.err << fmt::format("Wrote {}\n", printable(path.string()));
  };
  if (!arguments.trace.empty()) {
    written(arguments.trace, trace_of(samples.timed.back(), samples.subject.at(1).second));
  }
  if (!arguments.report.empty()) {
    written(arguments.report, render_profile(samples, summary, comparison ? &*comparison : nullptr));
  }
  if (!arguments.save_baseline.empty()) {
    write_baseline(arguments.save_baseline, now);
    context.err << fmt::format("Wrote {}\n", printable(arguments.save_baseline.string()));
  }
  if (comparison && comparison->is_slower()) context.status = failure_status;
}

void add_common(CLI::App& command, ProfileArguments& arguments) {
  add_model_options(command, arguments.model);
  command.add_option("--model", arguments.model_path,
                     "A model whose sizes to take instead of a preset's; its weights do not matter");
  command.add_option("--dtype", arguments.workload.dtype, "f32, bf16 or f16");
  add_integer(command, "--batch-size", arguments.workload.batch_size, "Sequences at once", batch_range);
  add_integer(command, "--vocab-size", arguments.vocab_size,
              "Tokens in the vocabulary; 0 for the model's, or 1776 where a preset is trained",
              {.most = vocab_range.most, .unit = vocab_range.unit});
  add_integer(command, "--rounds", arguments.rounds, "Steps to measure whole, and as many operation by operation",
              {.least = 1, .most = most_rounds, .unit = "steps"});
  add_switch(command, "--measure-peaks", arguments.measure_peaks,
             "Measure the device's peak and bandwidth again, and store the better of both measurements");
  command.add_option("--trace", arguments.trace, "File for a trace of one step that Perfetto opens");
  command.add_option("--report", arguments.report, "File for a page with charts (HTML)");
  command.add_option("--save-baseline", arguments.save_baseline, "File for the measurements, to compare with later");
  command.add_option("--baseline", arguments.baseline,
                     "File of --save-baseline to compare with; the exit status is 1 where something got slower");
  command.add_option("--tolerance", arguments.tolerance, "How much slower something may be, in percent");
}

void run_on_callback(CLI::App& command, const std::shared_ptr<ProfileArguments>& arguments, Context& context) {
  const std::shared_ptr<DeviceOptions> device = add_device_options(command);
  command.callback([arguments, device, &context] {
    context.action = [arguments, device, &context] {
      profile(*arguments, *device, context);
    };
  });
}

void add_train_profile(CLI::App& profile, Context& context) {
  const auto arguments = std::make_shared<ProfileArguments>();
  arguments->workload.batch_size = 16;
  CLI::App* command = add_command(profile, context, "train", "A training step, measured here or predicted for a chip",
                                  "  mslt profile train --preset mini --batch-size 16\n"
                                  "  mslt profile train --preset mini --save-baseline mini.json\n"
                                  "  mslt profile train --preset mini --baseline mini.json --report mini.html\n"
                                  "  mslt profile train --predict m3-max --preset mini --batch-size 16\n");
  add_common(*command, *arguments);
  std::string names;
  for (const Chip& chip : chips()) names += (names.empty() ? "" : " or ") + std::string(chip.name);
  command->add_option("--predict", arguments->predict, "Measure nothing; predict for this chip: " + names);
  add_integer(*command, "--seq-len", arguments->workload.seq_len, "Tokens per sequence; 0 for the model's context",
              seq_len_range);
  add_memory_options(*command, arguments->workload);
  run_on_callback(*command, arguments, context);
}

void add_generate_profile(CLI::App& profile, Context& context) {
  const auto arguments = std::make_shared<ProfileArguments>();
  arguments->workload.kind = WorkloadKind::decode;
  CLI::App* command = add_command(profile, context, "generate", "A step of decoding, or the pass over a prompt",
                                  "  mslt profile generate --preset gpt2 --dtype bf16 --trace decode.json\n"
                                  "  mslt profile generate --model run --prompt --prompt-tokens 100\n");
  add_common(*command, *arguments);
  add_integer(*command, "--prompt-tokens", arguments->workload.prompt_tokens, "Tokens of the prompt", token_range);
  add_switch(*command, "--prompt", arguments->prompt, "Profile the pass over the prompt instead");
  add_quantize_option(*command, arguments->workload.quantize);
  run_on_callback(*command, arguments, context);
}

void add_serve_profile(CLI::App& profile, Context& context) {
  const auto arguments = std::make_shared<ProfileArguments>();
  arguments->workload.kind = WorkloadKind::serve;
  arguments->workload.batch_size = 8;
  CLI::App* command =
      add_command(profile, context, "serve", "A step of serving: a token of each request, beside part of a new prompt",
                  "  mslt profile serve --model run --batch-size 32\n"
                  "  mslt profile serve --preset gpt2 --quantize int8 --prefill-tokens 0\n");
  add_common(*command, *arguments);
  add_integer(*command, "--prompt-tokens", arguments->workload.prompt_tokens, "Tokens that each request has so far",
              token_range);
  add_integer(*command, "--prefill-tokens", arguments->workload.prefill_tokens,
              "Tokens of a new prompt that the step reads; 0 for none", {.most = token_range.most, .unit = "tokens"});
  add_quantize_option(*command, arguments->workload.quantize);
  run_on_callback(*command, arguments, context);
}

}  // namespace

void add_profile_command(CLI::App& app, Context& context) {
  CLI::App* profile = app.add_subcommand("profile", "Where the time of a step goes, and whether it got worse");
  profile->require_subcommand(1);
  add_train_profile(*profile, context);
  add_generate_profile(*profile, context);
  add_serve_profile(*profile, context);
}

}  // namespace mslt::cli
