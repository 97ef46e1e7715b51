// Tests of collective operations, on ranks that are threads: values, the order of sums, tensors, failures.
#include "parallel/communicator.h"

#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <numeric>

#include "backend/cpu/cpu_backend.h"
#include "base/philox.h"
#include "parallel/test_transport.h"

namespace mslt {
namespace {

const std::vector<std::string> no_errors(4);

std::vector<float> values_of(int rank, std::size_t count) {
  PhiloxStream stream(7, static_cast<std::uint32_t>(rank), 0);
  std::vector<float> values(count);
  for (float& value : values) value = static_cast<float>(stream.below(1u << 24)) * 0x1p-20f - 8.0f;
  return values;
}

TEST(Communicator, PiecesCoverEverythingOnce) {
  for (const int size : {1, 2, 3, 7}) {
    for (const std::size_t elements : {0U, 1U, 5U, 6U, 7U, 100U}) {
      std::size_t next = 0;
      for (int rank = 0; rank < size; ++rank) {
        const Piece piece = piece_of(elements, rank, size);
        EXPECT_EQ(piece.first, next);
        EXPECT_LE(piece.count, elements / static_cast<std::size_t>(size) + 1);
        next += piece.count;
      }
      EXPECT_EQ(next, elements);
    }
  }
}

TEST(Communicator, SumsInRankOrderOnEveryRank) {
  for (const int size : {1, 2, 3, 4}) {
    for (const std::size_t count : {1U, 3U, 1000U}) {
      std::vector<float> expected = values_of(0, count);
      for (int rank = 1; rank < size; ++rank) {
        const std::vector<float> more = values_of(rank, count);
        for (std::size_t i = 0; i < count; ++i) expected[i] += more[i];
      }
      const auto errors = on_ranks(size, [&](Communicator& communicator) {
        std::vector<float> values = values_of(communicator.rank(), count);
        communicator.sum(values);
        EXPECT_EQ(values, expected) << "rank " << communicator.rank() << " of " << size;
        EXPECT_EQ(communicator.sum(static_cast<std::int64_t>(communicator.rank() + 1)), size * (size + 1) / 2);
        EXPECT_EQ(communicator.any(communicator.rank() == size - 1), true);
        EXPECT_EQ(communicator.any(false), false);
      });
      for (const std::string& error : errors) EXPECT_EQ(error, "");
    }
  }
}

TEST(Communicator, PassesTextsAround) {
  const auto errors = on_ranks(4, [](Communicator& communicator) {
    const std::string own(static_cast<std::size_t>(communicator.rank()), 'x');
    EXPECT_EQ(communicator.gather(own), (std::vector<std::string>{"", "x", "xx", "xxx"}));
    EXPECT_EQ(communicator.broadcast(communicator.leads() ? "from the first" : own), "from the first");
    EXPECT_EQ(communicator.name_of(2), "rank 2 on host2");
    communicator.barrier();
  });
  EXPECT_EQ(errors, no_errors);
}

TEST(Communicator, SumsTensorsOfEachType) {
  const auto errors = on_ranks(3, [](Communicator& communicator) {
    CpuBackend backend;
    const auto buffer = backend.allocate(1024, "values");
    const auto rank = static_cast<float>(communicator.rank());
    const Tensor floats(*buffer, 0, DType::f32, {2, 4});
    backend.run(Fill{.out = floats, .value = rank + 0.5f});
    communicator.sum(backend, floats);
    for (const float value : floats.host<float>()) EXPECT_EQ(value, 4.5f);
    // 1 and twice 1/256: added one by one in bf16, they would stay 1.
    const Tensor halves(*buffer, 512, DType::bf16, {5});
    backend.run(Fill{.out = halves, .value = rank == 0 ? 1.0f : 0x1.0p-8f});
    communicator.sum(backend, halves);
    for (const BFloat16 value : halves.host<BFloat16>()) EXPECT_EQ(to_float(value), 1.0f + 0x1.0p-7f);
    const Tensor copied(*buffer, 768, DType::f32, {3});
    backend.run(Fill{.out = copied, .value = rank + 1.0f});
    communicator.broadcast(backend, copied);
    for (const float value : copied.host<float>()) EXPECT_EQ(value, 1.0f);
  });
  for (const std::string& error : errors) EXPECT_EQ(error, "");
}

TEST(Communicator, WorksInTheBackgroundInOrder) {
  const auto errors = on_ranks(3, [](Communicator& communicator) {
    CpuBackend backend;
    const auto buffer = backend.allocate(4096, "values");
    const auto rank = static_cast<float>(communicator.rank());
    // 7 elements in pieces of 3, 2 and 2.
    const Tensor scattered(*buffer, 0, DType::f32, {7});
    const Tensor halves(*buffer, 1024, DType::bf16, {5});
    const Tensor summed(*buffer, 2048, DType::f32, {3});
    backend.run(Fill{.out = scattered, .value = rank + 1.0f});
    backend.run(Fill{.out = halves, .value = rank + 1.0f});
    backend.run(Fill{.out = summed, .value = rank + 1.0f});
    communicator.begin_reduce_scatter(backend, scattered);
    communicator.begin_all_gather(backend, scattered);
    communicator.begin_all_gather(backend, halves);
    communicator.begin_sum(backend, summed);
    // Waits for what was begun.
    EXPECT_EQ(communicator.sum(2.0), 6.0);
    communicator.finish(backend);
    for (const float value : scattered.host<float>()) EXPECT_EQ(value, 6.0f);
    const std::vector<float> owners = {1, 1, 2, 2, 3};
    for (std::size_t i = 0; i < 5; ++i) EXPECT_EQ(to_float(halves.host<BFloat16>()[i]), owners[i]);
    for (const float value : summed.host<float>()) EXPECT_EQ(value, 6.0f);
  });
  for (const std::string& error : errors) EXPECT_EQ(error, "");
}

TEST(Communicator, AFailureInTheBackgroundComesFromFinish) {
  const auto errors = on_ranks(2, [](Communicator& communicator) {
    CpuBackend backend;
    const auto buffer = backend.allocate(64, "values");
    if (communicator.rank() == 1) fail(ErrorKind::memory, "The model does not fit.");
    communicator.begin_sum(backend, Tensor(*buffer, 0, DType::f32, {3}));
    communicator.begin_sum(backend, Tensor(*buffer, 0, DType::f32, {3}));
    communicator.finish(backend);
  });
  EXPECT_EQ(errors[0], "Rank 1 on host1: The model does not fit.");
}

TEST(Communicator, AFailureEndsTheWaitOfAllOthers) {
  const auto errors = on_ranks(3, [](Communicator& communicator) {
    communicator.barrier();
    if (communicator.rank() == 1) fail(ErrorKind::memory, "The model does not fit.");
    communicator.barrier();
  });
  EXPECT_EQ(errors[0], "Rank 1 on host1: The model does not fit.");
  EXPECT_EQ(errors[1], "The model does not fit.");
  EXPECT_EQ(errors[2], errors[0]);
}

}  // namespace
}  // namespace mslt
