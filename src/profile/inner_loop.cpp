// The mix of instructions of the inner loops.
#include "profile/inner_loop.h"

#include <array>

namespace mslt {
namespace {

// Issues of a simdgroup that a product of 8×8 fragments takes: 512 fused multiplications and additions by 32 lanes.
constexpr double product_issues = 16.0;

struct InnerLoop {
  std::string_view kernel;  // what its name begins with
  double beside;
};

// docs/kernels.md says how they were counted; attention's hold the softmax of its pairs.
constexpr auto inner_loops = std::to_array<InnerLoop>({
    {"matmul_forward_direct", 2.8},
    {"matmul_input_direct", 2.1},
    {"matmul_weight_direct", 2.1},
    {"matmul_forward_staged", 5.8},
    {"matmul_input_staged", 6.0},
    {"matmul_weight_staged", 6.8},
    {"attention_forward", 11.0},
    {"attention_query_gradient", 10.0},
    {"attention_key_gradient", 10.0},
});

}  // namespace

double instructions_beside_product(std::string_view kernel) {
  for (const InnerLoop& loop : inner_loops) {
    if (kernel.starts_with(loop.kernel)) return loop.beside;
  }
  return product_issues;
}

double arithmetic_share(const Chip& chip, std::string_view kernel) {
  if (chip.issue_share > 0.0) {
    return chip.issue_share * product_issues / (product_issues + instructions_beside_product(kernel));
  }
  return kernel.starts_with("attention_") ? chip.attention_share : chip.compute_share;
}

}  // namespace mslt
