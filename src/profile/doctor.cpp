// The examinations.
#include "profile/doctor.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <thread>
#include <utility>

#include "backend/cpu/host_info.h"
#include "backend/download_floats.h"
#include "base/cpu_counters.h"
#include "base/fail.h"
#include "base/file.h"
#include "base/file_copy.h"
#include "base/parallel.h"
#include "base/process_limits.h"
#include "model/inference_pass.h"
#include "profile/device_peaks.h"
#include "train/training_step.h"

namespace mslt {
namespace {

// Far above rounding in f32, far below what a wrong kernel does.
constexpr double largest_difference = 1e-3;

// A model of the preset's family with the sizes of a test.
Config small_model(std::string_view family, std::int64_t kv_heads) {
  Config config = preset(family);
  config.vocab_size = 256;
  config.max_positions = 32;
  config.layers = 2;
  config.channels = 64;
  config.heads = 4;
  config.kv_heads = kv_heads;
  config.head_size = 16;
  config.ffn_size = 128;
  return config;
}

// Gradients of a training step, then logits of a prompt and of a token behind it.
std::vector<std::vector<float>> results_of(Backend& backend, const Config& config) {
  constexpr std::int64_t positions = 16;
  Transformer transformer(backend, config, DType::f32);
  transformer.initialize(1);
  std::vector<std::int32_t> tokens(2 * positions);
  for (std::size_t i = 0; i < tokens.size(); ++i) tokens[i] = static_cast<std::int32_t>((i * 37 + 11) % 256);
  std::vector<std::vector<float>> results;
  {
    KvCache cache(backend, config, DType::f32, 1, KvCacheView::block_size);
    InferencePass pass(transformer, cache);
    const std::array<int, 1> slots = {0};
    const std::span<const std::int32_t> all(tokens);
    for (const auto& part : {all.first(7), all.subspan(7, 1)}) {
      const std::array<std::span<const std::int32_t>, 1> each = {part};
      results.push_back(download_floats(backend, pass.forward(slots, each)));
    }
  }
  TrainingStep step(transformer, {.batch_size = 2, .seq_len = positions});
  step.optimizer().initialize_master();
  step.run({.learning_rate = 1e-3, .tokens = tokens, .targets = tokens});
  backend.wait();
  results.push_back(download_floats(backend, step.pass().gradients().whole()));
  return results;
}

double relative_difference(const std::vector<float>& a, const std::vector<float>& b) {
  if (a.size() != b.size()) return HUGE_VAL;
  double difference = 0.0;
  double norm = 0.0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double d = static_cast<double>(a[i]) - static_cast<double>(b[i]);
    difference += d * d;
    norm += static_cast<double>(b[i]) * static_cast<double>(b[i]);
  }
  const double relative = std::sqrt(difference / norm);
  return std::isfinite(relative) ? relative : HUGE_VAL;
}

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

std::string_view name_of(Verdict verdict) {
  constexpr std::array<std::string_view, 3> names = {"good", "advice", "problem"};
  return names[static_cast<std::size_t>(verdict)];
}

Finding check_kernels(Backend& backend, Backend& reference) {
  Finding finding{.topic = "kernels"};
  double largest = 0.0;
  for (const Config& config : {small_model("gpt2", 4), small_model("llama-15m", 2)}) {
    const auto expected = results_of(reference, config);
    const auto found = results_of(backend, config);
    for (std::size_t i = 0; i < expected.size(); ++i) {
      largest = std::max(largest, relative_difference(found[i], expected[i]));
    }
  }
  finding.text = fmt::format("gradients and logits of small models differ from the CPU's by {:.1e}", largest);
  if (largest <= largest_difference) return finding;
  finding.verdict = Verdict::problem;
  finding.change =
      "The device computes wrong results. Update its driver; if that does not help, train with --device cpu and report "
      "it with this output.";
  return finding;
}

Finding check_speed(Backend& backend) {
  Finding finding{.topic = "speed"};
  const std::filesystem::path file = stored_peaks_file(backend.device());
  const std::optional<DevicePeaks> before = load_peaks(file, DType::f32);
  const DevicePeaks peaks = measure_peaks(backend, DType::f32);
  finding.text = fmt::format("{:.4g} GFLOP/s in large f32 products, {:.3g} GB/s, {:.1f} us for the smallest operation",
                             1e-9 * peaks.flops, 1e-9 * peaks.bandwidth, 1e6 * peaks.dispatch_seconds);
  constexpr double more = 1.1;
  if (before && (peaks.flops > more * before->flops || peaks.bandwidth > more * before->bandwidth)) {
    keep_better_peaks(backend.device(), DType::f32, peaks);
    finding.text += fmt::format(
        "; more than the {:.4g} GFLOP/s and {:.3g} GB/s that profiles knew, which are raised: they were measured "
        "beside "
        "other work",
        1e-9 * before->flops, 1e-9 * before->bandwidth);
  }
  constexpr double much_less = 0.7;
  if (before && (peaks.flops < much_less * before->flops || peaks.bandwidth < much_less * before->bandwidth)) {
    finding.verdict = Verdict::advice;
    finding.change = fmt::format(
        "Earlier it reached {:.4g} GFLOP/s and {:.3g} GB/s. Look for other programs that use it, and for heat.",
        1e-9 * before->flops, 1e-9 * before->bandwidth);
  }
  return finding;
}

Finding check_memory(const Backend& backend) {
  Finding finding{.topic = "memory"};
  const std::uint64_t device = backend.device().memory_bytes;
  const std::uint64_t free = host_free_bytes();
  finding.text = fmt::format("{} of the device, {} of the host's {} free", binary_size(device), binary_size(free),
                             binary_size(host_memory_bytes()));
  constexpr std::uint64_t little = std::uint64_t{1} << 30;
  if (free < little) {
    finding.verdict = Verdict::advice;
    finding.change = "Less than 1 GiB is free; close other programs, or use smaller batches and --recompute.";
  } else if (address_space_left() < little) {
    finding.verdict = Verdict::advice;
    finding.change = "The limit on this process's address space (ulimit -v) leaves less than 1 GiB; raise it.";
  }
  return finding;
}

Finding check_threads() {
  Finding finding{.topic = "threads"};
  const int threads = parallel_threads();
  const auto cores = static_cast<int>(std::thread::hardware_concurrency());
  finding.text = fmt::format("loops use {} of {} cores", threads, cores);
  if (cores > 0 && threads > cores) {
    finding.verdict = Verdict::advice;
    finding.change = fmt::format("More threads than cores are slower; set OMP_NUM_THREADS or --threads to {}.", cores);
  } else if (threads * 2 <= cores) {
    finding.verdict = Verdict::advice;
    finding.change =
        "At least half of the cores are not used; look at OMP_NUM_THREADS, the process's affinity and the container's "
        "limits.";
  }
  return finding;
}

Finding check_file_system(const std::filesystem::path& folder) {
  Finding finding{.topic = "files"};
  constexpr std::size_t bytes = std::size_t{64} << 20;
  const std::filesystem::path path = unused_path(folder / "mslt-doctor.tmp");
  try {
    const std::string block(std::size_t{1} << 20, 'x');
    auto start = std::chrono::steady_clock::now();
    {
      AtomicFile file(path);
      for (std::size_t written = 0; written < bytes; written += block.size()) file.write(block);
      file.commit();
    }
    const double writing = seconds_since(start);
    start = std::chrono::steady_clock::now();
    const std::string read = read_file(path, bytes);
    const double reading = seconds_since(start);
    std::error_code ignored;
    std::filesystem::remove(path, ignored);
    const double write_rate = 1e-6 * static_cast<double>(bytes) / writing;
    finding.text = fmt::format("{}: {:.0f} MB/s written and flushed, {:.0f} MB/s read again", folder.string(),
                               write_rate, 1e-6 * static_cast<double>(read.size()) / reading);
    constexpr double slow = 50.0;
    if (write_rate < slow) {
      finding.verdict = Verdict::advice;
      finding.change =
          "Checkpoints will take long here; name a folder on a faster disk with --output, or save less often.";
    }
  } catch (const Error& error) {
    std::error_code ignored;
    std::filesystem::remove(path, ignored);
    finding.verdict = Verdict::problem;
    finding.text = error.what();
    finding.change = "Name a folder that can be written and has 64 MiB free.";
  }
  return finding;
}

Finding check_counters() {
  const CpuCounters counters;
  if (counters.counts()) return {.topic = "counters", .text = "the processor's cycles and cache misses can be counted"};
  return {.verdict = Verdict::advice,
          .topic = "counters",
          .text = "mslt profile counts no cycles",
          .change = counters.refusal()};
}

std::vector<Finding> examine(Backend& backend, Backend& reference, const std::filesystem::path& folder) {
  std::vector<Finding> findings;
  Finding device{.topic = "device", .text = fmt::format("{}, {}", backend.device().backend, backend.device().name)};
  if (!backend.warning().empty()) {
    device.verdict = Verdict::advice;
    device.change = backend.warning();
  }
  findings.push_back(std::move(device));
  const auto add = [&](std::string_view topic, auto&& check) {
    try {
      findings.push_back(check());
    } catch (const Error& error) {
      findings.push_back({Verdict::problem, std::string(topic), error.what(), ""});
    }
  };
  add("memory", [&] { return check_memory(backend); });
  add("threads", [] { return check_threads(); });
  add("kernels", [&] { return check_kernels(backend, reference); });
  add("speed", [&] { return check_speed(backend); });
  add("files", [&] { return check_file_system(folder); });
  add("counters", [] { return check_counters(); });
  return findings;
}

}  // namespace mslt
