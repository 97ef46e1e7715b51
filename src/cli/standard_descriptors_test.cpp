// Tests of filling closed descriptors, each in a separate process.
#include "cli/standard_descriptors.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>

namespace mslt::cli {
namespace {

[[noreturn]] void close_all_and_fill() {
  for (int descriptor = 0; descriptor < 3; ++descriptor) ::close(descriptor);
  const ClosedDescriptors closed = open_closed_descriptors();
  const bool filled = closed.in && closed.out && closed.err && ::open("/dev/null", O_RDONLY) > 2;
  char character = 'x';
  const bool usable = ::read(0, &character, 1) == 0 && ::write(0, &character, 1) < 0 &&
                      ::write(1, &character, 1) == 1 && ::write(2, &character, 1) == 1;
  std::_Exit(filled && usable ? 7 : 8);
}

[[noreturn]] void close_output_and_fill() {
  ::close(1);
  const ClosedDescriptors closed = open_closed_descriptors();
  const bool again = open_closed_descriptors().out;
  std::_Exit(closed.out && !closed.in && !closed.err && !again ? 7 : 8);
}

TEST(StandardDescriptorsDeathTest, NoFileTakesTheirPlace) {
  EXPECT_EXIT(close_all_and_fill(), testing::ExitedWithCode(7), "");
}

TEST(StandardDescriptorsDeathTest, OpenOnesAreLeftAlone) {
  EXPECT_EXIT(close_output_and_fill(), testing::ExitedWithCode(7), "");
}

}  // namespace
}  // namespace mslt::cli
