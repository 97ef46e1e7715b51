// Tests of the messages about limits on memory and threads.
#include "base/process_limits.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <functional>
#include <new>
#include <vector>

#include "base/joining_thread.h"
#include "base/parallel.h"
#include "base/system_error.h"
#include "mslt/error.h"

namespace mslt {
namespace {

// The result of `work` in a child process, whose limits end with it. The child has only one thread.
std::string in_child(const std::function<std::string()>& work) {
  std::array<int, 2> ends{};
  if (::pipe(ends.data()) != 0) return "no pipe";
  const pid_t child = ::fork();
  if (child == 0) {
    std::string text;
    try {
      text = work();
    } catch (const std::exception& error) {
      text = explain_exception(error);
    }
    const ssize_t written = ::write(ends[1], text.data(), text.size());
    ::_exit(written == static_cast<ssize_t>(text.size()) ? 0 : 1);
  }
  ::close(ends[1]);
  std::string result;
  std::array<char, 4096> block{};
  for (ssize_t count = 0; (count = ::read(ends[0], block.data(), block.size())) > 0;) {
    result.append(block.data(), static_cast<std::size_t>(count));
  }
  ::close(ends[0]);
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? result : result + " (ended with an error)";
}

// Leaves `bytes` of address space to this process.
void leave_address_space(std::uint64_t bytes) {
  rlimit limit{std::uint64_t{1} << 44, RLIM_INFINITY};
  getrlimit(RLIMIT_AS, &limit);
  limit.rlim_cur = std::uint64_t{1} << 44;
  setrlimit(RLIMIT_AS, &limit);
  limit.rlim_cur = (std::uint64_t{1} << 44) - address_space_left() + bytes;
  setrlimit(RLIMIT_AS, &limit);
}

// Whether a limit on address space causes std::bad_alloc here: some systems do not enforce it, and sanitizers map more
// than any limit and end the program themselves.
bool limits_hold() {
  const std::string result = in_child([] {
    leave_address_space(std::uint64_t{1} << 26);
    try {
      const std::string large(std::size_t{1} << 30, 'x');
      return std::string("not limited");
    } catch (const std::bad_alloc&) {
      return std::string("limited");
    }
  });
  return result == "limited";
}

class ProcessLimits : public testing::Test {
 protected:
  void SetUp() override {
    if (!limits_hold()) GTEST_SKIP() << "A limit on address space does not come back as an error here.";
  }
};

TEST_F(ProcessLimits, MemoryNamesTheLimitThatHolds) {
  constexpr std::uint64_t gib = std::uint64_t{1} << 30;
  EXPECT_EQ(explain_memory(8 * gib, 4 * gib), "4.0 GiB are free");
  const std::string limited = in_child([] {
    leave_address_space(gib / 4);
    return explain_memory(gib / 2, 23 * gib);
  });
  EXPECT_NE(limited.find("ulimit -v"), std::string::npos) << limited;
  EXPECT_NE(limited.find("MiB"), std::string::npos) << limited;
}

TEST_F(ProcessLimits, RunningOutOfMemoryNamesTheLimit) {
  const std::string message = in_child([] {
    leave_address_space(std::uint64_t{1} << 26);
    std::string large(std::size_t{1} << 30, 'x');
    return large.substr(0, 1);
  });
  EXPECT_NE(message.find("Out of memory"), std::string::npos) << message;
  EXPECT_NE(message.find("ulimit -v"), std::string::npos) << message;
}

TEST_F(ProcessLimits, AThreadThatCannotStartNamesTheLimit) {
  const std::string message = in_child([] {
    leave_address_space(std::uint64_t{1} << 22);
    // More than the stacks that the system may have cached from earlier threads.
    std::vector<JoiningThread> threads;
    for (int i = 0; i < 64; ++i) threads.emplace_back([] {});
    return std::string("started");
  });
  EXPECT_NE(message.find("Cannot start a thread"), std::string::npos) << message;
  EXPECT_NE(message.find("ulimit -v"), std::string::npos) << message;
  EXPECT_EQ(message.find("Resource temporarily"), std::string::npos) << message;
}

TEST_F(ProcessLimits, ThreadsOfLoopsThatCannotStartAreAnError) {
  const std::string message = in_child([] {
    set_parallel_threads(64);
    leave_address_space(std::uint64_t{1} << 25);
    start_parallel_threads();
    return std::string("started");
  });
  EXPECT_NE(message.find("Cannot start a thread"), std::string::npos) << message;
}

TEST(ParallelStart, StartsTheThreadsOfLoopsAsOftenAsAsked) {
  const int before = parallel_threads();
  set_parallel_threads(4);
  EXPECT_NO_THROW(start_parallel_threads());
  EXPECT_NO_THROW(start_parallel_threads());
  set_parallel_threads(before);
}

}  // namespace
}  // namespace mslt
