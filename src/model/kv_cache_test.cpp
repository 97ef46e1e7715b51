#include "model/kv_cache.h"

#include <gtest/gtest.h>

#include <set>

#include "model/test_models.h"

namespace mslt {
namespace {

using test::expect_error;

class KvCacheTest : public testing::Test {
 protected:
  // The blocks that the rows of a view name, for as many positions as each slot holds.
  std::vector<std::int32_t> table(KvCache& cache, std::vector<int> slots) {
    const Tensor tensor = cache.view(0, slots).block_table;
    std::vector<std::int32_t> entries(static_cast<std::size_t>(tensor.elements()));
    backend_->download(tensor, std::as_writable_bytes(std::span(entries)));
    return entries;
  }

  std::unique_ptr<Backend> backend_ = make_backend("cpu");
  Config config_ = test::small_llama();  // 40 positions: 3 blocks a sequence
};

TEST_F(KvCacheTest, ShapesAndBytes) {
  KvCache cache(*backend_, config_, DType::bf16, 3, 120);
  EXPECT_EQ(cache.slots(), 3);
  EXPECT_EQ(cache.free_blocks(), 9);
  const std::vector<int> slots = {2, 0};
  const KvCacheView view = cache.view(1, slots);
  EXPECT_EQ(view.keys.shape(), (Shape{9, 16, 20}));
  EXPECT_EQ(view.values.dtype(), DType::bf16);
  EXPECT_EQ(view.block_table.shape(), (Shape{2, 3}));
  EXPECT_NE(cache.view(0, slots).keys.offset(), view.keys.offset());
  EXPECT_GE(cache.bytes(), 2u * 2u * 9u * 16u * 20u * 2u);
}

// Any division of the promised positions among the slots fits, here the worst: one row over a block in each.
TEST_F(KvCacheTest, HoldsThePromisedPositionsHoweverDivided) {
  KvCache cache(*backend_, config_, DType::f32, 4, 36);
  for (const int slot : {0, 1}) {
    cache.reserve(slot, 17);
    cache.advance(slot, 17);
  }
  cache.reserve(2, 1);
  cache.reserve(3, 1);
  KvCache other(*backend_, config_, DType::f32, 4, 36);
  other.reserve(1, 36);
}

TEST_F(KvCacheTest, BlocksBelongToOneSlotAndComeBack) {
  KvCache cache(*backend_, config_, DType::f32, 2, 80);
  cache.reserve(0, 20);
  cache.advance(0, 20);
  cache.reserve(1, 33);
  cache.advance(1, 33);
  EXPECT_EQ(cache.free_blocks(), 1);
  const std::vector<std::int32_t> entries = table(cache, {0, 1});
  const std::set<std::int32_t> distinct = {entries[0], entries[1], entries[3], entries[4], entries[5]};
  EXPECT_EQ(distinct.size(), 5u);
  const std::vector<std::int32_t> swapped = table(cache, {1, 0});
  EXPECT_EQ(swapped[0], entries[3]);
  EXPECT_EQ(swapped[3], entries[0]);

  cache.truncate(1, 16);
  EXPECT_EQ(cache.length(1), 16);
  EXPECT_EQ(cache.free_blocks(), 3);
  EXPECT_EQ(table(cache, {1})[0], entries[3]);
  cache.reserve(0, 20);
  cache.advance(0, 20);
  EXPECT_EQ(table(cache, {0})[0], entries[0]);
  EXPECT_EQ(table(cache, {0})[1], entries[1]);
  EXPECT_NE(table(cache, {0})[2], entries[3]);
  cache.truncate(0, 0);
  cache.truncate(1, 0);
  EXPECT_EQ(cache.free_blocks(), 6);
}

// Views of the same slots before and after their tables change.
TEST_F(KvCacheTest, ViewsFollowTheTables) {
  KvCache cache(*backend_, config_, DType::f32, 2, 80);
  cache.reserve(0, 16);
  cache.advance(0, 16);
  cache.reserve(1, 1);
  const std::int32_t first = table(cache, {0})[0];
  cache.reserve(0, 1);
  const std::vector<std::int32_t> grown = table(cache, {0});
  EXPECT_EQ(grown[0], first);
  EXPECT_NE(grown[1], first);
  EXPECT_NE(grown[1], table(cache, {1})[0]);
  // Slot 1 takes the first block that slot 0 gives back.
  EXPECT_EQ(table(cache, {0})[0], first);
  cache.truncate(0, 0);
  cache.reserve(1, 17);
  cache.reserve(0, 1);
  EXPECT_NE(table(cache, {0})[0], first);
}

TEST_F(KvCacheTest, ReservingTwiceTakesNothingMore) {
  KvCache cache(*backend_, config_, DType::f32, 1, 40);
  cache.reserve(0, 16);
  EXPECT_EQ(cache.free_blocks(), 2);
  cache.reserve(0, 16);
  EXPECT_EQ(cache.free_blocks(), 2);
  cache.truncate(0, 0);
  EXPECT_EQ(cache.free_blocks(), 3);
}

// Tokens decide, of whole blocks only, and blocks outlive their slot until their place is needed.
TEST_F(KvCacheTest, SharesTheBlocksOfEqualBeginnings) {
  KvCache cache(*backend_, config_, DType::f32, 3, 64);  // 6 blocks
  const std::vector<std::int32_t> ids = test::random_ids(40, config_.vocab_size, 1);
  cache.reserve(0, 40);
  cache.advance(0, 40);
  cache.remember(0, ids);
  const std::vector<std::int32_t> entries = table(cache, {0});
  EXPECT_EQ(cache.share(1, std::span(ids).first(39)), 32);
  EXPECT_EQ(table(cache, {1})[1], entries[1]);
  EXPECT_EQ(cache.free_blocks(), 3);
  std::vector<std::int32_t> other = ids;
  ++other[3];
  EXPECT_EQ(cache.share(2, other), 0);
  expect_error(ErrorKind::usage, {"shares"}, [&] { cache.truncate(1, 20); });
  expect_error(ErrorKind::usage, {"not empty"}, [&] { cache.share(1, ids); });

  cache.truncate(0, 0);
  EXPECT_EQ(cache.free_blocks(), 4);
  cache.truncate(1, 0);
  EXPECT_EQ(cache.free_blocks(), 6);
  EXPECT_EQ(cache.kept_blocks(), 2);
  // Four blocks are free, the fifth is the end of what was kept.
  cache.reserve(2, 40);
  cache.reserve(0, 32);
  EXPECT_EQ(cache.kept_blocks(), 1);
  EXPECT_EQ(cache.share(1, ids), 16);
  cache.truncate(1, 0);
  cache.forget();
  EXPECT_EQ(cache.share(1, ids), 0);
  EXPECT_EQ(cache.kept_blocks(), 0);
}

TEST_F(KvCacheTest, RejectsWhatDoesNotFit) {
  KvCache cache(*backend_, config_, DType::f32, 4, 40);
  EXPECT_EQ(cache.free_blocks(), 6);
  expect_error(ErrorKind::usage, {"40 positions"}, [&] { cache.reserve(0, 41); });
  cache.reserve(0, 40);
  cache.reserve(1, 32);
  expect_error(ErrorKind::memory, {"3 more blocks", "1 are free"}, [&] { cache.reserve(2, 40); });
  EXPECT_EQ(cache.free_blocks(), 1);
  EXPECT_EQ(cache.length(2), 0);
  cache.reserve(2, 16);

  expect_error(ErrorKind::usage, {"no slot 4"}, [&] { cache.reserve(4, 1); });
  expect_error(ErrorKind::usage, {"no slot -1"}, [&] { cache.length(-1); });
  expect_error(ErrorKind::usage, {"reserve"}, [&] { cache.advance(3, 1); });
  expect_error(ErrorKind::usage, {"cut to 1"}, [&] { cache.truncate(0, 1); });
  expect_error(ErrorKind::usage, {"no slot 9"}, [&] { cache.view(0, std::vector<int>{9}); });
  expect_error(ErrorKind::usage, {"not i8"}, [&] { KvCache(*backend_, config_, DType::i8, 1, 1); });
  expect_error(ErrorKind::usage, {"1 slot"}, [&] { KvCache(*backend_, config_, DType::f32, 0, 1); });
  expect_error(ErrorKind::usage, {"1 position"}, [&] { KvCache(*backend_, config_, DType::f32, 1, 0); });
}

}  // namespace
}  // namespace mslt
