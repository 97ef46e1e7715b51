#include "train/run_options.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "model/test_models.h"
#include "train/run_identity.h"

namespace mslt {
namespace {

TEST(RunOptions, EveryFieldOfAModelGoesThereAndBack) {
  const Config changed = test::changed_config();
  const nlohmann::json json = config_to_json(changed);
  EXPECT_EQ(config_from_json(json, "run.json"), changed);
  visit_fields(changed, [&](const ConfigField& field, const auto&) {
    EXPECT_TRUE(json.contains(std::string(field.name))) << field.name;
  });
}

// Runs of earlier versions lack what was added later; nothing else may be missing.
TEST(RunOptions, OnlyLaterFieldsMayBeMissing) {
  const Config config;
  const nlohmann::json usual = config_to_json(config);
  visit_fields(config, [&](const ConfigField& field, const auto&) {
    const std::string name(field.name);
    EXPECT_EQ(usual.contains(name), !field.later) << name;
    if (field.later) return;
    nlohmann::json lacking = usual;
    lacking.erase(name);
    test::expect_error(ErrorKind::input, {"run.json lacks", name}, [&] { config_from_json(lacking, "run.json"); });
  });
  EXPECT_EQ(config_from_json(usual, "run.json"), config);
}

// What a resumed run compares says each field that differs.
TEST(RunOptions, DifferencesNameEveryField) {
  const Config config;
  const auto differences = json_differences(config_to_json(test::changed_config()), config_to_json(config));
  std::size_t fields = 0;
  visit_fields(config, [&](const ConfigField&, const auto&) { ++fields; });
  EXPECT_EQ(differences.size(), fields);
}

}  // namespace
}  // namespace mslt
