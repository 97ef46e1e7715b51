// What the kernels' inner loops issue beside their arithmetic, and the share of a chip's arithmetic that this leaves.
#pragma once

#include <string_view>

#include "profile/chip.h"

namespace mslt {

// Instructions of a lane beside each product of 8×8 fragments in the loop that takes most of the kernel's time, counted
// in what nvcc makes of its f32 instantiation, without the shuffles that stand in for matrix instructions there. A
// kernel without fragments counts as if one half of its instructions were arithmetic.
double instructions_beside_product(std::string_view kernel);

// The share of chip.flops that the kernel is taken to reach: issue_share times the part of the issued instructions that
// are arithmetic, where the chip has one; otherwise what was measured, compute_share or attention_share.
double arithmetic_share(const Chip& chip, std::string_view kernel);

}  // namespace mslt
