// The workloads of tuning.
#include "backend/msl/tunables.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <exception>
#include <span>

#include "backend/msl/launch.h"
#include "backend/msl/matvec.h"
#include "base/philox.h"
#include "tensor/half.h"

namespace mslt::msl {
namespace {

using Prepare = std::function<std::function<void()>(Workbench&)>;
using Member = std::int64_t Tuning::*;

constexpr std::int64_t distinct_values = std::int64_t{1} << 20;

template <class T, class Convert>
std::vector<std::byte> random_bytes(std::int64_t count, Convert convert) {
  PhiloxStream stream(1, 0, 0);
  std::vector<std::byte> bytes(static_cast<std::size_t>(count) * sizeof(T));
  for (std::size_t i = 0; i < static_cast<std::size_t>(count); ++i) {
    const T element = convert(0.1f * (stream.uniform() - 0.5f));
    std::memcpy(bytes.data() + i * sizeof(T), &element, sizeof(T));
  }
  return bytes;
}

std::vector<std::byte> random_elements(DType dtype, std::int64_t count) {
  switch (dtype) {
    case DType::bf16:
      return random_bytes<BFloat16>(count, [](float x) { return to_bfloat16(x); });
    case DType::f16:
      return random_bytes<Float16>(count, [](float x) { return to_float16(x); });
    case DType::f32:
      return random_bytes<float>(count, [](float x) { return x; });
    default:
      return random_bytes<std::int8_t>(count, [](float x) { return static_cast<std::int8_t>(x * 2000.0f); });
  }
}

// A size in a workload's name: "8192x768".
std::string sizes(std::int64_t rows, std::int64_t columns) {
  return fmt::format("{}x{}", rows, columns);
}

// The path of work whose launch depends on one member only.
std::function<std::int64_t(const Tuning&)> value_of(Member member) {
  return [member](const Tuning& tuning) {
    return tuning.*member;
  };
}

// A product of [rows, inner] and [columns, inner].
struct ProductSize {
  std::int64_t rows;
  std::int64_t columns;
  std::int64_t inner;
  bool operator==(const ProductSize&) const = default;
};

// The products of a model's layers and its head; `head_rows` rows have room for logits.
std::vector<ProductSize> model_products(const TuneShape& shape, std::int64_t head_rows) {
  const std::int64_t rows = shape.batch * shape.steps;
  const std::int64_t wide = (shape.heads + 2 * shape.kv_heads) * shape.head_size;
  const auto all = std::to_array<ProductSize>({{rows, wide, shape.channels},
                                               {rows, shape.channels, shape.channels},
                                               {rows, shape.ffn_size, shape.channels},
                                               {rows, shape.channels, shape.ffn_size},
                                               {head_rows, shape.vocab_size, shape.channels}});
  std::vector<ProductSize> products;
  for (const ProductSize& product : all) {
    if (std::find(products.begin(), products.end(), product) == products.end()) products.push_back(product);
  }
  return products;
}

enum class ProductKind { forward, input, weight };

// A model's products of that kind, as their results and inner length.
std::vector<ProductSize> products_of(ProductKind kind, const TuneShape& shape, std::int64_t head_rows) {
  std::vector<ProductSize> products;
  for (const ProductSize& product : model_products(shape, head_rows)) {
    const auto [rows, columns, inner] = product;
    if (kind == ProductKind::forward) products.push_back(product);
    if (kind == ProductKind::input) products.push_back({rows, inner, columns});
    if (kind == ProductKind::weight) products.push_back({columns, inner, rows});
  }
  return products;
}

// The product with results [rows, columns]; `path` distinguishes launches.
Workload product_workload(ProductKind kind, const ProductSize& size, DType dtype,
                          std::function<std::int64_t(const Tuning&)> path) {
  const auto prepare = [=](Workbench& bench) {
    const auto [m, n, k] = size;
    const Tensor result = bench.values(dtype, {m, n});
    switch (kind) {
      case ProductKind::forward:
        return bench.recording(
            MatmulForward{.out = result, .in = bench.values(dtype, {m, k}), .weight = bench.values(dtype, {n, k})});
      case ProductKind::input:
        return bench.recording(MatmulBackwardInput{
            .din = result, .dout = bench.values(dtype, {m, k}), .weight = bench.values(dtype, {k, n})});
      default:
        return bench.recording(MatmulBackwardWeight{
            .dweight = result, .dout = bench.values(dtype, {k, m}), .in = bench.values(dtype, {k, n})});
    }
  };
  return {fmt::format("{} inner {}", sizes(size.rows, size.columns), size.inner), std::move(path), prepare};
}

Tunable product_tunable(ProductKind kind, Member member, const TuneShape& shape, std::int64_t head_rows) {
  Tunable tunable{.member = member,
                  .candidates = {0, 128 * 128, 256 * 256, 512 * 512, 1024 * 1024, 2048 * 2048, any_size},
                  .without_matvec = true};
  std::vector<ProductSize> products = products_of(kind, shape, head_rows);
  // Smaller ones show the crossover between the designs.
  std::int64_t most_results = 0;
  for (const ProductSize& product : products) most_results = std::max(most_results, product.rows * product.columns);
  for (const std::int64_t side : {128, 256, 512, 1024}) {
    if (side * side <= most_results) products.push_back({side, side, shape.channels});
  }
  for (const ProductSize& product : products) {
    const auto path = [=](const Tuning& tuning) -> std::int64_t {
      return product.rows <= tuning.*member / product.columns ? 1 : 0;
    };
    tunable.workloads.push_back(product_workload(kind, product, shape.dtype, path));
  }
  return tunable;
}

Tunable direct_simdgroups(const TuneShape& shape, std::int64_t head_rows) {
  Tunable tunable{.member = &Tuning::direct_simdgroups,
                  .candidates = {1, 2, 4},
                  .kernels = {"matmul_forward_direct", "matmul_input_direct", "matmul_weight_direct"},
                  .without_matvec = true,
                  .all_direct = true};
  for (const ProductKind kind : {ProductKind::forward, ProductKind::input, ProductKind::weight}) {
    for (const ProductSize& product : products_of(kind, shape, head_rows)) {
      tunable.workloads.push_back(product_workload(kind, product, shape.dtype, value_of(&Tuning::direct_simdgroups)));
    }
  }
  return tunable;
}

// out = in · weightᵀ; the weight is plain, or quantised if its dtype is i8.
Prepare few_rows_product(std::int64_t rows, std::int64_t columns, std::int64_t inner, DType dtype, DType weight_type) {
  return [=](Workbench& bench) {
    Weight weight = bench.values(weight_type, {columns, inner});
    if (weight_type == DType::i8) weight.scales = bench.values(DType::f16, {columns, inner / 32});
    return bench.recording(MatmulForward{
        .out = bench.zeros(dtype, {rows, columns}), .in = bench.values(dtype, {rows, inner}), .weight = weight});
  };
}

Tunable simdgroups_of_matvec(const TuneShape& shape) {
  Tunable tunable{.member = &Tuning::matvec_simdgroups, .candidates = {1, 2, 4, 8}, .kernels = {"matvec_"}};
  const auto add = [&](std::int64_t columns, std::int64_t inner, DType weight) {
    const DType dtype = shape.dtype;
    tunable.workloads.push_back({fmt::format("1x{} inner {} {}", columns, inner, name_of(weight)),
                                 [=](const Tuning& tuning) { return matvec_simdgroups(tuning, columns, weight, true); },
                                 few_rows_product(1, columns, inner, dtype, weight)});
  };
  add(shape.vocab_size, shape.channels, shape.dtype);
  add(shape.ffn_size, shape.channels, shape.dtype);
  if (shape.channels % 32 == 0) add(shape.vocab_size, shape.channels, DType::i8);
  return tunable;
}

Tunable few_rows(const TuneShape& shape) {
  Tunable tunable{.member = &Tuning::few_rows, .candidates = {1, 2, 4, 8, 16, 32, 64}};
  const auto add = [&](std::int64_t rows, std::int64_t columns) {
    tunable.workloads.push_back({sizes(rows, columns),
                                 [=](const Tuning& tuning) -> std::int64_t { return rows <= tuning.few_rows ? 1 : 0; },
                                 few_rows_product(rows, columns, shape.channels, shape.dtype, shape.dtype)});
  };
  // A layer's weight stays in the caches between rows; the head's often does not.
  for (const std::int64_t rows : {2, 4, 6, 8, 12, 16, 24, 32, 48, 64}) {
    add(rows, shape.ffn_size);
    add(rows, shape.vocab_size);
  }
  return tunable;
}

Tunable span_threads(const TuneShape& shape) {
  const DType dtype = shape.dtype;
  const std::int64_t rows = shape.batch * shape.steps;
  const Shape wide{rows, shape.ffn_size};
  const Shape narrow{rows, shape.channels};
  const auto path = value_of(&Tuning::span_threads);
  Tunable tunable{.member = &Tuning::span_threads,
                  .candidates = {64, 128, 256, 512, 1024},
                  .kernels = {"gelu_", "relu_", "dropout_", "cast_", "add_", "copy_bytes", "fill_bytes"}};
  const auto add = [&](std::string name, Prepare prepare) {
    tunable.workloads.push_back({std::move(name), path, std::move(prepare)});
  };
  add("gelu forward " + sizes(rows, shape.ffn_size), [=](Workbench& bench) {
    return bench.recording(ActivationForward{
        .activation = Activation::gelu, .out = bench.zeros(dtype, wide), .in = bench.values(dtype, wide)});
  });
  add("gelu backward " + sizes(rows, shape.ffn_size), [=](Workbench& bench) {
    return bench.recording(ActivationBackward{.activation = Activation::gelu,
                                              .din = bench.zeros(dtype, wide),
                                              .dout = bench.values(dtype, wide),
                                              .in = bench.values(dtype, wide)});
  });
  add("add " + sizes(rows, shape.channels), [=](Workbench& bench) {
    return bench.recording(Add{.out = bench.zeros(dtype, narrow), .in = bench.values(dtype, narrow)});
  });
  return tunable;
}

// Elements for the optimiser: the parameters, but at most as many as fill any device.
std::int64_t optimizer_elements(const TuneShape& shape, std::int64_t most_elements) {
  return std::clamp<std::int64_t>(shape.parameters, 1, std::min(most_elements / 8, std::int64_t{1} << 25));
}

Tunable adamw_threads(const TuneShape& shape, std::int64_t most_elements) {
  const std::int64_t n = optimizer_elements(shape, most_elements);
  const DType dtype = shape.dtype;
  const auto prepare = [=](Workbench& bench) {
    // A step of length zero with corrections and scale of one, without clipping.
    return bench.recording(AdamWUpdate{.parameters = bench.values(dtype, {n}),
                                       .gradients = bench.values(dtype, {n}),
                                       .first_moment = bench.zeros(DType::f32, {n}),
                                       .second_moment = bench.zeros(DType::f32, {n}),
                                       .master = dtype == DType::f32 ? Tensor() : bench.values(DType::f32, {n}),
                                       .state = bench.floats({0.0f, 1.0f, 1.0f, 1.0f, 0.0f}),
                                       .norm = bench.floats({1.0f})});
  };
  return {.member = &Tuning::adamw_threads,
          .candidates = {64, 128, 256, 512, 1024},
          .kernels = {"adamw_"},
          .workloads = {{fmt::format("adamw {}", n), value_of(&Tuning::adamw_threads), prepare}}};
}

Tunable tile_threads(const TuneShape& shape) {
  const DType dtype = shape.dtype;
  const std::int64_t rows = shape.batch * shape.steps;
  const auto path = value_of(&Tuning::tile_threads);
  Tunable tunable{
      .member = &Tuning::tile_threads,
      .candidates = {32, 64, 128, 256, 512},
      .kernels = {"swiglu_", "embedding_", "position_gradient", "gather_rows", "kv_append", "norm_backward_columns"}};
  const Shape gates{rows, 2 * shape.ffn_size};
  const Shape gated{rows, shape.ffn_size};
  const Shape ids{shape.batch, shape.steps};
  const Shape embedded{shape.batch, shape.steps, shape.channels};
  const Shape table{shape.vocab_size, shape.channels};
  const auto add = [&](std::string name, Prepare prepare) {
    tunable.workloads.push_back({std::move(name), path, std::move(prepare)});
  };
  add("swiglu forward " + sizes(rows, shape.ffn_size), [=](Workbench& bench) {
    return bench.recording(ActivationForward{
        .activation = Activation::swiglu, .out = bench.zeros(dtype, gated), .in = bench.values(dtype, gates)});
  });
  add("swiglu backward " + sizes(rows, shape.ffn_size), [=](Workbench& bench) {
    return bench.recording(ActivationBackward{.activation = Activation::swiglu,
                                              .din = bench.zeros(dtype, gates),
                                              .dout = bench.values(dtype, gated),
                                              .in = bench.values(dtype, gates)});
  });
  add("embedding forward " + sizes(rows, shape.channels), [=](Workbench& bench) {
    return bench.recording(EmbeddingForward{.out = bench.zeros(dtype, embedded),
                                            .tokens = bench.ids(ids, shape.vocab_size),
                                            .token_weight = bench.values(dtype, table)});
  });
  add("embedding backward " + sizes(rows, shape.channels), [=](Workbench& bench) {
    return bench.recording(EmbeddingBackward{.dtoken_weight = bench.zeros(dtype, table),
                                             .dout = bench.values(dtype, embedded),
                                             .tokens = bench.ids(ids, shape.vocab_size)});
  });
  return tunable;
}

Tunable norm_group_rows(const TuneShape& shape) {
  const DType dtype = shape.dtype;
  const std::int64_t rows = shape.batch * shape.steps;
  const Shape wide{rows, shape.channels};
  const auto prepare = [=](Workbench& bench) {
    return bench.recording(ResidualNormForward{.out = bench.zeros(dtype, wide),
                                               .sum = bench.zeros(dtype, wide),
                                               .mean = bench.zeros(DType::f32, {rows}),
                                               .rstd = bench.zeros(DType::f32, {rows}),
                                               .residual = bench.values(dtype, wide),
                                               .x = bench.values(dtype, wide),
                                               .weight = bench.values(dtype, {shape.channels}),
                                               .bias = bench.values(dtype, {shape.channels})});
  };
  return {.member = &Tuning::norm_group_rows,
          .candidates = {1, 2, 4, 8, 16},
          .kernels = {"norm_forward", "norm_backward_rows"},
          .workloads = {
              {"residual_norm forward " + sizes(rows, shape.channels), value_of(&Tuning::norm_group_rows), prepare}}};
}

Tunable loss_tunable(Member member, std::vector<std::int64_t> candidates, const TuneShape& shape, std::int64_t rows) {
  const DType dtype = shape.dtype;
  const Member limit = dtype == DType::f32 ? &Tuning::loss_threads_f32 : &Tuning::loss_threads;
  const auto path = [=](const Tuning& tuning) -> std::int64_t {
    return row_threads(shape.vocab_size, tuning.loss_logits_a_thread, tuning.*limit);
  };
  const auto prepare = [=](Workbench& bench) {
    return bench.recording(CrossEntropy{.losses = bench.zeros(DType::f32, {rows}),
                                        .logits = bench.values(dtype, {rows, shape.vocab_size}),
                                        .targets = bench.ids({rows}, shape.vocab_size),
                                        .vocab = shape.vocab_size,
                                        .loss_scale = bench.floats({1.0f})});
  };
  return {.member = member,
          .candidates = std::move(candidates),
          .kernels = {"cross_entropy"},
          .workloads = {{"cross_entropy " + sizes(rows, shape.vocab_size), path, prepare}}};
}

Tunable reduce_tunable(Member member, std::vector<std::int64_t> candidates, const TuneShape& shape,
                       std::int64_t most_elements) {
  const std::int64_t n = optimizer_elements(shape, most_elements);
  const DType dtype = shape.dtype;
  const auto prepare = [=](Workbench& bench) {
    return bench.recording(GlobalNorm{.out = bench.zeros(DType::f32, {1}), .gradients = bench.values(dtype, {n})});
  };
  return {.member = member,
          .candidates = std::move(candidates),
          .kernels = {"sum_f32", "norm_squares", "norm_root"},
          .workloads = {{fmt::format("global_norm {}", n), value_of(member), prepare}}};
}

}  // namespace

Workbench::~Workbench() {
  try {
    backend_.wait();
  } catch (const std::exception&) {
    // Whoever recorded the work has already waited for it and received its errors.
  }
}

Tensor Workbench::zeros(DType dtype, const Shape& shape) {
  const std::size_t bytes = static_cast<std::size_t>(shape.elements()) * size_of(dtype);
  buffers_.push_back(backend_.allocate(bytes, "tuning"));
  return {*buffers_.back(), 0, dtype, shape};
}

Tensor Workbench::values(DType dtype, const Shape& shape) {
  const Tensor result = zeros(dtype, shape);
  const std::int64_t count = shape.elements();
  const auto part = [&](std::int64_t first, std::int64_t elements) {
    return Tensor(result.buffer(), static_cast<std::size_t>(first) * size_of(dtype), dtype, {elements});
  };
  std::int64_t done = std::min(count, distinct_values);
  backend_.upload(part(0, done), random_elements(dtype, done));
  while (done < count) {
    const std::int64_t more = std::min(done, count - done);
    backend_.recorder().copy(part(done, more), part(0, more));
    done += more;
  }
  return result;
}

Tensor Workbench::ids(const Shape& shape, std::int64_t bound) {
  PhiloxStream stream(2, 0, 0);
  std::vector<std::int32_t> numbers(static_cast<std::size_t>(shape.elements()));
  for (std::int32_t& number : numbers) {
    number = static_cast<std::int32_t>(stream.below(static_cast<std::uint64_t>(bound)));
  }
  const Tensor result = zeros(DType::i32, shape);
  backend_.upload(result, std::as_bytes(std::span(numbers)));
  return result;
}

Tensor Workbench::floats(const std::vector<float>& numbers) {
  const Tensor result = zeros(DType::f32, {static_cast<std::int64_t>(numbers.size())});
  backend_.upload(result, std::as_bytes(std::span(numbers)));
  return result;
}

std::vector<Tunable> tunables(const TuneShape& shape, std::int64_t most_elements) {
  const std::int64_t rows = shape.batch * shape.steps;
  const std::int64_t head_rows = std::clamp<std::int64_t>(most_elements / shape.vocab_size, 1, rows);
  const bool is_f32 = shape.dtype == DType::f32;
  std::vector<Tunable> all;
  all.push_back(direct_simdgroups(shape, head_rows));
  all.push_back(product_tunable(ProductKind::forward, &Tuning::direct_results_forward, shape, head_rows));
  all.push_back(product_tunable(ProductKind::input, &Tuning::direct_results_input, shape, head_rows));
  all.push_back(product_tunable(ProductKind::weight, &Tuning::direct_results_weight, shape, head_rows));
  all.push_back(simdgroups_of_matvec(shape));
  all.push_back(few_rows(shape));
  all.push_back(span_threads(shape));
  all.push_back(adamw_threads(shape, most_elements));
  all.push_back(tile_threads(shape));
  all.push_back(norm_group_rows(shape));
  all.push_back(loss_tunable(is_f32 ? &Tuning::loss_threads_f32 : &Tuning::loss_threads, {128, 256, 512, 1024}, shape,
                             head_rows));
  all.push_back(loss_tunable(&Tuning::loss_logits_a_thread, {8, 16, 32, 64, 128}, shape, head_rows));
  all.push_back(reduce_tunable(&Tuning::reduce_threads, {128, 256, 512, 1024}, shape, most_elements));
  all.push_back(reduce_tunable(&Tuning::reduce_groups, {128, 256, 512, 1024, 2048}, shape, most_elements));
  return all;
}

}  // namespace mslt::msl
