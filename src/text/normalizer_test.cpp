// Tests of normalizers; expected values come from the tokenizers package.
#include "text/normalizer.h"

#include <gtest/gtest.h>

namespace mslt {
namespace {

using Kind = NormalizerStep::Kind;

NormalizerStep form(NormalizationForm form) {
  return {.form = form, .content = {}, .expression = nullptr};
}

NormalizerStep lowercase() {
  return {.kind = Kind::lowercase, .content = {}, .expression = nullptr};
}

NormalizerStep replace(const Expression& expression, std::string content) {
  return {.kind = Kind::replace,
          .content = std::move(content),
          .expression = std::make_shared<const Expression>(expression)};
}

std::string apply(NormalizerStep step, std::string_view text) {
  return Normalizer({std::move(step)}).apply(text);
}

TEST(Normalizer, PutsTextIntoTheForms) {
  EXPECT_EQ(apply(form(NormalizationForm::nfkc), "\uFB01\u00BD\u210C\u2460e\u0301\u1100\u1161\u00B2"),
            "fi1\u20442H1\u00E9\uAC002");
  EXPECT_EQ(apply(form(NormalizationForm::nfd), "\u00E9a\u0323\u0307\uAC01x"),
            "e\u0301a\u0323\u0307\u1100\u1161\u11A8x");
  EXPECT_EQ(apply(form(NormalizationForm::nfkd), "\uFB01\u00E9\u00BD\uAC01"), "fie\u03011\u20442\u1100\u1161\u11A8");
  EXPECT_EQ(apply(form(NormalizationForm::nfc), "e\u0301"), "\u00E9");
  EXPECT_EQ(apply(form(NormalizationForm::nfkc), "e\xFF\u0301"), "e\xFF\u0301");
  EXPECT_EQ(apply(form(NormalizationForm::nfkc), "xe\u0301y"), "x\u00E9y");
}

TEST(Normalizer, LowersStripsPrependsAndReplaces) {
  EXPECT_EQ(apply(lowercase(), "\u00C0\u0130\u03A3\u03C2\u1E9E\u01C5A\xFF"),
            "\u00E0i\u0307\u03C3\u03C2\u00DF\u01C6"
            "a\xFF");
  NormalizerStep strip{
      .kind = Kind::strip, .content = {}, .expression = nullptr, .strips_left = true, .strips_right = true};
  EXPECT_EQ(apply(strip, "\u3000 a b \n"), "a b");
  strip.strips_right = false;
  EXPECT_EQ(apply(strip, " a "), "a ");
  const NormalizerStep prepend{.kind = Kind::prepend, .content = "_", .expression = nullptr};
  EXPECT_EQ(apply(prepend, "ab"), "_ab");
  EXPECT_EQ(apply(prepend, ""), "");
  EXPECT_EQ(apply(replace(Expression(R"(\s+)"), " "), "a \n\tb"), "a b");
  EXPECT_EQ(apply(replace(Expression::literal("a."), "x"), "a.b aab"), "xb aab");
}

TEST(Normalizer, StepsFollowOneAnother) {
  const Normalizer normalizer({form(NormalizationForm::nfkc), lowercase(), replace(Expression::literal("l"), "L")});
  EXPECT_EQ(normalizer.apply("\uFF28\uFF45\uFF4Clo"), "heLLo");
  EXPECT_FALSE(normalizer.is_local());
  EXPECT_TRUE(Normalizer({form(NormalizationForm::nfc)}).is_nfc());
  EXPECT_TRUE(Normalizer({form(NormalizationForm::nfkd), lowercase()}).is_local());
}

}  // namespace
}  // namespace mslt
