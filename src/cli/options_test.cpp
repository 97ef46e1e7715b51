// Tests of what all options of all commands share.
#include <gtest/gtest.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <nlohmann/json.hpp>

#include <array>
#include <functional>
#include <map>
#include <set>
#include <sstream>

#include "base/parallel.h"
#include "cli/cli_fixture.h"
#include "cli/command.h"
#include "cli/numbers.h"

namespace mslt::cli {
namespace {

struct Streams {
  std::istringstream in;
  std::ostringstream out, err;
  Context context{in, out, err};
};

// Calls `visit` with the words that choose each command with an action, and the command.
void for_each_command(const std::function<void(const std::vector<std::string>&, const CLI::App&)>& visit) {
  Streams streams;
  CLI::App app;
  add_commands(app, streams.context);
  const std::function<void(std::vector<std::string>, const CLI::App&)> walk = [&](std::vector<std::string> words,
                                                                                  const CLI::App& command) {
    const auto inner = command.get_subcommands([](const CLI::App*) { return true; });
    if (inner.empty()) visit(words, command);
    for (const CLI::App* one : inner) {
      words.push_back(one->get_name());
      walk(words, *one);
      words.pop_back();
    }
  };
  walk({}, app);
}

Outcome run_with(std::vector<std::string> words, const std::vector<std::string>& more) {
  words.insert(words.end(), more.begin(), more.end());
  return mslt(std::move(words));
}

TEST(Options, TheFirstWordChoosesWhatIsAdded) {
  const auto count = [](std::string_view only) {
    Streams streams;
    CLI::App app;
    add_commands(app, streams.context, only);
    return app.get_subcommands([](const CLI::App*) { return true; }).size();
  };
  EXPECT_EQ(count("train"), 1u);
  EXPECT_EQ(count("trains"), count(""));
  EXPECT_GT(count(""), 10u);
}

TEST(Options, NoneLeavesItsNumbersToCli11) {
  const std::set<std::string> known = {std::string(integer_type),
                                       std::string(real_type),
                                       std::string(boolean_type),
                                       std::string(count_or_list_type),
                                       "TEXT",
                                       "FILE.toml"};
  for_each_command([&](const std::vector<std::string>& words, const CLI::App& command) {
    for (const CLI::Option* option : command.get_options()) {
      if (option->get_items_expected_max() == 0) continue;
      EXPECT_TRUE(known.contains(type_of(*option)))
          << words.front() << " " << option->get_name() << ": " << type_of(*option);
    }
  });
}

TEST(Options, EveryNumberIsTheWholeTextInItsRange) {
  constexpr std::array wrong = {"", "abc", "5x", " 1", "nan", "0x1", "1e400", "999999999999999999999999999999999"};
  std::map<std::string, int> numbers;
  for_each_command([&](const std::vector<std::string>& words, const CLI::App& command) {
    for (const CLI::Option* option : command.get_options()) {
      const std::string type = type_of(*option);
      if (type != integer_type && type != real_type && type != boolean_type) continue;
      const std::string flag = option->get_name();
      const std::size_t number = static_cast<std::size_t>(numbers[type]++);
      // Flags of one type share a parser: the first take every text, and then each takes the next.
      for (std::size_t i = 0; i < (number < 3 ? wrong.size() : 1); ++i) {
        const std::string text = wrong[(number + i) % wrong.size()];
        const Outcome outcome = run_with(words, {flag, text});
        const std::string refusal =
            text.empty() ? flag + " is empty; it must be " : flag + " is '" + text + "'; it must be ";
        EXPECT_EQ(outcome.status, 2) << words.front() << " " << flag << " " << text;
        EXPECT_NE(outcome.err.find(refusal), std::string::npos) << words.front() << ": " << outcome.err;
        EXPECT_LT(outcome.err.size(), 250u) << outcome.err;
      }
    }
  });
  EXPECT_GT(numbers[std::string(integer_type)] + numbers[std::string(real_type)], 60);
}

TEST(Options, EveryCommandTakesTheNumberOfThreads) {
  for_each_command([&](const std::vector<std::string>& words, const CLI::App& command) {
    EXPECT_NE(command.get_option_no_throw("--threads"), nullptr) << words.front();
  });
  const int before = parallel_threads();
  for (const int threads : {1, before + 3}) {
    Streams streams;
    ASSERT_EQ(run({"devices", "--json", "--threads", std::to_string(threads)}, streams.context), 0);
    for (const auto& device : nlohmann::json::parse(streams.out.str())) {
      if (device.at("device") != "cpu") continue;
      EXPECT_EQ(device.at("compute_units"), threads);
    }
    EXPECT_EQ(parallel_threads(), before);
  }
}

TEST(Options, AnEmptyValueDoesNotSwallowTheNextOption) {
  const Outcome outcome = run_with({"train"}, {"--seed=", "--resume"});
  EXPECT_NE(outcome.err.find("--seed is empty"), std::string::npos) << outcome.err;
}

}  // namespace
}  // namespace mslt::cli
