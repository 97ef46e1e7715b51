// What reports and plans say in words: settings, memory, the environment.
#include <sys/utsname.h>

#include <algorithm>
#include <cctype>
#include <ctime>
#include <type_traits>

#include "base/fail.h"
#include "base/parallel.h"
#include "model/config_fields.h"
#include "train/report.h"

namespace mslt {
namespace {

#ifdef __clang__
constexpr const char* compiler = __VERSION__;
#else
constexpr const char* compiler = "GCC " __VERSION__;
#endif

std::string every(std::int64_t steps, const char* otherwise) {
  return steps > 0 ? fmt::format("{} steps", steps) : otherwise;
}

}  // namespace

std::vector<std::pair<std::string, std::string>> describe_memory(const MemoryEstimate& memory) {
  std::vector<std::pair<std::string, std::string>> rows;
  const auto row = [&](const char* name, std::size_t bytes) {
    if (bytes > 0) rows.emplace_back(name, fmt::format("{:.1f} MiB", static_cast<double>(bytes) / (1024.0 * 1024.0)));
  };
  row("Parameters", memory.parameters);
  row("Gradients", memory.gradients);
  row("AdamW moments", memory.moments);
  row("Master weights", memory.master_weights);
  row("Activations", memory.activations);
  if (memory.recompute != Recompute::none) rows.emplace_back("Recomputed", name_of(memory.recompute));
  row("Scratch", memory.scratch);
  row("Staging", memory.staging);
  row("Together", memory.total());
  return rows;
}

std::string MemoryEstimate::describe() const {
  std::string text;
  for (const auto& [name, size] : describe_memory(*this)) text += fmt::format("  {:<16}{:>16}\n", name, size);
  return text;
}

std::vector<std::pair<std::string, std::string>> describe_options(const TrainOptions& options) {
  std::vector<std::pair<std::string, std::string>> rows;
  const auto row = [&](const char* name, std::string value) {
    rows.emplace_back(name, std::move(value));
  };
  row("Data", options.data.string());
  if (!options.init_from.empty()) row("Initial weights", options.init_from.string());
  row("Device", options.device);
  row("Data type", options.dtype);
  if (options.dtype != "f32") {
    row("Master weights", std::string(name_of(options.master_weights)));
    if (options.grad_dtype == GradientSums::f32) row("Sums of gradients", "f32");
  }
  if (options.zero > 0) {
    row("In parts", options.zero == 1 ? "the optimiser's state" : "gradients and the optimiser's state");
  }
  row("Recomputation", std::string(name_of(options.recompute)));
  row("Steps", fmt::format("{}", options.steps));
  row("Batch", fmt::format("{} × {} tokens{}", options.batch_size, options.seq_len,
                           options.grad_accum > 1 ? fmt::format(", {} accumulated", options.grad_accum) : ""));
  row("Learning rate",
      fmt::format("{:g}, {} to {:g}", options.lr, name_of(options.schedule),
                  options.schedule == Schedule::constant ? options.lr : options.lr * options.min_lr_ratio));
  row("Warmup", fmt::format("{} steps", options.warmup_steps()));
  row("AdamW", fmt::format("β₁ {:g}, β₂ {:g}, ε {:g}", options.beta1, options.beta2, options.epsilon));
  row("Weight decay", fmt::format("{:g}", options.weight_decay));
  row("Clipping", options.clip > 0.0 ? fmt::format("norm {:g}", options.clip) : "none");
  row("Seed", fmt::format("{}", options.seed));
  row("Evaluation every", every(options.eval_every, "the end"));
  row("Sample every", every(options.sample_every, "never"));
  if (options.profile_every > 0) row("Profile every", every(options.profile_every, "never"));
  row("Checkpoint every", every(options.save_every, "the end"));
  return rows;
}

std::vector<std::pair<std::string, std::string>> describe_model(const Config& config) {
  std::vector<std::pair<std::string, std::string>> rows;
  const auto row = [&](const std::string& name, std::string value) {
    rows.emplace_back(name, std::move(value));
  };
  row("Parameters",
      fmt::format("{} ({} without embeddings)", config.parameter_count(), config.non_embedding_parameter_count()));
  visit_fields(config, Config(), [&]<class T>(const ConfigField& field, const T& value, const T& usual) {
    if (field.later && value == usual) return;
    std::string words(field.name);
    words[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(words[0])));
    std::replace(words.begin(), words.end(), '_', ' ');
    if constexpr (std::is_enum_v<T>) {
      row(words, std::string(name_of(value)));
    } else if constexpr (std::is_same_v<T, bool>) {
      row(words, value ? "yes" : "no");
    } else if constexpr (std::is_integral_v<T>) {
      row(words, fmt::format("{}", value));
    } else if constexpr (std::is_same_v<T, std::vector<double>>) {
      row(words, fmt::format("{:g}", fmt::join(value, ", ")));
    } else {
      row(words, fmt::format("{:g}", value));
    }
  });
  return rows;
}

std::vector<std::pair<std::string, std::string>> describe_environment() {
  std::vector<std::pair<std::string, std::string>> rows;
  const std::time_t now = std::time(nullptr);
  std::tm utc = {};
  ::gmtime_r(&now, &utc);
  rows.emplace_back("Written", fmt::format("{:04}-{:02}-{:02} {:02}:{:02} UTC", utc.tm_year + 1900, utc.tm_mon + 1,
                                           utc.tm_mday, utc.tm_hour, utc.tm_min));
  struct utsname system = {};
  if (::uname(&system) == 0) {
    rows.emplace_back("System", fmt::format("{} {} {}", system.sysname, system.release, system.machine));
  }
  rows.emplace_back("Threads", fmt::format("{}", parallel_threads()));
  rows.emplace_back("Compiler", compiler);
  return rows;
}

}  // namespace mslt
