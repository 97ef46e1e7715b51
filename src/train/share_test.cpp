// Tests of how a step is divided among processes.
#include "train/share.h"

#include <gtest/gtest.h>

#include "base/test_errors.h"

namespace mslt {
namespace {

using test::error_of;

TrainOptions batches(std::int64_t batch_size, std::int64_t grad_accum) {
  TrainOptions options;
  options.batch_size = batch_size;
  options.grad_accum = grad_accum;
  return options;
}

TEST(Share, TakesWholeBatchesWhereThereAreEnough) {
  const Share share = share_of(batches(4, 6), true, 2, 3);
  EXPECT_EQ(share, (Share{.batch_size = 4, .batches = 2, .first = 4, .is_whole = true, .rank = 2, .ranks = 3}));
  EXPECT_EQ(share_of(batches(4, 6), true, 0, 1).batches, 6);
}

TEST(Share, DividesBatchesOtherwise) {
  // 3 batches of 8 on 4 ranks: each takes 6 sequences, in batches of 2.
  for (std::int64_t rank = 0; rank < 4; ++rank) {
    const Share share = share_of(batches(8, 3), false, rank, 4);
    EXPECT_EQ(share.batch_size, 2);
    EXPECT_EQ(share.batches, 3);
    EXPECT_EQ(share.first, rank * 6 / 8);
    EXPECT_FALSE(share.is_whole);
  }
}

TEST(Share, SaysWhatWouldBeValid) {
  EXPECT_EQ(error_of(ErrorKind::usage, [] { share_of(batches(3, 1), false, 0, 2); }),
            "2 processes cannot divide the 3 sequences of a step (--batch-size 3, --grad-accum 1) evenly: --batch-size "
            "must be a multiple of 2, or --grad-accum one of 2.");
  EXPECT_EQ(error_of(ErrorKind::usage, [] { share_of(batches(8, 1), true, 0, 2); }),
            "--grad-accum is 1; with dropout, 2 processes divide whole batches: it must be a multiple of 2, such as "
            "--grad-accum 2 with --batch-size 4. With --dropout 0, batches are divided as well.");
}

}  // namespace
}  // namespace mslt
