// What counts as a change of a data folder, and what does not.
#include "data/data_watch.h"

#include <gtest/gtest.h>

#include <chrono>
#include <fstream>

#include "data/test_files.h"

namespace mslt {
namespace {

namespace fs = std::filesystem;

class DataWatchTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = test::fresh_folder() / "data";
    make();
    info_.train.shards = {"train_000000.bin"};
    info_.val.shards = {"val_000000.bin"};
  }
  void make() const {
    fs::create_directories(folder_);
    for (const char* name : {"data.json", "tokenizer.json", "train_000000.bin", "val_000000.bin"}) {
      test::write_text(folder_ / name, name);
    }
  }
  static std::string said(const DataWatch& watch) { return watch.change().value_or(""); }

  fs::path folder_;
  DataInfo info_;
};

TEST_F(DataWatchTest, TheSameFilesAreNoChange) {
  const DataWatch watch(folder_, info_);
  EXPECT_EQ(said(watch), "");
  // Looked at, moved away and back, or touched.
  test::write_text(folder_ / "other", "new");
  fs::rename(folder_, folder_.string() + "2");
  fs::rename(folder_.string() + "2", folder_);
  fs::last_write_time(folder_ / "data.json", fs::file_time_type::clock::now() + std::chrono::hours(1));
  EXPECT_EQ(said(watch), "");
}

TEST_F(DataWatchTest, TellsWhatHappened) {
  const DataWatch watch(folder_, info_);
  fs::rename(folder_, folder_.string() + "2");
  EXPECT_EQ(said(watch), "was removed or moved");
  make();
  EXPECT_EQ(said(watch), "was prepared anew or changed: data.json is not the file it was");
  fs::remove_all(folder_);
  fs::rename(folder_.string() + "2", folder_);
  EXPECT_EQ(said(watch), "");
  fs::rename(folder_ / "val_000000.bin", folder_ / "val");
  EXPECT_EQ(said(watch), "was changed: val_000000.bin is gone from it");
  test::write_text(folder_ / "val_000000.bin", "val_000000.bin");
  EXPECT_EQ(said(watch), "was changed: val_000000.bin is not the file it was");
  fs::rename(folder_ / "val", folder_ / "val_000000.bin");
  EXPECT_EQ(said(watch), "");
  test::write_text(folder_ / "tokenizer.json", "another");
  EXPECT_EQ(said(watch), "was prepared anew or changed: tokenizer.json is not the file it was");
}

TEST_F(DataWatchTest, SeesWhatIsWrittenInPlace) {
  const DataWatch watch(folder_, info_);
  std::ofstream(folder_ / "train_000000.bin", std::ios::binary | std::ios::app) << "more";
  EXPECT_EQ(said(watch), "was changed: train_000000.bin is not the file it was");
}

TEST_F(DataWatchTest, NeedsEveryFile) {
  fs::remove(folder_ / "val_000000.bin");
  EXPECT_NE(test::error_of(ErrorKind::io, [&] { DataWatch(folder_, info_); }).find("val_000000.bin"),
            std::string::npos);
}

}  // namespace
}  // namespace mslt
