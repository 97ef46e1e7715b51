// Tests of questions about paths and new folders.
#include "base/paths.h"

#include <gtest/gtest.h>

#include "base/file.h"
#include "mslt/error.h"

namespace mslt {
namespace {

namespace fs = std::filesystem;

class PathsTest : public testing::Test {
 protected:
  PathsTest()
      : folder_(fs::path(testing::TempDir()) /
                (std::string("mslt_paths_") + testing::UnitTest::GetInstance()->current_test_info()->name())) {
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  ~PathsTest() override { fs::remove_all(folder_); }

  template <class Work>
  static std::string io_error(const Work& work) {
    try {
      work();
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::io);
      return error.what();
    }
    return "no error";
  }

  fs::path folder_;
};

TEST_F(PathsTest, TellsFoldersFilesAndNothing) {
  write_file(folder_ / "file", "text");
  EXPECT_TRUE(path_exists(folder_ / "file"));
  EXPECT_FALSE(is_folder(folder_ / "file"));
  EXPECT_TRUE(is_folder(folder_));
  EXPECT_FALSE(path_exists(folder_ / "absent"));
  EXPECT_FALSE(path_exists(folder_ / "file" / "below"));
}

TEST_F(PathsTest, LinksThatLeadToThemselvesAreNamed) {
  fs::create_symlink("loop", folder_ / "loop");
  for (const std::string& message :
       {io_error([&] { path_exists(folder_ / "loop"); }), io_error([&] { is_folder(folder_ / "loop"); }),
        io_error([&] { make_folders(folder_ / "loop" / "below"); })}) {
    EXPECT_NE(message.find("loop"), std::string::npos) << message;
    EXPECT_NE(message.find("symbolic links lead back"), std::string::npos) << message;
  }
}

TEST_F(PathsTest, MakesFoldersAndNamesWhatIsInTheWay) {
  make_folders(folder_ / "a" / "b");
  make_folders(folder_ / "a" / "b");
  EXPECT_TRUE(is_folder(folder_ / "a" / "b"));
  write_file(folder_ / "file", "text");
  EXPECT_NE(io_error([&] { make_folders(folder_ / "file"); }).find("Cannot create the folder"), std::string::npos);
  EXPECT_NE(io_error([&] { make_folders(folder_ / "file" / "below"); }).find("file"), std::string::npos);
}

}  // namespace
}  // namespace mslt
