// What a checkpoint holds besides the weights: the optimiser's tensors and state.json.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "base/json_value.h"
#include "data/loader.h"
#include "train/optimizer.h"

namespace mslt {

// The scalars of a run after `step` steps. A value type.
struct RunState {
  std::int64_t step = 0;
  std::int64_t updates = 0;  // steps that changed the weights; fewer than `step` where f16 gradients overflowed
  LoaderState loader;
  std::uint64_t metrics_bytes = 0;  // the length of metrics.jsonl
  double seconds = 0.0;             // of training
  std::optional<double> best_validation_loss;
  double loss_scale = 1.0;
  std::int64_t good_updates = 0;  // LossScaler's
  JsonValue identity;
  JsonValue options;     // as options_to_json
  JsonValue arithmetic;  // device and threads
};

// A state as JSON, and back. Throws Error(input) naming `source` and the member that is missing, of another type or out
// of its range.
nlohmann::json run_state_to_json(const RunState& state);
RunState run_state_from_json(const nlohmann::json& json, const std::string& source);

// state.json, written to disk before the return. Reading throws as run_state_from_json.
void save_run_state(const std::filesystem::path& path, const RunState& state);
RunState load_run_state(const std::filesystem::path& path);

// A shape as the files have it.
std::vector<std::uint64_t> safetensors_shape(const Shape& shape);

// The optimiser's tensors, of all elements, as a safetensors file, in pieces through at most 4 MiB of memory of its own
// where the host cannot reach the device's. Loading reads what the optimiser owns, and throws Error(input) naming the
// file and a tensor that is missing or of another shape.
void save_optimizer(const std::filesystem::path& path, Backend& backend, const AdamW& optimizer);
void load_optimizer(const std::filesystem::path& path, Backend& backend, const AdamW& optimizer);

}  // namespace mslt
