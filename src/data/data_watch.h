// Noticing that a data folder is no longer the one that was opened.
#pragma once

#include <sys/stat.h>

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "data/data_folder.h"

namespace mslt {

// Remembers the identity of data.json, tokenizer.json and every shard of a data folder. One thread at a time.
class DataWatch {
 public:
  // Looks at the files as they are. Throws Error(io) if one cannot be looked at or read.
  DataWatch(const std::filesystem::path& folder, const DataInfo& info);

  // What happened to the folder, as words that follow its name ("was prepared anew ..."); empty if its files are the
  // same. A file is the same if device, inode, size and time of change are; data.json and tokenizer.json also if their
  // content is. Takes one system call per file. A file that exists but cannot be looked at counts as unchanged: what
  // was opened stays readable.
  std::optional<std::string> change() const;

 private:
  struct File {
    std::filesystem::path path;
    struct stat status = {};
    std::string hash;  // of the small files' content
  };

  std::filesystem::path folder_;
  std::vector<File> files_;
};

}  // namespace mslt
