// The gradients' norm and AdamW against the reference, on every backend.
#include <gtest/gtest.h>

#include <limits>

#include "base/parallel.h"
#include "tests/backend/backend_under_test.h"
#include "tests/backend/numeric_check.h"
#include "tests/backend/reference_elementwise.h"

namespace mslt::test {
namespace {

class OptimizerTest : public BackendTest {};

TEST_P(OptimizerTest, NormEqualsTheReference) {
  for (const std::int64_t n : {1, 3, 17, 2049, 100003}) {
    for (const DType dtype : floating_types()) {
      const std::vector<double> values = random_values(dtype, n, 1);
      const Guarded gradients = upload(backend(), dtype, {n}, values);
      const Guarded out = upload(backend(), DType::f32, {1}, {3.0});
      const double squares = dot(values, values);
      backend().run(GlobalNorm{.out = out, .gradients = gradients, .accumulate = true});
      EXPECT_NEAR(out.values()[0], std::sqrt(squares + 9.0), 1e-6 * std::sqrt(squares + 9.0));
      backend().run(GlobalNorm{.out = out, .gradients = gradients});
      EXPECT_NEAR(out.values()[0], std::sqrt(squares), 1e-6 * std::sqrt(squares));
      EXPECT_TRUE(out.intact() && gradients.intact());
    }
  }
}

// Squares that underflow or overflow, in one group and in several.
TEST_P(OptimizerTest, NormOfVerySmallAndVeryLargeGradients) {
  for (const std::int64_t n : {9, 100003}) {
    for (const DType dtype : {DType::f32, DType::bf16}) {
      for (const double factor : {0x1p-90, 0x1p-50, 0x1p50, 0x1p90}) {
        std::vector<double> values = random_values(dtype, n, 1);
        for (double& value : values) value *= factor;
        const Guarded gradients = upload(backend(), dtype, {n}, values);
        const Guarded out(backend(), DType::f32, {1});
        backend().run(GlobalNorm{.out = out, .gradients = gradients});
        const double expected = std::sqrt(dot(values, values));
        EXPECT_NEAR(out.values()[0], expected, 1e-6 * expected) << n << " " << name_of(dtype) << " " << factor;
      }
    }
  }
}

TEST_P(OptimizerTest, NormShowsWhatIsNotFinite) {
  std::vector<double> values(1000, 1.0);
  const Guarded out(backend(), DType::f32, {1});
  values[700] = std::numeric_limits<double>::infinity();
  backend().run(GlobalNorm{.out = out, .gradients = upload(backend(), DType::f32, {1000}, values)});
  EXPECT_EQ(out.values()[0], std::numeric_limits<double>::infinity());
  values[3] = std::nan("");
  backend().run(GlobalNorm{.out = out, .gradients = upload(backend(), DType::f32, {1000}, values)});
  EXPECT_TRUE(std::isnan(out.values()[0]));
}

TEST_P(OptimizerTest, AdamWEqualsTheReferenceForTenSteps) {
  const AdamWConfig config{0.9f, 0.95f, 1e-8f, 0.1f};
  for (const std::int64_t n : {1, 7, 65, 5001}) {
    for (const DType dtype : floating_types()) {
      for (const double max_norm : {0.0, 0.5}) {
        SCOPED_TRACE(std::to_string(n) + " " + std::string(name_of(dtype)) + " clipped to " + std::to_string(max_norm));
        ReferenceAdamW expected{random_values(dtype, n, 1), std::vector<double>(size(n), 0.0),
                                std::vector<double>(size(n), 0.0)};
        const Guarded parameters = upload(backend(), dtype, {n}, expected.parameters);
        const Guarded first = upload(backend(), DType::f32, {n}, expected.first);
        const Guarded second = upload(backend(), DType::f32, {n}, expected.second);
        const Guarded norm(backend(), DType::f32, {1});
        for (int step = 1; step <= 10; ++step) {
          const std::vector<double> gradient = random_values(dtype, n, 10 + static_cast<std::uint64_t>(step));
          const std::vector<double> state = rounded(DType::f32, {1e-2, 1.0 / (1.0 - std::pow(0.9, step)),
                                                                 1.0 / (1.0 - std::pow(0.95, step)), 0.25, max_norm});
          const Guarded gradients = upload(backend(), dtype, {n}, gradient);
          backend().run(GlobalNorm{.out = norm, .gradients = gradients});
          backend().run(AdamWUpdate{.parameters = parameters,
                                    .gradients = gradients,
                                    .first_moment = first,
                                    .second_moment = second,
                                    .state = upload(backend(), DType::f32, {5}, state),
                                    .norm = norm,
                                    .config = config});
          reference_adamw(expected, gradient, state, std::sqrt(dot(gradient, gradient)), config);
          // So only an occasional rounding differs, not those of all steps.
          if (dtype != DType::f32) expected.parameters = rounded(dtype, expected.parameters);
        }
        expect_close(parameters.values(), expected.parameters, tolerance_of(dtype));
        expect_close(first.values(), expected.first, 1e-6);
        expect_close(second.values(), expected.second, 1e-6);
        EXPECT_TRUE(parameters.intact() && first.intact() && second.intact() && norm.intact());
      }
    }
  }
}

TEST_P(OptimizerTest, AdamWUpdatesTheMasterAndRoundsIt) {
  const AdamWConfig config{0.9f, 0.999f, 1e-8f, 0.0f};
  const std::int64_t n = 2100;
  for (const DType dtype : {DType::bf16, DType::f16}) {
    const std::vector<double> gradient = random_values(dtype, n, 2);
    ReferenceAdamW expected{random_values(DType::f32, n, 1), std::vector<double>(size(n), 0.0),
                            std::vector<double>(size(n), 0.0)};
    const Guarded master = upload(backend(), DType::f32, {n}, expected.parameters);
    const Guarded parameters(backend(), dtype, {n});
    const Guarded gradients = upload(backend(), dtype, {n}, gradient);
    const Guarded first = upload(backend(), DType::f32, {n}, expected.first);
    const Guarded second = upload(backend(), DType::f32, {n}, expected.second);
    const std::vector<double> state = rounded(DType::f32, {1e-3, 10.0, 1000.0, 1.0, 0.0});
    backend().run(AdamWUpdate{.parameters = parameters,
                              .gradients = gradients,
                              .first_moment = first,
                              .second_moment = second,
                              .master = master,
                              .state = upload(backend(), DType::f32, {5}, state),
                              .norm = upload(backend(), DType::f32, {1}, {1.0}),
                              .config = config});
    reference_adamw(expected, gradient, state, 1.0, config);
    expect_close(master.values(), expected.parameters, 1e-7);
    EXPECT_EQ(parameters.values(), rounded(dtype, master.values()));
    EXPECT_TRUE(parameters.intact() && master.intact());
  }
}

TEST_P(OptimizerTest, AdamWWritesNothingWhereTheNormIsNotFinite) {
  const Guarded values = upload(backend(), DType::f32, {9}, random_values(DType::f32, 9, 1));
  const Guarded gradients = upload(backend(), DType::f32, {9}, random_values(DType::f32, 9, 2));
  const Guarded first = upload(backend(), DType::f32, {9}, random_values(DType::f32, 9, 3));
  const Guarded second = upload(backend(), DType::f32, {9}, random_values(DType::f32, 9, 4));
  const Guarded state = upload(backend(), DType::f32, {5}, {1.0, 1.0, 1.0, 1.0, 1.0});
  const std::vector<std::vector<std::byte>> before = {values.bytes(), first.bytes(), second.bytes()};
  for (const double length : {std::nan(""), std::numeric_limits<double>::infinity()}) {
    backend().run(AdamWUpdate{.parameters = values,
                              .gradients = gradients,
                              .first_moment = first,
                              .second_moment = second,
                              .state = state,
                              .norm = upload(backend(), DType::f32, {1}, {length})});
    EXPECT_EQ((std::vector<std::vector<std::byte>>{values.bytes(), first.bytes(), second.bytes()}), before);
  }
}

TEST_P(OptimizerTest, AdamWOnMastersWritesNothingWhereTheNormIsNotFinite) {
  for (const DType dtype : {DType::bf16, DType::f16}) {
    const Guarded parameters = upload(backend(), dtype, {9}, random_values(dtype, 9, 1));
    const Guarded gradients = upload(backend(), dtype, {9}, random_values(dtype, 9, 2));
    const Guarded first = upload(backend(), DType::f32, {9}, random_values(DType::f32, 9, 3));
    const Guarded second = upload(backend(), DType::f32, {9}, random_values(DType::f32, 9, 4));
    const Guarded master = upload(backend(), DType::f32, {9}, random_values(DType::f32, 9, 5));
    const Guarded state = upload(backend(), DType::f32, {5}, {1.0, 1.0, 1.0, 1.0, 1.0});
    const auto all = [&] {
      return std::vector<std::vector<std::byte>>{parameters.bytes(), first.bytes(), second.bytes(), master.bytes()};
    };
    const std::vector<std::vector<std::byte>> before = all();
    for (const double length : {std::nan(""), std::numeric_limits<double>::infinity()}) {
      const Guarded norm = upload(backend(), DType::f32, {1}, {length});
      backend().run(AdamWUpdate{.parameters = parameters,
                                .gradients = gradients,
                                .first_moment = first,
                                .second_moment = second,
                                .master = master,
                                .state = state,
                                .norm = norm});
      EXPECT_EQ(all(), before) << name_of(dtype);
    }
  }
}

// Without a gradient, moments are zero; without an epsilon, so is the divisor.
TEST_P(OptimizerTest, AdamWWithoutEpsilonKeepsWhatHasNoGradient) {
  const AdamWConfig config{0.9f, 0.999f, 0.0f, 0.0f};
  for (const std::int64_t n : {1, 8, 37}) {
    for (const DType dtype : floating_types()) {
      SCOPED_TRACE(std::to_string(n) + " " + std::string(name_of(dtype)));
      const std::vector<double> values = random_values(dtype, n, 1);
      const std::vector<double> zeros(size(n), 0.0);
      const Guarded parameters = upload(backend(), dtype, {n}, values);
      const Guarded gradients = upload(backend(), dtype, {n}, zeros);
      const Guarded first = upload(backend(), DType::f32, {n}, zeros);
      const Guarded second = upload(backend(), DType::f32, {n}, zeros);
      const Guarded master = upload(backend(), DType::f32, {n}, values);
      const Guarded state = upload(backend(), DType::f32, {5}, {0.1, 10.0, 1000.0, 1.0, 1.0});
      const Guarded norm = upload(backend(), DType::f32, {1}, {0.0});
      AdamWUpdate update{.parameters = parameters,
                         .gradients = gradients,
                         .first_moment = first,
                         .second_moment = second,
                         .state = state,
                         .norm = norm,
                         .config = config};
      backend().run(update);
      EXPECT_EQ(parameters.values(), values);
      if (dtype != DType::f32) {
        update.master = master;
        backend().run(update);
        EXPECT_EQ(parameters.values(), values);
        EXPECT_EQ(master.values(), values);
      }
      EXPECT_EQ(first.values(), zeros);
      EXPECT_EQ(second.values(), zeros);
    }
  }
}

TEST_P(OptimizerTest, BitsDoNotDependOnRunsOrThreads) {
  const std::int64_t n = 100003;
  const Guarded gradients = upload(backend(), DType::f32, {n}, random_values(DType::f32, n, 1));
  const Guarded state = upload(backend(), DType::f32, {5}, {0.1, 1.5, 2.5, 1.0, 1.0});
  std::vector<std::vector<std::byte>> first_run;
  const int threads = parallel_threads();
  for (const int count : {1, 2, 5}) {
    set_parallel_threads(count);
    const Guarded norm(backend(), DType::f32, {1});
    const Guarded values = upload(backend(), DType::f32, {n}, random_values(DType::f32, n, 2));
    const Guarded first = upload(backend(), DType::f32, {n}, std::vector<double>(size(n), 0.0));
    const Guarded second = upload(backend(), DType::f32, {n}, std::vector<double>(size(n), 0.0));
    backend().run(GlobalNorm{.out = norm, .gradients = gradients});
    backend().run(AdamWUpdate{.parameters = values,
                              .gradients = gradients,
                              .first_moment = first,
                              .second_moment = second,
                              .state = state,
                              .norm = norm});
    const std::vector<std::vector<std::byte>> now = {norm.bytes(), values.bytes(), first.bytes(), second.bytes()};
    if (first_run.empty()) first_run = now;
    EXPECT_EQ(now, first_run) << count << " threads";
  }
  set_parallel_threads(threads);
}

TEST_P(OptimizerTest, NamesWrongArguments) {
  Backend& b = backend();
  const Guarded p(b, DType::f32, {8});
  const Guarded g(b, DType::f32, {8});
  const Guarded m(b, DType::f32, {8});
  const Guarded v(b, DType::f32, {8});
  const Guarded nine(b, DType::f32, {9});
  const Guarded other(b, DType::f32, {8});
  const Guarded half(b, DType::f16, {8});
  const Guarded half_gradients(b, DType::f16, {8});
  const Guarded integers(b, DType::i32, {8});
  const Guarded state(b, DType::f32, {adamw_state_size});
  const Guarded norm(b, DType::f32, {1});
  const auto step = [&](std::string_view part, const Tensor& parameters, const Tensor& gradients, const Tensor& first,
                        const Tensor& second, const Tensor& master, const Tensor& s, const Tensor& length,
                        const AdamWConfig& config) {
    refuses("adamw: ", part, [&] {
      b.run(AdamWUpdate{.parameters = parameters,
                        .gradients = gradients,
                        .first_moment = first,
                        .second_moment = second,
                        .master = master,
                        .state = s,
                        .norm = length,
                        .config = config});
    });
  };
  step("parameters is absent", {}, g, m, v, {}, state, norm, {});
  step("gradients is f32 [9]", p, nine, m, v, {}, state, norm, {});
  step("gradients is i32", p, integers, m, v, {}, state, norm, {});
  step("first_moment is f16", p, g, half, v, {}, state, norm, {});
  step("second_moment is f32 [9]", p, g, m, nine, {}, state, norm, {});
  step("overlap", p, g, m, m, {}, state, norm, {});
  step("master is f32 [9]", half, half_gradients, m, v, nine, state, norm, {});
  step("master is f32 [8]", p, g, m, v, other, state, norm, {});
  step("state is f32 [1]", p, g, m, v, {}, norm, norm, {});
  step("norm is f32 [8]", p, g, m, v, {}, state, g, {});
  step("beta1 is 1", p, g, m, v, {}, state, norm, {1.0f, 0.9f, 1e-8f, 0.0f});
  step("beta2 is -1", p, g, m, v, {}, state, norm, {0.9f, -1.0f, 1e-8f, 0.0f});
  step("epsilon is -1", p, g, m, v, {}, state, norm, {0.9f, 0.9f, -1.0f, 0.0f});
  step("weight_decay is -1", p, g, m, v, {}, state, norm, {0.9f, 0.9f, 1e-8f, -1.0f});
  refuses("global_norm: ", "gradients is i32", [&] { b.run(GlobalNorm{.out = norm, .gradients = integers}); });
  refuses("global_norm: ", "out is f32 [8]", [&] { b.run(GlobalNorm{.out = g, .gradients = g}); });
}

TEST_P(OptimizerTest, RefusesDtypesThatDoNotMeet) {
  Backend& b = backend();
  const Guarded first(b, DType::f32, {8});
  const Guarded second(b, DType::f32, {8});
  const Guarded state(b, DType::f32, {adamw_state_size});
  const Guarded norm(b, DType::f32, {1});
  for (const auto& [dtype, other] : refused_pairs()) {
    const Guarded parameters(b, dtype, {8});
    const Guarded gradients(b, other, {8});
    refuses("adamw: ", unlike("parameters", parameters, "gradients", gradients), [&] {
      b.run(AdamWUpdate{.parameters = parameters,
                        .gradients = gradients,
                        .first_moment = first,
                        .second_moment = second,
                        .state = state,
                        .norm = norm});
    });
  }
}

INSTANTIATE_TEST_SUITE_P(Backends, OptimizerTest, testing::ValuesIn(test_backends()), test_backend_name);

}  // namespace
}  // namespace mslt::test
