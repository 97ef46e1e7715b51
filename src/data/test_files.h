// What the tests of this folder share: fresh folders, bytes on the disk, and the text of an Error.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <numeric>
#include <string>
#include <string_view>
#include <vector>

#include "base/file.h"
#include "base/test_errors.h"
#include "data/clean.h"
#include "data/shard.h"

namespace mslt::test {

// An empty folder of the running test's own.
inline std::filesystem::path fresh_folder() {
  const auto* info = testing::UnitTest::GetInstance()->current_test_info();
  const std::filesystem::path folder = std::filesystem::path(testing::TempDir()) /
                                       (std::string("mslt_data_") + info->test_suite_name() + "_" + info->name());
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder);
  return folder;
}

inline std::filesystem::path write_text(const std::filesystem::path& path, std::string_view text) {
  write_file(path, text);
  return path;
}

// Cleaner on one whole document.
inline std::string clean(std::string_view text, const std::vector<std::string>& steps) {
  Cleaner cleaner(steps);
  std::string output;
  cleaner.push(text, output);
  cleaner.finish(output);
  return output;
}

// 0, 1, ..., count - 1.
inline std::vector<TokenId> counting(std::size_t count) {
  std::vector<TokenId> ids(count);
  std::iota(ids.begin(), ids.end(), TokenId{0});
  return ids;
}

inline std::filesystem::path write_shard(const std::filesystem::path& path, const std::vector<TokenId>& ids,
                                         TokenWidth width = TokenWidth::two) {
  ShardWriter writer(path, width);
  writer.append(ids);
  writer.finish();
  return path;
}

inline std::vector<std::int32_t> read_shard(const std::filesystem::path& path) {
  const ShardReader reader(path);
  std::vector<std::int32_t> ids(reader.size());
  reader.copy(0, ids);
  return ids;
}

}  // namespace mslt::test
