// mslt train: a model from prepared data.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>

#include <chrono>
#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>
#include <ostream>
#include <variant>

#include "backend/registry.h"
#include "base/fail.h"
#include "base/printable.h"
#include "cli/command.h"
#include "cli/device_options.h"
#include "cli/exit_status.h"
#include "cli/interrupt.h"
#include "cli/model_options.h"
#include "cli/numbers.h"
#include "cli/parallel_options.h"
#include "cli/progress.h"
#include "cli/ranges.h"
#include "cli/settings.h"
#include "cli/shell_quote.h"
#include "cli/units.h"
#include "mslt/generator.h"
#include "mslt/trainer.h"
#include "parallel/communicator.h"
#include "profile/matmul_peak.h"
#include "train/run_options.h"
#include "train/trainer_parts.h"

namespace mslt::cli {
namespace {

// The learning rate with --init-from, where a higher one would undo what the model has learnt.
constexpr double tuning_lr = 1e-4;

struct TrainArguments {
  TrainOptions options;
  ModelOptions model;
  ParallelOptions parallel;
  std::string schedule = "cosine";
  bool keep_model = false;  // options.model holds already, as when a run is resumed
};

nlohmann::ordered_json number(double value) {
  return std::isfinite(value) ? nlohmann::ordered_json(value) : nlohmann::ordered_json();
}

// Reports events on standard error as they happen.
class Reporter {
 public:
  explicit Reporter(Context& context) : progress_(context.err, context.err_is_terminal) {}

  void plan(const TrainPlan& plan, double peak) {
    peak_ = peak;
    progress_.print(fmt::format("Model: {} parameters, {} layers, {} channels, vocabulary {}, context {}",
                                format_count(static_cast<double>(plan.parameter_count)), plan.model.layers,
                                plan.model.channels, plan.model.vocab_size, plan.model.max_positions));
    progress_.print(fmt::format("Device: {}, {}FLOP/s in large matrix products", plan.device, format_count(peak)));
    progress_.print(fmt::format("Data: {} tokens for training, {} for validation; {} tokens a step",
                                format_count(static_cast<double>(plan.training_tokens)),
                                format_count(static_cast<double>(plan.validation_tokens)),
                                format_count(static_cast<double>(plan.tokens_per_step))));
    progress_.print(plan.memory.describe());
    if (!plan.resumed_from.empty()) {
      progress_.print(
          fmt::format("Resuming at step {} from {}", plan.first_step, printable(plan.resumed_from.string())));
    }
  }

  // Their events tell of all their FLOPs.
  void processes(const Communicator& communicator) {
    peak_ *= communicator.size();
    progress_.print(
        fmt::format("Processes: {}, which divide each step; the memory is that of each", communicator.size()));
  }

  void operator()(const StepEvent& event) {
    const std::string share = peak_ > 0 ? fmt::format(" ({:.0f} % of peak)", 100 * event.flops_per_second / peak_) : "";
    progress_.update(fmt::format("step {}/{}  loss {:.4f}  lr {:.2e}  norm {:.2f}  {} tokens/s{}  ETA {}", event.step,
                                 event.steps, event.loss, event.learning_rate, event.gradient_norm,
                                 format_count(event.tokens_per_second), share, format_duration(event.eta_seconds)),
                     event.step == event.steps);
  }
  void operator()(const EvaluationEvent& event) {
    progress_.print(fmt::format("step {}: validation loss {:.4f}, perplexity {:.2f}, {:.3f} bits per byte{}",
                                event.step, event.loss, event.perplexity, event.bits_per_byte,
                                event.best ? " (best so far)" : ""));
  }
  void operator()(const EvaluationProgressEvent& event) {
    // Short evaluations need none.
    if (event.done == 1) evaluation_began_ = std::chrono::steady_clock::now();
    if (std::chrono::steady_clock::now() - evaluation_began_ < std::chrono::seconds(1)) return;
    progress_.update(fmt::format("step {}: evaluating, batch {} of {}", event.step, event.done, event.batches));
  }
  void operator()(const SampleEvent& event) { progress_.print(fmt::format("step {}: {}", event.step, event.text)); }
  void operator()(const SaveEvent& event) {
    progress_.print(fmt::format("step {}: saved {}", event.step, printable(event.checkpoint.string())));
  }
  void operator()(const NoteEvent& event) { progress_.print((event.warning ? "Warning: " : "") + event.text); }

  void clear() { progress_.clear(); }

 private:
  ProgressLine progress_;
  double peak_ = 0.0;
  std::chrono::steady_clock::time_point evaluation_began_;
};

// `is_new`: whether this process made a step.
void print_result(const TrainResult& result, bool is_new, const TrainArguments& arguments, Context& context) {
  const std::string output = arguments.options.output.string();
  if (context.json) {
    nlohmann::ordered_json document = {{"output", output},
                                       {"step", result.step},
                                       {"interrupted", result.interrupted},
                                       {"loss", number(result.loss)},
                                       {"best_validation_loss", number(result.best_validation_loss)},
                                       {"tokens_per_second", number(is_new ? result.tokens_per_second : NAN)},
                                       {"seconds", result.seconds},
                                       {"checkpoint", result.checkpoint.string()}};
    if (result.validation) {
      document["validation"] = {{"loss", result.validation->loss},
                                {"perplexity", result.validation->perplexity},
                                {"bits_per_byte", result.validation->bits_per_byte}};
    }
    context.print_json(document);
    if (result.interrupted) context.err << result.how_to_resume << '\n';
    return;
  }
  if (is_new) {
    context.out << fmt::format("Trained to step {} in {}, {} tokens/s: {}\n", result.step,
                               format_duration(result.seconds), format_count(result.tokens_per_second),
                               printable(output));
  } else {
    context.out << fmt::format("Nothing to train: the run had made its {} steps: {}\n", result.step, printable(output));
  }
  if (result.validation) {
    context.out << fmt::format("Validation loss {:.4f}, perplexity {:.2f}, {:.3f} bits per byte\n",
                               result.validation->loss, result.validation->perplexity,
                               result.validation->bits_per_byte);
  }
  if (result.interrupted) {
    context.err << result.how_to_resume << '\n';
  } else {
    context.err << fmt::format("Next: {} generate --model {} --prompt 'Once'\n", context.program, shell_quote(output));
  }
}

void train(TrainArguments arguments, Context& context) {
  TrainOptions& options = arguments.options;
  if (!arguments.keep_model) {
    options.model = arguments.model.config();
    options.model.max_positions = std::max(options.model.max_positions, options.seq_len);
  }
  options.schedule = schedule_from_name(arguments.schedule);
  note_zero_alone(options.zero, context.communicator->is_alone(), context.err);

  Communicator& communicator = *context.communicator;
  const InterruptGuard interrupt(
      communicator.leads() ? "Stopping after this step, with a checkpoint; another signal ends at once." : nullptr);
  Reporter reporter(context);
  TrainCallbacks callbacks;
  callbacks.event = [&](const TrainEvent& event) {
    std::visit(reporter, event);
  };
  callbacks.stop = &interrupt.flag();
  callbacks.sample = [&options](Model& model, std::int64_t) {
    const GenerateOptions sampling{.sampling = {.temperature = 0.8f, .seed = options.seed}, .max_new_tokens = 100};
    return options.sample_prompt + Generator(model).generate(options.sample_prompt, sampling).front().text;
  };
  Trainer trainer(
      std::make_unique<Trainer::Parts>(options, std::move(callbacks),
                                       mslt::make_backend(own_device(arguments.parallel, options.device, context),
                                                          options.tuning, {options.attention, options.products}),
                                       &communicator));
  Backend& backend = trainer.parts().backend;
  double peak = 0.0;
  if (communicator.leads()) {
    print_warning(backend, context);
    peak = measure_matmul_peak(backend, dtype_from_name(options.dtype));
    reporter.plan(trainer.plan(), peak);
    if (!communicator.is_alone()) reporter.processes(communicator);
  }
  const TrainResult result = trainer.run(peak * communicator.size());
  if (result.interrupted) context.status = stopped_training_status;
  if (!communicator.leads()) return;
  reporter.clear();
  print_result(result, result.step >= trainer.plan().first_step, arguments, context);
}

void add_training_options(CLI::App& command, TrainArguments& arguments) {
  TrainOptions& options = arguments.options;
  command.add_option("--data", options.data, "Folder that data prepare wrote")->required();
  command.add_option("--output", options.output, "Run folder, made where it does not exist")->required();
  add_switch(command, "--resume", options.resume, "Continue from the newest checkpoint; begin where there is none");
  add_integer(command, "--from-step", options.from_step, "With --resume: continue from the checkpoint of this step",
              {.unit = "steps"});
  add_switch(command, "--discard-damaged", options.discard_damaged, "With --resume: set damaged checkpoints aside");
  command.add_option("--init-from", options.init_from,
                     "Start from the weights of this model folder or GGUF file, whose shape and tokenizer hold then");
  add_switch(command, "--force-tokenizer", options.force_tokenizer,
             "With --init-from: accept data of another tokenizer; each id keeps its embedding but means another token, "
             "which training has to learn anew");
  add_device_option(command, options.device);
  add_tuning_option(command, options.tuning);
  add_library_options(command, options.attention, options.products);
  command.add_option("--dtype", options.dtype, training_dtype_help);
  add_memory_options(command, options);
  add_zero_option(command, options.zero);
  add_integer(command, "--steps", options.steps, "Updates of the weights", {.least = 1, .unit = "steps"});
  add_integer(command, "--batch-size", options.batch_size, "Sequences at once", batch_range);
  add_integer(
      command, "--seq-len", options.seq_len,
      "Tokens per sequence; 0 for the model's context (with --init-from at most 512), or as many as the longest "
      "example needs",
      seq_len_range);
  add_integer(command, "--grad-accum", options.grad_accum, "Batches whose gradients make one update",
              {.least = 1, .most = std::uint64_t{1} << 24, .unit = "batches"});
  add_real(command, "--lr", options.lr, "Highest learning rate; with --init-from 1e-4 unless given",
           {.most = largest_real, .above_least = true});
  add_real(command, "--min-lr-ratio", options.min_lr_ratio, "Last learning rate over the highest", {});
  add_integer(command, "--warmup", options.warmup, "Steps over which the rate rises", {.unit = "steps"});
  command.add_option("--schedule", arguments.schedule, "cosine, linear, constant or wsd");
  add_real(command, "--decay-fraction", options.decay_fraction, "wsd: share of the steps over which the rate falls",
           {});
  add_real(command, "--beta1", options.beta1, "Decay of AdamW's first moment", {.below_most = true});
  add_real(command, "--beta2", options.beta2, "Decay of AdamW's second moment", {.below_most = true});
  add_real(command, "--epsilon", options.epsilon, "AdamW's epsilon", {.least = 1e-30, .most = largest_real});
  add_real(command, "--weight-decay", options.weight_decay, "Decoupled weight decay of the matrices",
           {.most = largest_real});
  add_real(command, "--clip", options.clip, "Largest norm of the gradient; 0 clips nothing", {.most = largest_real});
  add_real(command, "--dropout", options.dropout, "Dropout probability", {.below_most = true});
  add_integer(command, "--seed", options.seed, "Fixes weights, order of the data, and dropout", seed_range);
  add_integer(command, "--eval-every", options.eval_every, "Steps between evaluations; 0 for one at the end",
              {.unit = "steps"});
  add_integer(command, "--eval-batches", options.eval_batches, "Batches of an evaluation; 0 for all",
              {.unit = "batches"});
  add_integer(command, "--sample-every", options.sample_every, "Steps between samples; 0 for none", {.unit = "steps"});
  command.add_option("--sample-prompt", options.sample_prompt, "What the samples begin with");
  add_integer(command, "--save-every", options.save_every, "Steps between checkpoints; 0 for one at the end",
              {.unit = "steps"});
  add_integer(command, "--profile-every", options.profile_every,
              "Steps between those whose operations are timed, for metrics.jsonl and TensorBoard; 0 for none",
              {.unit = "steps"});
  add_integer(command, "--keep-checkpoints", options.keep_checkpoints, "Checkpoints kept in addition to the best",
              {.least = 1, .most = std::uint64_t{1} << 20, .unit = "checkpoints"});
}

// The model of --init-from has its own shape; these flags would have no effect.
void refuse_model_flags(const CLI::App& given, const TrainOptions& options) {
  if (options.init_from.empty()) return;
  std::vector<std::string> flags;
  for (const CLI::Option* option : given.get_options()) {
    if (option->count() > 0 && option->get_group() == model_option_group) flags.push_back(option->get_name());
  }
  if (flags.empty()) return;
  fail(ErrorKind::usage,
       "{} cannot be combined with --init-from: the model in {} has its shape already. Leave {} out, or begin without "
       "--init-from. (--dropout may be given.)",
       fmt::join(flags, ", "), options.init_from.string(), flags.size() == 1 ? "it" : "them");
}

// The options of the run to resume, overridden by those on the command line.
TrainArguments resumed_arguments(const CLI::App& given, const TrainOptions& options, Communicator& communicator) {
  TrainArguments arguments;
  CLI::App app;
  app.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  add_training_options(app, arguments);
  add_model_options(app, arguments.model);
  const TrainOptions defaults = arguments.options;
  // Other processes than the first need not see the run folder.
  std::string written;
  if (communicator.leads()) written = options_to_json(load_run_options(options.output, defaults)).dump();
  written = communicator.broadcast(std::move(written));
  arguments.options = options_from_json(nlohmann::json::parse(written), options.output.string(), defaults);
  arguments.schedule = std::string(name_of(arguments.options.schedule));
  // A tuning and a choice of libraries belong to one device.
  if (given.count("--device") > 0) {
    arguments.options.tuning = defaults.tuning;
    arguments.options.attention = defaults.attention;
    arguments.options.products = defaults.products;
  }
  std::vector<std::string> again;
  arguments.keep_model = true;
  for (const CLI::Option* option : given.get_options()) {
    if (option->count() == 0 || app.get_option_no_throw(option->get_name()) == nullptr) continue;
    if (option->get_group() == model_option_group) arguments.keep_model = false;
    // CLI11 takes them from the last to the first.
    const std::string& value = option->results().back();
    if (value.empty()) again.emplace_back();
    again.push_back(option->get_name() + (value.empty() ? "" : "=" + value));
  }
  app.parse(std::move(again));
  return arguments;
}

void train_as_asked(const CLI::App& command, const TrainArguments& arguments, Context& context) {
  const TrainOptions& options = arguments.options;
  Communicator& communicator = *context.communicator;
  const bool has_run = communicator.leads() && options.resume && holds_run(options.output);
  const bool resumes = !communicator.broadcast(has_run ? std::string("resumes") : std::string()).empty();
  TrainArguments chosen = resumes ? resumed_arguments(command, options, communicator) : arguments;
  chosen.parallel = arguments.parallel;
  if (!resumes && !options.init_from.empty() && command.count("--lr") == 0) {
    chosen.options.lr = tuning_lr;
    if (context.communicator->leads()) {
      context.err << fmt::format("Note: --lr is {:g}, as --init-from starts from trained weights.\n", tuning_lr);
    }
  }
  refuse_model_flags(command, chosen.options);
  train(chosen, context);
}

}  // namespace

void add_train_command(CLI::App& app, Context& context) {
  const auto arguments = std::make_shared<TrainArguments>();
  CLI::App* command =
      add_command(app, context, "train", "Train a model on prepared data",
                  "  mslt train --data data --output run --preset tiny --steps 1000\n"
                  "  mslt train --data data --output run --preset mini --batch-size 16 --lr 1e-3 --sample-every 200\n"
                  "  mslt train --data data --output tuned --init-from model --steps 200 --batch-size 4\n"
                  "  mslt train --data data --output run --resume\n"
                  "  mpirun -n 2 mslt train --data data --output run --preset tiny --grad-accum 2\n"
                  "  mslt train --data data --output run --preset gpt2 --dtype bf16 --devices all\n"
                  "SIGINT (Ctrl-C), SIGTERM and SIGHUP end training after the current step: it saves a checkpoint and "
                  "exits with status 3.\nA second SIGINT or SIGTERM ends it at once.\n");
  add_training_options(*command, *arguments);
  add_parallel_options(*command, arguments->parallel);
  add_model_options(*command, arguments->model);
  command->callback([=, &context] {
    context.action = [=, &context] {
      // A run that is resumed knows its device.
      const bool is_known = !arguments->options.resume || command->count("--device") > 0;
      on_all_processes(arguments->parallel, is_known ? arguments->options.device : std::string(), context,
                       [&] { train_as_asked(*command, *arguments, context); });
    };
  });
}

}  // namespace mslt::cli
