// Tests of the explanations of operating system errors.
#include "base/system_error.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <ios>
#include <new>

#include "mslt/error.h"

namespace mslt {
namespace {

TEST(SystemError, AdviceFitsTheCause) {
  EXPECT_NE(explain_errno(ENOSPC).find("make room"), std::string::npos);
  EXPECT_EQ(explain_errno(EACCES).find("room"), std::string::npos);
  EXPECT_NE(explain_errno(EACCES).find("permission"), std::string::npos);
  EXPECT_NE(explain_errno(ELOOP).find("links"), std::string::npos);
}

TEST(SystemError, PathsAreFitForATerminal) {
  try {
    fail_io("open", "run\xff\x1b[2J", EACCES);
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("Cannot open run\\xff\\x1b[2J: permission denied"), std::string::npos)
        << error.what();
  }
}

TEST(SystemError, ExceptionsOfTheLibraryAreExplained) {
  const std::filesystem::filesystem_error loop("status", "a/loop",
                                               std::make_error_code(std::errc::too_many_symbolic_link_levels));
  const std::string text = explain_exception(loop);
  EXPECT_TRUE(text.starts_with("Cannot use a/loop: ")) << text;
  EXPECT_EQ(text.find("filesystem error"), std::string::npos) << text;
  const std::filesystem::filesystem_error two("rename", "a", "b", std::make_error_code(std::errc::permission_denied));
  EXPECT_TRUE(explain_exception(two).starts_with("Cannot use a and b: permission denied")) << explain_exception(two);
  EXPECT_NE(explain_exception(std::system_error(ENOSPC, std::generic_category())).find("the disk is full"),
            std::string::npos);
  EXPECT_EQ(explain_exception(Error(ErrorKind::io, "As it is.")), "As it is.");
  EXPECT_TRUE(explain_exception(std::bad_alloc()).starts_with("Out of memory: "))
      << explain_exception(std::bad_alloc());
}

}  // namespace
}  // namespace mslt
