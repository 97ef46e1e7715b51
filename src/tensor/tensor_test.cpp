// Tests of tensor/: 16-bit conversions, shapes, views and arenas.
#include "tensor/tensor.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "mslt/error.h"
#include "tensor/arena.h"

namespace mslt {
namespace {

class TestBuffer : public Buffer {
 public:
  explicit TestBuffer(std::size_t size) : TestBuffer(std::vector<std::byte>(size)) {}

 private:
  explicit TestBuffer(std::vector<std::byte> bytes)
      : Buffer(bytes.size(), bytes.data(), "test"), bytes_(std::move(bytes)) {}
  std::vector<std::byte> bytes_;
};

TEST(Half, EveryFloat16RoundTrips) {
  for (std::uint32_t bits = 0; bits < 0x10000u; ++bits) {
    const Float16 half{static_cast<std::uint16_t>(bits)};
    const float value = to_float(half);
    if (std::isnan(value)) {
      EXPECT_TRUE(std::isnan(to_float(to_float16(value))));
    } else {
      EXPECT_EQ(to_float16(value).bits, bits);
    }
  }
}

TEST(Half, Float16RoundsToNearestEven) {
  EXPECT_EQ(to_float(to_float16(1.0f + 0x1p-11f)), 1.0f);
  EXPECT_EQ(to_float(to_float16(1.0f + 0x1.8p-10f)), 1.0f + 0x1p-9f);
  EXPECT_EQ(to_float(to_float16(65519.0f)), 65504.0f);
  EXPECT_TRUE(std::isinf(to_float(to_float16(65520.0f))));
  EXPECT_EQ(to_float(to_float16(0x1p-24f)), 0x1p-24f);
  EXPECT_EQ(to_float(to_float16(0x1p-25f)), 0.0f);
  EXPECT_EQ(to_float(to_float16(0x1.8p-25f)), 0x1p-24f);
  EXPECT_TRUE(std::isinf(to_float(to_float16(-std::numeric_limits<float>::infinity()))));
}

TEST(Half, BFloat16RoundsToNearestEven) {
  EXPECT_EQ(to_float(to_bfloat16(1.0f + 0x1p-8f)), 1.0f);
  EXPECT_EQ(to_float(to_bfloat16(1.0f + 0x1.8p-7f)), 1.0f + 0x1p-6f);
  EXPECT_TRUE(std::isnan(to_float(to_bfloat16(std::numeric_limits<float>::signaling_NaN()))));
  EXPECT_TRUE(std::isinf(to_float(to_bfloat16(std::numeric_limits<float>::max()))));
}

TEST(Shape, ChecksItsDimensions) {
  EXPECT_EQ((Shape{2, 3, 4}).elements(), 24);
  EXPECT_EQ((Shape{2, 3, 4}).rows(), 6);
  EXPECT_EQ((Shape{2, 3, 4})[-1], 4);
  EXPECT_EQ((Shape{2, 3}).to_string(), "[2, 3]");
  EXPECT_THROW((Shape{-1}), Error);
  EXPECT_THROW((Shape{1, 1, 1, 1, 1}), Error);
  EXPECT_THROW((Shape{std::int64_t{1} << 40, std::int64_t{1} << 40}), Error);
}

TEST(Tensor, RefusesToPassTheBuffersEnd) {
  TestBuffer buffer(64);
  EXPECT_NO_THROW(Tensor(buffer, 0, DType::f32, Shape{16}));
  EXPECT_THROW(Tensor(buffer, 0, DType::f32, Shape{17}), Error);
  EXPECT_THROW(Tensor(buffer, 4, DType::f32, Shape{16}), Error);
  EXPECT_THROW(Tensor(buffer, 2, DType::f32, Shape{1}), Error);
  EXPECT_THROW(Tensor(buffer, 128, DType::f32, Shape{0}), Error);
}

TEST(Tensor, SlicesRowsAndReshapes) {
  TestBuffer buffer(64);
  const Tensor tensor(buffer, 0, DType::f32, Shape{4, 4});
  tensor.host<float>()[8] = 3.0f;
  const Tensor rows = tensor.slice(2, 2);
  EXPECT_EQ(rows.shape(), (Shape{2, 4}));
  EXPECT_EQ(rows.host<float>()[0], 3.0f);
  EXPECT_EQ(rows.reshape(Shape{8}).elements(), 8);
  EXPECT_THROW(rows.reshape(Shape{9}), Error);
  EXPECT_THROW(tensor.slice(3, 2), Error);
  EXPECT_THROW(tensor.host<std::int32_t>(), Error);
}

TEST(Arena, LeavesSegmentsWhereTheyAreMapped) {
  ArenaLayout layout;
  layout.add("a", DType::f32, {3});
  layout.add("b", DType::f32, {100});
  layout.add("c", DType::f32, {5});
  MappedSegments mapped;
  mapped.buffers.push_back(std::make_unique<TestBuffer>(1000));
  mapped.places["b"] = {0, 64};
  Buffer& elsewhere = *mapped.buffers[0];
  EXPECT_EQ(layout.without(mapped).bytes(), 512u);
  EXPECT_THROW(Arena(layout, std::make_unique<TestBuffer>(512)), Error);
  const Arena arena(layout, std::make_unique<TestBuffer>(512), std::move(mapped));
  EXPECT_EQ(arena.tensor("a").offset(), 0u);
  EXPECT_EQ(arena.tensor("c").offset(), 256u);
  EXPECT_EQ(&arena.tensor("c").buffer(), &arena.buffer());
  EXPECT_EQ(arena.tensor("b").offset(), 64u);
  EXPECT_EQ(&arena.tensor("b").buffer(), &elsewhere);
  EXPECT_EQ(arena.tensor("b").shape(), Shape{100});
  EXPECT_TRUE(arena.is_mapped("b"));
  EXPECT_FALSE(arena.is_mapped("a"));
  EXPECT_THROW(arena.whole(), Error);
  EXPECT_THROW(arena.range(0, 0), Error);
}

TEST(Arena, ShowsTheSpareRowsOfItsOwnMatrices) {
  ArenaLayout layout;
  layout.add("a", DType::bf16, {3, 100}, 2);
  layout.add("b", DType::f32, {7, 10}, 1);
  layout.add("c", DType::f32, {5});
  EXPECT_EQ(layout.segment("b").offset, 1024u);  // 5 · 100 · 2 bytes, aligned
  EXPECT_EQ(layout.with_dtype(DType::f32).segment("b").offset, 2048u);
  MappedSegments mapped;
  mapped.buffers.push_back(std::make_unique<TestBuffer>(1024));
  mapped.places["b"] = {0, 0};
  const ArenaLayout own = layout.without(mapped);
  const Arena arena(layout, std::make_unique<TestBuffer>(own.bytes()), std::move(mapped));
  EXPECT_EQ(arena.tensor("a").shape(), (Shape{3, 100}));
  EXPECT_EQ(arena.with_spare("a").shape(), (Shape{5, 100}));
  EXPECT_EQ(arena.with_spare("a").offset(), arena.tensor("a").offset());
  EXPECT_EQ(arena.with_spare("b").shape(), (Shape{7, 10}));
  EXPECT_EQ(arena.with_spare("c").shape(), (Shape{5}));
  EXPECT_EQ(arena.tensor("c").offset(), 1024u);
}

TEST(Arena, NamesAlignedSegments) {
  ArenaLayout layout;
  layout.add("a", DType::f32, Shape{3});
  layout.add("b", DType::f32, Shape{65});
  EXPECT_EQ(layout.bytes(), 256u + 512u);
  EXPECT_THROW(layout.add("a", DType::f32, Shape{1}), Error);
  EXPECT_EQ(layout.with_dtype(DType::bf16).segment("b").offset, 256u);
  const Arena arena(layout, std::make_unique<TestBuffer>(layout.bytes()));
  EXPECT_EQ(arena.tensor("b").offset(), 256u);
  EXPECT_EQ(arena.whole().elements(), (256 + 512) / 4);
  EXPECT_EQ(arena.range(1, 1).elements(), 512 / 4);
  EXPECT_THROW(arena.tensor("c"), Error);
}

}  // namespace
}  // namespace mslt
