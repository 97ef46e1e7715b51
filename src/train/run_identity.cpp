// Comparing a run with what it was.
#include "train/run_identity.h"

#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include <initializer_list>

#include "base/fail.h"
#include "base/parallel.h"
#include "train/run_options.h"

namespace mslt {
namespace {

using Json = nlohmann::json;

Json select(const Json& options, std::initializer_list<const char*> names) {
  Json selected = Json::object();
  for (const char* name : names) selected[name] = options.at(name);
  return selected;
}

// The optimiser's settings and the number of steps.
Json changeable_options(const Json& options) {
  return select(options, {"steps", "lr", "min_lr_ratio", "warmup", "schedule", "decay_fraction", "beta1", "beta2",
                          "epsilon", "weight_decay", "clip"});
}

}  // namespace

Json run_identity(const TrainOptions& options, const DataInfo& data, std::uint64_t examples) {
  Json identity = select(options_to_json(options), {"dtype", "batch_size", "seq_len", "grad_accum", "seed"});
  if (options.master_weights != MasterWeights::f32) identity["master_weights"] = name_of(options.master_weights);
  if (options.grad_dtype != GradientSums::as_parameters) identity["grad_dtype"] = name_of(options.grad_dtype);
  identity.update(config_to_json(options.model));
  identity["data_tokenizer"] = data.tokenizer_hash;
  identity["data_train_tokens"] = data.train.tokens;
  identity["data_val_tokens"] = data.val.tokens;
  identity["data_train_shards"] = data.train.shards;
  if (examples > 0) identity["data_train_examples"] = examples;
  return identity;
}

void require_same_identity(const std::filesystem::path& run, const Json& now, const Json& before) {
  const auto differences = json_differences(now, before);
  if (differences.empty()) return;
  fail(ErrorKind::usage,
       "The run in {} cannot be resumed with another model, other data or other batches: {}. Repeat the options it was "
       "started with, or begin a new run in another --output.",
       run.string(), fmt::join(differences, "; "));
}

Json run_arithmetic(const Backend& backend) {
  return {{"device", backend.device().name}, {"threads", parallel_threads()}};
}

std::vector<std::string> changes_since(const RunState& before, const TrainOptions& options, const Json& arithmetic) {
  std::vector<std::string> changes;
  for (const std::string& difference :
       json_differences(changeable_options(options_to_json(options)), changeable_options(before.options))) {
    changes.push_back(fmt::format("Resumed with {}.", difference));
  }
  for (const std::string& difference : json_differences(arithmetic, before.arithmetic)) {
    changes.push_back(fmt::format("Resumed on {}: losses may differ in their last digits.", difference));
  }
  return changes;
}

std::vector<std::string> json_differences(const Json& now, const Json& before) {
  Json names = now;
  names.update(before);
  std::vector<std::string> differences;
  const auto text = [](const Json& object, const std::string& name) {
    if (!object.contains(name)) return std::string("nothing");
    const Json& value = object[name];
    return value.is_string() ? value.get<std::string>() : value.dump();
  };
  for (const auto& [name, value] : names.items()) {
    if (now.contains(name) && before.contains(name) && now[name] == before[name]) continue;
    differences.push_back(fmt::format("{} {} instead of {}", name, text(now, name), text(before, name)));
  }
  return differences;
}

}  // namespace mslt
