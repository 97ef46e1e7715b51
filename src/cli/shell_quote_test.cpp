// Tests of quoting for shells.
#include "cli/shell_quote.h"

#include <gtest/gtest.h>

#include <array>
#include <cstdio>
#include <memory>

namespace mslt::cli {
namespace {

// bash's value of `word`.
std::string through_bash(const std::string& word) {
  const std::string command = "printf %s " + word;
  FILE* script = std::fopen((testing::TempDir() + "mslt_quote.sh").c_str(), "w");
  if (script == nullptr) return "no script";
  std::fputs(command.c_str(), script);
  std::fclose(script);
  FILE* pipe = ::popen(("bash " + testing::TempDir() + "mslt_quote.sh").c_str(), "r");
  std::string result;
  for (int c = std::fgetc(pipe); c != EOF; c = std::fgetc(pipe)) result += static_cast<char>(c);
  ::pclose(pipe);
  return result;
}

TEST(ShellQuote, LeavesPlainWordsAlone) {
  EXPECT_EQ(shell_quote("runs/a-1_b.json"), "runs/a-1_b.json");
  EXPECT_EQ(shell_quote("my run"), "'my run'");
  EXPECT_EQ(shell_quote(""), "''");
  EXPECT_EQ(shell_quote("it's"), "'it'\\''s'");
  EXPECT_EQ(shell_quote("-run"), "./-run");
  EXPECT_EQ(shell_quote("~run"), "'~run'");
}

TEST(ShellQuote, AShellReadsTheSameBytes) {
  for (const std::string text : {"$(rm -rf x)", "a;b|c&d", "`x`", "K\u00f6nig's \"run\"", "tab\there", "line\nbreak",
                                 "bad\xff"
                                 "byte 7",
                                 "\x1b[0m", "back\\slash", "!history", "*?[x]", "#x"}) {
    EXPECT_EQ(through_bash(shell_quote(text)), text) << shell_quote(text);
  }
}

}  // namespace
}  // namespace mslt::cli
