// Training options as JSON: what run.json and a checkpoint's state.json hold, and how two of them differ.
#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "mslt/trainer.h"

namespace mslt {

// Every member under its own name, in both directions, but for those that belong to one start: resume, from_step,
// discard_damaged. Members that are not there, as earlier versions wrote fewer, are as in `others`. Reading throws
// Error(input) naming `source` and the member that is missing or of the wrong type.
nlohmann::json options_to_json(const TrainOptions& options);
TrainOptions options_from_json(const nlohmann::json& json, const std::string& source, TrainOptions others = {});
nlohmann::json config_to_json(const Config& config);
Config config_from_json(const nlohmann::json& json, const std::string& source);

// The members of two objects that differ, as "lr 0.001 instead of 0.0003" (the value of `now` first), in the order of
// names; members that only one of them has count as differing.
std::vector<std::string> json_differences(const nlohmann::json& now, const nlohmann::json& before);

// The members of options_to_json that change what a step computes in a way that no run can go on from: model, data
// order, numbers of sequences. The others may change on resumption.
nlohmann::json fixed_options(const nlohmann::json& options);
// The members that may change but make the run another one than it was: the optimiser's and the number of steps.
nlohmann::json changeable_options(const nlohmann::json& options);

}  // namespace mslt
