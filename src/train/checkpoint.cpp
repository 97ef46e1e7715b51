// Saving, verifying and pruning checkpoint folders.
#include "train/checkpoint.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <string_view>

#include "base/fail.h"
#include "base/file.h"
#include "base/json.h"
#include "train/crc32c.h"

namespace mslt {
namespace {

constexpr std::string_view manifest_name = "manifest.json";
constexpr std::string_view temporary_prefix = ".saving-";
constexpr int manifest_format = 1;

// A checkpoint's manifest; `problem` says why the folder is no complete checkpoint, where it is none.
struct Manifest {
  CheckpointInfo info;
  std::vector<std::pair<std::string, FileSum>> files;
  std::string problem;
};

std::optional<std::int64_t> step_of(const std::filesystem::path& folder) {
  const std::string name = folder.filename().string();
  constexpr std::string_view prefix = "step-";
  if (!name.starts_with(prefix)) return std::nullopt;
  std::int64_t step = 0;
  const char* end = name.data() + name.size();
  const auto [stopped, error] = std::from_chars(name.data() + prefix.size(), end, step);
  if (error != std::errc() || stopped != end || step < 0) return std::nullopt;
  return step;
}

void flush_file(const std::filesystem::path& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  const bool flushed = descriptor >= 0 && ::fsync(descriptor) == 0;
  const int error = errno;
  if (descriptor >= 0) ::close(descriptor);
  if (!flushed) fail(ErrorKind::io, "Cannot flush {} to the disk: {}.", path.string(), std::strerror(error));
}

// Sums and flushes everything in `folder`, then writes its manifest.
void seal(const std::filesystem::path& folder, std::int64_t step, std::optional<double> validation_loss) {
  nlohmann::json files = nlohmann::json::object();
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (!entry.is_regular_file()) continue;
    flush_file(entry.path());
    const FileSum sum = sum_file(entry.path());
    files[entry.path().filename().string()] = {{"bytes", sum.bytes}, {"crc32c", fmt::format("{:08x}", sum.crc32c)}};
  }
  nlohmann::json manifest = {{"format", manifest_format}, {"step", step}, {"files", files}};
  manifest["validation_loss"] = validation_loss ? nlohmann::json(*validation_loss) : nlohmann::json();
  write_file(folder / manifest_name, manifest.dump(2) + "\n");
  sync_folder(folder);
}

void parse_manifest(const nlohmann::json& json, Manifest& manifest) {
  if (json.at("format").get<int>() != manifest_format) {
    manifest.problem = fmt::format("its format is not {}", manifest_format);
    return;
  }
  if (json.at("step").get<std::int64_t>() != manifest.info.step) {
    manifest.problem = "its manifest is of another step";
    return;
  }
  if (json.at("validation_loss").is_number()) manifest.info.validation_loss = json["validation_loss"].get<double>();
  for (const auto& [name, entry] : json.at("files").items()) {
    FileSum sum;
    sum.bytes = entry.at("bytes").get<std::uint64_t>();
    const auto digits = entry.at("crc32c").get<std::string>();
    std::from_chars(digits.data(), digits.data() + digits.size(), sum.crc32c, 16);
    manifest.files.emplace_back(name, sum);
    if (name.find('/') != std::string::npos) manifest.problem = "its manifest names a file outside it";
  }
}

// Reads the manifest and compares sizes.
Manifest read_manifest(const std::filesystem::path& folder, std::int64_t step) {
  Manifest manifest;
  manifest.info.step = step;
  manifest.info.folder = folder;
  try {
    parse_manifest(read_json_file(folder / manifest_name, std::uint64_t{1} << 20), manifest);
  } catch (const std::exception& error) {
    manifest.problem = fmt::format("its manifest cannot be read ({})", error.what());
  }
  if (!manifest.problem.empty()) return manifest;
  for (const auto& [name, sum] : manifest.files) {
    std::error_code error;
    const std::uint64_t bytes = std::filesystem::file_size(folder / name, error);
    if (error) {
      manifest.problem = fmt::format("{} is missing", name);
    } else if (bytes != sum.bytes) {
      manifest.problem = fmt::format("{} has {} bytes instead of {}", name, bytes, sum.bytes);
    }
  }
  return manifest;
}

// Every step-N folder, complete or not, the newest first.
std::vector<Manifest> read_manifests(const std::filesystem::path& folder) {
  std::vector<Manifest> manifests;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    const auto step = step_of(entry.path());
    if (step && entry.is_directory()) manifests.push_back(read_manifest(entry.path(), *step));
  }
  std::sort(manifests.begin(), manifests.end(),
            [](const Manifest& a, const Manifest& b) { return a.info.step > b.info.step; });
  return manifests;
}

// Why the files are not what the manifest says, or nothing.
std::string damage(const Manifest& manifest) {
  if (!manifest.problem.empty()) return manifest.problem;
  for (const auto& [name, sum] : manifest.files) {
    if (sum_file(manifest.info.folder / name) != sum) return fmt::format("{} does not match its checksum", name);
  }
  return {};
}

// Removes a folder of temporary name without ever failing: what is left is removed by the next run.
void discard(const std::filesystem::path& folder) {
  std::error_code ignored;
  std::filesystem::remove_all(folder, ignored);
}

}  // namespace

void CheckpointStore::remove_unfinished() const {
  std::error_code error;
  std::vector<std::filesystem::path> unfinished;
  for (const auto& entry : std::filesystem::directory_iterator(folder_, error)) {
    if (entry.path().filename().string().starts_with(temporary_prefix)) unfinished.push_back(entry.path());
  }
  for (const auto& path : unfinished) discard(path);
}

CheckpointInfo CheckpointStore::save(std::int64_t step, std::optional<double> validation_loss, std::int64_t keep,
                                     const std::function<void(const std::filesystem::path&)>& write) const {
  const std::filesystem::path final_path = folder_ / fmt::format("step-{}", step);
  const std::filesystem::path temporary = folder_ / fmt::format("{}step-{}", temporary_prefix, step);
  const std::filesystem::path replaced = folder_ / fmt::format("{}replaced-{}", temporary_prefix, step);
  try {
    std::filesystem::create_directories(folder_);
    discard(temporary);
    std::filesystem::create_directory(temporary);
    write(temporary);
    seal(temporary, step, validation_loss);
    // Only a damaged checkpoint of the same step can stand in the way.
    if (std::filesystem::exists(final_path)) std::filesystem::rename(final_path, replaced);
    std::filesystem::rename(temporary, final_path);
    sync_folder(folder_);
  } catch (const std::exception& error) {
    discard(temporary);
    const std::vector<CheckpointInfo> complete = list();
    const auto* known = dynamic_cast<const Error*>(&error);
    const std::string last = complete.empty()
                                 ? std::string("There is no earlier checkpoint.")
                                 : fmt::format(
                                       "The checkpoint of step {} in {} is complete; make room, then continue "
                                       "from it with --resume.",
                                       complete.front().step, complete.front().folder.string());
    fail(known != nullptr ? known->kind() : ErrorKind::io, "Cannot save the checkpoint of step {}: {} {}", step,
         error.what(), last);
  }
  discard(replaced);
  prune(step, keep);
  return {step, final_path, validation_loss};
}

void CheckpointStore::prune(std::int64_t step, std::int64_t keep) const {
  const std::vector<Manifest> manifests = read_manifests(folder_);
  const CheckpointInfo* best = nullptr;
  double lowest = std::numeric_limits<double>::infinity();
  std::int64_t kept = 0;
  std::vector<std::filesystem::path> surplus;
  for (const Manifest& manifest : manifests) {
    if (manifest.info.step > step || !manifest.problem.empty()) continue;
    const double loss = manifest.info.validation_loss.value_or(lowest);
    if (loss >= lowest) continue;
    lowest = loss;
    best = &manifest.info;
  }
  for (const Manifest& manifest : manifests) {
    const bool usable = manifest.info.step <= step && manifest.problem.empty();
    if (usable && (kept++ < std::max<std::int64_t>(1, keep) || &manifest.info == best)) continue;
    surplus.push_back(manifest.info.folder);
  }
  for (const std::filesystem::path& folder : surplus) {
    // Renamed first, so that a process killed half way leaves no folder that looks like a damaged checkpoint.
    const std::filesystem::path doomed =
        folder_ / fmt::format("{}pruned-{}", temporary_prefix, folder.filename().string());
    std::error_code error;
    std::filesystem::rename(folder, doomed, error);
    discard(error ? folder : doomed);
  }
}

std::vector<CheckpointInfo> CheckpointStore::list() const {
  std::vector<CheckpointInfo> complete;
  for (Manifest& manifest : read_manifests(folder_)) {
    if (manifest.problem.empty()) complete.push_back(std::move(manifest.info));
  }
  return complete;
}

std::optional<CheckpointInfo> CheckpointStore::latest(std::vector<std::string>& notes) const {
  for (Manifest& manifest : read_manifests(folder_)) {
    const std::string problem = damage(manifest);
    if (problem.empty()) return std::move(manifest.info);
    notes.push_back(
        fmt::format("The checkpoint {} is damaged ({}) and is passed over.", manifest.info.folder.string(), problem));
  }
  return std::nullopt;
}

}  // namespace mslt
