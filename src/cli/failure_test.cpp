// Tests of messages, JSON objects and exit statuses for errors that end the program.
#include "cli/failure.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <new>
#include <nlohmann/json.hpp>
#include <sstream>

#include "cli/cli_fixture.h"
#include "cli/output_stream.h"
#include "mslt/error.h"

namespace mslt::cli {
namespace {

template <class Exception>
Outcome reported(const Exception& exception, bool json) {
  std::istringstream in;
  std::ostringstream out;
  std::ostringstream err;
  Context context{in, out, err};
  const int status = report_failure(std::make_exception_ptr(exception), json, context);
  return {status, out.str(), err.str()};
}

void expect_json(const Outcome& outcome, const std::string& kind, int status) {
  EXPECT_EQ(outcome.status, status);
  const auto error = nlohmann::json::parse(outcome.out)["error"];
  EXPECT_EQ(error["kind"], kind);
  EXPECT_EQ(error["exit_status"], status);
  EXPECT_EQ("mslt: " + error["message"].get<std::string>() + "\n", outcome.err);
}

TEST(Failure, IsAJsonObjectOfItsKind) {
  expect_json(reported(Error(ErrorKind::usage, "No."), true), "usage", 2);
  expect_json(reported(Error(ErrorKind::input, "No."), true), "input", 1);
  expect_json(reported(Error(ErrorKind::io, "No."), true), "io", 1);
  expect_json(reported(Error(ErrorKind::memory, "No."), true), "memory", 1);
  expect_json(reported(Error(ErrorKind::device, "No."), true), "device", 1);
  expect_json(reported(Error(ErrorKind::numeric, "No."), true), "numeric", 1);
  expect_json(reported(std::bad_alloc(), true), "memory", 1);
  const std::error_code denied = std::make_error_code(std::errc::permission_denied);
  expect_json(reported(std::filesystem::filesystem_error("open", "x", denied), true), "io", 1);
  expect_json(reported(std::runtime_error("No."), true), "input", 1);
}

TEST(Failure, IsALineWithoutJson) {
  const Outcome outcome = reported(Error(ErrorKind::input, "No."), false);
  EXPECT_EQ(outcome.out, "");
  EXPECT_EQ(outcome.err, "mslt: No.\n");
}

TEST(Failure, OfAReaderThatWentAwayIsQuiet) {
  const Outcome outcome = reported(OutputClosed(), true);
  EXPECT_EQ(outcome.status, 141);
  EXPECT_EQ(outcome.out + outcome.err, "");
}

TEST(Failure, IsJsonAlsoWhereParsingFails) {
  expect_json(mslt({"train", "--setps", "5", "--json"}), "usage", 2);
  expect_json(mslt({"trian", "--json"}), "usage", 2);
  expect_json(mslt({"--json", "train"}), "usage", 2);
  expect_json(mslt({"tokenizer", "train", "--config", "missing.toml", "--json"}), "io", 1);
  expect_json(mslt({"eval", "--model", "nowhere", "--data", "nowhere", "--json"}), "input", 1);
}

}  // namespace
}  // namespace mslt::cli
