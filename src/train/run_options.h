// Training options as JSON: what run.json and a checkpoint's state.json hold.
#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "mslt/trainer.h"

namespace mslt {

// Every member under its own name, in both directions, except those that belong to one start: resume, from_step,
// discard_damaged. Members that are not there, as earlier versions wrote fewer, are as in `others`. Reading throws
// Error(input) naming `source` and the member that is missing or of the wrong type.
nlohmann::json options_to_json(const TrainOptions& options);
TrainOptions options_from_json(const nlohmann::json& json, const std::string& source, TrainOptions others = {});
nlohmann::json config_to_json(const Config& config);
Config config_from_json(const nlohmann::json& json, const std::string& source);

}  // namespace mslt
