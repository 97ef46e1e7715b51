// The prediction of mslt profile train --predict.
#include "cli/profile_predict.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <ostream>
#include <string>

#include "cli/units.h"
#include "profile/inner_loop.h"
#include "profile/predict.h"

namespace mslt::cli {
namespace {

// Whose share of the arithmetic is told.
constexpr std::string_view usual_product = "matmul_forward_direct";
constexpr std::string_view usual_attention = "attention_forward";

nlohmann::ordered_json to_json(const StepPrediction& step, const Chip& chip) {
  nlohmann::ordered_json kernels = nlohmann::ordered_json::array();
  for (const KernelPrediction& kernel : step.kernels) {
    kernels.push_back({{"kernel", kernel.kernel},
                       {"dispatches", kernel.dispatches},
                       {"bytes", kernel.bytes},
                       {"flops", kernel.flops},
                       {"seconds", kernel.seconds},
                       {"bound", name_of(kernel.bound)}});
  }
  return {{"prediction", true},
          {"chip", chip.name},
          {"assumed_compute_share", arithmetic_share(chip, usual_product)},
          {"assumed_attention_share", arithmetic_share(chip, usual_attention)},
          {"assumed_bandwidth_share", chip.bandwidth_share},
          {"assumed_dispatch_seconds", chip.dispatch_seconds},
          {"step_seconds", step.seconds},
          {"tokens_per_second", step.tokens_per_second},
          {"dispatches", step.dispatches},
          {"bytes", step.bytes},
          {"flops", step.flops},
          {"kernels", kernels}};
}

std::string milliseconds(double seconds) {
  return fmt::format("{:.{}f} ms", 1e3 * seconds, seconds < 0.01 ? 2 : 0);
}

void print(std::ostream& out, const StepPrediction& step, const Chip& chip) {
  out << fmt::format(
      "PREDICTION for {}, not a measurement: {:.1f} TFLOP/s and {:.0f} GB/s as published, of which products are "
      "assumed\n"
      "to reach {:.0f} %, attention {:.0f} % and memory {:.0f} %, with {:.0f} µs between two kernels.\n\n",
      chip.device, chip.flops / 1e12, chip.bandwidth / 1e9, 100.0 * arithmetic_share(chip, usual_product),
      100.0 * arithmetic_share(chip, usual_attention), 100.0 * chip.bandwidth_share, 1e6 * chip.dispatch_seconds);
  out << fmt::format("{:<34} {:>8} {:>10} {:>10} {:>9} {:>6}  {}\n", "kernel", "launches", "bytes", "FLOPs", "time", "",
                     "bound by");
  for (const KernelPrediction& kernel : step.kernels) {
    out << fmt::format("{:<34} {:>8} {:>10} {:>10} {:>9} {:>4.1f} %  {}\n", kernel.kernel, kernel.dispatches,
                       format_bytes(kernel.bytes), format_count(kernel.flops), milliseconds(kernel.seconds),
                       100.0 * kernel.seconds / step.seconds, name_of(kernel.bound));
  }
  out << fmt::format("{:<34} {:>8} {:>10} {:>10} {:>9}\n\n{} tokens/s predicted\n", "together", step.dispatches,
                     format_bytes(step.bytes), format_count(step.flops), milliseconds(step.seconds),
                     format_count(step.tokens_per_second));
}

}  // namespace

void predict_training(std::string_view chip_name, const WorkloadOptions& options, Context& context) {
  const Chip& chip = chip_from_name(chip_name);
  options.model.validate();
  const std::int64_t seq_len = options.seq_len > 0 ? options.seq_len : options.model.max_positions;
  const StepPrediction step =
      predict_training_step(options.model, dtype_from_name(options.dtype), options.batch_size, seq_len, chip);
  if (context.json) {
    context.print_json(to_json(step, chip));
  } else {
    print(context.out, step, chip);
  }
}

}  // namespace mslt::cli
