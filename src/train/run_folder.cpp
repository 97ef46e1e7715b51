// Making, locking, sweeping, filling and following a run folder.
#include "train/run_folder.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "base/fail.h"
#include "base/file_copy.h"
#include "base/platform_files.h"
#include "base/system_error.h"
#include "formats/model_folder.h"
#include "train/checkpoint.h"

namespace mslt {
namespace {

namespace fs = std::filesystem;

// Checkpoint folders are pruned and copied as a whole: nothing else may live in them.
void refuse_inside_checkpoints(const fs::path& folder) {
  std::error_code error;
  fs::path path = fs::weakly_canonical(folder, error);
  if (error) return;
  if (!path.has_filename()) path = path.parent_path();
  for (; path.has_relative_path(); path = path.parent_path()) {
    if (path.filename() != "checkpoints" || !fs::exists(path.parent_path() / "run.json", error)) continue;
    fail(ErrorKind::usage, "--output {} lies inside the checkpoints of the run {}; choose a folder outside it.",
         folder.string(), path.parent_path().string());
  }
}

bool is_unfinished(const std::string& name) {
  const auto is_of = [&](std::string_view file) {
    return is_temporary_name(name, file);
  };
  // Versions before published each file of the model by way of NAME.new.
  const auto was_published = [&](std::string_view file) {
    return name == std::string(file) + ".new";
  };
  const auto model_files = model_folder_files();
  // metrics.jsonl.after-step-N, whose copy may have been under way.
  if (name.starts_with("metrics.jsonl.after-step-") && is_of(name.substr(0, name.find(".saving-")))) return true;
  return is_of("run.json") || is_of("report.html") || std::any_of(model_files.begin(), model_files.end(), is_of) ||
         std::any_of(model_files.begin(), model_files.end(), was_published);
}

}  // namespace

void RunFolder::sweep() const {
  std::error_code error;
  std::vector<fs::path> unfinished;
  for (fs::directory_iterator next(folder_, error); !error && next != fs::directory_iterator(); next.increment(error)) {
    std::error_code unknown;
    const bool is_file = fs::is_regular_file(next->symlink_status(unknown));
    if (is_file && is_unfinished(next->path().filename().string())) unfinished.push_back(next->path());
  }
  for (const fs::path& path : unfinished) fs::remove(path, error);
  CheckpointStore(RunPaths{folder_}.checkpoints()).remove_unfinished();
}

RunFolder::RunFolder(const fs::path& folder) : folder_(folder) {
  refuse_inside_checkpoints(folder);
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) fail_io("create the run folder", folder, error.value());
  lock_ = std::make_unique<FolderLock>(folder);
  descriptor_ = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor_ < 0) fail_io("open the run folder", folder, errno);
}

void RunFolder::publish(const fs::path& checkpoint) const {
  for (const std::string& name : model_files_in(checkpoint)) {
    std::error_code exists;
    fs::create_directory((folder_ / name).parent_path(), exists);
    write_copy(checkpoint / name, folder_ / name);
  }
}

RunFolder::~RunFolder() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

std::optional<fs::path> RunFolder::whereabouts() const {
  struct stat held = {};
  if (::fstat(descriptor_, &held) != 0) return folder_;
  const auto leads_to_it = [&](const fs::path& path) {
    struct stat found = {};
    return ::stat(path.c_str(), &found) == 0 && found.st_dev == held.st_dev && found.st_ino == held.st_ino;
  };
  struct stat found = {};
  const bool unknown = ::stat(folder_.c_str(), &found) != 0 && errno != ENOENT && errno != ENOTDIR;
  if (unknown || leads_to_it(folder_)) return folder_;
  const std::optional<fs::path> path = path_of_descriptor(descriptor_);
  if (path && leads_to_it(*path)) return path;
  return std::nullopt;
}

}  // namespace mslt
