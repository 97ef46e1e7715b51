// Learning-rate schedules against their formulas, and what their validation rejects.
#include "train/schedule.h"

#include <gtest/gtest.h>

#include <cmath>

#include "mslt/error.h"

namespace mslt {
namespace {

LearningRate make(Schedule schedule) {
  return {schedule, 2e-3, 0.1, 100, 10, 0.2};
}

std::string rejection(const LearningRate& rate) {
  try {
    rate.validate();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::usage);
    return error.what();
  }
  return "";
}

TEST(Schedule, WarmsUpLinearly) {
  for (const Schedule schedule : {Schedule::cosine, Schedule::linear, Schedule::constant, Schedule::wsd}) {
    const LearningRate rate = make(schedule);
    EXPECT_DOUBLE_EQ(rate.at(1), 2e-4);
    EXPECT_DOUBLE_EQ(rate.at(5), 1e-3);
    EXPECT_DOUBLE_EQ(rate.at(10), 2e-3);
    EXPECT_DOUBLE_EQ(rate.at(11), 2e-3);
  }
}

TEST(Schedule, CosineFollowsItsFormula) {
  const LearningRate rate = make(Schedule::cosine);
  EXPECT_DOUBLE_EQ(rate.at(56), 2e-3 * (0.1 + 0.9 * 0.5));
  EXPECT_DOUBLE_EQ(rate.at(41), 2e-3 * (0.1 + 0.9 * 0.5 * (1.0 + std::cos(std::acos(-1.0) / 3.0))));
  EXPECT_DOUBLE_EQ(rate.at(101), 2e-4);
  EXPECT_DOUBLE_EQ(rate.at(5000), 2e-4);
}

TEST(Schedule, LinearFollowsItsFormula) {
  const LearningRate rate = make(Schedule::linear);
  EXPECT_DOUBLE_EQ(rate.at(56), 2e-3 * 0.55);
  EXPECT_DOUBLE_EQ(rate.at(100), 2e-3 * (0.1 + 0.9 / 90.0));
  EXPECT_DOUBLE_EQ(rate.at(101), 2e-4);
}

TEST(Schedule, ConstantStays) {
  EXPECT_EQ(make(Schedule::constant).at(12), 2e-3);
  EXPECT_EQ(make(Schedule::constant).at(1000), 2e-3);
}

TEST(Schedule, WsdIsStableThenFalls) {
  const LearningRate rate = make(Schedule::wsd);
  EXPECT_EQ(rate.decay_steps(), 20);
  EXPECT_EQ(rate.at(80), 2e-3);
  EXPECT_DOUBLE_EQ(rate.at(81), 2e-3);
  EXPECT_DOUBLE_EQ(rate.at(91), 2e-3 * 0.55);
  EXPECT_DOUBLE_EQ(rate.at(101), 2e-4);
}

TEST(Schedule, FallsAndNeverRisesAfterWarmup) {
  for (const Schedule schedule : {Schedule::cosine, Schedule::linear, Schedule::constant, Schedule::wsd}) {
    const LearningRate rate = make(schedule);
    for (std::int64_t step = 11; step < 130; ++step) EXPECT_LE(rate.at(step + 1), rate.at(step)) << step;
  }
}

TEST(Schedule, RejectsWhatIsImpossible) {
  EXPECT_EQ(rejection(make(Schedule::cosine)), "");
  EXPECT_NE(rejection({Schedule::cosine, 1e-3, 0.1, 10, 10, 0.2}).find("--warmup is 10"), std::string::npos);
  EXPECT_NE(rejection({Schedule::cosine, 1e-3, 0.1, 10, -1, 0.2}).find("--warmup is -1"), std::string::npos);
  EXPECT_NE(rejection({Schedule::cosine, 0.0, 0.1, 10, 1, 0.2}).find("--lr is 0"), std::string::npos);
  EXPECT_NE(rejection({Schedule::cosine, NAN, 1.5, 10, 1, 0.2}).find("--min-lr-ratio is 1.5"), std::string::npos);
  EXPECT_NE(rejection({Schedule::cosine, 1e-3, 0.1, 0, 0, 0.2}).find("--steps is 0"), std::string::npos);
  EXPECT_NE(rejection({Schedule::wsd, 1e-3, 0.1, 100, 50, 0.6}).find("overlap"), std::string::npos);
  EXPECT_NE(rejection({Schedule::wsd, 1e-3, 0.1, 100, 50, 0.0}).find("--decay-fraction is 0"), std::string::npos);
}

TEST(Schedule, NamesRoundTrip) {
  for (const Schedule schedule : {Schedule::cosine, Schedule::linear, Schedule::constant, Schedule::wsd}) {
    EXPECT_EQ(schedule_from_name(name_of(schedule)), schedule);
  }
  EXPECT_THROW(schedule_from_name("cosin"), Error);
}

}  // namespace
}  // namespace mslt
