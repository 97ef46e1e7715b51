#include "cli/model_options.h"

#include <gtest/gtest.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <string>
#include <type_traits>
#include <vector>

#include "model/config_fields.h"
#include "mslt/error.h"

namespace mslt::cli {
namespace {

Config parsed(std::vector<std::string> arguments) {
  CLI::App app;
  ModelOptions options;
  add_model_options(app, options);
  std::reverse(arguments.begin(), arguments.end());
  app.parse(arguments);
  return options.config();
}

// Another text than the default's for any field, and the value that it stands for.
template <class T>
std::string change(const ConfigField& field, T& value) {
  if constexpr (std::is_same_v<T, bool>) {
    value = !value;
    return value ? "true" : "false";
  } else if constexpr (std::is_enum_v<T>) {
    value = static_cast<T>(value == static_cast<T>(1) ? 0 : 1);
    return std::string(name_of(value));
  } else if constexpr (std::is_integral_v<T>) {
    value = 3;
    return "3";
  } else {
    static_assert(std::is_floating_point_v<T>);
    value = field.most > 1 ? T{1.5} : T{0.25};
    return field.most > 1 ? "1.5" : "0.25";
  }
}

TEST(ModelOptions, EveryFieldHasAFlag) {
  Config expected;
  visit_fields(expected, [&](const ConfigField& field, auto& value) {
    if (!field.has_flag) return;
    std::string flag = "--" + std::string(field.name);
    std::replace(flag.begin(), flag.end(), '_', '-');
    const auto usual = value;
    const std::string text = change(field, value);
    Config actual = parsed({"--preset=tiny", flag + "=" + text});
    visit_fields(actual, expected, [&](const ConfigField& other, const auto& was, const auto& wanted) {
      if (other.name != field.name) return;
      EXPECT_EQ(was, wanted) << flag;
    });
    value = usual;
  });
}

TEST(ModelOptions, SizesFollowUnlessTheyAreGiven) {
  const Config heads = parsed({"--heads=8"});
  EXPECT_EQ(heads.kv_heads, 8);
  EXPECT_EQ(heads.head_size, 16);
  const Config given = parsed({"--heads=8", "--kv-heads=2", "--head-size=10", "--channels=64", "--ffn-size=100"});
  EXPECT_EQ(given.kv_heads, 2);
  EXPECT_EQ(given.head_size, 10);
  EXPECT_EQ(given.ffn_size, 100);
  EXPECT_EQ(parsed({"--channels=64"}).ffn_size, 256);
  EXPECT_FALSE(parsed({"--norm=rmsnorm"}).norm_bias);
}

TEST(ModelOptions, NamesOfSettingsAreChecked) {
  try {
    parsed({"--norm-position=prev"});
    ADD_FAILURE() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_NE(std::string_view(error.what()).find("pre, post, sandwich, output"), std::string_view::npos)
        << error.what();
  }
}

}  // namespace
}  // namespace mslt::cli
