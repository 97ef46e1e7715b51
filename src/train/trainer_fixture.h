// What tests of whole runs share: data, a way to train that remembers what was told, and what was computed as text.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "backend/cpu/cpu_backend.h"
#include "mslt/error.h"
#include "mslt/trainer.h"
#include "train/metrics.h"
#include "train/test_run.h"
#include "train/trainer_parts.h"

namespace mslt {

namespace fs = std::filesystem;

inline bool contains(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

class TrainerTest : public testing::Test {
 protected:
  void SetUp() override { make_test_data(folder_.path()); }

  fs::path run_folder() const { return folder_.path() / "run"; }
  TrainOptions options() const { return test_options(folder_.path()); }

  // Trains and remembers what was told.
  TrainResult train(const TrainOptions& options) {
    TrainCallbacks callbacks;
    callbacks.event = [&](const TrainEvent& event) {
      if (const auto* note = std::get_if<NoteEvent>(&event)) notes_.push_back(note->text);
      events_.push_back(event);
      if (on_event_) on_event_(event);
    };
    callbacks.sample = [&](Model& model, std::int64_t step) {
      return on_sample_ ? on_sample_(model, step) : "sample of step " + std::to_string(step);
    };
    callbacks.stop = &stop_;
    Trainer trainer(std::make_unique<Trainer::Parts>(options, std::move(callbacks), backend_));
    return trainer.run();
  }
  // The message of the error that training ends with.
  std::string rejection(const TrainOptions& options, ErrorKind kind) {
    try {
      train(options);
    } catch (const Error& error) {
      EXPECT_EQ(static_cast<int>(error.kind()), static_cast<int>(kind)) << error.what();
      return error.what();
    }
    ADD_FAILURE() << "nothing was thrown";
    return "";
  }
  template <class Event>
  std::vector<Event> events() const {
    std::vector<Event> found;
    for (const TrainEvent& event : events_) {
      if (const auto* one = std::get_if<Event>(&event)) found.push_back(*one);
    }
    return found;
  }
  // metrics.jsonl without its timings.
  std::string losses() const {
    std::string text;
    const MetricsHistory history = read_metrics(run_folder() / "metrics.jsonl");
    for (const auto& step : history.steps) {
      char line[160];
      std::snprintf(line, sizeof line, "%lld %a %a %a\n", static_cast<long long>(step.step), step.loss,
                    step.gradient_norm, step.learning_rate);
      text += line;
    }
    for (const auto& event : history.evaluations) {
      char line[160];
      std::snprintf(line, sizeof line, "%lld %a\n", static_cast<long long>(event.step), event.loss);
      text += line;
    }
    for (const auto& sample : history.samples) text += sample.text + "\n";
    return text;
  }

  TestFolder folder_;
  CpuBackend backend_;
  std::atomic<bool> stop_ = false;
  std::vector<TrainEvent> events_;
  std::vector<std::string> notes_;
  std::function<void(const TrainEvent&)> on_event_;
  std::function<std::string(Model&, std::int64_t)> on_sample_;
};

}  // namespace mslt
