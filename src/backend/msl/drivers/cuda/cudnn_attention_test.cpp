// Tests of attention by cuDNN: both passes against double precision, the same bits again, parts and refusals.
#include "backend/msl/drivers/cuda/cudnn_attention.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "backend/msl/drivers/cuda/library_test.h"
#include "tests/backend/reference_attention.h"

namespace mslt::msl::cuda {
namespace {

using mslt::test::reference_attention;
using mslt::test::ReferenceAttention;
using test::GuardedArray;
using test::random_values;
using test::relative_error;
using test::tolerance_of;

AttentionProblem make(DType dtype, std::int64_t batch, std::int64_t length, std::int64_t heads, std::int64_t kv_heads,
                      std::int64_t head_size, bool causal = true) {
  return {dtype, batch, length, heads, kv_heads, head_size, 1.0f / std::sqrt(static_cast<float>(head_size)), causal};
}

std::vector<AttentionProblem> problems() {
  std::vector<AttentionProblem> all;
  for (const DType dtype : {DType::bf16, DType::f16}) {
    all.push_back(make(dtype, 2, 128, 2, 2, 64));
    all.push_back(make(dtype, 3, 65, 4, 4, 64));
    all.push_back(make(dtype, 1, 1000, 2, 2, 64));
    all.push_back(make(dtype, 2, 130, 6, 2, 64));
    all.push_back(make(dtype, 2, 256, 2, 2, 128));
    all.push_back(make(dtype, 1, 333, 4, 1, 128));
    all.push_back(make(dtype, 5, 2, 4, 2, 64));
    all.push_back(make(dtype, 2, 7, 3, 3, 32));
    all.push_back(make(dtype, 2, 100, 2, 1, 96));
    all.push_back(make(dtype, 2, 192, 4, 2, 64, false));
    all.push_back(make(dtype, 2, 77, 2, 2, 128, false));
  }
  return all;
}

std::string describe(const AttentionProblem& p) {
  return fmt::format("{} B {} T {} H {} K {} D {} causal {}", name_of(p.dtype), p.batch, p.length, p.heads, p.kv_heads,
                     p.head_size, p.causal);
}

// One problem's tensors.
struct Pass {
  explicit Pass(const AttentionProblem& p, std::int64_t periodic = 0)
      : problem(p),
        rows(p.batch * p.length),
        width((p.heads + 2 * p.kv_heads) * p.head_size),
        out_width(p.heads * p.head_size),
        qkv_values(random_values(p.dtype, periodic > 0 ? periodic : rows * width, 1)),
        dout_values(random_values(p.dtype, periodic > 0 ? periodic : rows * out_width, 2)),
        qkv(p.dtype, rows * width),
        dout(p.dtype, rows * out_width),
        out(p.dtype, rows * out_width),
        log_sum_exp(DType::f32, rows * p.heads),
        dqkv(p.dtype, rows * width) {
    qkv.set_bytes(test::encode(p.dtype, qkv_values));
    dout.set_bytes(test::encode(p.dtype, dout_values));
  }

  void forward(CudnnAttention& attention) const {
    const DeviceMemory workspace = allocate_device(attention.forward_plan(problem).workspace_bytes);
    attention.forward(problem, {out.data(), problem.statistics ? log_sum_exp.data() : nullptr, qkv.data()},
                      workspace.get(), nullptr);
    check(cudaDeviceSynchronize(), "attending");
  }
  void backward(CudnnAttention& attention) const {
    const DeviceMemory workspace = allocate_device(attention.backward_plan(problem).workspace_bytes);
    attention.backward(problem, {dqkv.data(), dout.data(), qkv.data(), out.data(), log_sum_exp.data()}, workspace.get(),
                       nullptr);
    check(cudaDeviceSynchronize(), "attending");
  }

  ReferenceAttention expected() const {
    const AttentionShape shape = {static_cast<int>(problem.heads), static_cast<int>(problem.kv_heads),
                                  static_cast<int>(problem.head_size), problem.scale, problem.causal};
    return reference_attention(qkv_values, dout_values, static_cast<std::size_t>(problem.batch),
                               static_cast<std::size_t>(problem.length), shape, {});
  }

  void expect_intact() const {
    for (const GuardedArray* each : {&qkv, &dout, &out, &log_sum_exp, &dqkv}) EXPECT_TRUE(each->intact());
  }

  AttentionProblem problem;
  std::int64_t rows, width, out_width;
  std::vector<double> qkv_values, dout_values;
  GuardedArray qkv, dout, out, log_sum_exp, dqkv;
};

class CudnnAttentionTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!CudnnAttention::available()) GTEST_SKIP() << "this build has no cuDNN";
    if (!test::has_gpu()) GTEST_SKIP() << "there is no NVIDIA GPU";
    attention_ = std::make_unique<CudnnAttention>();
  }

  static void expect_close(const Pass& pass) { expect_close(pass, pass.expected()); }
  static void expect_close(const Pass& pass, const ReferenceAttention& expected) {
    const DType dtype = pass.problem.dtype;
    EXPECT_LE(relative_error(pass.out.values(), expected.out), tolerance_of(dtype));
    EXPECT_LE(relative_error(pass.log_sum_exp.values(), expected.log_sum_exp), 1e-5);
    // The softmax and its gradient are rounded between the products, too.
    EXPECT_LE(relative_error(pass.dqkv.values(), expected.dqkv), 2.0 * tolerance_of(dtype));
    pass.expect_intact();
  }

  std::unique_ptr<CudnnAttention> attention_;
};

TEST_F(CudnnAttentionTest, EqualsTheReference) {
  for (const AttentionProblem& problem : problems()) {
    SCOPED_TRACE(describe(problem));
    ASSERT_EQ(attention_->forward_refusal(problem), "");
    ASSERT_EQ(attention_->backward_refusal(problem), "");
    const Pass pass(problem);
    pass.forward(*attention_);
    pass.backward(*attention_);
    expect_close(pass);
    EXPECT_EQ(pass.qkv.values(), pass.qkv_values);
    EXPECT_EQ(pass.dout.values(), pass.dout_values);
  }
}

TEST_F(CudnnAttentionTest, LeavesStatisticsOut) {
  AttentionProblem problem = make(DType::bf16, 2, 100, 4, 2, 64);
  problem.statistics = false;
  ASSERT_EQ(attention_->forward_refusal(problem), "");
  const Pass pass(problem);
  pass.forward(*attention_);
  EXPECT_LE(relative_error(pass.out.values(), pass.expected().out), tolerance_of(problem.dtype));
  for (const double value : pass.log_sum_exp.values()) ASSERT_TRUE(std::isnan(value));
}

// With memory for three sequences, for one, and for some of the heads of one.
TEST_F(CudnnAttentionTest, RunsInPartsThatFit) {
  const AttentionProblem whole = make(DType::bf16, 8, 256, 8, 4, 64);
  const std::size_t one = attention_->backward_plan(make(DType::bf16, 1, 256, 8, 4, 64)).workspace_bytes;
  EXPECT_EQ(attention_->backward_plan(whole).parts, 1);
  const ReferenceAttention expected = Pass(whole).expected();
  struct Case {
    std::size_t bytes;
    int least_parts;
  };
  for (const Case& c : {Case{3 * one + one / 2, 3}, Case{one + one / 2, 8}, Case{one * 5 / 8, 16}}) {
    SCOPED_TRACE(c.bytes);
    CudnnAttention in_parts(AttentionOptions{.workspace_bytes = c.bytes});
    ASSERT_EQ(in_parts.backward_refusal(whole), "");
    const AttentionPlan plan = in_parts.backward_plan(whole);
    EXPECT_LE(plan.workspace_bytes, c.bytes);
    EXPECT_GE(plan.parts, c.least_parts);
    const Pass pass(whole);
    pass.forward(in_parts);
    pass.backward(in_parts);
    expect_close(pass, expected);
  }
  CudnnAttention without_room(AttentionOptions{.workspace_bytes = 1000});
  EXPECT_NE(without_room.backward_refusal(whole), "");
}

TEST_F(CudnnAttentionTest, GivesTheSameBitsAgainInLargeBatches) {
  for (const AttentionProblem& problem :
       {make(DType::bf16, 64, 1024, 12, 12, 64), make(DType::bf16, 64, 333, 8, 2, 128)}) {
    SCOPED_TRACE(describe(problem));
    const Pass pass(problem, 1000003);
    pass.forward(*attention_);
    pass.backward(*attention_);
    const std::vector<std::byte> out = pass.out.bytes();
    const std::vector<std::byte> log_sum_exp = pass.log_sum_exp.bytes();
    const std::vector<std::byte> dqkv = pass.dqkv.bytes();
    for (int i = 0; i < 3; ++i) {
      pass.dqkv.set_bytes(std::vector<std::byte>(4096, std::byte{0xFF}));
      pass.forward(*attention_);
      pass.backward(*attention_);
      ASSERT_TRUE(pass.out.bytes() == out);
      ASSERT_TRUE(pass.log_sum_exp.bytes() == log_sum_exp);
      ASSERT_TRUE(pass.dqkv.bytes() == dqkv);
    }
    pass.expect_intact();
  }
}

TEST_F(CudnnAttentionTest, SaysWhatItDoesNotServe) {
  const AttentionProblem whole = make(DType::bf16, 2, 64, 4, 2, 64);
  const auto refused = [&](auto&& change) {
    AttentionProblem p = whole;
    change(p);
    EXPECT_NE(attention_->forward_refusal(p), "") << describe(p);
    EXPECT_NE(attention_->backward_refusal(p), "") << describe(p);
    EXPECT_THROW(attention_->forward_plan(p), Error);
    EXPECT_THROW(attention_->backward(p, {}, nullptr, nullptr), Error);
  };
  refused([](AttentionProblem& p) { p.dtype = DType::f32; });
  refused([](AttentionProblem& p) { p.dropout = 0.1f; });
  refused([](AttentionProblem& p) { p.head_size = 33; });
  refused([](AttentionProblem& p) { p.head_size = 264; });
  refused([](AttentionProblem& p) { p.batch = 0; });
  refused([](AttentionProblem& p) { p.kv_heads = 3; });
}

}  // namespace
}  // namespace mslt::msl::cuda
