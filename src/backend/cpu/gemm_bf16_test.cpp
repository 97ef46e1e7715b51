// Tests of the CPU's products in bf16, where the CPU has instructions for them.
#include "backend/cpu/gemm_bf16.h"

#include <gtest/gtest.h>

#include "backend/cpu/gemm_check.h"
#include "mslt/error.h"
#include "tensor/half.h"

namespace mslt {
namespace {

class Bf16GemmTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!Bf16Gemm::available()) GTEST_SKIP() << "This CPU has neither AVX512-BF16 nor AMX, or this build no oneDNN.";
  }
};

TEST(Bf16Gemm, IsRefusedWithoutInstructions) {
  if (Bf16Gemm::available()) GTEST_SKIP() << "This CPU has the instructions.";
  EXPECT_THROW(Bf16Gemm(), Error);
}

TEST_F(Bf16GemmTest, MultipliesRoundedOperandsInEveryArrangement) {
  Bf16Gemm gemm;
  check_every_arrangement(
      300, [&](auto... arguments) { gemm.multiply(arguments...); }, [](float x) { return to_float(to_bfloat16(x)); });
  EXPECT_GT(gemm.bytes(), std::size_t{0});
}

TEST_F(Bf16GemmTest, GivesTheSameBitsForAnyThreadCount) {
  check_thread_counts(1301, [](auto... arguments) { Bf16Gemm().multiply(arguments...); });
}

}  // namespace
}  // namespace mslt
