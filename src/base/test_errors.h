// Errors that tests expect.
#pragma once

#include <gtest/gtest.h>

#include <string>

#include "mslt/error.h"

namespace mslt::test {

// The message of the Error(kind) that `call` throws; fails the test if it throws none or another kind.
template <class Call>
std::string error_of(ErrorKind kind, Call&& call) {
  try {
    call();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), kind) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "Nothing was thrown.";
  return {};
}

}  // namespace mslt::test
