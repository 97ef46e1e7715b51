#include "train/slowest_rank.h"

#include <gtest/gtest.h>

#include <array>

#include "parallel/test_transport.h"

namespace mslt {
namespace {

std::string found(std::array<double, 3> seconds, double all) {
  std::string text;
  const auto errors = on_ranks(3, [&](Communicator& communicator) {
    const auto own = seconds[static_cast<std::size_t>(communicator.rank())];
    const auto sentence = find_slowest_rank(communicator, own, all);
    if (communicator.rank() == 2) text = sentence.value_or("nothing");
  });
  for (const std::string& error : errors) EXPECT_EQ(error, "");
  return text;
}

TEST(SlowestRank, IsNamedWhereTheOthersWait) {
  EXPECT_EQ(found({1.0, 1.4, 0.9}, 1.5),
            "rank 1 on host1 takes 1.4 times as long as the others for its part of a step; they wait for it.");
  EXPECT_EQ(found({1.0, 1.2, 0.9}, 1.3), "nothing") << "too little slower";
  EXPECT_EQ(found({1.0, 1.4, 0.9}, 10.0), "nothing") << "the steps' time goes elsewhere";
}

}  // namespace
}  // namespace mslt
