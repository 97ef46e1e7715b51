// Tests of signals as a flag.
#include "cli/interrupt.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <thread>

#include "mslt/error.h"

namespace mslt::cli {
namespace {

void wait_past_one_signal() {
  std::this_thread::sleep_for(std::chrono::milliseconds(150));
}

TEST(InterruptGuard, EachSignalSetsTheFlagAndNamesItsStatus) {
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    const InterruptGuard guard;
    EXPECT_FALSE(guard.interrupted());
    EXPECT_NO_THROW(guard.end_if_interrupted("Done."));
    std::raise(signal);
    EXPECT_TRUE(guard.interrupted()) << signal;
    EXPECT_EQ(interrupt_status(), 128 + signal);
    try {
      guard.end_if_interrupted("Done.");
      ADD_FAILURE() << "no error";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::interrupted);
    }
  }
}

TEST(InterruptGuard, SignalsAtOnceCountAsOneAndHangUpsAlways) {
  const InterruptGuard guard;
  std::raise(SIGTERM);
  std::raise(SIGTERM);
  wait_past_one_signal();
  std::raise(SIGHUP);
  std::raise(SIGHUP);
  EXPECT_TRUE(guard.interrupted());
}

TEST(InterruptGuard, AnswersTheFirstSignal) {
  const InterruptGuard guard("Stopping soon.");
  testing::internal::CaptureStderr();
  std::raise(SIGTERM);
  std::raise(SIGTERM);
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "Stopping soon.\n");
}

TEST(InterruptGuard, LeavesAnIgnoredHangUpIgnored) {
  const auto before = std::signal(SIGHUP, SIG_IGN);
  {
    const InterruptGuard guard;
    std::raise(SIGHUP);
    EXPECT_FALSE(guard.interrupted());
  }
  std::signal(SIGHUP, before);
}

TEST(InterruptGuard, LeavesSignalsAsTheyWere) {
  const auto nothing = [](int) {
  };
  const auto before = std::signal(SIGTERM, nothing);
  {
    const InterruptGuard guard;
  }
  EXPECT_EQ(std::signal(SIGTERM, before), +nothing);
}

[[noreturn]] void raise_twice(int first, int second) {
  const InterruptGuard guard;
  std::raise(first);
  wait_past_one_signal();
  std::raise(second);
  std::_Exit(0);
}

TEST(InterruptGuardDeathTest, ASecondSignalEndsTheProgramAsUsual) {
  EXPECT_EXIT(raise_twice(SIGINT, SIGINT), testing::KilledBySignal(SIGINT), "");
  EXPECT_EXIT(raise_twice(SIGHUP, SIGTERM), testing::KilledBySignal(SIGTERM), "");
  EXPECT_EXIT(raise_twice(SIGINT, SIGHUP), testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace mslt::cli
