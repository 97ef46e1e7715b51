// Tests of choosing a GPU.
#include "backend/msl/gpu_choice.h"

#include <gtest/gtest.h>

#include "backend/msl/test_kernels.h"

namespace mslt::msl {
namespace {

TEST(GpuChoice, ByPlaceOrByAPartOfTheName) {
  const std::vector<std::string> names = {"NVIDIA H100", "NVIDIA A10", "NVIDIA H100"};
  EXPECT_EQ(choose_gpu("cuda", "0", names), 0u);
  EXPECT_EQ(choose_gpu("cuda", "2", names), 2u);
  EXPECT_EQ(choose_gpu("cuda", "A10", names), 1u);
  EXPECT_EQ(choose_gpu("cuda", "H100", names), 0u);
}

TEST(GpuChoice, ListsThoseThereAre) {
  const std::vector<std::string> names = {"NVIDIA H100", "NVIDIA A10"};
  for (const char* which : {"", "2", "-1", "1x", "A100", "99999999999999999999"}) {
    EXPECT_EQ(
        test::error_of(ErrorKind::device, [&] { choose_gpu("cuda", which, names); }),
        std::string("There is no GPU 'cuda:") + which + "'; there are: cuda:0 'NVIDIA H100', cuda:1 'NVIDIA A10'.");
  }
  EXPECT_EQ(test::error_of(ErrorKind::device, [&] { choose_gpu("metal", "1", {}); }),
            "There is no GPU 'metal:1'; there are: none.");
}

}  // namespace
}  // namespace mslt::msl
