// Tests of the shares that inner loops leave.
#include "profile/inner_loop.h"

#include <gtest/gtest.h>

#include <string>

namespace mslt {
namespace {

TEST(InnerLoopTest, InstructionsBesideTheProductsTakeTheirShare) {
  Chip chip = chip_from_name("m3-max");
  chip.issue_share = 0.5;
  // 16 of 18.8 and of 27 instructions.
  EXPECT_DOUBLE_EQ(arithmetic_share(chip, "matmul_forward_direct_f32_f32"), 0.5 * 16.0 / 18.8);
  EXPECT_DOUBLE_EQ(arithmetic_share(chip, "attention_forward_64_bf16"), 0.5 * 16.0 / 27.0);
  EXPECT_DOUBLE_EQ(arithmetic_share(chip, "adamw_f32"), 0.25);
}

TEST(InnerLoopTest, MeasuredSharesGoFirst) {
  const Chip& chip = chip_from_name("h100");
  EXPECT_DOUBLE_EQ(arithmetic_share(chip, "matmul_weight_staged_bf16"), chip.compute_share);
  EXPECT_DOUBLE_EQ(arithmetic_share(chip, "attention_key_gradient_64_f32"), chip.attention_share);
}

TEST(InnerLoopTest, EveryProductHasAMix) {
  for (const char* product : {"forward", "input", "weight"}) {
    for (const char* design : {"direct", "staged"}) {
      EXPECT_LT(instructions_beside_product(std::string("matmul_") + product + "_" + design), 16.0);
    }
  }
}

}  // namespace
}  // namespace mslt
