// Comparing the files of a data folder with what they were.
#include "data/data_watch.h"

#include <fmt/format.h>

#include <cerrno>

#include "base/file.h"
#include "base/system_error.h"
#include "mslt/error.h"

namespace mslt {
namespace {

constexpr std::uint64_t most_bytes = std::uint64_t{1} << 30;

std::int64_t nanoseconds(const timespec& time) {
  return static_cast<std::int64_t>(time.tv_sec) * 1'000'000'000 + time.tv_nsec;
}

#ifdef __APPLE__
std::int64_t changed_at(const struct stat& status) {
  return nanoseconds(status.st_mtimespec);
}
#else
std::int64_t changed_at(const struct stat& status) {
  return nanoseconds(status.st_mtim);
}
#endif

bool same_file(const struct stat& a, const struct stat& b) {
  return a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

}  // namespace

DataWatch::DataWatch(const std::filesystem::path& folder, const DataInfo& info) : folder_(folder) {
  std::vector<std::string> names = {"data.json", "tokenizer.json"};
  const std::size_t hashed = names.size();
  for (const SplitInfo* split : {&info.train, &info.val}) {
    const std::vector<std::string> files = split->files();
    names.insert(names.end(), files.begin(), files.end());
  }
  for (const std::string& name : names) {
    File file{folder / name, {}, {}};
    if (::stat(file.path.c_str(), &file.status) != 0) fail_io("look at", file.path, errno);
    if (files_.size() < hashed) file.hash = text_hash(read_file(file.path, most_bytes));
    files_.push_back(std::move(file));
  }
}

std::optional<std::string> DataWatch::change() const {
  for (const File& file : files_) {
    const std::string name = file.path.filename().string();
    struct stat now = {};
    if (::stat(file.path.c_str(), &now) != 0) {
      if (errno != ENOENT && errno != ENOTDIR) continue;
      std::error_code ignored;
      if (!std::filesystem::exists(folder_, ignored)) return "was removed or moved";
      return fmt::format("was changed: {} is gone from it", name);
    }
    if (same_file(now, file.status) && now.st_size == file.status.st_size &&
        changed_at(now) == changed_at(file.status)) {
      continue;
    }
    if (file.hash.empty()) return fmt::format("was changed: {} is not the file it was", name);
    try {
      if (text_hash(read_file(file.path, most_bytes)) == file.hash && same_file(now, file.status)) continue;
    } catch (const Error&) {
      // Gone or unreadable in the meantime: changed in any case.
    }
    return fmt::format("was prepared anew or changed: {} is not the file it was", name);
  }
  return std::nullopt;
}

}  // namespace mslt
