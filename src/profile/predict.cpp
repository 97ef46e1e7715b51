// One recorded step against a chip's roofline.
#include "profile/predict.h"

#include <algorithm>
#include <array>
#include <map>
#include <memory>
#include <utility>

#include "backend/msl/drivers/idle/idle_device.h"
#include "backend/msl/msl_backend.h"
#include "model/transformer.h"
#include "profile/inner_loop.h"
#include "train/training_step.h"

namespace mslt {
namespace {

struct Sums {
  KernelPrediction total;
  std::array<double, 3> seconds_of_bound{};
};

class Roofline {
 public:
  explicit Roofline(const Chip& chip) : chip_(chip) {}

  void add(const msl::DispatchRecord& record) {
    Sums& sums = kernels_[std::string(record.kernel)];
    const double memory = record.bytes / (chip_.bandwidth * chip_.bandwidth_share);
    const double arithmetic = record.flops / (chip_.flops * arithmetic_share(chip_, record.kernel));
    const double work = std::max(memory, arithmetic);
    Bound bound = memory >= arithmetic ? Bound::memory : Bound::arithmetic;
    if (work < chip_.dispatch_seconds) bound = Bound::dispatch;
    const double seconds = work + chip_.dispatch_seconds;
    ++sums.total.dispatches;
    sums.total.bytes += record.bytes;
    sums.total.flops += record.flops;
    sums.total.seconds += seconds;
    sums.seconds_of_bound[static_cast<std::size_t>(bound)] += seconds;
  }

  StepPrediction result() const {
    StepPrediction step;
    for (const auto& [name, sums] : kernels_) {
      KernelPrediction kernel = sums.total;
      kernel.kernel = name;
      const auto largest = std::max_element(sums.seconds_of_bound.begin(), sums.seconds_of_bound.end());
      kernel.bound = static_cast<Bound>(largest - sums.seconds_of_bound.begin());
      step.dispatches += kernel.dispatches;
      step.bytes += kernel.bytes;
      step.flops += kernel.flops;
      step.seconds += kernel.seconds;
      step.kernels.push_back(std::move(kernel));
    }
    std::stable_sort(step.kernels.begin(), step.kernels.end(),
                     [](const KernelPrediction& a, const KernelPrediction& b) { return a.seconds > b.seconds; });
    return step;
  }

 private:
  const Chip& chip_;
  std::map<std::string, Sums> kernels_;
};

}  // namespace

std::string_view name_of(Bound bound) {
  constexpr std::array<std::string_view, 3> names = {"memory", "arithmetic", "dispatch"};
  return names[static_cast<std::size_t>(bound)];
}

StepPrediction predict_training_step(const Config& config, DType dtype, std::int64_t batch, std::int64_t seq_len,
                                     const Chip& chip) {
  MslBackend backend(std::make_unique<msl::idle::IdleDevice>(chip.info(), chip.limits()));
  Transformer transformer(backend, config, dtype);
  TrainingStep training(transformer, {.batch_size = batch, .seq_len = seq_len});
  const std::vector<std::int32_t> tokens(static_cast<std::size_t>(batch * seq_len), 0);

  Roofline roofline(chip);
  backend.recorder().observe([&roofline](const msl::DispatchRecord& record) { roofline.add(record); });
  training.run({.learning_rate = 1e-4, .tokens = tokens, .targets = tokens});
  backend.wait();

  StepPrediction step = roofline.result();
  step.tokens_per_second = static_cast<double>(tokens.size()) / step.seconds;
  return step;
}

}  // namespace mslt
