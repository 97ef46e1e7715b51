// Tests of base/: random numbers against published vectors, atomic files, locks, bounded JSON.
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <vector>

#include "base/checked.h"
#include "base/file.h"
#include "base/file_copy.h"
#include "base/json.h"
#include "base/json_value.h"
#include "base/mapped_file.h"
#include "base/parallel.h"
#include "base/philox.h"
#include "base/test_errors.h"

namespace mslt {
namespace {

std::filesystem::path fresh_folder(const std::string& name) {
  const std::filesystem::path folder = std::filesystem::path(testing::TempDir()) / ("mslt_base_" + name);
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder);
  return folder;
}

TEST(Philox, MatchesThePublishedVectors) {
  EXPECT_EQ(philox({0, 0, 0, 0}, {0, 0}), (PhiloxBlock{0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u}));
  EXPECT_EQ(philox({~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}),
            (PhiloxBlock{0x408f276du, 0x41c83b0eu, 0xa20bc7c6u, 0x6d5451fdu}));
  EXPECT_EQ(philox({0x243f6a88u, 0x85a308d3u, 0x13198a2eu, 0x03707344u}, {0xa4093822u, 0x299f31d0u}),
            (PhiloxBlock{0xd16cfe09u, 0x94fdccebu, 0x5001e420u, 0x24126ea1u}));
}

TEST(Philox, StreamDependsOnPositionAlone) {
  PhiloxStream all(7, 1, 2);
  std::vector<std::uint32_t> words(10);
  for (auto& word : words) word = all();
  PhiloxStream rest(7, 1, 2, 6);
  for (std::size_t i = 6; i < words.size(); ++i) EXPECT_EQ(rest(), words[i]);
}

TEST(Philox, NormalHasTheRightMoments) {
  PhiloxStream stream(1, 0, 0);
  double sum = 0;
  double squares = 0;
  constexpr int count = 100000;
  for (int i = 0; i < count; ++i) {
    const double x = stream.normal();
    sum += x;
    squares += x * x;
  }
  EXPECT_NEAR(sum / count, 0.0, 0.02);
  EXPECT_NEAR(squares / count, 1.0, 0.02);
}

TEST(Philox, BelowStaysBelow) {
  PhiloxStream stream(3, 0, 0);
  std::vector<int> counts(7);
  for (int i = 0; i < 7000; ++i) ++counts[stream.below(7)];
  for (int count : counts) EXPECT_NEAR(count, 1000, 150);
}

TEST(AtomicFile, AppearsOnlyWhenCommitted) {
  const auto folder = fresh_folder("atomic");
  {
    AtomicFile file(folder / "a");
    file.write("half");
  }
  EXPECT_TRUE(std::filesystem::is_empty(folder));
  write_file(folder / "a", "first");
  {
    AtomicFile file(folder / "a");
    file.write("second");
    EXPECT_EQ(read_file(folder / "a", 100), "first");
    file.write_at(0, std::as_bytes(std::span("S", 1)));
    EXPECT_THROW(file.write_at(4, std::as_bytes(std::span("xyz", 3))), Error);
    file.commit();
  }
  EXPECT_EQ(read_file(folder / "a", 100), "Second");
}

TEST(AtomicFile, CopiesAWholeFileThatSharesNothingToLose) {
  const auto folder = fresh_folder("copy");
  const std::string text((std::size_t{3} << 20) + 17, 'x');
  write_file(folder / "a", text);
  write_file(folder / "b", "before");
  write_copy(folder / "a", folder / "b");
  EXPECT_TRUE(read_file(folder / "b", text.size()) == text);
  EXPECT_FALSE(std::filesystem::equivalent(folder / "a", folder / "b"));
  std::filesystem::resize_file(folder / "b", 0);
  EXPECT_TRUE(read_file(folder / "a", text.size()) == text);
  EXPECT_THROW(write_copy(folder / "none", folder / "b"), Error);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder), std::filesystem::directory_iterator()), 2);
}

TEST(AtomicFile, ItsTemporaryNamesAreTold) {
  const auto folder = fresh_folder("names");
  const AtomicFile file(folder / "a.json");
  const auto name = std::filesystem::directory_iterator(folder)->path().filename().string();
  EXPECT_TRUE(is_temporary_name(name, "a.json")) << name;
  EXPECT_FALSE(is_temporary_name(name, "b.json"));
  for (const char* own : {"a.json.saving-abcdef", "a.json.aB3dEf", "a.json.aBcdef"}) {
    EXPECT_TRUE(is_temporary_name(own, "a.json")) << own;
  }
  for (const char* other : {"a.json", "a.json.saving-abcdefg", "a.json.saving-abcde", "a.json.saving-abc.ef",
                            "a.json.backup", "a.json.Backup", "a.json.BACKUP", "a.json.241126", "a.json.20241126",
                            "xa.json.aB3dEf", "a.json-aB3dEf", "a.json.copy01"}) {
    EXPECT_FALSE(is_temporary_name(other, "a.json")) << other;
  }
}

TEST(UnusedPath, CountsUp) {
  const auto folder = fresh_folder("unused");
  EXPECT_EQ(unused_path(folder / "a"), folder / "a");
  write_file(folder / "a", "");
  EXPECT_EQ(unused_path(folder / "a"), folder / "a-2");
  std::filesystem::create_symlink("nowhere", folder / "a-2");
  EXPECT_EQ(unused_path(folder / "a"), folder / "a-3");
}

TEST(AtomicFile, RefusedWriteKeepsWhatStoodThere) {
  const auto folder = fresh_folder("full");
  write_file(folder / "a", "first");
  rlimit old_limit{};
  getrlimit(RLIMIT_FSIZE, &old_limit);
  const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit small{4096, old_limit.rlim_max};
  setrlimit(RLIMIT_FSIZE, &small);
  const auto refusal = [&](const char* name) {
    return test::error_of(ErrorKind::io, [&] { write_file(folder / name, std::string(10000, 'x')); });
  };
  const std::string changed = refusal("a");
  const std::string created = refusal("b");
  setrlimit(RLIMIT_FSIZE, &old_limit);
  std::signal(SIGXFSZ, old_handler);
  EXPECT_NE(changed.find("The previous content is unchanged."), std::string::npos) << changed;
  EXPECT_EQ(created.find("previous"), std::string::npos) << created;
  EXPECT_EQ(read_file(folder / "a", 100), "first");
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder), {}), 1);
  EXPECT_THROW(AtomicFile("/nonexistent_folder/a"), Error);
}

TEST(ReadFile, NamesTheFileAndTheLimit) {
  const auto folder = fresh_folder("read");
  EXPECT_THROW(read_file(folder / "missing", 10), Error);
  write_file(folder / "big", "0123456789");
  try {
    read_file(folder / "big", 9);
    FAIL() << "a file over the limit was accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::input);
    EXPECT_NE(std::string(error.what()).find("big"), std::string::npos);
  }
}

TEST(MappedFile, ShowsTheBytesAndRefusesFolders) {
  const auto folder = fresh_folder("map");
  write_file(folder / "a", "hello");
  write_file(folder / "empty", "");
  EXPECT_EQ(MappedFile(folder / "a").text(), "hello");
  EXPECT_EQ(MappedFile(folder / "empty").text(), "");
  EXPECT_THROW(MappedFile{folder}, Error);
  EXPECT_THROW(MappedFile{folder / "missing"}, Error);
}

// A file of `pages` pages full of the letter a.
std::filesystem::path file_of_pages(const std::string& name, std::size_t pages) {
  const auto path = fresh_folder(name) / "file";
  write_file(path, std::string(pages * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE)), 'a'));
  return path;
}

void expect_not_intact(const MappedFile& file) {
  EXPECT_FALSE(file.intact());
  try {
    file.require_intact();
    FAIL() << "a shortened file passed for intact";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::io);
    EXPECT_NE(std::string(error.what()).find(file.path().string()), std::string::npos);
  }
}

TEST(MappedFile, ReadsZerosWhereItsFileWasCutAndSaysSo) {
  const auto path = file_of_pages("cut", 8);
  const MappedFile file(path);
  EXPECT_TRUE(file.intact());
  EXPECT_NO_THROW(file.require_intact());
  const std::size_t page = file.bytes().size() / 8;
  std::filesystem::resize_file(path, 2 * page);
  EXPECT_EQ(std::ranges::count(file.text(), 'a'), 2 * static_cast<std::ptrdiff_t>(page));
  EXPECT_EQ(std::ranges::count(file.text(), '\0'), 6 * static_cast<std::ptrdiff_t>(page));
  expect_not_intact(file);
  // Restoring the file does not bring back what was read in between.
  std::filesystem::resize_file(path, 8 * page);
  expect_not_intact(file);
}

TEST(MappedFile, NoticesACutInsideItsLastPage) {
  const auto path = fresh_folder("cut_in_page") / "file";
  write_file(path, std::string(1000, 'a'));
  const MappedFile file(path);
  std::filesystem::resize_file(path, 999);
  EXPECT_EQ(file.text().back(), '\0');  // without a fault
  expect_not_intact(file);
}

TEST(MappedFile, StaysIntactWhereItsNameIsTakenByAnotherFile) {
  const auto path = file_of_pages("renamed", 2);
  MappedFile file(path);
  write_file(path, "short");
  EXPECT_TRUE(file.intact());
  const MappedFile moved = std::move(file);
  std::filesystem::remove(path);
  EXPECT_TRUE(moved.intact());
  EXPECT_EQ(moved.text().back(), 'a');
}

TEST(MappedFile, IsReadByManyThreadsWhileItsFileIsCut) {
  constexpr std::size_t pages = 64;
  for (int round = 0; round < 20; ++round) {
    const auto path = file_of_pages("cut_by_threads", pages);
    const auto whole_path = file_of_pages("beside", pages);
    const MappedFile whole(whole_path);
    const MappedFile file(path);
    const std::size_t page = file.bytes().size() / pages;
    std::atomic<int> letters = 0;
    parallel_for(2 * pages, large_cost, [&](std::int64_t i) {
      const auto at = static_cast<std::size_t>(i) / 2 * page;
      if (i == 16) std::filesystem::resize_file(path, page);
      letters += (i % 2 == 0 ? whole : file).text()[at] == 'a' ? 1 : 0;
    });
    EXPECT_GT(letters, static_cast<int>(pages));
    expect_not_intact(file);
    EXPECT_TRUE(whole.intact());  // although its table entry belonged to a damaged range before
  }
}

// Exit statuses of fault_elsewhere if no fault ended the process. Sanitizers use 1.
constexpr int cannot_prepare = 91, read_a_zero = 92, read_another_value = 93;

// A fault outside every MappedFile.
void fault_elsewhere(const std::filesystem::path& path) {
  const int descriptor = ::open(path.c_str(), O_RDWR);
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  void* const address = ::mmap(nullptr, page, PROT_READ, MAP_PRIVATE, descriptor, 0);
  if (address == MAP_FAILED || ::ftruncate(descriptor, 0) != 0) ::_exit(cannot_prepare);
  ::_exit(*static_cast<volatile char*>(address) == 0 ? read_a_zero : read_another_value);
}

TEST(MappedFileDeathTest, LeavesOtherFaultsAsTheyWere) {
  const auto path = file_of_pages("elsewhere", 1);
  const MappedFile file(path);
  EXPECT_EXIT(
      fault_elsewhere(file_of_pages("elsewhere_too", 1)),
      [](int status) { return !WIFEXITED(status) || WEXITSTATUS(status) < cannot_prepare; }, "");
}

TEST(MappedFileDeathTest, PassesOtherFaultsToTheHandlerBeforeIt) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");  // in a new process without a handler
  const auto path = file_of_pages("chained", 1);
  EXPECT_EXIT(
      {
        std::signal(SIGBUS, [](int) { ::_exit(77); });
        const MappedFile file(path);
        fault_elsewhere(file_of_pages("chained_too", 1));
      },
      testing::ExitedWithCode(77), "");
  GTEST_FLAG_SET(death_test_style, "fast");
}

TEST(FolderLock, RefusesASecondHolder) {
  const auto folder = fresh_folder("lock");
  {
    const FolderLock lock(folder);
    EXPECT_THROW(FolderLock{folder}, Error);
  }
  EXPECT_NO_THROW(FolderLock{folder});
}

TEST(Json, BoundsDepthAndNamesTheByte) {
  EXPECT_EQ(parse_json(R"({"a": [1, 2]})", "x")["a"][1], 2);
  EXPECT_THROW(parse_json(std::string(100000, '['), "x"), Error);
  EXPECT_THROW(parse_json("{", "x"), Error);
  EXPECT_THROW(parse_json("", "x"), Error);
  EXPECT_THROW(parse_json("[1e999]", "x"), Error);
}

TEST(Checked, OverflowIsAnError) {
  EXPECT_EQ(checked_multiply(3, 4, "x"), 12u);
  EXPECT_THROW(checked_multiply(std::uint64_t{1} << 40, std::uint64_t{1} << 40, "x"), Error);
  EXPECT_THROW(checked_add(~std::uint64_t{0}, 1, "x"), Error);
}

TEST(JsonValueTest, IsAValue) {
  JsonValue value;
  EXPECT_TRUE(value.get().is_null());
  value = nlohmann::json{{"a", 1}};
  JsonValue copy = value;
  value = nlohmann::json(2);
  EXPECT_EQ(copy.get().at("a"), 1);
  const JsonValue moved = std::move(copy);
  copy = value;
  EXPECT_EQ(moved.get().at("a"), 1);
  const nlohmann::json held = copy;
  EXPECT_EQ(held, 2);
}

}  // namespace
}  // namespace mslt
