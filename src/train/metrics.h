// metrics.jsonl: one JSON object a line for every step, evaluation and sample of a run.
#pragma once

#include <cstdint>
#include <deque>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "backend/timeline.h"
#include "mslt/trainer.h"

namespace mslt {

// Appends lines. Each goes to the operating system at once, so a killed process loses none; only sync() flushes to the
// disk. A line that cannot be written (Error(io)) is kept and written before the next one, so a full disk costs no
// line, and the file never ends in part of a line. Numbers have enough digits to read back the same bits. One thread at
// a time.
class MetricsLog {
 public:
  // Opens or creates the file and cuts it to its first `keep_bytes` bytes, or to the end of the last whole line in
  // them. Throws Error(io) if it cannot be written.
  MetricsLog(const std::filesystem::path& path, std::uint64_t keep_bytes);
  MetricsLog(const MetricsLog&) = delete;
  MetricsLog& operator=(const MetricsLog&) = delete;
  ~MetricsLog();

  // {"step", "loss", "lr", "grad_norm", "tokens_per_s", "time"}; `time` is in seconds of training.
  void step(const StepEvent& event, double time);
  // {"step", "val_loss", "val_perplexity", "val_bits_per_byte", "time"}
  void evaluation(const EvaluationEvent& event, double time);
  // {"step", "profile", "profile_seconds", "time"}: "profile" has an object for each operation's name with its "calls",
  // "seconds", "flops" and "bytes" in the step, "profile_seconds" is what the step took.
  void profile(std::int64_t step, const StepTimeline& timeline, double time);
  // {"step", "sample", "time"}
  void sample(const SampleEvent& event, double time);

  std::uint64_t bytes() const { return bytes_; }
  // Writes kept lines and flushes the file. Throws Error(io).
  void sync();

 private:
  void write(std::string line);
  void write_waiting();

  std::filesystem::path path_;
  int descriptor_ = -1;
  std::uint64_t bytes_ = 0;          // of whole lines in the file
  std::deque<std::string> waiting_;  // lines not in the file yet
};

// Copies what FILE holds from `keep_bytes` on to a new file FILE.after-step-`step` (or that with -2 and so on),
// flushed; returns its path, or nothing where FILE is no longer than that. Throws Error(io).
std::optional<std::filesystem::path> keep_metrics_after(const std::filesystem::path& path, std::uint64_t keep_bytes,
                                                        std::int64_t step);

// What a metrics.jsonl holds, in its order.
struct MetricsHistory {
  struct Step {
    std::int64_t step = 0;
    double loss = 0.0;
    double learning_rate = 0.0;
    double gradient_norm = 0.0;
    double tokens_per_second = 0.0;
    double time = 0.0;
  };
  std::vector<Step> steps;
  std::vector<EvaluationEvent> evaluations;
  std::vector<SampleEvent> samples;
};

// Reads a file that MetricsLog wrote; a last line cut short is passed over. Throws Error(input) naming a line that is
// no such object, Error(io) if the file cannot be read.
MetricsHistory read_metrics(const std::filesystem::path& path);

}  // namespace mslt
