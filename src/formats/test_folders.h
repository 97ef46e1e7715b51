// Folders for the tests of files and folders of models.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <string>

namespace mslt {

// An empty folder "mslt_NAME" of the tests' temporary files.
inline std::filesystem::path fresh_folder(const std::string& name) {
  const std::filesystem::path folder = std::filesystem::path(testing::TempDir()) / ("mslt_" + name);
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder);
  return folder;
}

// The folder of the golden files.
inline std::filesystem::path golden_folder() {
  return std::filesystem::path(MSLT_TEST_DATA) / "golden";
}

}  // namespace mslt
