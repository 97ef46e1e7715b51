// Saving, verifying, pruning and setting aside checkpoint folders.
#include "train/checkpoint.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <limits>
#include <nlohmann/json.hpp>
#include <string_view>
#include <system_error>

#include "base/fail.h"
#include "base/file.h"
#include "base/file_copy.h"
#include "base/json.h"
#include "base/system_error.h"
#include "train/crc32c.h"

namespace mslt {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view manifest_name = "manifest.json";
constexpr std::string_view step_prefix = "step-";
constexpr std::string_view temporary_prefix = ".saving-step-";
constexpr std::string_view pruned_prefix = ".saving-pruned-step-";
constexpr int manifest_format = 1;

// Why a folder is not known to be complete.
struct Problem {
  CheckpointHealth health;
  std::string text;
};

using FileSums = std::vector<std::pair<std::string, FileSum>>;

// The number that follows `prefix`, where `name` is exactly that.
std::optional<std::int64_t> number_after(std::string_view prefix, std::string_view name) {
  if (!name.starts_with(prefix)) return std::nullopt;
  name.remove_prefix(prefix.size());
  std::int64_t number = 0;
  const auto [stopped, error] = std::from_chars(name.data(), name.data() + name.size(), number);
  if (error != std::errc() || number < 0 || std::to_string(number) != name) return std::nullopt;
  return number;
}

// Whether `name` is that of a checkpoint which was set aside.
bool is_set_aside(std::string_view name) {
  const std::size_t dot = name.find('.');
  return dot != std::string_view::npos && number_after(step_prefix, name.substr(0, dot)).has_value();
}

// The entries of a folder; none if it does not exist. Throws Error(io) if it cannot be listed to its end.
std::vector<fs::path> entries_of(const fs::path& folder) {
  std::vector<fs::path> entries;
  std::error_code error;
  fs::directory_iterator next(folder, error);
  if (error == std::errc::no_such_file_or_directory) return entries;
  while (!error && next != fs::directory_iterator()) {
    entries.push_back(next->path());
    next.increment(error);
  }
  if (error) {
    fail_io("list the checkpoints in", folder, error.value(), "Whether there is one to go on from is not known.");
  }
  return entries;
}

void flush_file(const fs::path& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  const bool flushed = descriptor >= 0 && ::fsync(descriptor) == 0;
  const int error = errno;
  if (descriptor >= 0) ::close(descriptor);
  if (!flushed) fail_io("flush to the disk", path, error);
}

// Sums and flushes everything in `folder`, then writes its manifest.
void seal(const fs::path& folder, std::int64_t step, std::optional<double> validation_loss) {
  nlohmann::json files = nlohmann::json::object();
  for (const auto& entry : fs::directory_iterator(folder)) {
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

// The size of a regular file; throws the Problem that it is none or cannot be looked at.
std::uint64_t size_of_file(const fs::path& path) {
  const std::string name = path.filename().string();
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (status.type() == fs::file_type::not_found) throw Problem{CheckpointHealth::damaged, name + " is missing"};
  if (!error && !fs::is_regular_file(status)) throw Problem{CheckpointHealth::damaged, name + " is no regular file"};
  std::uint64_t bytes = 0;
  if (!error) bytes = fs::file_size(path, error);
  if (error) {
    throw Problem{CheckpointHealth::doubtful,
                  fmt::format("{} cannot be looked at: {}", name, explain_errno(error.value()))};
  }
  return bytes;
}

FileSums parse_manifest(const nlohmann::json& json, CheckpointInfo& info) {
  const auto reject = [](std::string text) {
    throw Problem{CheckpointHealth::damaged, std::move(text)};
  };
  if (json.at("format").get<int>() != manifest_format) reject(fmt::format("its format is not {}", manifest_format));
  if (!json.at("step").is_number_integer() || json.at("step").get<std::int64_t>() != info.step) {
    reject("its manifest is of another step");
  }
  if (json.at("validation_loss").is_number()) info.validation_loss = json["validation_loss"].get<double>();
  FileSums sums;
  for (const auto& [name, entry] : json.at("files").items()) {
    if (name.find('/') != std::string::npos) reject("its manifest names a file outside it");
    FileSum sum;
    sum.bytes = entry.at("bytes").get<std::uint64_t>();
    const auto digits = entry.at("crc32c").get<std::string>();
    const char* end = digits.data() + digits.size();
    const auto [stopped, error] = std::from_chars(digits.data(), end, sum.crc32c, 16);
    if (error != std::errc() || stopped != end) reject("its manifest holds a sum that is none");
    sums.emplace_back(name, sum);
    info.files.push_back(name);
  }
  return sums;
}

FileSums read_manifest(CheckpointInfo& info) {
  const fs::path path = info.folder / manifest_name;
  size_of_file(path);
  try {
    return parse_manifest(read_json_file(path, std::uint64_t{1} << 20), info);
  } catch (const Error& error) {
    throw Problem{error.kind() == ErrorKind::input ? CheckpointHealth::damaged : CheckpointHealth::doubtful,
                  fmt::format("its manifest cannot be read ({})", error.what())};
  } catch (const nlohmann::json::exception&) {
    throw Problem{CheckpointHealth::damaged, "its manifest cannot be read (a member is missing or of another type)"};
  }
}

// Throws a Problem where the folder is not complete.
void verify(CheckpointInfo& info, const std::function<void(const CheckpointInfo&)>& check) {
  std::error_code error;
  const fs::file_status status = fs::status(info.folder, error);
  const bool gone = status.type() == fs::file_type::not_found;
  if (error && !gone)
    throw Problem{CheckpointHealth::doubtful, "it cannot be looked at: " + explain_errno(error.value())};
  if (!fs::is_directory(status)) throw Problem{CheckpointHealth::damaged, "it is no folder"};
  const FileSums sums = read_manifest(info);
  for (const auto& [name, sum] : sums) {
    const std::uint64_t bytes = size_of_file(info.folder / name);
    if (bytes != sum.bytes) {
      throw Problem{CheckpointHealth::damaged, fmt::format("{} has {} bytes instead of {}", name, bytes, sum.bytes)};
    }
  }
  try {
    for (const auto& [name, sum] : sums) {
      if (sum_file(info.folder / name) != sum) {
        throw Problem{CheckpointHealth::damaged, fmt::format("{} does not match its checksum", name)};
      }
    }
    if (check) check(info);
  } catch (const Error& refusal) {
    throw Problem{refusal.kind() == ErrorKind::input ? CheckpointHealth::damaged : CheckpointHealth::doubtful,
                  refusal.what()};
  }
}

// Removes a folder of temporary name without ever failing: what is left is removed by the next run.
void discard(const fs::path& folder) {
  std::error_code ignored;
  fs::remove_all(folder, ignored);
}

}  // namespace

fs::path CheckpointStore::place_of(std::int64_t step) const {
  return folder_ / fmt::format("{}{}", step_prefix, step);
}

void CheckpointStore::move_to(fs::path folder) {
  for (auto& [step, info] : complete_) info.folder = folder / info.folder.filename();
  folder_ = std::move(folder);
}

void CheckpointStore::remove_unfinished() const {
  for (const fs::path& path : entries_of(folder_)) {
    const std::string name = path.filename().string();
    if (number_after(temporary_prefix, name) || number_after(pruned_prefix, name)) discard(path);
  }
}

bool CheckpointStore::holds_any() const {
  const std::vector<fs::path> entries = entries_of(folder_);
  return std::any_of(entries.begin(), entries.end(), [](const fs::path& path) {
    const std::string name = path.filename().string();
    return number_after(step_prefix, name) || is_set_aside(name);
  });
}

std::vector<CheckpointFinding> CheckpointStore::examine(const std::function<void(const CheckpointInfo&)>& check) {
  std::vector<CheckpointFinding> findings;
  for (const fs::path& path : entries_of(folder_)) {
    const auto step = number_after(step_prefix, path.filename().string());
    if (step) findings.push_back({{*step, path, std::nullopt}, CheckpointHealth::complete, {}});
  }
  std::sort(findings.begin(), findings.end(), [](const auto& a, const auto& b) { return a.info.step > b.info.step; });
  for (CheckpointFinding& finding : findings) {
    try {
      verify(finding.info, check);
      complete_[finding.info.step] = finding.info;
    } catch (const Problem& problem) {
      finding.health = problem.health;
      finding.problem = problem.text;
    }
  }
  return findings;
}

CheckpointInfo CheckpointStore::save(std::int64_t step, std::optional<double> validation_loss, std::int64_t keep,
                                     const std::function<void(const fs::path&)>& write) {
  const fs::path final_path = place_of(step);
  const fs::path temporary = folder_ / fmt::format("{}{}", temporary_prefix, step);
  try {
    std::error_code error;
    // Never the folder around it: a run folder that was removed must not come back as a stub.
    if (!fs::create_directory(folder_, error) && error) fail_io("create", folder_, error.value());
    discard(temporary);
    if (!fs::create_directory(temporary, error) && error) fail_io("create", temporary, error.value());
    write(temporary);
    seal(temporary, step, validation_loss);
    if (fs::exists(fs::symlink_status(final_path))) set_aside(final_path, "superseded");
    fs::rename(temporary, final_path, error);
    if (error) fail_io("rename a folder to", final_path, error.value());
    sync_folder(folder_);
  } catch (const std::exception& error) {
    discard(temporary);
    std::vector<CheckpointInfo> earlier = complete();
    // Somebody else may have removed them meanwhile.
    std::erase_if(earlier, [](const CheckpointInfo& info) {
      std::error_code unknown;
      return fs::status(info.folder / manifest_name, unknown).type() == fs::file_type::not_found;
    });
    const auto* known = dynamic_cast<const Error*>(&error);
    const std::string last =
        earlier.empty() ? std::string("There is no earlier checkpoint.")
                        : fmt::format("The checkpoint of step {} in {} is complete; continue from it with --resume.",
                                      earlier.front().step, earlier.front().folder.string());
    fail(known != nullptr ? known->kind() : ErrorKind::io, "Cannot save the checkpoint of step {}: {} {}", step,
         error.what(), last);
  }
  const CheckpointInfo saved{step, final_path, validation_loss};
  complete_[step] = saved;
  prune(keep);
  return saved;
}

void CheckpointStore::prune(std::int64_t keep) {
  const CheckpointInfo* best = nullptr;
  double lowest = std::numeric_limits<double>::infinity();
  const std::vector<CheckpointInfo> newest_first = complete();
  for (const CheckpointInfo& info : newest_first) {
    const double loss = info.validation_loss.value_or(lowest);
    if (loss >= lowest) continue;
    lowest = loss;
    best = &info;
  }
  std::int64_t kept = 0;
  for (const CheckpointInfo& info : newest_first) {
    if (kept++ < std::max<std::int64_t>(1, keep) || &info == best) continue;
    // Renamed first, so that a process killed half way leaves no folder that looks like a damaged checkpoint.
    const fs::path doomed = folder_ / fmt::format("{}{}", pruned_prefix, info.step);
    std::error_code error;
    fs::rename(info.folder, doomed, error);
    if (!error) discard(doomed);
    complete_.erase(info.step);
  }
}

fs::path CheckpointStore::set_aside(const fs::path& checkpoint, std::string_view why) {
  const fs::path target = unused_path(fmt::format("{}.{}", checkpoint.string(), why));
  std::error_code error;
  fs::rename(checkpoint, target, error);
  if (error) fail_io("rename to " + target.filename().string(), checkpoint, error.value());
  if (const auto step = number_after(step_prefix, checkpoint.filename().string())) complete_.erase(*step);
  sync_folder(folder_);
  return target;
}

std::vector<CheckpointInfo> CheckpointStore::complete() const {
  std::vector<CheckpointInfo> infos;
  for (const auto& [step, info] : complete_) infos.push_back(info);
  std::reverse(infos.begin(), infos.end());
  return infos;
}

}  // namespace mslt
