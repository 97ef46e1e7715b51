// Tests of the library behind the CPU backend's matrix products; built once with each installed library.
#include "backend/cpu/gemm.h"

#include <gtest/gtest.h>

#include <vector>

#include "backend/cpu/gemm_check.h"

namespace mslt {
namespace {

TEST(Gemm, MultipliesEveryArrangement) {
  check_every_arrangement(64, gemm, [](float x) { return x; });
}

TEST(Gemm, GivesTheSameBitsEveryTime) {
  const StoredMatrix a = random_matrix(301, 517, 0, false, 1);
  const StoredMatrix b = random_matrix(517, 259, 0, true, 2);
  std::vector<float> first(301 * 259);
  gemm(301, 259, 517, a.view(), b.view(), first.data(), 259, false);
  for (int i = 0; i < 20; ++i) {
    std::vector<float> again(first.size());
    gemm(301, 259, 517, a.view(), b.view(), again.data(), 259, false);
    ASSERT_EQ(again, first);
  }
}

TEST(Gemm, GivesTheSameBitsForAnyThreadCount) {
  check_thread_counts(301, gemm);
}

}  // namespace
}  // namespace mslt
