// Tests of reading compile logs.
#include "backend/msl/drivers/metal/compile_log.h"

#include <gtest/gtest.h>

namespace mslt::msl::metal {
namespace {

constexpr std::string_view source =
    "#include <metal_stdlib>\n"
    "using namespace metal;\n"
    "#line 6 \"kernels/norm_args.h\"\n"
    "struct NormArgs {\n"
    "  uint32_t rows;\n"
    "};\n"
    "#line 40 \"kernels/norm.metal\"\n"
    "kernel void norm() {\n"
    "}\n";

TEST(CompileLogTest, FindsTheFileOfALineOfTheWholeText) {
  EXPECT_EQ(compile_errors("program_source:5:3: error: unknown type name 'uint32_t'", source),
            "kernels/norm_args.h:7:3: error: unknown type name 'uint32_t'");
  EXPECT_EQ(compile_errors("program_source:9:1: error: expected expression", source),
            "kernels/norm.metal:41:1: error: expected expression");
}

TEST(CompileLogTest, KeepsWhatNamesItsFileItself) {
  EXPECT_EQ(compile_errors("kernels/norm.metal:41:1: error: expected expression", source),
            "kernels/norm.metal:41:1: error: expected expression");
}

TEST(CompileLogTest, KeepsErrorsOnly) {
  EXPECT_EQ(compile_errors("Compilation failed: \n\n"
                           "program_source:8:13: warning: unused function\nkernel void norm() {\n            ^\n"
                           "program_source:9:1: error: expected ')'\n}\n^\n"
                           "program_source:8:17: note: to match this '('\n",
                           source),
            "kernels/norm.metal:41:1: error: expected ')'");
}

TEST(CompileLogTest, CountsWhatIsTooMany) {
  EXPECT_EQ(compile_errors("a: error: 1\nb: error: 2\nc: error: 3\nd: error: 4\n", source, 2),
            "a: error: 1\nb: error: 2\nand 2 more");
}

TEST(CompileLogTest, GivesALogWithoutErrorsWhole) {
  EXPECT_EQ(compile_errors("The compiler service is not available.", source), "The compiler service is not available.");
}

TEST(CompileLogTest, LeavesLinesThatItCannotPlace) {
  EXPECT_EQ(compile_errors("program_source:1:1: error: x", source), "program_source:1:1: error: x");
  EXPECT_EQ(compile_errors("program_source:999:1: error: x", source), "program_source:999:1: error: x");
  EXPECT_EQ(compile_errors("program_source:y: error: x", source), "program_source:y: error: x");
}

}  // namespace
}  // namespace mslt::msl::metal
