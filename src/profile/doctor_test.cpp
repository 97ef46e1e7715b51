// Tests of the examinations: what is right passes, what is wrong is found.
#include "profile/doctor.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>

#include "backend/cpu/cpu_backend.h"
#include "backend/registry.h"

namespace mslt {
namespace {

// Every row of attention gives the same.
class WrongBackend final : public CpuBackend {
 public:
  using CpuBackend::execute;
  void execute(const AttentionForward& op) override {
    CpuBackend::execute(op);
    CpuBackend::execute(Fill{.out = op.out, .value = 0.01f});
  }
};

TEST(DoctorTest, KernelsOfTheHostDriverAgreeWithTheCpu) {
  const std::unique_ptr<Backend> reference = make_backend("cpu");
  const std::unique_ptr<Backend> backend = make_backend("msl-host");
  const Finding finding = check_kernels(*backend, *reference);
  EXPECT_EQ(finding.verdict, Verdict::good) << finding.text;
}

TEST(DoctorTest, FindsAWrongKernel) {
  const std::unique_ptr<Backend> reference = make_backend("cpu");
  WrongBackend wrong;
  const Finding finding = check_kernels(wrong, *reference);
  EXPECT_EQ(finding.verdict, Verdict::problem) << finding.text;
  EXPECT_FALSE(finding.change.empty());
}

TEST(DoctorTest, MeasuresAFolderAndLeavesNothingThere) {
  const std::filesystem::path folder =
      std::filesystem::path(testing::TempDir()) / "DoctorTest.MeasuresAFolderAndLeavesNothingThere";
  std::filesystem::create_directories(folder);
  EXPECT_NE(check_file_system(folder).verdict, Verdict::problem);
  EXPECT_TRUE(std::filesystem::is_empty(folder));
  std::filesystem::remove_all(folder);
  const Finding missing = check_file_system(folder);
  EXPECT_EQ(missing.verdict, Verdict::problem);
  EXPECT_NE(missing.text.find(folder.string()), std::string::npos) << missing.text;
}

}  // namespace
}  // namespace mslt
