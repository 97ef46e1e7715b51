// Tests of writing to descriptors that fail, block and close.
#include "cli/output_stream.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <thread>

#include "base/file.h"
#include "mslt/error.h"

namespace mslt::cli {
namespace {

// Closes a descriptor in its destructor.
class Descriptor {
 public:
  explicit Descriptor(int number) : number_(number) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() { close(); }
  operator int() const { return number_; }
  void close() {
    if (number_ >= 0) ::close(number_);
    number_ = -1;
  }

 private:
  int number_;
};

std::string long_text() {
  std::string text;
  for (int i = 0; i < 60'000; ++i) text += std::to_string(i) + "\n";
  return text;
}

std::string refusal(std::ostream& out) {
  try {
    finish_output(out);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::io);
    return error.what();
  }
  return {};
}

std::string temporary(const std::string& name) {
  return (std::filesystem::path(testing::TempDir()) / ("mslt_output_" + name)).string();
}

TEST(OutputStream, WritesAllInOrder) {
  const std::string path = temporary("order");
  Descriptor file(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600));
  ASSERT_GE(file, 0);
  OutputStream out(file, WriteFailure::raise, false);
  const std::string text = long_text();
  for (std::size_t i = 0; i < 1000; ++i) out << text[i];
  out << text.substr(1000, 100'000) << text.substr(101'000, 7);
  out << text.substr(101'007);
  EXPECT_EQ(refusal(out), "");
  EXPECT_EQ(read_file(path, 1 << 20), text);
  std::filesystem::remove(path);
}

TEST(OutputStream, SaysThatTheDiskIsFullAndGoesOnSayingIt) {
  Descriptor full(::open("/dev/full", O_WRONLY));
  if (full < 0) GTEST_SKIP() << "there is no /dev/full here";
  OutputStream out(full, WriteFailure::raise, false);
  out << "lost";
  EXPECT_THROW(out.flush(), Error);
  EXPECT_NE(refusal(out).find("Cannot write standard output: the disk is full"), std::string::npos) << refusal(out);
  // Long work ends when its buffer overflows, before its end.
  OutputStream work(full, WriteFailure::raise, false);
  EXPECT_THROW(
      {
        for (int i = 0; i < 100'000; ++i) work << i;
      },
      Error);
}

TEST(OutputStream, TellsAReaderThatWentAwayFromAFailure) {
  std::array<int, 2> ends{};
  ASSERT_EQ(::pipe(ends.data()), 0);
  Descriptor in(ends[1]);
  ::close(ends[0]);
  const auto before = std::signal(SIGPIPE, SIG_IGN);
  OutputStream out(in, WriteFailure::raise, false);
  out << "nobody reads this";
  EXPECT_THROW(out << std::flush, OutputClosed);
  EXPECT_THROW(finish_output(out), OutputClosed);
  std::signal(SIGPIPE, before);
}

TEST(OutputStream, WaitsForADescriptorThatDoesNotBlock) {
  std::array<int, 2> ends{};
  ASSERT_EQ(::pipe(ends.data()), 0);
  const Descriptor from(ends[0]);
  Descriptor to(ends[1]);
  ASSERT_EQ(::fcntl(to, F_SETFL, O_NONBLOCK), 0);
  const std::string text = long_text();
  std::string read;
  std::thread reader([&] {
    std::array<char, 1000> block{};
    for (ssize_t count = 0; (count = ::read(from, block.data(), block.size())) > 0;) {
      read.append(block.data(), static_cast<std::size_t>(count));
    }
  });
  OutputStream out(to, WriteFailure::raise, false);
  out << text;
  EXPECT_EQ(refusal(out), "");
  to.close();
  reader.join();
  EXPECT_EQ(read, text);
}

TEST(OutputStream, MissesADescriptorThatWasClosedOnlyWhereSomethingIsWritten) {
  Descriptor null(::open("/dev/null", O_WRONLY));
  OutputStream out(null, WriteFailure::raise, true);
  EXPECT_EQ(refusal(out), "");
  out << "x";
  EXPECT_NE(refusal(out).find("closed"), std::string::npos) << refusal(out);
}

TEST(OutputStream, SaysSoWhereADescriptorIsForReading) {
  Descriptor null(::open("/dev/null", O_RDONLY));
  OutputStream out(null, WriteFailure::raise, false);
  out << "x";
  EXPECT_NE(refusal(out).find("not open for writing"), std::string::npos) << refusal(out);
}

TEST(OutputStream, LosesWhatStandardErrorDoesNotTake) {
  Descriptor null(::open("/dev/null", O_RDONLY));
  OutputStream err(null, WriteFailure::ignore, false);
  err << std::unitbuf << "lost" << 1 << '\n' << std::flush;
  EXPECT_TRUE(err.good());
}

// Runs in a separate process, to which the limit applies.
[[noreturn]] void write_past_a_limit(const std::string& path) {
  std::signal(SIGXFSZ, SIG_IGN);
  const rlimit limit{100'000, 100'000};
  ::setrlimit(RLIMIT_FSIZE, &limit);
  const int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
  OutputStream out(file, WriteFailure::raise, false);
  std::string message = "none";
  try {
    out << long_text();
    message = refusal(out);
  } catch (const Error& error) {
    message = error.what();
  }
  std::_Exit(message.find("ulimit -f") != std::string::npos ? 7 : 8);
}

TEST(OutputStreamDeathTest, NamesALimitOnFileSizes) {
  const std::string path = temporary("limit");
  EXPECT_EXIT(write_past_a_limit(path), testing::ExitedWithCode(7), "");
  EXPECT_EQ(std::filesystem::file_size(path), 100'000u);
  std::filesystem::remove(path);
}

}  // namespace
}  // namespace mslt::cli
