// Tests of unpacking GGUF's blocks, bit for bit against the package gguf (tests/golden/make_gguf.py).
#include "formats/gguf_blocks.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "formats/safetensors.h"
#include "mslt/error.h"

namespace mslt {
namespace {

constexpr std::string_view types[] = {"Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q4_K", "Q5_K", "Q6_K"};

class GgufBlocksTest : public testing::Test {
 protected:
  std::span<const std::byte> golden(const std::string& name) const {
    const auto entries = file_.entries();
    const auto found = std::ranges::find(entries, name, &SafetensorsEntry::name);
    EXPECT_NE(found, entries.end()) << name;
    return file_.bytes(*found);
  }

 private:
  SafetensorsFile file_{std::filesystem::path(MSLT_TEST_DATA) / "golden" / "gguf" / "blocks.safetensors"};
};

TEST_F(GgufBlocksTest, GivesTheSameBitsAsThePackageGguf) {
  for (const std::string_view name : types) {
    const auto type = quantised_block(name);
    ASSERT_TRUE(type) << name;
    const auto blocks = golden(std::string(name) + ".blocks");
    const auto expected = golden(std::string(name) + ".values");
    std::vector<float> values(blocks.size() / type->bytes * type->elements);
    ASSERT_EQ(expected.size(), values.size() * sizeof(float));
    dequantise(blocks, *type, values);
    for (std::size_t i = 0; i < values.size(); ++i) {
      std::uint32_t bits = 0;
      std::memcpy(&bits, expected.data() + i * sizeof bits, sizeof bits);
      ASSERT_EQ(std::bit_cast<std::uint32_t>(values[i]), bits) << name << ", element " << i;
    }
    EXPECT_TRUE(finite_blocks(blocks, *type)) << name;
  }
}

TEST_F(GgufBlocksTest, FindsScalesThatAreNotNumbers) {
  for (const std::string_view name : types) {
    const auto type = *quantised_block(name);
    const auto blocks = golden(std::string(name) + ".blocks");
    // A block whose values change is one of whose halves becomes infinite.
    int found = 0;
    for (std::size_t at = 0; at + 1 < type.bytes; at += 2) {
      std::vector<std::byte> own(blocks.begin(), blocks.begin() + static_cast<std::ptrdiff_t>(3 * type.bytes));
      own[type.bytes + at] = std::byte{0};
      own[type.bytes + at + 1] = std::byte{0x7C};
      std::vector<float> values(3 * type.elements);
      dequantise(own, type, values);
      const bool finite = std::ranges::all_of(values, [](float value) { return std::isfinite(value); });
      EXPECT_EQ(finite_blocks(own, type), finite) << name << ", byte " << at;
      if (!finite) ++found;
    }
    EXPECT_GE(found, 1) << name;
  }
}

TEST_F(GgufBlocksTest, KnowsNoOtherTypes) {
  for (const char* name : {"F32", "BF16", "Q2_K", "IQ4_NL", "q4_0", ""}) EXPECT_FALSE(quantised_block(name)) << name;
  EXPECT_EQ(quantised_block_names(), "Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K, Q6_K");
  std::vector<float> values(256);
  EXPECT_THROW(dequantise({}, *gguf_block("Q2_K"), values), Error);
}

}  // namespace
}  // namespace mslt
