// A model's matrices in 8 or 4 bits, for inference.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "backend/backend.h"
#include "tensor/arena.h"

namespace mslt {

enum class Quantisation { none, int8, int4 };
// "none", "int8" or "int4"; throws Error(usage) for another name.
Quantisation quantisation_from_name(std::string_view name);

// A matrix [rows, columns] that is in groups of 32 already.
struct PackedMatrix {
  std::string name;
  DType values = DType::i8;  // or u8 for 4 bits
  std::int64_t rows = 0;
  std::int64_t columns = 0;
};

// Which of a model's matrices are read in 8 or 4 bits, in groups of 32 as tensor/quantize.h makes them: copies beside
// the plain ones, or packed ones, which a file holds in such groups and which are nowhere else.
class QuantisedWeights {
 public:
  QuantisedWeights() = default;
  // Copies those matrices [out, in] of `parameters` that `matrices` names, where `in` is whole groups; `head`, which
  // makes logits, with its spare rows and never in less than 8 bits. Throws as quantise_8_bit does, naming the matrix.
  QuantisedWeights(Backend& backend, const Arena& parameters, std::span<const std::string> matrices,
                   std::string_view head, Quantisation quantisation);

  // Room for packed matrices: zeros until they are uploaded to what find() gives.
  QuantisedWeights(Backend& backend, std::span<const PackedMatrix> matrices);

  bool holds(std::string_view name) const;
  // That matrix in 8 or 4 bits; `plain` where there is none.
  Weight find(std::string_view name, const Tensor& plain) const;
  // What the matrices take.
  std::size_t bytes() const { return arena_ ? arena_.layout().bytes() : 0; }

 private:
  Arena arena_;
};

}  // namespace mslt
