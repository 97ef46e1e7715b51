// Quantising the matrices of a parameter arena, and room for those that are quantised already.
#include "model/quantised_weights.h"

#include <algorithm>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "backend/download_floats.h"
#include "base/fail.h"
#include "base/parallel.h"
#include "tensor/quantize.h"

namespace mslt {
namespace {

constexpr std::string_view values_suffix = ".values";
constexpr std::string_view scales_suffix = ".scales";

std::string joined(std::string_view name, std::string_view suffix) {
  return std::string(name) + std::string(suffix);
}

void add_matrix(ArenaLayout& layout, std::string_view name, bool four_bits, std::int64_t rows, std::int64_t columns) {
  const std::int64_t groups = columns / quantisation_group;
  layout.add(joined(name, values_suffix), four_bits ? DType::u8 : DType::i8, {rows, four_bits ? columns / 2 : columns});
  layout.add(joined(name, scales_suffix), DType::f16, four_bits ? Shape{rows, groups, 2} : Shape{rows, groups});
}

template <class Value>
void quantise(Backend& backend, const Tensor& matrix, const Tensor& values, const Tensor& scales, std::string_view name,
              void (*quantise_row)(std::span<const float>, std::span<Value>, std::span<Float16>)) {
  const std::vector<float> floats = download_floats(backend, matrix);
  std::vector<Value> quantised(values.bytes());
  std::vector<Float16> factors(static_cast<std::size_t>(scales.elements()));
  const auto rows = static_cast<std::size_t>(matrix.shape()[0]);
  const auto part = [rows](auto& all, std::int64_t row) {
    const std::size_t width = all.size() / rows;
    return std::span(all).subspan(static_cast<std::size_t>(row) * width, width);
  };
  try {
    parallel_for(static_cast<std::int64_t>(rows), Cost{.flops = 200} * matrix.shape()[1],
                 [&](std::int64_t row) { quantise_row(part(floats, row), part(quantised, row), part(factors, row)); });
  } catch (const Error& error) {
    fail(error.kind(), "The matrix '{}' cannot be quantised: {}", name, error.what());
  }
  backend.upload(values, std::as_bytes(std::span(quantised)));
  backend.upload(scales, std::as_bytes(std::span(factors)));
}

}  // namespace

Quantisation quantisation_from_name(std::string_view name) {
  if (name == "none") return Quantisation::none;
  if (name == "int8") return Quantisation::int8;
  if (name == "int4") return Quantisation::int4;
  fail(ErrorKind::usage, "'{}' is no quantisation; valid are none, int8 and int4, and auto where a model is loaded.",
       name);
}

QuantisedWeights::QuantisedWeights(Backend& backend, const Arena& parameters, std::span<const std::string> matrices,
                                   std::string_view head, Quantisation quantisation) {
  if (quantisation == Quantisation::none) return;
  ArenaLayout layout;
  std::vector<std::string> chosen;
  const auto plain = [&](const std::string& name) {
    return name == head ? parameters.with_spare(name) : parameters.tensor(name);
  };
  for (const std::string& name : matrices) {
    const Shape shape = plain(name).shape();
    if (shape[1] % quantisation_group != 0) continue;
    const bool four_bits = quantisation == Quantisation::int4 && name != head;
    add_matrix(layout, name, four_bits, shape[0], shape[1]);
    chosen.push_back(name);
  }
  arena_ = Arena(layout, backend.allocate(layout.bytes(), "quantised weights"));
  for (const std::string& name : chosen) {
    const Weight to = find(name, {});
    if (to.values.dtype() == DType::u8) {
      quantise<std::uint8_t>(backend, plain(name), to.values, to.scales, name, quantise_4_bit);
    } else {
      quantise<std::int8_t>(backend, plain(name), to.values, to.scales, name, quantise_8_bit);
    }
  }
  parameters.require_intact();
}

QuantisedWeights::QuantisedWeights(Backend& backend, std::span<const PackedMatrix> matrices) {
  if (matrices.empty()) return;
  ArenaLayout layout;
  for (const PackedMatrix& matrix : matrices) {
    add_matrix(layout, matrix.name, matrix.values == DType::u8, matrix.rows, matrix.columns);
  }
  arena_ = Arena(layout, backend.allocate(layout.bytes(), "quantised weights"));
}

bool QuantisedWeights::holds(std::string_view name) const {
  return arena_ && arena_.layout().contains(joined(name, values_suffix));
}

Weight QuantisedWeights::find(std::string_view name, const Tensor& plain) const {
  if (!holds(name)) return plain;
  return {arena_.tensor(joined(name, values_suffix)), arena_.tensor(joined(name, scales_suffix))};
}

}  // namespace mslt
