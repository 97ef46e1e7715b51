// Every operation on tensors that begin at any element, whose rows a kernel must not read in whole vectors.
//
// Rows are whole vectors, so that only the tensors' beginnings differ; what is right at aligned ones, the other suites
// say.
#include <gtest/gtest.h>

#include <cmath>
#include <deque>
#include <functional>

#include "tests/backend/backend_under_test.h"
#include "tests/backend/numeric_check.h"

namespace mslt::test {
namespace {

// Makes the tensors of an operation, each `shift` elements behind an aligned place.
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
  // Integers of [low, high).
  Tensor integers(DType dtype, const Shape& shape, int low, int high) {
    std::vector<double> values(size(shape.elements()));
    for (std::size_t i = 0; i < values.size(); ++i) {
      values[i] = low + static_cast<double>(i * 7 % static_cast<std::size_t>(high - low));
    }
    return keep(dtype, shape, values);
  }
  // Positive values, as standard deviations and second moments are.
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
  // Runs the operation on aligned tensors and on others: whatever it is given or writes must be the same after.
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
      backend().matmul_forward(t.make({m, 40}), t.make({m, 64}), t.make({40, 64}), t.make({40}), Activation::gelu,
                               t.make({m, 40}));
    });
    expect_same([&](Maker& t) {
      backend().matmul_backward_input(t.make({m, 64}), t.make({m, 40}), t.make({40, 64}), Activation::gelu,
                                      t.make({m, 64}), true);
    });
    expect_same([&](Maker& t) {
      backend().matmul_backward_weight(t.make({m, 64}), t.make({m}), t.make({40, m}), t.make({40, 64}));
    });
  }
}

TEST_P(PlacementTest, ProductsOfFewRows) {
  for (const std::int64_t m : {1, 6}) {
    expect_same([&](Maker& t) { backend().matvec(t.make({m, 40}), t.make({m, 64}), {t.make({40, 64}), {}}, {}); });
    expect_same([&](Maker& t) {
      const Weight weight{t.integers(DType::i8, {40, 64}, -128, 128), t.make(DType::f16, {40, 2})};
      backend().matvec(t.make({m, 40}), t.make({m, 64}), weight, t.make({40}));
    });
    expect_same([&](Maker& t) {
      const Weight weight{t.integers(DType::u8, {40, 32}, 0, 256), t.make(DType::f16, {40, 2})};
      backend().matvec(t.make({m, 40}), t.make({m, 64}), weight, t.make({40}));
    });
  }
}

TEST_P(PlacementTest, Attention) {
  expect_same([&](Maker& t) {
    const Tensor qkv = t.make({2, 40, 128});
    const Tensor out = t.make({2, 40, 64});
    const Tensor log_sum_exp = t.make(DType::f32, {2, 4, 40});
    backend().attention_forward(out, log_sum_exp, qkv, shape_, {});
    backend().attention_backward(t.make(qkv.shape()), t.make(out.shape()), qkv, out, log_sum_exp, shape_, {});
  });
}

TEST_P(PlacementTest, Cache) {
  expect_same([&](Maker& t) {
    const Tensor qkv = t.make({2, 3, 128});
    const KvCacheView cache{t.make({4, 16, 32}), t.make({4, 16, 32}), t.make(DType::i32, {2, 2}, {2, 0, 1, 3})};
    const Positions positions{t.make(DType::i32, {2}, {20, 3})};
    backend().kv_cache_append(cache, qkv, positions, t.make(DType::i32, {2}, {3, 3}), shape_);
    backend().attention_decode(t.make({2, 3, 64}), qkv, cache, positions, shape_);
  });
}

TEST_P(PlacementTest, Norms) {
  for (const std::int64_t columns : {64, 1032}) {
    expect_same([&](Maker& t) {
      const Shape shape{9, columns};
      backend().residual_norm_forward(t.make(shape), t.make(shape), t.make(DType::f32, {9}), t.make(DType::f32, {9}),
                                      t.make(shape), t.make(shape), t.make({columns}), t.make({columns}), {}, {});
      backend().residual_norm_backward(t.make(shape), t.make({columns}), t.make({columns}), t.make(shape),
                                       t.make(shape), t.make(shape), t.make(DType::f32, {9}), t.positive({9}),
                                       t.make({columns}), {});
    });
  }
}

TEST_P(PlacementTest, EmbeddingAndRotation) {
  expect_same([&](Maker& t) {
    const Tensor tokens = t.integers(DType::i32, {2, 40}, -1, 12);
    const Positions positions{t.make(DType::i32, {2}, {0, 3})};
    backend().embedding_forward(t.make({2, 40, 24}), tokens, t.make({12, 24}), t.make({50, 24}), positions, 2.0f);
    backend().embedding_backward(t.make({12, 24}), t.make({50, 24}), t.make({2, 40, 24}), tokens, 2.0f);
    backend().rope_forward(t.make({2, 40, 128}), t.make(DType::f32, {8}), positions, shape_);
  });
}

TEST_P(PlacementTest, Elementwise) {
  expect_same([&](Maker& t) {
    const Dropout dropout{0.5f, 3, t.make(DType::u32, {4}, {1, 2, 3, 0})};
    backend().activation_forward(Activation::gelu, t.make({5, 64}), t.make({5, 64}));
    backend().activation_backward(Activation::gelu, t.make({5, 64}), t.make({5, 64}), t.make({5, 64}));
    backend().activation_forward(Activation::swiglu, t.make({5, 64}), t.make({5, 128}));
    backend().activation_backward(Activation::swiglu, t.make({5, 128}), t.make({5, 64}), t.make({5, 128}));
    backend().dropout_forward(t.make({5, 64}), t.make({5, 64}), dropout);
    backend().fill(t.make({320}), 3.0f);
    backend().copy(t.make({320}), t.make({320}));
    backend().add(t.make({320}), t.make({320}));
    backend().cast(t.make(DType::f32, {320}), t.make({320}));
    backend().cast(t.make({320}), t.make(DType::f32, {320}));
    backend().gather_rows(t.make({3, 64}), t.make({5, 64}), t.make(DType::i32, {3}, {4, -1, 2}));
  });
}

TEST_P(PlacementTest, QueriesKeysAndValues) {
  expect_same([&](Maker& t) {
    backend().split_qkv(t.make({5, 64}), t.make({5, 32}), t.make({5, 32}), t.make({5, 128}), shape_);
    backend().join_qkv(t.make({5, 128}), t.make({5, 64}), t.make({5, 32}), t.make({5, 32}), shape_);
  });
}

TEST_P(PlacementTest, LossAndSampling) {
  expect_same([&](Maker& t) {
    const Tensor logits = t.make({5, 64});
    const Tensor losses = t.make(DType::f32, {5});
    backend().argmax(t.make(DType::i32, {5}, {0, 0, 0, 0, 0}), logits, 60);
    backend().top_k(t.make(DType::f32, {5, 3}), t.integers(DType::i32, {5, 3}, 0, 3), logits, 60);
    backend().cross_entropy(losses, logits, t.integers(DType::i32, {5}, 0, 60), 60, t.make(DType::f32, {1}, {0.5}));
    backend().sum(t.make(DType::f32, {1}), losses, false);
  });
}

TEST_P(PlacementTest, Optimiser) {
  expect_same([&](Maker& t) {
    const Tensor gradients = t.make({320});
    const Tensor norm = t.make(DType::f32, {1});
    const Tensor state = t.make(DType::f32, {5}, {0.125, 2.0, 3.0, 0.5, 1.0});
    backend().global_norm(norm, gradients, false);
    backend().adamw(t.make({320}), gradients, t.make(DType::f32, {320}), t.positive({320}), {}, state, norm, {});
    if (t.dtype() == DType::f32) return;
    backend().adamw(t.make({320}), gradients, t.make(DType::f32, {320}), t.positive({320}), t.make(DType::f32, {320}),
                    state, norm, {});
  });
}

INSTANTIATE_TEST_SUITE_P(Backends, PlacementTest, testing::ValuesIn(test_backends()), test_backend_name);

}  // namespace
}  // namespace mslt::test
