// Tests of the numbers that options take.
#include "cli/numbers.h"

#include <gtest/gtest.h>

#include <CLI/CLI.hpp>
#include <algorithm>

#include <cmath>

#include "cli/ranges.h"
#include "mslt/error.h"

namespace mslt::cli {
namespace {

template <class Work>
std::string number_refusal(const Work& work) {
  try {
    work();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::usage);
    return error.what();
  }
  return "accepted";
}

std::string integer_refusal(std::string_view text, const IntegerRange& range) {
  return number_refusal([&] { parse_integer("--steps", text, range); });
}

std::string real_refusal(std::string_view text, const RealRange& range) {
  return number_refusal([&] { parse_double("--lr", text, range); });
}

TEST(Numbers, WholeNumbersAreTheWholeText) {
  const IntegerRange range{.least = 1, .unit = "steps"};
  EXPECT_EQ(parse_integer("--steps", "1", range), 1u);
  EXPECT_EQ(parse_integer("--steps", "1099511627776", range), 1099511627776u);
  EXPECT_EQ(integer_refusal("abc", range),
            "--steps is 'abc'; it must be a whole number from 1 to 1099511627776 steps.");
  EXPECT_EQ(integer_refusal("", range), "--steps is empty; it must be a whole number from 1 to 1099511627776 steps.");
  for (const char* text : {"0", "-1", "1099511627777", "99999999999999999999", "18446744073709551617", "5x", " 5", "5 ",
                           "+5", "5.0", "1e3", "1_000", "0x10", "--5", "-", "inf", "\xff"}) {
    EXPECT_NE(integer_refusal(text, range).find("it must be a whole number from 1 to"), std::string::npos) << text;
  }
  EXPECT_EQ(parse_integer("--seed", "18446744073709551615", seed_range), 18446744073709551615u);
  EXPECT_NE(integer_refusal("18446744073709551616", seed_range), "accepted");
  const IntegerRange around{.least = -3, .most = 3};
  EXPECT_EQ(static_cast<std::int64_t>(parse_integer("--x", "-3", around)), -3);
  EXPECT_EQ(parse_integer("--x", "-0", around), 0u);
  EXPECT_NE(integer_refusal("-4", around), "accepted");
  const IntegerRange all{.least = std::numeric_limits<std::int64_t>::min()};
  EXPECT_EQ(static_cast<std::int64_t>(parse_integer("--x", "-9223372036854775808", all)), all.least);
  EXPECT_NE(integer_refusal("-9223372036854775809", all), "accepted");
}

TEST(Numbers, RealNumbersAreFiniteAndTheWholeText) {
  const RealRange range{.most = 1e30, .above_least = true};
  for (const auto& [text, value] : {std::pair{"1e-3", 1e-3}, {"1E+3", 1e3}, {".5", 0.5}, {"5.", 5.0}, {"007", 7.0}}) {
    EXPECT_EQ(parse_double("--lr", text, range), value) << text;
  }
  EXPECT_EQ(real_refusal("abc", range), "--lr is 'abc'; it must be a number above 0 and up to 1e+30.");
  for (const char* text : {"",   "0",   "-1", "nan", "inf",   "-inf", "1e999", "1e-999", "0x1p3", " 1",       "1 ",
                           "1e", "1e+", ".",  "-",   "1.2.3", "1,5",  "5x",    "1_0",    "+1",    "infinity", "1d3"}) {
    EXPECT_NE(real_refusal(text, range), "accepted") << text;
    EXPECT_LT(real_refusal(text, range).size(), 100u) << text;
  }
  EXPECT_EQ(real_refusal("2", {}), "--lr is '2'; it must be a number from 0 to 1.");
  EXPECT_EQ(real_refusal("1", {.below_most = true}), "--lr is '1'; it must be a number from 0 and below 1.");
}

TEST(Numbers, AFloatIsComparedAsOne) {
  const RealRange share{.above_least = true};
  EXPECT_EQ(parse_float("--top-p", "0.1", share), 0.1f);
  EXPECT_NE(number_refusal([&] { parse_float("--top-p", "1e-60", share); }), "accepted");
  EXPECT_NE(number_refusal([&] { parse_float("--top-p", "1e39", {.most = 1e300}); }), "accepted");
}

TEST(Numbers, TruthValues) {
  for (const char* text : {"true", "yes", "on", "1"}) EXPECT_TRUE(parse_boolean("--tied", text)) << text;
  for (const char* text : {"false", "no", "off", "0"}) EXPECT_FALSE(parse_boolean("--tied", text)) << text;
  for (const char* text : {"5x", "", "2", "True", "yess", "-1", " true"}) {
    EXPECT_NE(number_refusal([&] { parse_boolean("--tied", text); }), "accepted") << text;
  }
  EXPECT_EQ(number_refusal([] { parse_boolean("--tied", "5x"); }),
            "--tied is '5x'; it must be true, yes, on or 1, or false, no, off or 0.");
}

TEST(Numbers, MessagesShowNeitherControlCharactersNorLongTexts) {
  EXPECT_NE(integer_refusal("\x1b[1m", seed_range).find("\\x1b[1m"), std::string::npos);
  EXPECT_LT(integer_refusal(std::string(100000, '9'), seed_range).size(), 200u);
}

struct Values {
  std::int64_t steps = 5;
  std::uint32_t small = 7;
  int threads = 0;
  float share = 0.5f;
  std::optional<std::int64_t> layers;
  std::optional<bool> tied;
  bool resume = false;
};

std::string parse_options(Values& values, std::vector<std::string> arguments) {
  CLI::App app;
  app.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast)->always_capture_default();
  add_integer(app, "--steps", values.steps, "Steps", {.least = 1, .unit = "steps"});
  add_integer(app, "--small", values.small, "Small", {.most = std::uint64_t{1} << 40});
  add_integer(app, "--threads", values.threads, "Threads", {.most = std::uint64_t{1} << 40});
  add_real(app, "--share", values.share, "Share", {});
  add_integer(app, "--layers", values.layers, "Layers", {.least = 1});
  add_boolean(app, "--tied", values.tied, "Tied");
  add_switch(app, "--resume", values.resume, "Resume");
  std::reverse(arguments.begin(), arguments.end());
  return number_refusal([&] { app.parse(std::move(arguments)); });
}

TEST(Numbers, OptionsReadThemIntoTheirType) {
  Values values;
  EXPECT_EQ(parse_options(values, {"--steps", "1", "--steps=9", "--small", "4294967295", "--threads=3", "--share",
                                   "1e-1", "--layers", "2", "--tied", "off", "--resume"}),
            "accepted");
  EXPECT_EQ(values.steps, 9);
  EXPECT_EQ(values.small, 4294967295u);
  EXPECT_EQ(values.threads, 3);
  EXPECT_EQ(values.share, 0.1f);
  EXPECT_EQ(values.layers, 2);
  EXPECT_EQ(values.tied, false);
  EXPECT_TRUE(values.resume);
  EXPECT_EQ(parse_options(values, {"--resume=false"}), "accepted");
  EXPECT_FALSE(values.resume);
}

TEST(Numbers, OptionsRefuseWhatTheirTypeDoesNotHold) {
  Values values;
  EXPECT_NE(parse_options(values, {"--small", "4294967296"}).find("from 0 to 4294967295"), std::string::npos);
  EXPECT_NE(parse_options(values, {"--threads", "2147483648"}).find("from 0 to 2147483647"), std::string::npos);
  for (const char* flag : {"--steps", "--small", "--threads", "--share", "--layers", "--tied"}) {
    EXPECT_NE(parse_options(values, {flag, ""}).find(std::string(flag) + " is empty"), std::string::npos) << flag;
    EXPECT_NE(parse_options(values, {flag, "--resume"}).find(std::string(flag) + " is '--resume'"), std::string::npos);
  }
  EXPECT_NE(parse_options(values, {"--resume=5x"}).find("--resume is '5x'"), std::string::npos);
  EXPECT_NE(parse_options(values, {"--steps", "abc", "--steps", "5"}), "accepted");
}

}  // namespace
}  // namespace mslt::cli
