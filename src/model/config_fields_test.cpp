#include "model/config_fields.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

#include "model/test_models.h"

namespace mslt {
namespace {

// Stands for any member in a braced initialiser.
struct AnyMember {
  template <class T>
  operator T() const;  // NOLINT(google-explicit-constructor)
};

template <class Struct, class... Members>
constexpr std::size_t count_members() {
  if constexpr (requires { Struct{Members{}..., AnyMember{}}; }) {
    return count_members<Struct, Members..., AnyMember>();
  } else {
    return sizeof...(Members);
  }
}

// A new field of Config that is missing from the list fails here.
TEST(ConfigFields, AreAllListedOnce) {
  std::set<std::string> names;
  std::set<std::string> paths;
  std::set<const void*> addresses;
  const Config config;
  visit_fields(config, [&](const ConfigField& field, const auto& value) {
    names.insert(std::string(field.name));
    paths.insert(std::string(field.path));
    addresses.insert(&value);
    EXPECT_FALSE(field.help.empty()) << field.name;
  });
  const std::size_t fields = count_members<Config>() - 1 + count_members<RopeScaling>();
  EXPECT_EQ(names.size(), fields);
  EXPECT_EQ(paths.size(), fields);
  EXPECT_EQ(addresses.size(), fields);
}

TEST(ConfigFields, DefaultsLieInTheirRanges) {
  for (const Config& config : {Config(), test::changed_config()}) {
    visit_fields(config, Config(), [&]<class T>(const ConfigField& field, const T& value, const T& usual) {
      EXPECT_EQ(value == usual, config == Config()) << field.name;
      if constexpr (std::is_arithmetic_v<T> && !std::is_same_v<T, bool>) {
        EXPECT_TRUE(static_cast<double>(value) >= field.least && static_cast<double>(value) <= field.most)
            << field.name;
      }
    });
  }
}

}  // namespace
}  // namespace mslt
