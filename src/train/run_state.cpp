// state.json and optimizer.safetensors.
#include "train/run_state.h"

#include <algorithm>
#include <functional>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/fail.h"
#include "base/file.h"
#include "base/json.h"
#include "formats/safetensors.h"

namespace mslt {
namespace {

constexpr int state_format = 1;
constexpr std::int64_t most_steps = std::int64_t{1} << 40;
constexpr double most_seconds = 1e11;  // some 3000 years
constexpr double least_loss_scale = 0x1p-14;
constexpr double most_loss_scale = std::numeric_limits<float>::max();

// Members of state.json that are numbers, with their ranges.
struct MemberReader {
  const nlohmann::json& json;
  const std::string& source;

  const nlohmann::json& at(const char* name) const {
    const auto found = json.find(name);
    if (found == json.end()) fail(ErrorKind::input, "{} lacks \"{}\".", source, name);
    return *found;
  }
  const nlohmann::json& object(const char* name) const {
    const nlohmann::json& value = at(name);
    if (!value.is_object()) fail(ErrorKind::input, "{}: {} is no object.", source, name);
    return value;
  }
  // A whole number from 0 to `most`, written as one.
  std::int64_t whole(const char* name, std::int64_t most) const {
    const nlohmann::json& value = at(name);
    const bool fits = value.is_number_unsigned() && value.get<std::uint64_t>() <= static_cast<std::uint64_t>(most);
    if (!fits) {
      fail(ErrorKind::input, "{}: {} is {}; it must be a whole number from 0 to {}.", source, name, value.dump(), most);
    }
    return value.get<std::int64_t>();
  }
  double number(const char* name, double least, double most) const {
    const nlohmann::json& value = at(name);
    const bool fits = value.is_number() && value.get<double>() >= least && value.get<double>() <= most;
    if (!fits) {
      fail(ErrorKind::input, "{}: {} is {}; it must be a number from {:g} to {:g}.", source, name, value.dump(), least,
           most);
    }
    return value.get<double>();
  }
};

// Calls visit(part, bytes before it) for parts of a tensor that fit in a few MiB, in order.
void for_each_part(const Tensor& tensor, const std::function<void(const Tensor&, std::size_t)>& visit) {
  constexpr std::int64_t most = std::int64_t{1} << 20;
  const Tensor flat = tensor.reshape({tensor.elements()});
  for (std::int64_t begin = 0; begin < flat.elements(); begin += most) {
    visit(flat.slice(begin, std::min(most, flat.elements() - begin)),
          static_cast<std::size_t>(begin) * size_of(tensor.dtype()));
  }
}

void write_tensor(SafetensorsWriter& writer, Backend& backend, const Tensor& tensor) {
  std::vector<std::byte> staging;
  for_each_part(tensor, [&](const Tensor& part, std::size_t) {
    if (const std::byte* host = part.buffer().host(); host != nullptr) {
      writer.write({host + part.offset(), part.bytes()});
      return;
    }
    staging.resize(part.bytes());
    backend.download(part, staging);
    writer.write(staging);
  });
}

}  // namespace

nlohmann::json run_state_to_json(const RunState& state) {
  nlohmann::json json = {{"format", state_format},
                         {"step", state.step},
                         {"updates", state.updates},
                         {"loader", loader_state_to_json(state.loader)},
                         {"metrics_bytes", state.metrics_bytes},
                         {"seconds", state.seconds},
                         {"loss_scale", state.loss_scale},
                         {"good_updates", state.good_updates},
                         {"identity", state.identity},
                         {"options", state.options},
                         {"arithmetic", state.arithmetic}};
  json["best_validation_loss"] =
      state.best_validation_loss ? nlohmann::json(*state.best_validation_loss) : nlohmann::json();
  return json;
}

RunState run_state_from_json(const nlohmann::json& json, const std::string& source) {
  if (!json.is_object()) fail(ErrorKind::input, "{} is no state of a training run: it is no object.", source);
  RunState state;
  const MemberReader read{json, source};
  try {
    if (read.at("format") != state_format) {
      fail(ErrorKind::input, "{} is of format {}; this program reads format {}.", source, read.at("format").dump(),
           state_format);
    }
    state.step = read.whole("step", most_steps);
    state.updates = read.whole("updates", state.step);
    state.loader = loader_state_from_json(read.at("loader"), source);
    state.metrics_bytes = static_cast<std::uint64_t>(read.whole("metrics_bytes", std::int64_t{1} << 62));
    state.seconds = read.number("seconds", 0.0, most_seconds);
    state.loss_scale = read.number("loss_scale", least_loss_scale, most_loss_scale);
    state.good_updates = read.whole("good_updates", state.updates);
    if (!read.at("best_validation_loss").is_null()) {
      state.best_validation_loss = read.number("best_validation_loss", 0.0, std::numeric_limits<double>::max());
    }
    state.identity = read.object("identity");
    state.options = read.object("options");
    state.arithmetic = read.object("arithmetic");
  } catch (const nlohmann::json::exception& error) {
    fail(ErrorKind::input, "{} is no state of a training run: {}", source, error.what());
  }
  return state;
}

void save_run_state(const std::filesystem::path& path, const RunState& state) {
  write_file(path, run_state_to_json(state).dump(2) + "\n");
}

RunState load_run_state(const std::filesystem::path& path) {
  return run_state_from_json(read_json_file(path, std::uint64_t{1} << 20), path.string());
}

std::vector<std::uint64_t> safetensors_shape(const Shape& shape) {
  std::vector<std::uint64_t> sizes;
  sizes.reserve(static_cast<std::size_t>(shape.rank()));
  for (int i = 0; i < shape.rank(); ++i) sizes.push_back(static_cast<std::uint64_t>(shape[i]));
  return sizes;
}

void save_optimizer(const std::filesystem::path& path, Backend& backend, const AdamW& optimizer) {
  std::vector<SafetensorsWriter::Declaration> declarations;
  optimizer.for_each_tensor([&](const std::string& name, const Tensor& tensor) {
    declarations.push_back({name, "F32", safetensors_shape(tensor.shape())});
  });
  AtomicFile file(path);
  SafetensorsWriter writer(file, declarations);
  optimizer.for_each_tensor([&](const std::string&, const Tensor& tensor) { write_tensor(writer, backend, tensor); });
  writer.finish();
  file.commit();
}

void load_optimizer(const std::filesystem::path& path, Backend& backend, const AdamW& optimizer) {
  const SafetensorsFile file(path);
  std::map<std::string, const SafetensorsEntry*> entries;
  for (const SafetensorsEntry& entry : file.entries()) entries[entry.name] = &entry;
  optimizer.for_each_name([&](const std::string& name, const Shape& shape) {
    const auto found = entries.find(name);
    if (found == entries.end()) fail(ErrorKind::input, "{} lacks the tensor {}.", path.string(), name);
    if (found->second->dtype != "F32" || found->second->shape != safetensors_shape(shape)) {
      fail(ErrorKind::input, "{}: {} is not f32 {}.", path.string(), name, shape.to_string());
    }
  });
  optimizer.for_each_part([&](const std::string& name, std::int64_t first, const Tensor& owned, bool) {
    const std::span<const std::byte> bytes = file.bytes(*entries.at(name));
    for_each_part(owned, [&](const Tensor& part, std::size_t offset) {
      backend.upload(part, bytes.subspan(static_cast<std::size_t>(first) * sizeof(float) + offset, part.bytes()));
    });
  });
  file.require_intact();
}

}  // namespace mslt
