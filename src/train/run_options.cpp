// TrainOptions and Config to and from JSON, and TrainOptions::validate.
#include "train/run_options.h"

#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <string_view>

#include "base/fail.h"
#include "base/json.h"
#include "base/printable.h"
#include "base/suggest.h"
#include "model/config_fields.h"
#include "tensor/dtype.h"
#include "train/schedule.h"

namespace mslt {
namespace {

using Json = nlohmann::json;

// Both directions walk one list of members, so that neither can forget one.
class Writer {
 public:
  template <class T>
  void member(const char* name, const T& value) {
    json[name] = value;
  }
  // Texts and the names of folders may be any bytes, JSON holds UTF-8 only.
  void member(const char* name, const std::string& value) { json[name] = utf8_text(value); }
  void member(const char* name, const std::filesystem::path& value) { member(name, value.string()); }
  template <class T>
  void later_member(const char* name, const T& value) {
    member(name, value);
  }
  template <Setting T>
  void later_member(const char* name, const T& value) {
    json[name] = name_of(value);
  }
  template <class T>
  void member(const char* name, const std::optional<T>& value) {
    json[name] = value ? Json(*value) : Json();
  }
  template <class Enum, class FromName>
  void named(const char* name, const Enum& value, FromName) {
    json[name] = name_of(value);
  }
  Json json = Json::object();
};

class Reader {
 public:
  Reader(const Json& from, const std::string& where) : json_(from), source_(where) {}
  template <class T>
  void member(const char* name, T& value) const {
    read(name, [&](const Json& found) { value = found.get<T>(); });
  }
  void member(const char* name, std::filesystem::path& value) const {
    read(name, [&](const Json& found) { value = found.get<std::string>(); });
  }
  template <class T>
  void member(const char* name, std::optional<T>& value) const {
    read(name, [&](const Json& found) {
      if (found.is_null()) {
        value.reset();
      } else {
        value = found.get<T>();
      }
    });
  }
  // Of a member that earlier versions did not write.
  template <class T>
  void later_member(const char* name, T& value) const {
    if (json_.is_object() && json_.contains(name)) member(name, value);
  }
  template <Setting T>
  void later_member(const char* name, T& value) const {
    if (json_.is_object() && json_.contains(name)) named(name, value, from_name<T>);
  }
  template <class Enum, class FromName>
  void named(const char* name, Enum& value, FromName from_name) const {
    read(name, [&](const Json& found) { value = from_name(found.get<std::string>()); });
  }
  template <class Take>
  void read(const char* name, Take take) const {
    if (!json_.is_object() || !json_.contains(name)) fail(ErrorKind::input, "{} lacks \"{}\".", source_, name);
    try {
      take(json_.at(name));
    } catch (const std::exception& error) {
      fail(ErrorKind::input, "{}: \"{}\" is not what it should be: {}", source_, name, error.what());
    }
  }

 private:
  const Json& json_;
  const std::string& source_;
};

template <class Archive, class O>
void visit_options(Archive& archive, O& options) {
  archive.member("data", options.data);
  archive.member("output", options.output);
  archive.member("init_from", options.init_from);
  archive.later_member("force_tokenizer", options.force_tokenizer);
  archive.member("dropout", options.dropout);
  archive.member("device", options.device);
  archive.later_member("tuning", options.tuning);
  archive.later_member("attention", options.attention);
  archive.later_member("products", options.products);
  archive.member("dtype", options.dtype);
  archive.later_member("recompute", options.recompute);
  archive.later_member("master_weights", options.master_weights);
  archive.later_member("grad_dtype", options.grad_dtype);
  archive.later_member("zero", options.zero);
  archive.member("steps", options.steps);
  archive.member("batch_size", options.batch_size);
  archive.member("seq_len", options.seq_len);
  archive.member("grad_accum", options.grad_accum);
  archive.member("seed", options.seed);
  archive.member("lr", options.lr);
  archive.member("min_lr_ratio", options.min_lr_ratio);
  archive.member("warmup", options.warmup);
  archive.named("schedule", options.schedule, schedule_from_name);
  archive.member("decay_fraction", options.decay_fraction);
  archive.member("beta1", options.beta1);
  archive.member("beta2", options.beta2);
  archive.member("epsilon", options.epsilon);
  archive.member("weight_decay", options.weight_decay);
  archive.member("clip", options.clip);
  archive.member("eval_every", options.eval_every);
  archive.member("eval_batches", options.eval_batches);
  archive.member("sample_every", options.sample_every);
  archive.later_member("sample_prompt", options.sample_prompt);
  archive.member("save_every", options.save_every);
  archive.member("keep_checkpoints", options.keep_checkpoints);
  archive.later_member("profile_every", options.profile_every);
  archive.member("tensorboard", options.tensorboard);
  archive.member("report", options.report);
}

}  // namespace

Json config_to_json(const Config& config) {
  Json json = Json::object();
  visit_fields(config, Config(), [&]<class T>(const ConfigField& field, const T& value, const T& usual) {
    if (field.later && value == usual) return;
    const std::string name(field.name);
    if constexpr (std::is_enum_v<T>) {
      json[name] = name_of(value);
    } else {
      json[name] = value;
    }
  });
  return json;
}

Config config_from_json(const Json& json, const std::string& source) {
  Config config;
  const Reader reader(json, source);
  visit_fields(config, [&]<class T>(const ConfigField& field, T& value) {
    const std::string name(field.name);
    if (field.later && !json.contains(name)) return;
    if constexpr (std::is_enum_v<T>) {
      reader.read(name.c_str(), [&](const Json& found) { value = from_name<T>(found.get<std::string>()); });
    } else {
      reader.member(name.c_str(), value);
    }
  });
  return config;
}

Json options_to_json(const TrainOptions& options) {
  Writer writer;
  visit_options(writer, options);
  writer.json["model"] = config_to_json(options.model);
  return std::move(writer.json);
}

TrainOptions options_from_json(const Json& json, const std::string& source, TrainOptions options) {
  const Reader reader(json, source);
  visit_options(reader, options);
  Json model;
  reader.member("model", model);
  options.model = config_from_json(model, source);
  return options;
}

TrainOptions load_run_options(const std::filesystem::path& folder, const TrainOptions& others) {
  const std::filesystem::path path = folder / "run.json";
  if (!std::filesystem::exists(path)) {
    fail(ErrorKind::io, "{} holds no run: there is no run.json in it.", folder.string());
  }
  return options_from_json(read_json_file(path, std::uint64_t{1} << 20), path.string(), others);
}

// The usual options have a name, since GCC 12 takes the parts of a temporary for uninitialised when it destroys them.
TrainOptions load_run_options(const std::filesystem::path& folder) {
  const TrainOptions usual;
  return load_run_options(folder, usual);
}

std::int64_t TrainOptions::warmup_steps() const {
  constexpr std::int64_t most = 100;
  return warmup.value_or(std::min(most, steps / 10));
}

void TrainOptions::validate() const {
  std::vector<std::string> wrong;
  const auto reject = [&](std::string text) {
    wrong.push_back(std::move(text));
  };
  const auto whole = [&](const char* flag, std::int64_t value, std::int64_t least, std::int64_t most) {
    if (value < least || value > most) {
      reject(fmt::format("{} is {}; it must lie in [{}, {}].", flag, value, least, most));
    }
  };
  const auto number = [&](const char* flag, double value, double least, const char* valid) {
    const bool is_valid = value >= least && std::isfinite(value);
    if (!is_valid) reject(fmt::format("{} is {}; it must be {}.", flag, value, valid));
  };
  const auto below_one = [&](const char* flag, double value) {
    const bool is_valid = value >= 0.0 && value < 1.0;
    if (!is_valid) reject(fmt::format("{} is {}; it must lie in [0, 1).", flag, value));
  };
  constexpr std::int64_t many = std::int64_t{1} << 40;
  if (data.empty()) reject("--data is missing; name a folder that `mslt data prepare` wrote.");
  if (!resume && from_step) reject("--from-step goes with --resume.");
  if (!resume && discard_damaged) reject("--discard-damaged goes with --resume.");
  if (from_step) whole("--from-step", *from_step, 0, many);
  if (output.empty()) reject("--output is missing; name the folder of the run.");
  constexpr std::array<std::string_view, 3> dtypes = {"f32", "bf16", "f16"};
  if (std::find(dtypes.begin(), dtypes.end(), dtype) == dtypes.end()) {
    reject(fmt::format("--dtype is {}; valid are f32, bf16 and f16.{}", dtype, near_name_hint(dtype, dtypes)));
  }
  if (master_weights == MasterWeights::none && dtype != "bf16") {
    reject(fmt::format("--master-weights none goes with --dtype bf16, not {}.", dtype));
  }
  whole("--zero", zero, 0, 2);
  whole("--steps", steps, 1, many);
  whole("--batch-size", batch_size, 1, std::int64_t{1} << 24);
  whole("--seq-len", seq_len, 0, std::int64_t{1} << 24);
  whole("--grad-accum", grad_accum, 1, std::int64_t{1} << 24);
  whole("--eval-every", eval_every, 0, many);
  whole("--eval-batches", eval_batches, 0, many);
  whole("--sample-every", sample_every, 0, many);
  whole("--save-every", save_every, 0, many);
  whole("--profile-every", profile_every, 0, many);
  whole("--keep-checkpoints", keep_checkpoints, 1, std::int64_t{1} << 20);
  if (dropout) below_one("--dropout", *dropout);
  below_one("--beta1", beta1);
  below_one("--beta2", beta2);
  number("--epsilon", epsilon, 1e-30, "a finite number of 1e-30 at least");
  number("--weight-decay", weight_decay, 0.0, "a finite number of 0 at least");
  number("--clip", clip, 0.0, "a finite number of 0 at least; 0 clips nothing");
  try {
    LearningRate{schedule, lr, min_lr_ratio, steps, warmup_steps(), decay_fraction}.validate();
  } catch (const Error& error) {
    if (steps >= 1) reject(error.what());
  }
  if (!wrong.empty()) fail(ErrorKind::usage, "{}", fmt::join(wrong, " "));
}

}  // namespace mslt
