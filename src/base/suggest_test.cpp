// Tests of the suggestions for misspelled names.
#include "base/suggest.h"

#include <gtest/gtest.h>

#include <array>

namespace mslt {
namespace {

TEST(Suggest, CountsInsertionsRemovalsReplacementsAndSwaps) {
  EXPECT_EQ(edit_distance("", ""), 0u);
  EXPECT_EQ(edit_distance("", "abc"), 3u);
  EXPECT_EQ(edit_distance("steps", "steps"), 0u);
  EXPECT_EQ(edit_distance("setps", "steps"), 1u);
  EXPECT_EQ(edit_distance("step", "steps"), 1u);
  EXPECT_EQ(edit_distance("stteps", "steps"), 1u);
  EXPECT_EQ(edit_distance("stops", "steps"), 1u);
  EXPECT_EQ(edit_distance("kitten", "sitting"), 3u);
}

TEST(Suggest, FindsTheNearestNames) {
  const std::vector<std::string> names = {"--steps", "--seq-len", "--seed", "--max-new-tokens", "--lr"};
  using List = std::vector<std::string>;
  EXPECT_EQ(near_names("--setps", names), List{"--steps"});
  EXPECT_EQ(near_names("-steps", names), List{"--steps"});
  EXPECT_EQ(near_names("steps", names), List{"--steps"});
  EXPECT_EQ(near_names("--max-new", names), List{"--max-new-tokens"});
  EXPECT_EQ(near_names("--seqlen", names), List{"--seq-len"});
  EXPECT_EQ(near_names("--lt", names), List{"--lr"});
  EXPECT_EQ(near_names("--wings", names), List{});
  EXPECT_EQ(near_names("--", names), List{});
  EXPECT_EQ(near_names(std::string(1 << 20, 'x'), names), List{});
}

TEST(Suggest, AsksInWords) {
  EXPECT_EQ(did_you_mean({}), "");
  EXPECT_EQ(did_you_mean({"--steps"}), " Did you mean --steps?");
  EXPECT_EQ(did_you_mean({"a", "b"}), " Did you mean a or b?");
  const std::array<std::string_view, 3> names = {"cosine", "linear", "constant"};
  EXPECT_EQ(near_name_hint("cosin", names), " Did you mean cosine?");
  EXPECT_EQ(near_name_hint("sine", names), "");
}

}  // namespace
}  // namespace mslt
