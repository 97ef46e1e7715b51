// Tests of sets of characters.
#include "text/character_set.h"

#include <gtest/gtest.h>

namespace mslt {
namespace {

TEST(CharacterSet, RangesAreJoinedAndTakenApart) {
  const CharacterSet set({{'d', 'f'}, {'a', 'c'}, {0x400, 0x410}, {'x', 'x'}});
  EXPECT_EQ(set.ranges().size(), 3u);
  for (const char32_t in : {U'a', U'f', U'x', U'\u0410'}) EXPECT_TRUE(set.contains(in));
  for (const char32_t out : {U'`', U'g', U'\u0411', U'\U0010FFFF'}) EXPECT_FALSE(set.contains(out));
  EXPECT_EQ(set.complement().complement(), set);
  EXPECT_TRUE(set.complement().contains(0x10FFFF));
  EXPECT_EQ(CharacterSet().complement(), CharacterSet::all());
  EXPECT_EQ(set.intersected(CharacterSet::of('e', 0x405)), CharacterSet({{'e', 'f'}, {'x', 'x'}, {0x400, 0x405}}));
  EXPECT_EQ(set.united(CharacterSet::of('g', 'w')).ranges().size(), 2u);
}

TEST(CharacterSet, CaseIsThatOfAsciiAndWhatFoldsToIt) {
  const CharacterSet s = CharacterSet::of('s', 's').without_case();
  EXPECT_EQ(s, CharacterSet({{'S', 'S'}, {'s', 's'}, {0x17F, 0x17F}}));
  EXPECT_TRUE(CharacterSet::of('K', 'K').without_case().contains(0x212A));
  EXPECT_EQ(CharacterSet::of('1', '1').without_case(), CharacterSet::of('1', '1'));
}

TEST(CharacterSet, NamedSetsAreThoseOfTokenizers) {
  EXPECT_TRUE(CharacterSet::named("Lu").contains(0xC9));
  EXPECT_TRUE(CharacterSet::named("Han").contains(0x4E2D));
  EXPECT_TRUE(CharacterSet::named("punctuation").contains('$'));
  EXPECT_FALSE(CharacterSet::named("Po").contains('$'));
  EXPECT_TRUE(CharacterSet::named("numeric").contains(0xBD));
  EXPECT_TRUE(CharacterSet::named("rust word").contains(0x200D));
  EXPECT_FALSE(CharacterSet::named("word").contains(0x200D));
  EXPECT_TRUE(CharacterSet::named("nothing").empty());
}

}  // namespace
}  // namespace mslt
