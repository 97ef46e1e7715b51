// The masks of bytes against their definition, byte by byte.
#include "text/ascii_masks.h"

#include <gtest/gtest.h>

#include <array>

namespace mslt {
namespace {

AsciiMasks plain_masks(const std::array<char, 64>& bytes) {
  AsciiMasks masks;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    const int byte = static_cast<unsigned char>(bytes[i]);
    const auto bit = [&](bool is) {
      return std::uint64_t{is} << i;
    };
    masks.letters |= bit((byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z'));
    masks.numbers |= bit(byte >= '0' && byte <= '9');
    masks.white |= bit(byte == ' ' || (byte >= '\t' && byte <= '\r'));
    masks.spaces |= bit(byte == ' ');
    masks.apostrophes |= bit(byte == '\'');
    masks.others |= bit(byte >= 0x80);
  }
  return masks;
}

TEST(AsciiMasks, EqualTheirDefinitionForEveryByteAtEveryPlace) {
  std::array<char, 64> bytes{};
  for (unsigned value = 0; value < 256; ++value) {
    for (std::size_t place = 0; place < bytes.size(); ++place) {
      // Other values beside it, from which nothing may be carried over.
      for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>(value + (i == place ? 0 : 7 * i + 1));
      const AsciiMasks expected = plain_masks(bytes);
      EXPECT_EQ(ascii_masks(bytes.data()), expected) << value << " at " << place;
      EXPECT_EQ(ascii_masks_by_words(bytes.data()), expected) << value << " at " << place;
    }
  }
}

}  // namespace
}  // namespace mslt
