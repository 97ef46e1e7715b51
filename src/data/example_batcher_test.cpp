// Tests of padded batches: layout, masks, truncation, order and resuming.
#include "data/example_batcher.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "data/test_files.h"

namespace mslt {
namespace {

using test::error_of;

// Example i has i % 6 + 2 tokens, all of them 100 + i.
std::vector<Example> numbered_examples(std::size_t count) {
  std::vector<Example> examples(count);
  for (std::size_t i = 0; i < count; ++i) examples[i].tokens.assign(i % 6 + 2, static_cast<TokenId>(100 + i));
  return examples;
}

TEST(ExampleBatcher, PadsAndMasks) {
  ExampleBatcher batcher({{{5, 6, 7, 8}, 2}, {{9, 10}, 0}, {{11, 12, 13}, 1}},
                         {.batch = 3, .pad_id = 1, .shuffle = false, .bucket_by_length = false});
  const PaddedBatch batch = batcher.next();
  EXPECT_EQ(batch.rows, 3U);
  EXPECT_EQ(batch.length, 3U);
  EXPECT_EQ(batch.tokens, (std::vector<std::int32_t>{5, 6, 7, 9, 1, 1, 11, 12, 1}));
  EXPECT_EQ(batch.targets, (std::vector<std::int32_t>{-1, 7, 8, 10, -1, -1, 12, 13, -1}));
  EXPECT_EQ(batch.mask, (std::vector<std::uint8_t>{1, 1, 1, 1, 0, 0, 1, 1, 0}));
}

TEST(ExampleBatcher, EveryExampleComesOnceAnEpoch) {
  for (const bool bucket : {false, true}) {
    ExampleBatcher batcher(numbered_examples(23), {.batch = 4, .seed = 8, .bucket_by_length = bucket});
    ASSERT_EQ(batcher.batches(), 6U);
    std::set<std::vector<std::int32_t>> orders;
    for (int epoch = 0; epoch < 5; ++epoch) {
      std::vector<std::int32_t> order;
      std::size_t padding = 0;
      for (std::uint64_t i = 0; i < batcher.batches(); ++i) {
        const PaddedBatch batch = batcher.next();
        EXPECT_EQ(batch.rows, i == 5 ? 3U : 4U);
        for (std::size_t row = 0; row < batch.rows; ++row) order.push_back(batch.tokens[row * batch.length]);
        padding += static_cast<std::size_t>(std::ranges::count(batch.mask, std::uint8_t{0}));
      }
      EXPECT_EQ(std::set<std::int32_t>(order.begin(), order.end()).size(), 23U);
      if (bucket) {
        EXPECT_LE(padding, 5U) << "a batch mixes lengths that buckets keep apart";
      }
      orders.insert(order);
    }
    EXPECT_EQ(orders.size(), 5U);
  }
}

TEST(ExampleBatcher, ResumesFromEveryPosition) {
  const ExampleBatcherOptions options = {.batch = 3, .seed = 1};
  ExampleBatcher batcher(numbered_examples(10), options);
  std::vector<LoaderState> states;
  std::vector<std::vector<std::int32_t>> batches;
  for (int i = 0; i < 14; ++i) {
    states.push_back(batcher.state());
    batches.push_back(batcher.next().tokens);
  }
  for (std::size_t i = 0; i < states.size(); ++i) {
    ExampleBatcher resumed(numbered_examples(10), options);
    resumed.restore(states[i]);
    for (std::size_t j = i; j < batches.size(); ++j) ASSERT_EQ(resumed.next().tokens, batches[j]);
  }
  error_of(ErrorKind::input, [&] { batcher.restore({0, 5}); });
}

TEST(ExampleBatcher, TruncatesAsAsked) {
  const std::vector<Example> examples = {{{1, 2, 3, 4, 5}, 2}};
  const std::string refused = error_of(ErrorKind::input, [&] { ExampleBatcher(examples, {.max_tokens = 4}); });
  EXPECT_NE(refused.find("Example 0 has 5 tokens; the most allowed is 4"), std::string::npos);
  ExampleBatcher first(examples, {.max_tokens = 4, .truncation = Truncation::keep_first});
  EXPECT_EQ(first.next().targets, (std::vector<std::int32_t>{-1, 3, 4}));
  ExampleBatcher last(examples, {.max_tokens = 4, .truncation = Truncation::keep_last});
  EXPECT_EQ(last.next().targets, (std::vector<std::int32_t>{3, 4, 5}));
  ExampleBatcher shorter(examples, {.max_tokens = 2, .truncation = Truncation::keep_last});
  EXPECT_EQ(shorter.next().targets, (std::vector<std::int32_t>{5}));
  error_of(ErrorKind::input,
           [&] { ExampleBatcher(examples, {.max_tokens = 2, .truncation = Truncation::keep_first}); });
}

TEST(ExampleBatcher, WrongExamplesAndOptionsAreRefused) {
  error_of(ErrorKind::input, [] { ExampleBatcher({}, {}); });
  EXPECT_NE(error_of(ErrorKind::input, [] { ExampleBatcher({{{1, 2}, 0}, {{1}, 0}}, {}); }).find("Example 1"),
            std::string::npos);
  error_of(ErrorKind::input, [] { ExampleBatcher({{{1, 2}, 2}}, {}); });
  error_of(ErrorKind::input, [] { ExampleBatcher({{{1, 0x80000000}, 0}}, {}); });
  error_of(ErrorKind::usage, [] { ExampleBatcher(numbered_examples(1), {.batch = 0}); });
  error_of(ErrorKind::usage, [] { ExampleBatcher(numbered_examples(1), {.max_tokens = 1}); });
  error_of(ErrorKind::usage, [] { ExampleBatcher(numbered_examples(1), {.pad_id = 0x80000000}); });
}

}  // namespace
}  // namespace mslt
