// Timed training steps and decoding.
#include "cli/bench.h"

#include <sys/resource.h>

#include <algorithm>
#include <memory>
#include <span>

#include "base/fail.h"
#include "generate/decode_steps.h"
#include "generate/token_drawer.h"
#include "model/inference_pass.h"
#include "profile/bandwidth.h"
#include "profile/matmul_peak.h"
#include "profile/workload.h"
#include "train/training_step.h"

namespace mslt::cli {
namespace {

#ifdef __APPLE__
constexpr std::size_t resident_unit = 1;
#else
constexpr std::size_t resident_unit = 1024;
#endif

std::size_t largest_resident_bytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<std::size_t>(usage.ru_maxrss) * resident_unit;
}

constexpr std::int64_t most_tokens = std::int64_t{1} << 24;
constexpr int most_warm_steps = 4;
constexpr double enough_warm_seconds = 1.0;

}  // namespace

void check_size(std::string_view flag, std::int64_t value, std::int64_t least, std::int64_t most) {
  if (value < least || value > most) {
    fail(ErrorKind::usage, "{} is {}; it must be from {} to {}.", flag, value, least, most);
  }
}

TrainBenchResult bench_train(Backend& backend, const TrainBenchOptions& options) {
  check_size("--steps", options.steps, 1, most_timed_steps);
  check_size("--batch-size", options.batch_size, 1, most_tokens);
  check_size("--seq-len", options.seq_len, 0, most_tokens);
  Config config = options.model;
  config.vocab_size = options.vocab_size;
  const std::int64_t seq_len = options.seq_len > 0 ? options.seq_len : config.max_positions;
  const DType asked = dtype_from_name(options.dtype);
  const DType dtype = storage_dtype(backend.device(), asked);
  backend.multiply_in_bf16(dtype != asked);
  Transformer transformer(backend, config, dtype);
  transformer.initialize(1);
  TrainingStepOptions shape = {.batch_size = options.batch_size,
                               .seq_len = seq_len,
                               .recompute = options.recompute,
                               .master_weights = options.master_weights,
                               .grad_dtype = options.grad_dtype};
  if (options.others != nullptr) {
    shape.rank = options.others->rank();
    shape.ranks = options.others->size();
    shape.zero = options.zero;
  }
  TrainBenchResult result;
  result.plan = TrainingStep::plan(backend, config, dtype, shape);
  shape.recompute = result.plan.recompute;
  TrainingStep training(transformer, shape, options.others);
  training.optimizer().initialize_master();

  const std::int64_t tokens_per_step = options.batch_size * seq_len;
  const auto tokens = random_tokens(tokens_per_step, config.vocab_size, 0);
  const auto targets = random_tokens(tokens_per_step, config.vocab_size, 1);

  StepInput input = {.step = 0, .update = 0, .learning_rate = 1e-4, .tokens = tokens, .targets = targets};
  const auto step = [&] {
    ++input.step;
    ++input.update;
    training.run(input);
    // As training does: steps run while the next is handed over.
    backend.throttle(TrainingStep::most_in_flight(dtype));
  };
  // A GPU's first steps choose plans and record graphs; elsewhere, where steps take long, one has to do.
  const bool prepares = backend.peak_device_bytes() > 0;
  double warm_seconds = 0.0;
  for (int i = 0; i < most_warm_steps && (prepares || warm_seconds < enough_warm_seconds); ++i) {
    warm_seconds += time_once(step);
  }
  backend.wait();
  // Before the peak is measured: its matrices would count as well.
  result.resident_bytes = largest_resident_bytes();
  result.device_bytes = backend.peak_device_bytes();
  result.peak = measure_matmul_peak(backend, dtype);
  const double device_before = backend.device_seconds();
  // A rank that measures its peak for longer would make the others wait in their first step.
  if (options.others != nullptr) options.others->barrier();
  // All steps together, since handing one over takes no time where those before it are still running.
  options.timed(true);
  result.step_seconds = time_once([&] {
                          for (std::int64_t i = 0; i < options.steps; ++i) step();
                          backend.wait();
                        }) /
                        static_cast<double>(options.steps);
  options.timed(false);
  result.device_seconds = (backend.device_seconds() - device_before) / static_cast<double>(options.steps);
  result.peak = std::max(result.peak, measure_matmul_peak(backend, dtype));
  result.tokens_per_second = static_cast<double>(shape.ranks * tokens_per_step) / result.step_seconds;
  result.flops_per_token = config.training_flops_per_token(seq_len);
  return result;
}

GenerateBenchResult bench_generate(Backend& backend, const GenerateBenchOptions& options) {
  check_size("--batch-size", options.batch_size, 1, most_tokens);
  check_size("--prompt-tokens", options.prompt_tokens, 1, most_tokens);
  check_size("--new-tokens", options.new_tokens, 1, most_tokens);
  const Config& config = options.model;
  const std::int64_t positions = options.prompt_tokens + options.new_tokens;
  if (positions > config.max_positions) {
    fail(ErrorKind::usage, "--prompt-tokens and --new-tokens add up to {}; the model's context holds {}.", positions,
         config.max_positions);
  }
  const DType dtype = dtype_from_name(options.dtype);
  Transformer transformer(backend, config, dtype);
  transformer.initialize(1);
  transformer.quantise(quantisation_from_name(options.quantize));
  const int slots = static_cast<int>(options.batch_size);
  KvCache cache(backend, config, dtype, slots, options.batch_size * positions);
  InferencePass pass(transformer, cache);

  std::vector<int> slot_list(static_cast<std::size_t>(slots));
  for (int i = 0; i < slots; ++i) slot_list[static_cast<std::size_t>(i)] = i;
  const auto prompt = random_tokens(options.prompt_tokens, config.vocab_size, 0);
  const std::vector<std::span<const std::int32_t>> tokens(slot_list.size(), prompt);
  TokenDrawer drawer(backend, options.sampling, options.batch_size, config.vocab_size);
  std::vector<std::vector<std::int32_t>> histories(slot_list.size(), prompt);
  std::vector<std::int32_t> next;
  const auto forward = [&](std::span<const std::span<const std::int32_t>> each) {
    drawer.load(pass.forward(slot_list, each));
    next = drawer.draw(slot_list, {histories.begin(), histories.end()});
    for (std::size_t i = 0; i < next.size(); ++i) histories[i].push_back(next[i]);
  };

  GenerateBenchResult result;
  result.bandwidth = measure_bandwidth(backend);
  const auto decode = [&](std::int64_t steps) {
    const std::vector<std::span<const std::int32_t>> each(histories.begin(), histories.end());
    DecodeSteps(backend, pass, drawer, slot_list, each).run(steps, [](const auto&) { return true; });
  };
  result.first_prompt_seconds = time_once([&] { forward(tokens); });
  result.first_step_seconds = time_once([&] { decode(1); });
  decode(std::min<std::int64_t>(options.new_tokens - 1, most_warm_steps));
  for (const int slot : slot_list) cache.truncate(slot, 0);
  histories.assign(slot_list.size(), prompt);
  const double prefill = time_once([&] { forward(tokens); });
  options.timed(true);
  const double decoding = time_once([&] { decode(options.new_tokens); });
  options.timed(false);
  result.prefill_tokens_per_second = static_cast<double>(options.batch_size * options.prompt_tokens) / prefill;
  result.decode_tokens_per_second = static_cast<double>(options.batch_size * options.new_tokens) / decoding;
  const auto element = static_cast<double>(size_of(dtype));
  const double plain =
      element * static_cast<double>(config.non_embedding_parameter_count() + config.vocab_size * config.channels);
  const auto quantised = static_cast<double>(transformer.quantised().bytes());
  const double middle = static_cast<double>(options.prompt_tokens) + static_cast<double>(options.new_tokens) / 2.0;
  const double cached = 2.0 * static_cast<double>(config.layers * config.kv_heads * config.head_size) * middle *
                        static_cast<double>(options.batch_size);
  result.bytes_per_step = (quantised > 0.0 ? quantised : plain) + element * cached;
  return result;
}

}  // namespace mslt::cli
