// Tests of sampling and stop strings.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "base/philox.h"
#include "generate/sampler.h"
#include "generate/stop_strings.h"
#include "mslt/error.h"

namespace mslt {
namespace {

std::vector<double> frequencies(const SamplingOptions& options, const std::vector<float>& logits, int draws,
                                const std::vector<std::int32_t>& history = {}) {
  Sampler sampler(options, 0);
  std::vector<double> counts(logits.size());
  for (int i = 0; i < draws; ++i) {
    std::vector<float> copy = logits;
    counts[static_cast<std::size_t>(sampler.draw({copy}, history))] += 1.0;
  }
  for (double& count : counts) count /= draws;
  return counts;
}

std::vector<float> log_of(const std::vector<double>& probabilities) {
  std::vector<float> logits;
  for (const double p : probabilities) logits.push_back(static_cast<float>(std::log(p)));
  return logits;
}

TEST(Sampler, GreedyTakesTheFirstLargest) {
  SamplingOptions options;
  options.temperature = 0.0f;
  EXPECT_EQ(frequencies(options, {1.0f, 3.0f, 3.0f, 2.0f}, 3)[1], 1.0);
}

TEST(Sampler, DrawsFollowTheSoftmax) {
  const auto counts = frequencies({}, log_of({0.5, 0.3, 0.2}), 20000);
  EXPECT_NEAR(counts[0], 0.5, 0.015);
  EXPECT_NEAR(counts[1], 0.3, 0.015);
  EXPECT_NEAR(counts[2], 0.2, 0.015);
}

TEST(Sampler, TemperatureSharpens) {
  SamplingOptions options;
  options.temperature = 0.5f;  // squares the probabilities
  EXPECT_NEAR(frequencies(options, log_of({0.75, 0.25}), 20000)[0], 0.9, 0.01);
}

TEST(Sampler, TopKKeepsKAndRenormalises) {
  SamplingOptions options;
  options.top_k = 2;
  const auto counts = frequencies(options, log_of({0.2, 0.5, 0.3}), 20000);
  EXPECT_EQ(counts[0], 0.0);
  EXPECT_NEAR(counts[1], 0.625, 0.015);
}

TEST(Sampler, TopPKeepsTheSmallestSufficientSet) {
  SamplingOptions options;
  options.top_p = 0.75f;
  const auto counts = frequencies(options, log_of({0.2, 0.5, 0.3}), 20000);
  EXPECT_EQ(counts[0], 0.0);
  EXPECT_NEAR(counts[1], 0.625, 0.015);
  options.top_p = 0.4f;
  EXPECT_EQ(frequencies(options, log_of({0.2, 0.5, 0.3}), 100)[1], 1.0);
}

TEST(Sampler, MinPIsRelativeToTheMostLikely) {
  SamplingOptions options;
  options.min_p = 0.5f;
  const auto counts = frequencies(options, log_of({0.2, 0.5, 0.3}), 20000);
  EXPECT_EQ(counts[0], 0.0);
  EXPECT_NEAR(counts[1], 0.625, 0.015);
}

TEST(Sampler, RepetitionPenaltyLowersSeenTokensOfEitherSign) {
  SamplingOptions options;
  options.temperature = 0.0f;
  options.repetition_penalty = 2.0f;
  EXPECT_EQ(frequencies(options, {3.0f, 2.0f}, 1, {0, 0})[1], 1.0);
  EXPECT_EQ(frequencies(options, {-1.0f, -1.5f}, 1, {0})[1], 1.0);
}

TEST(Sampler, NonFiniteLogitsAreImpossible) {
  constexpr float nan = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(frequencies({}, {nan, 0.0f, -std::numeric_limits<float>::infinity()}, 100)[1], 1.0);
  EXPECT_THROW(frequencies({}, {nan, nan}, 1), Error);
}

TEST(Sampler, SamplesAreIndependentAndRepeatable) {
  const std::vector<float> logits(50, 0.0f);
  const auto draw_ten = [&](std::uint32_t sample) {
    Sampler sampler({}, sample);
    std::vector<std::int32_t> tokens;
    for (int i = 0; i < 10; ++i) {
      std::vector<float> copy = logits;
      tokens.push_back(sampler.draw({copy}, {}));
    }
    return tokens;
  };
  EXPECT_EQ(draw_ten(0), draw_ten(0));
  EXPECT_NE(draw_ten(0), draw_ten(1));
}

// All candidates in descending order, cut as the options say, and then the one at a random share of their weight.
std::int32_t draw_sorted(const SamplingOptions& options, const std::vector<float>& logits, std::uint32_t draw_number) {
  const float largest = *std::max_element(logits.begin(), logits.end());
  std::vector<std::pair<float, std::int32_t>> candidates;
  for (std::size_t i = 0; i < logits.size(); ++i) {
    candidates.emplace_back(std::exp((logits[i] - largest) * (1.0f / options.temperature)),
                            static_cast<std::int32_t>(i));
  }
  std::sort(candidates.begin(), candidates.end(),
            [](const auto& a, const auto& b) { return a.first != b.first ? a.first > b.first : a.second < b.second; });
  const auto total = [&] {
    double sum = 0.0;
    for (const auto& candidate : candidates) sum += candidate.first;
    return sum;
  };
  if (options.top_k > 0) candidates.resize(std::min<std::size_t>(candidates.size(), options.top_k));
  double wanted = options.top_p * total();
  std::size_t count = 0;
  while (count < candidates.size() && wanted > 0.0) wanted -= candidates[count++].first;
  candidates.resize(count);
  while (candidates.back().first < options.min_p) candidates.pop_back();
  double remaining = PhiloxStream(options.seed, draw_number, 0).uniform_double() * total();
  for (const auto& candidate : candidates) {
    remaining -= candidate.first;
    if (remaining < 0.0) return candidate.second;
  }
  return candidates.back().second;
}

TEST(Sampler, DrawsWhatSortingWould) {
  for (const float spread : {0.0f, 0.01f, 1.0f, 30.0f}) {
    PhiloxStream stream(3, 1, 0);
    std::vector<float> logits(700);
    for (float& logit : logits) {
      logit = spread * static_cast<float>(stream.uniform_double());
      if (stream.below(3) == 0) logit = std::round(logit);
    }
    for (const std::int64_t top_k : {0, 1, 10, 350, 700, 900}) {
      for (const float top_p : {0.01f, 0.5f, 0.95f, 1.0f}) {
        for (const float min_p : {0.0f, 0.3f, 1.0f}) {
          SCOPED_TRACE(testing::Message() << spread << " " << top_k << " " << top_p << " " << min_p);
          const SamplingOptions options{.temperature = 0.8f, .top_k = top_k, .top_p = top_p, .min_p = min_p};
          Sampler sampler(options, 0);
          for (std::uint32_t draw = 0; draw < 10; ++draw) {
            std::vector<float> copy = logits;
            ASSERT_EQ(sampler.draw({copy}, {}), draw_sorted(options, logits, draw));
          }
        }
      }
    }
  }
}

TEST(Sampler, TheLowestTemperatureIsGreedy) {
  SamplingOptions options;
  options.temperature = std::numeric_limits<float>::denorm_min();
  EXPECT_EQ(frequencies(options, {1.0f, 3.0f, 2.0f}, 50)[1], 1.0);
}

TEST(SamplingOptions, EachOptionOutOfRangeIsNamed) {
  const auto message = [](auto change) {
    SamplingOptions options;
    change(options);
    try {
      options.validate();
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  EXPECT_NE(message([](auto& o) { o.temperature = -1; }).find("--temperature"), std::string::npos);
  EXPECT_NE(message([](auto& o) { o.temperature = NAN; }).find("--temperature"), std::string::npos);
  EXPECT_NE(message([](auto& o) { o.top_k = -1; }).find("--top-k"), std::string::npos);
  EXPECT_NE(message([](auto& o) { o.top_p = 0; }).find("--top-p"), std::string::npos);
  EXPECT_NE(message([](auto& o) { o.top_p = 1.5f; }).find("--top-p"), std::string::npos);
  EXPECT_NE(message([](auto& o) { o.min_p = 2; }).find("--min-p"), std::string::npos);
  EXPECT_NE(message([](auto& o) { o.repetition_penalty = 0; }).find("--repetition-penalty"), std::string::npos);
}

TEST(StopStrings, HoldsBackWhatMayBecomeOne) {
  StopStrings stop({"END", "\n\n"});
  EXPECT_EQ(stop.push("abcE"), "abc");
  EXPECT_EQ(stop.push("N"), "");
  EXPECT_EQ(stop.push("x\n"), "ENx");
  EXPECT_EQ(stop.push("y"), "\ny");
  EXPECT_EQ(stop.push("zEND after"), "z");
  EXPECT_TRUE(stop.stopped());
  EXPECT_EQ(stop.push("more"), "");
  EXPECT_EQ(stop.finish(), "");
}

TEST(StopStrings, AnySplitGivesTheSameText) {
  const std::string text = "one ENEND two";
  for (std::size_t cut = 0; cut <= text.size(); ++cut) {
    StopStrings stop({"END"});
    std::string seen = stop.push(text.substr(0, cut));
    seen += stop.push(text.substr(cut));
    EXPECT_EQ(seen + stop.finish(), "one EN");
  }
}

TEST(StopStrings, FinishGivesBackWhatWasHeld) {
  StopStrings stop({"END"});
  EXPECT_EQ(stop.push("xEN"), "x");
  EXPECT_EQ(stop.finish(), "EN");
  EXPECT_THROW(StopStrings({""}), Error);
}

}  // namespace
}  // namespace mslt
