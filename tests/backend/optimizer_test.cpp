// The gradients' norm and AdamW against the reference, on every backend.
#include <gtest/gtest.h>

#include <bit>
#include <limits>

#include "backend/registry.h"
#include "base/parallel.h"
#include "base/philox.h"
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

// One update of values, as f32 master weights or as bf16 parameters rounded at random.
struct RoundedUpdate {
  std::vector<double> values;     // of bf16
  std::vector<double> gradients;  // of bf16
  DType gradient_dtype = DType::bf16;
  double rate = 1e-3;
  float weight_decay = 0.0f;
  std::int64_t first_element = 0;

  std::vector<double> run(Backend& backend, bool at_random) const {
    const auto n = static_cast<std::int64_t>(values.size());
    const Guarded parameters = upload(backend, DType::bf16, {n}, values);
    const Guarded master = upload(backend, DType::f32, {n}, values);
    const Guarded first(backend, DType::f32, {n});
    const Guarded second(backend, DType::f32, {n});
    backend.run(Fill{.out = first, .value = 0.25f});
    backend.run(Fill{.out = second, .value = 0.5f});
    const Guarded random = upload(backend, DType::u32, {4}, {7, 9, 11, 0});
    const Guarded gradient = upload(backend, gradient_dtype, {n}, gradients);
    const Guarded state = upload(backend, DType::f32, {5}, rounded(DType::f32, {rate, 10.0, 20.0, 1.0, 0.0}));
    const Guarded norm = upload(backend, DType::f32, {1}, {1.0});
    backend.run(AdamWUpdate{.parameters = parameters,
                            .gradients = gradient,
                            .first_moment = first,
                            .second_moment = second,
                            .master = at_random ? Tensor() : master.tensor(),
                            .random_state = at_random ? random.tensor() : Tensor(),
                            .operation = 13,
                            .first = first_element,
                            .state = state,
                            .norm = norm,
                            .config = {0.9f, 0.95f, 1e-8f, weight_decay}});
    EXPECT_TRUE(parameters.intact() && first.intact() && second.intact());
    return at_random ? parameters.values() : master.values();
  }
};

TEST_P(OptimizerTest, AdamWRoundsAtRandomBitForBit) {
  for (const std::int64_t n : {1, 7, 40, 5003}) {
    for (const DType gradient_dtype : {DType::bf16, DType::f32}) {
      SCOPED_TRACE(std::to_string(n) + " " + std::string(name_of(gradient_dtype)));
      RoundedUpdate update{random_values(DType::bf16, n, 1), random_values(DType::bf16, n, 2), gradient_dtype};
      update.first_element = 8 * n;
      if (n > 10) {
        update.values[3] = std::numeric_limits<double>::infinity();
        update.values[4] = std::nan("");
        update.values[10] = -std::numeric_limits<double>::infinity();
      }
      std::vector<double> expected = update.run(backend(), false);
      for (std::int64_t e = 0; e < n; ++e) {
        const auto bits = std::bit_cast<std::uint32_t>(static_cast<float>(expected[size(e)]));
        if (!std::isfinite(expected[size(e)])) continue;
        const std::uint32_t word =
            philox_block(std::uint64_t{9} << 32 | 7, 11, 13,
                         static_cast<std::uint64_t>(n + e / 8))[static_cast<std::size_t>(e / 2 % 4)];
        const std::uint32_t random = e % 2 == 0 ? word & 0xffffu : word >> 16;
        expected[size(e)] = static_cast<double>(std::bit_cast<float>((bits + random) & 0xffff0000u));
      }
      const std::vector<double> found = update.run(backend(), true);
      for (std::int64_t e = 0; e < n; ++e) {
        if (std::isnan(expected[size(e)])) {
          EXPECT_TRUE(std::isnan(found[size(e)]));
        } else {
          EXPECT_EQ(found[size(e)], expected[size(e)]) << e;
        }
      }
      if (backend().device().backend != "msl-host" || n < 10) continue;
      update.values[3] = update.values[4] = update.values[10] = 1.0;
      EXPECT_EQ(update.run(backend(), true), update.run(*make_backend("cpu"), true));
    }
  }
}

// Sums of 16-bit gradients are f32; here they are numbers that 16 bits hold.
TEST_P(OptimizerTest, GradientsInF32MakeTheSameUpdate) {
  for (const DType dtype : {DType::bf16, DType::f16}) {
    for (const bool has_master : {false, true}) {
      constexpr std::int64_t n = 1003;
      const std::vector<double> gradients = random_values(dtype, n, 2);
      std::vector<std::vector<double>> results;
      for (const DType gradient_dtype : {dtype, DType::f32}) {
        const Guarded parameters = upload(backend(), dtype, {n}, random_values(dtype, n, 1));
        const Guarded master = upload(backend(), DType::f32, {n}, random_values(DType::f32, n, 1));
        const Guarded first = upload(backend(), DType::f32, {n}, std::vector<double>(size(n), 0.0));
        const Guarded second = upload(backend(), DType::f32, {n}, std::vector<double>(size(n), 0.0));
        const Guarded gradient = upload(backend(), gradient_dtype, {n}, gradients);
        const Guarded state = upload(backend(), DType::f32, {5}, {0.125, 10.0, 20.0, 1.0, 0.0});
        const Guarded norm = upload(backend(), DType::f32, {1}, {1.0});
        backend().run(AdamWUpdate{.parameters = parameters,
                                  .gradients = gradient,
                                  .first_moment = first,
                                  .second_moment = second,
                                  .master = has_master ? master.tensor() : Tensor(),
                                  .state = state,
                                  .norm = norm});
        results.push_back(parameters.values());
        EXPECT_TRUE(parameters.intact() && master.intact());
      }
      EXPECT_EQ(results[0], results[1]) << name_of(dtype) << " " << has_master;
      EXPECT_NE(results[0], random_values(dtype, n, 1));
    }
  }
}

// An update moves 1 to where bf16 has no number; those around it lie 2^-8 apart.
TEST_P(OptimizerTest, RoundingAtRandomKeepsTheMean) {
  constexpr std::int64_t n = 40000;
  const std::vector<double> zeros(size(n), 0.0);
  for (const double distance : {0.0011, 0.0003, 0.0025}) {
    RoundedUpdate update{std::vector<double>(size(n), 1.0), zeros, DType::bf16, 0.0, 1.0f};
    update.rate = distance;
    const double exact = update.run(backend(), false)[0];
    const std::vector<double> found = update.run(backend(), true);
    const double below = std::floor(exact * 256) / 256;
    double sum = 0.0;
    for (const double value : found) {
      EXPECT_TRUE(value == below || value == below + 1.0 / 256) << value;
      sum += value;
    }
    const double share = (exact - below) * 256;
    const double deviation = std::sqrt(share * (1 - share) / n) / 256;
    EXPECT_NEAR(sum / n, exact, 4 * deviation);
  }
  // What bf16 holds stays.
  const std::vector<double> values = random_values(DType::bf16, 3000, 3);
  const RoundedUpdate still{values, std::vector<double>(3000, 0.0), DType::bf16, 0.0};
  EXPECT_EQ(still.run(backend(), true), values);
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
    if (other == DType::f32) continue;
    const Guarded parameters(b, dtype, {8});
    const Guarded gradients(b, other, {8});
    refuses("adamw: ", "but gradients must be f32 or of the same dtype", [&] {
      b.run(AdamWUpdate{.parameters = parameters,
                        .gradients = gradients,
                        .first_moment = first,
                        .second_moment = second,
                        .state = state,
                        .norm = norm});
    });
  }
}

TEST_P(OptimizerTest, RefusesToRoundAtRandomToOtherThanBf16) {
  Backend& b = backend();
  const Guarded first(b, DType::f32, {8});
  const Guarded second(b, DType::f32, {8});
  const Guarded master(b, DType::f32, {8});
  const Guarded state(b, DType::f32, {adamw_state_size});
  const Guarded norm(b, DType::f32, {1});
  const Guarded random(b, DType::u32, {4});
  const Guarded gradients(b, DType::f32, {8});
  const auto step = [&](std::string_view part, const Tensor& parameters, const Tensor& masters, const Tensor& words) {
    refuses("adamw: ", part, [&] {
      b.run(AdamWUpdate{.parameters = parameters,
                        .gradients = gradients,
                        .first_moment = first,
                        .second_moment = second,
                        .master = masters,
                        .random_state = words,
                        .state = state,
                        .norm = norm});
    });
  };
  const Guarded bf16(b, DType::bf16, {8});
  step("random_state rounds to bf16 only", Guarded(b, DType::f16, {8}), {}, random);
  step("master is f32 [8]", bf16, master, random);
  step("random_state is f32", bf16, {}, norm);
  step("random_state is u32 [3]", bf16, {}, Guarded(b, DType::u32, {3}));
}

INSTANTIATE_TEST_SUITE_P(Backends, OptimizerTest, testing::ValuesIn(test_backends()), test_backend_name);

}  // namespace
}  // namespace mslt::test
