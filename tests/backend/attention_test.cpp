// attention_forward and attention_backward against the reference, on every backend.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tests/backend/backend_under_test.h"
#include "tests/backend/numeric_check.h"
#include "tests/backend/reference_attention.h"

namespace mslt::test {
namespace {

struct Case {
  std::int64_t batch;
  std::int64_t length;
  AttentionShape shape;
  float dropout = 0.0f;
};

AttentionShape make_shape(int heads, int kv_heads, int head_size, bool causal = true) {
  return {heads, kv_heads, head_size, 1.0f / std::sqrt(static_cast<float>(head_size)), causal};
}

AttentionShape limited(AttentionShape shape, int window, float softcap = 0.0f) {
  shape.window = window;
  shape.softcap = softcap;
  return shape;
}

std::vector<Case> cases() {
  return {{1, 5, limited(make_shape(1, 1, 4), 1)},
          {2, 200, limited(make_shape(4, 2, 16), 7)},
          {1, 150, limited(make_shape(2, 1, 33), 64)},
          {1, 90, limited(make_shape(1, 1, 192), 33, 0.7f)},
          {1, 131, limited(make_shape(2, 2, 24), 131, 2.0f)},
          {1, 40, limited(make_shape(2, 1, 8, false), 0, 0.5f)},
          {2, 77, limited(make_shape(4, 2, 24), 20, 1.5f), 0.25f},
          {1, 1, make_shape(1, 1, 1)},
          {2, 3, make_shape(2, 2, 5)},
          {1, 7, make_shape(3, 1, 8)},
          {2, 33, make_shape(4, 2, 16)},
          {1, 65, make_shape(2, 1, 33)},
          {1, 63, make_shape(1, 1, 64, false)},
          {2, 129, make_shape(2, 2, 64)},
          {1, 100, make_shape(6, 3, 48, false)},
          {1, 257, make_shape(2, 1, 31)},
          {1, 70, make_shape(1, 1, 256)},
          {2, 72, make_shape(2, 1, 168)},
          {1, 64, make_shape(1, 1, 192, false)},
          {1, 104, make_shape(2, 1, 64)},
          {1, 300, make_shape(1, 1, 80)},
          {1, 43, make_shape(2, 1, 100)},
          {1, 600, make_shape(1, 1, 16)},
          {1, 77, make_shape(4, 2, 24), 0.25f},
          {2, 130, make_shape(2, 2, 64, false), 0.5f}};
}

constexpr std::uint64_t seed = 0x1234567800000009u;
constexpr std::uint32_t step = 5;
constexpr std::uint32_t operation = 3;

// One case's tensors on one backend.
struct Pass {
  Pass(Backend& backend, const Case& c, DType dtype = DType::f32)
      : width((c.shape.heads + 2 * c.shape.kv_heads) * c.shape.head_size),
        out_width(std::int64_t{c.shape.heads} * c.shape.head_size),
        qkv_values(random_values(dtype, c.batch * c.length * width, 1)),
        dout_values(random_values(dtype, c.batch * c.length * out_width, 2)),
        qkv(upload(backend, dtype, {c.batch, c.length, width}, qkv_values)),
        dout(upload(backend, dtype, {c.batch, c.length, out_width}, dout_values)),
        out(backend, dtype, {c.batch, c.length, out_width}),
        log_sum_exp(backend, DType::f32, {c.batch, c.shape.heads, c.length}),
        dqkv(backend, dtype, {c.batch, c.length, width}),
        state(upload(backend, DType::u32, {4},
                     {static_cast<double>(seed & 0xFFFFFFFFu), static_cast<double>(seed >> 32), step, 0})) {
    dropout = {c.dropout, operation, state};
    backend.run(
        AttentionForward{.out = out, .log_sum_exp = log_sum_exp, .qkv = qkv, .shape = c.shape, .dropout = dropout});
    backend.run(AttentionBackward{.dqkv = dqkv,
                                  .dout = dout,
                                  .qkv = qkv,
                                  .out = out,
                                  .log_sum_exp = log_sum_exp,
                                  .shape = c.shape,
                                  .dropout = dropout});
  }

  std::int64_t width;
  std::int64_t out_width;
  std::vector<double> qkv_values;
  std::vector<double> dout_values;
  Guarded qkv, dout, out, log_sum_exp, dqkv, state;
  Dropout dropout;
};

class AttentionTest : public BackendTest {};

TEST_P(AttentionTest, EqualsTheReference) {
  for (const Case& c : cases()) {
    for (const DType dtype : activation_types(backend())) {
      if (c.length > 200 && dtype != DType::f32) continue;  // like any other length, but slow
      SCOPED_TRACE(testing::Message() << "B " << c.batch << " T " << c.length << " H " << c.shape.heads << " K "
                                      << c.shape.kv_heads << " D " << c.shape.head_size << " causal " << c.shape.causal
                                      << " window " << c.shape.window << " soft cap " << c.shape.softcap << " dropout "
                                      << c.dropout << " " << name_of(dtype));
      const Pass pass(backend(), c, dtype);
      const ReferenceAttention expected =
          reference_attention(pass.qkv_values, pass.dout_values, static_cast<std::size_t>(c.batch),
                              static_cast<std::size_t>(c.length), c.shape, {c.dropout, seed, step, operation});
      expect_close(pass.out.values(), expected.out, tolerance_of(dtype, 5e-7));
      expect_close(pass.log_sum_exp.values(), expected.log_sum_exp, 5e-7);
      expect_close(pass.dqkv.values(), expected.dqkv, tolerance_of(dtype, 1e-6));
      for (const Guarded* tensor : {&pass.qkv, &pass.dout, &pass.out, &pass.log_sum_exp, &pass.dqkv}) {
        EXPECT_TRUE(tensor->intact());
      }
      EXPECT_EQ(pass.qkv.values(), pass.qkv_values);
      EXPECT_EQ(pass.dout.values(), pass.dout_values);
    }
  }
}

TEST_P(AttentionTest, GivesTheSameBitsAgain) {
  const Case c = {3, 200, make_shape(4, 2, 40), 0.1f};
  const Pass once(backend(), c);
  const Pass again(backend(), c);
  EXPECT_EQ(once.out.bytes(), again.out.bytes());
  EXPECT_EQ(once.log_sum_exp.bytes(), again.log_sum_exp.bytes());
  EXPECT_EQ(once.dqkv.bytes(), again.dqkv.bytes());
}

// Leftovers of an earlier call in the backend's own memory must not reach a result: 0 · NaN is NaN.
TEST_P(AttentionTest, ReadsNoScratchThatItDidNotWrite) {
  const Case large = {1, 300, make_shape(1, 1, 80)};
  const Pass poison(backend(), large);
  const std::vector<double> nan(poison.qkv_values.size(), std::nan(""));
  const Guarded qkv = upload(backend(), DType::f32, poison.qkv.tensor().shape(), nan);
  for (const Case& c : cases()) {
    backend().run(
        AttentionForward{.out = poison.out, .log_sum_exp = poison.log_sum_exp, .qkv = qkv, .shape = large.shape});
    backend().run(AttentionBackward{.dqkv = poison.dqkv,
                                    .dout = poison.dout,
                                    .qkv = qkv,
                                    .out = poison.out,
                                    .log_sum_exp = poison.log_sum_exp,
                                    .shape = large.shape});
    const Pass pass(backend(), c);
    for (const Guarded* tensor : {&pass.out, &pass.log_sum_exp, &pass.dqkv}) {
      for (const double value : tensor->values()) ASSERT_TRUE(std::isfinite(value));
    }
  }
}

TEST_P(AttentionTest, LaterRowsDoNotChangeEarlierOnes) {
  const Case c = {1, 150, make_shape(2, 1, 16)};
  Pass pass(backend(), c);
  std::vector<double> changed = pass.qkv_values;
  for (std::size_t i = static_cast<std::size_t>(90 * pass.width); i < changed.size(); ++i) changed[i] = 1e3;
  const Guarded qkv = upload(backend(), DType::f32, pass.qkv.tensor().shape(), changed);
  const Guarded out(backend(), DType::f32, pass.out.tensor().shape());
  backend().run(AttentionForward{.out = out, .qkv = qkv, .shape = c.shape});
  const std::vector<double> before = pass.out.values();
  const std::vector<double> after = out.values();
  const auto rows = static_cast<std::ptrdiff_t>(90 * pass.out_width);
  EXPECT_TRUE(std::equal(before.begin(), before.begin() + rows, after.begin()));
  EXPECT_NE(before, after);
}

TEST_P(AttentionTest, RowsBeforeTheWindowDoNotChangeLaterOnes) {
  const Case c = {1, 150, limited(make_shape(2, 1, 16), 20)};
  const Pass pass(backend(), c);
  std::vector<double> changed = pass.qkv_values;
  std::fill_n(changed.begin(), 100 * pass.width, 1e3);
  const Guarded qkv = upload(backend(), DType::f32, pass.qkv.tensor().shape(), changed);
  const Guarded out(backend(), DType::f32, pass.out.tensor().shape());
  backend().run(AttentionForward{.out = out, .qkv = qkv, .shape = c.shape});
  const std::vector<double> before = pass.out.values();
  const std::vector<double> after = out.values();
  // Row 119 sees keys 100 to 119, and is the first that sees no other.
  const auto same = static_cast<std::ptrdiff_t>(119 * pass.out_width);
  EXPECT_TRUE(std::equal(before.begin() + same, before.end(), after.begin() + same));
  EXPECT_FALSE(std::equal(before.begin() + same - pass.out_width, before.end(), after.begin() + same - pass.out_width));
}

TEST_P(AttentionTest, SurvivesLargeScores) {
  // exp of these scores overflows; the softmax does not.
  const AttentionShape shape = {1, 1, 4, 1.0f, true};
  std::vector<double> values = random_values(DType::f32, 80 * 12, 3);
  for (double& value : values) value = static_cast<float>(value * 20.0);
  const Guarded qkv = upload(backend(), DType::f32, {1, 80, 12}, values);
  const Guarded out(backend(), DType::f32, {1, 80, 4});
  const Guarded log_sum_exp(backend(), DType::f32, {1, 1, 80});
  backend().run(AttentionForward{.out = out, .log_sum_exp = log_sum_exp, .qkv = qkv, .shape = shape});
  for (const double value : out.values()) EXPECT_TRUE(std::isfinite(value));
  for (const double value : log_sum_exp.values()) EXPECT_TRUE(std::isfinite(value));
}

TEST_P(AttentionTest, KeepsNaN) {
  const AttentionShape shape = make_shape(1, 1, 8);
  std::vector<double> values = random_values(DType::f32, 40 * 24, 3);
  values[20 * 24] = std::nan("");
  const Guarded qkv = upload(backend(), DType::f32, {1, 40, 24}, values);
  const Guarded out(backend(), DType::f32, {1, 40, 8});
  backend().run(AttentionForward{.out = out, .qkv = qkv, .shape = shape});
  EXPECT_TRUE(std::isnan(out.values()[20 * 8]));
}

TEST_P(AttentionTest, ShowsRowsThatSeeOnlyMinusInfinity) {
  const AttentionShape shape = make_shape(1, 1, 8);
  std::vector<double> values(40 * 24, 1.0);
  values[20 * 24] = -std::numeric_limits<double>::infinity();
  const Guarded qkv = upload(backend(), DType::f32, {1, 40, 24}, values);
  const Guarded out(backend(), DType::f32, {1, 40, 8});
  backend().run(AttentionForward{.out = out, .qkv = qkv, .shape = shape});
  const std::vector<double> result = out.values();
  for (std::size_t i = 0; i < result.size(); ++i) EXPECT_EQ(std::isnan(result[i]), i / 8 == 20) << i;
}

TEST_P(AttentionTest, RefusesWrongArguments) {
  const Pass pass(backend(), {2, 8, make_shape(4, 2, 8)});
  const AttentionShape shape = make_shape(4, 2, 8);
  const auto forward = [&](const Tensor& out, const Tensor& statistics, const Tensor& qkv, const AttentionShape& s,
                           const Dropout& dropout = {}) {
    return error_of(ErrorKind::input, [&] {
      backend().run(
          AttentionForward{.out = out, .log_sum_exp = statistics, .qkv = qkv, .shape = s, .dropout = dropout});
    });
  };
  const auto names = [](const std::string& message, std::string_view operation, std::string_view argument) {
    return message.starts_with(operation) && message.find(argument) != std::string::npos;
  };
  const std::string op = "attention_forward: ";
  EXPECT_TRUE(names(forward({}, {}, pass.qkv, shape), op, "out is absent"));
  EXPECT_TRUE(names(forward(pass.out, {}, {}, shape), op, "qkv is absent"));
  EXPECT_TRUE(names(forward(pass.out, {}, pass.out, shape), op, "qkv is f32 [2, 8, 32]"));
  EXPECT_TRUE(names(forward(pass.qkv, {}, pass.qkv, shape), op, "out is f32 [2, 8, 64]"));
  EXPECT_TRUE(names(forward(pass.out, pass.out, pass.qkv, shape), op, "log_sum_exp is"));
  EXPECT_TRUE(names(forward(pass.out, {}, pass.qkv, make_shape(4, 3, 8)), op, "3 key/value heads"));
  EXPECT_TRUE(names(forward(pass.out, {}, pass.qkv, make_shape(0, 1, 8)), op, "0 query heads"));
  EXPECT_TRUE(names(forward(pass.out, {}, pass.qkv, make_shape(1, 1, 257)), op, "head size is 257"));
  EXPECT_TRUE(names(forward(pass.out, {}, pass.qkv, shape, {0.5f, 0, {}}), op, "random_state is absent"));
  EXPECT_TRUE(names(forward(pass.out, {}, pass.qkv, shape, {1.0f, 0, pass.state}), op, "probability is 1"));
  EXPECT_TRUE(names(forward(pass.out, {}, pass.qkv, limited(shape, -1)), op, "window is -1"));
  EXPECT_TRUE(names(forward(pass.out, {}, pass.qkv, limited(make_shape(4, 2, 8, false), 3)), op, "window is 3"));
  EXPECT_TRUE(names(forward(pass.out, {}, pass.qkv, limited(shape, 0, -1.0f)), op, "soft cap is -1"));
  const Guarded integers(backend(), DType::i32, pass.out.tensor().shape());
  EXPECT_TRUE(names(forward(integers, {}, pass.qkv, shape), op, "out is i32"));

  const auto backward = [&](const Tensor& dqkv, const Tensor& dout, const Tensor& out, const Tensor& statistics) {
    return error_of(ErrorKind::input, [&] {
      backend().run(AttentionBackward{
          .dqkv = dqkv, .dout = dout, .qkv = pass.qkv, .out = out, .log_sum_exp = statistics, .shape = shape});
    });
  };
  const std::string back = "attention_backward: ";
  EXPECT_TRUE(names(backward(pass.dout, pass.dout, pass.out, pass.log_sum_exp), back, "dqkv is"));
  EXPECT_TRUE(names(backward(pass.dqkv, pass.qkv, pass.out, pass.log_sum_exp), back, "dout is"));
  EXPECT_TRUE(names(backward(pass.dqkv, pass.dout, pass.qkv, pass.log_sum_exp), back, "out is"));
  EXPECT_TRUE(names(backward(pass.dqkv, pass.dout, pass.out, {}), back, "log_sum_exp is absent"));
  EXPECT_TRUE(names(backward(pass.qkv, pass.dout, pass.out, pass.log_sum_exp), back, "overlap"));
}

INSTANTIATE_TEST_SUITE_P(Backends, AttentionTest, testing::ValuesIn(test_backends()), test_backend_name);

}  // namespace
}  // namespace mslt::test
