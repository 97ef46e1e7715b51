// What a resumed run must share with the first one, what it may change, and what its last bits depend on.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "data/data_folder.h"
#include "mslt/trainer.h"
#include "train/run_state.h"

namespace mslt {

// What must not change: model, data, batches, seed. The options are the resolved ones; `examples` counts those of the
// training split, 0 for running text.
nlohmann::json run_identity(const TrainOptions& options, const DataInfo& data, std::uint64_t examples);
// Throws Error(usage) naming the members of two identities that differ; `run` is the folder.
void require_same_identity(const std::filesystem::path& run, const nlohmann::json& now, const nlohmann::json& before);

// {"device", "threads"}: what the last bits of a run depend on besides its identity.
nlohmann::json run_arithmetic(const Backend& backend);

// A sentence for each changed option that affects the result, and for each difference in arithmetic.
std::vector<std::string> changes_since(const RunState& before, const TrainOptions& options,
                                       const nlohmann::json& arithmetic);

// The members of two objects that differ, as "lr 0.001 instead of 0.0003" (the value of `now` first), in the order of
// names; members that only one of them has count as differing.
std::vector<std::string> json_differences(const nlohmann::json& now, const nlohmann::json& before);

}  // namespace mslt
