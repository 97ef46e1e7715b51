// Every operation on tensors with any alignment, whose rows a kernel must not read in whole vectors.
//
// Rows are whole vectors, so only the alignment of tensors differs. The other suites check the results of aligned ones.
#include <gtest/gtest.h>

#include <cmath>
#include <deque>
#include <functional>

#include "tests/backend/backend_under_test.h"
#include "tests/backend/numeric_check.h"

namespace mslt::test {
namespace {

// Makes the tensors of an operation, each `shift` elements after an aligned position.
class Maker {
 public:
  Maker(Backend& backend, DType dtype, std::size_t shift) : backend_(backend), dtype_(dtype), shift_(shift) {}

  DType dtype() const { return dtype_; }
  // With random values.
  Tensor make(const Shape& shape) { return make(dtype_, shape); }
  Tensor make(DType dtype, const Shape& shape) {
    return keep(dtype, shape, random_values(dtype, shape.elements(), tensors_.size() + 1));
  }
  Tensor make(DType dtype, const Shape& shape, const std::vector<double>& values) { return keep(dtype, shape, values); }
  // Integers in [low, high).
  Tensor integers(DType dtype, const Shape& shape, int low, int high) {
    std::vector<double> values(size(shape.elements()));
    for (std::size_t i = 0; i < values.size(); ++i) {
      values[i] = low + static_cast<double>(i * 7 % static_cast<std::size_t>(high - low));
    }
    return keep(dtype, shape, values);
  }
  // Positive values, like standard deviations and second moments.
  Tensor positive(const Shape& shape) {
    std::vector<double> values = random_values(DType::f32, shape.elements(), tensors_.size() + 1);
    for (double& value : values) value = 0.5 + std::abs(value);
    return keep(DType::f32, shape, rounded(DType::f32, values));
  }

  const std::deque<Guarded>& tensors() const { return tensors_; }

 private:
  Tensor keep(DType dtype, const Shape& shape, const std::vector<double>& values) {
    return tensors_.emplace_back(upload(backend_, dtype, shape, values, shift_));
  }

  Backend& backend_;
  DType dtype_;
  std::size_t shift_;
  std::deque<Guarded> tensors_;
};

class PlacementTest : public BackendTest {
 protected:
  // Runs the operation on aligned and unaligned tensors: all inputs and outputs must be the same afterwards.
  void expect_same(const std::function<void(Maker&)>& operation) {
    for (const DType dtype : activation_types(backend())) {
      Maker aligned(backend(), dtype, 0);
      operation(aligned);
      Maker shifted(backend(), dtype, 1);
      operation(shifted);
      ASSERT_EQ(aligned.tensors().size(), shifted.tensors().size());
      for (std::size_t i = 0; i < aligned.tensors().size(); ++i) {
        SCOPED_TRACE(std::string(name_of(dtype)) + ", tensor " + std::to_string(i) + " of the operation's");
        const Guarded& tensor = shifted.tensors()[i];
        expect_close(tensor.values(), aligned.tensors()[i].values(), tolerance_of(tensor.tensor().dtype()));
        EXPECT_TRUE(tensor.intact());
      }
    }
  }

  const AttentionShape shape_{4, 2, 16, 0.25f, true};
};

TEST_P(PlacementTest, Products) {
  // In both designs.
  for (const std::int64_t m : {16, 72}) {
    expect_same([&](Maker& t) {
      backend().run(MatmulForward{.out = t.make({m, 40}),
                                  .in = t.make({m, 64}),
                                  .weight = t.make({40, 64}),
                                  .bias = t.make({40}),
                                  .activation = Activation::gelu,
                                  .pre_activation = t.make({m, 40})});
    });
    expect_same([&](Maker& t) {
      backend().run(MatmulBackwardInput{.din = t.make({m, 64}),
                                        .dout = t.make({m, 40}),
                                        .weight = t.make({40, 64}),
                                        .activation = Activation::gelu,
                                        .pre_activation = t.make({m, 64}),
                                        .accumulate = true});
    });
    expect_same([&](Maker& t) {
      backend().run(MatmulBackwardWeight{
          .dweight = t.make({m, 64}), .dbias = t.make({m}), .dout = t.make({40, m}), .in = t.make({40, 64})});
    });
  }
}

TEST_P(PlacementTest, ProductsOfFewRows) {
  for (const std::int64_t m : {1, 6}) {
    expect_same([&](Maker& t) {
      backend().run(MatmulForward{.out = t.make({m, 40}), .in = t.make({m, 64}), .weight = t.make({40, 64})});
    });
    expect_same([&](Maker& t) {
      const Weight weight{t.integers(DType::i8, {40, 64}, -128, 128), t.make(DType::f16, {40, 2})};
      backend().run(
          MatmulForward{.out = t.make({m, 40}), .in = t.make({m, 64}), .weight = weight, .bias = t.make({40})});
    });
    expect_same([&](Maker& t) {
      const Weight weight{t.integers(DType::u8, {40, 32}, 0, 256), t.make(DType::f16, {40, 2, 2})};
      backend().run(
          MatmulForward{.out = t.make({m, 40}), .in = t.make({m, 64}), .weight = weight, .bias = t.make({40})});
    });
  }
}

TEST_P(PlacementTest, Attention) {
  expect_same([&](Maker& t) {
    const Tensor qkv = t.make({2, 40, 128});
    const Tensor out = t.make({2, 40, 64});
    const Tensor log_sum_exp = t.make(DType::f32, {2, 4, 40});
    backend().run(AttentionForward{.out = out, .log_sum_exp = log_sum_exp, .qkv = qkv, .shape = shape_});
    backend().run(AttentionBackward{.dqkv = t.make(qkv.shape()),
                                    .dout = t.make(out.shape()),
                                    .qkv = qkv,
                                    .out = out,
                                    .log_sum_exp = log_sum_exp,
                                    .shape = shape_});
  });
}

TEST_P(PlacementTest, Cache) {
  expect_same([&](Maker& t) {
    const Tensor qkv = t.make({2, 3, 128});
    const KvCacheView cache{t.make({4, 16, 32}), t.make({4, 16, 32}), t.make(DType::i32, {2, 2}, {2, 0, 1, 3})};
    const Positions positions{t.make(DType::i32, {2}, {20, 3})};
    backend().run(KvCacheAppend{.cache = cache,
                                .qkv = qkv,
                                .positions = positions,
                                .counts = t.make(DType::i32, {2}, {3, 3}),
                                .shape = shape_});
    backend().run(AttentionDecode{
        .out = t.make({2, 3, 64}), .qkv = qkv, .cache = cache, .positions = positions, .shape = shape_});
  });
}

TEST_P(PlacementTest, Norms) {
  for (const std::int64_t columns : {64, 1032}) {
    expect_same([&](Maker& t) {
      const Shape shape{9, columns};
      backend().run(ResidualNormForward{.out = t.make(shape),
                                        .sum = t.make(shape),
                                        .mean = t.make(DType::f32, {9}),
                                        .rstd = t.make(DType::f32, {9}),
                                        .residual = t.make(shape),
                                        .x = t.make(shape),
                                        .weight = t.make({columns}),
                                        .bias = t.make({columns})});
      backend().run(ResidualNormBackward{.dsum = t.make(shape),
                                         .dweight = t.make({columns}),
                                         .dbias = t.make({columns}),
                                         .dout = t.make(shape),
                                         .dsum_direct = t.make(shape),
                                         .sum = t.make(shape),
                                         .mean = t.make(DType::f32, {9}),
                                         .rstd = t.positive({9}),
                                         .weight = t.make({columns})});
    });
  }
}

TEST_P(PlacementTest, NormsOfPieces) {
  expect_same([&](Maker& t) {
    const RowPieces keys{64, 2};
    backend().run(ResidualNormForward{.out = t.make({5, 128}),
                                      .sum = t.make({10, 16}),
                                      .rstd = t.make(DType::f32, {10}),
                                      .residual = t.make({5, 128}),
                                      .weight = t.make({16}),
                                      .kind = {true, 1e-5f},
                                      .pieces = keys});
    backend().run(ResidualNormBackward{.dsum = t.make({5, 128}),
                                       .dweight = t.make({16}),
                                       .dout = t.make({5, 128}),
                                       .sum = t.make({10, 16}),
                                       .rstd = t.positive({10}),
                                       .weight = t.make({16}),
                                       .kind = {true, 1e-5f},
                                       .pieces = keys});
  });
}

TEST_P(PlacementTest, EmbeddingAndRotation) {
  expect_same([&](Maker& t) {
    const Tensor tokens = t.integers(DType::i32, {2, 40}, -1, 12);
    const Positions positions{t.make(DType::i32, {2}, {0, 3})};
    backend().run(EmbeddingForward{.out = t.make({2, 40, 24}),
                                   .tokens = tokens,
                                   .token_weight = t.make({12, 24}),
                                   .position_weight = t.make({50, 24}),
                                   .positions = positions,
                                   .scale = 2.0f});
    backend().run(EmbeddingBackward{.dtoken_weight = t.make({12, 24}),
                                    .dposition_weight = t.make({50, 24}),
                                    .dout = t.make({2, 40, 24}),
                                    .tokens = tokens,
                                    .scale = 2.0f});
    backend().run(Rope{.qkv = t.make({2, 40, 128}),
                       .inverse_frequencies = t.make(DType::f32, {8}),
                       .positions = positions,
                       .shape = shape_});
  });
}

TEST_P(PlacementTest, Elementwise) {
  expect_same([&](Maker& t) {
    const Dropout dropout{0.5f, 3, t.make(DType::u32, {4}, {1, 2, 3, 0})};
    backend().run(ActivationForward{.activation = Activation::gelu, .out = t.make({5, 64}), .in = t.make({5, 64})});
    backend().run(ActivationBackward{
        .activation = Activation::gelu, .din = t.make({5, 64}), .dout = t.make({5, 64}), .in = t.make({5, 64})});
    backend().run(ActivationForward{.activation = Activation::swiglu, .out = t.make({5, 64}), .in = t.make({5, 128})});
    backend().run(ActivationBackward{
        .activation = Activation::swiglu, .din = t.make({5, 128}), .dout = t.make({5, 64}), .in = t.make({5, 128})});
    backend().run(DropElements{.out = t.make({5, 64}), .in = t.make({5, 64}), .dropout = dropout});
    backend().run(Fill{.out = t.make({320}), .value = 3.0f});
    backend().run(Copy{.out = t.make({320}), .in = t.make({320})});
    backend().run(Add{.out = t.make({320}), .in = t.make({320})});
    backend().run(Cast{.out = t.make(DType::f32, {320}), .in = t.make({320})});
    backend().run(Cast{.out = t.make({320}), .in = t.make(DType::f32, {320})});
    backend().run(
        GatherRows{.out = t.make({3, 64}), .in = t.make({5, 64}), .indices = t.make(DType::i32, {3}, {4, -1, 2})});
  });
}

TEST_P(PlacementTest, LossAndSampling) {
  expect_same([&](Maker& t) {
    const Tensor logits = t.make({5, 64});
    const Tensor losses = t.make(DType::f32, {5});
    backend().run(Argmax{.values = t.make(DType::f32, {5}),
                         .indices = t.make(DType::i32, {5}, {0, 0, 0, 0, 0}),
                         .logits = logits,
                         .vocab = 60});
    backend().run(TopK{.values = t.make(DType::f32, {5, 3}),
                       .indices = t.integers(DType::i32, {5, 3}, 0, 3),
                       .logits = logits,
                       .vocab = 60});
    backend().run(CrossEntropy{.losses = losses,
                               .logits = logits,
                               .targets = t.integers(DType::i32, {5}, 0, 60),
                               .vocab = 60,
                               .loss_scale = t.make(DType::f32, {1}, {0.5})});
    backend().run(Sum{.out = t.make(DType::f32, {1}), .in = losses});
  });
}

TEST_P(PlacementTest, Optimiser) {
  expect_same([&](Maker& t) {
    const Tensor gradients = t.make({320});
    const Tensor norm = t.make(DType::f32, {1});
    const Tensor state = t.make(DType::f32, {5}, {0.125, 2.0, 3.0, 0.5, 1.0});
    backend().run(GlobalNorm{.out = norm, .gradients = gradients});
    backend().run(AdamWUpdate{.parameters = t.make({320}),
                              .gradients = gradients,
                              .first_moment = t.make(DType::f32, {320}),
                              .second_moment = t.positive({320}),
                              .state = state,
                              .norm = norm});
    if (t.dtype() == DType::f32) return;
    backend().run(AdamWUpdate{.parameters = t.make({320}),
                              .gradients = gradients,
                              .first_moment = t.make(DType::f32, {320}),
                              .second_moment = t.positive({320}),
                              .master = t.make(DType::f32, {320}),
                              .state = state,
                              .norm = norm});
  });
}

INSTANTIATE_TEST_SUITE_P(Backends, PlacementTest, testing::ValuesIn(test_backends()), test_backend_name);

}  // namespace
}  // namespace mslt::test
