// Transformer: a configuration with its parameters on a backend.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "backend/backend.h"
#include "model/parameters.h"
#include "model/quantised_weights.h"
#include "mslt/config.h"
#include "tensor/arena.h"

namespace mslt {

// Owns the parameters. The backend must outlive it. One thread at a time; neither copied nor moved, since passes refer
// to it.
class Transformer {
 public:
  // Validates the configuration and allocates zeroed parameters of `dtype` (f32, bf16 or f16).
  Transformer(Backend& backend, const Config& config, DType dtype) : Transformer(backend, config, dtype, {}, {}) {}
  // With some of the parameters mapped and some packed, which are not among parameters() but quantised(); the one that
  // makes logits has its spare rows there. Matrices of products may be mapped transposed; they are not among
  // parameters() either. Such a model may only be read: neither initialize() nor training may write it.
  Transformer(Backend& backend, const Config& config, DType dtype, MappedSegments mapped,
              std::span<const PackedMatrix> packed = {});
  Transformer(const Transformer&) = delete;
  Transformer& operator=(const Transformer&) = delete;

  Backend& backend() const { return backend_; }
  const Config& config() const { return config_; }
  DType dtype() const { return dtype_; }
  const std::vector<Stage>& stages() const { return stages_; }
  // Of all parameters, packed and transposed ones as if they were not.
  const ParameterLayout& layout() const { return layout_; }
  const Arena& parameters() const { return parameters_; }
  // What does not train and is not saved: inverse frequencies f32 [rotated pairs of a head] of each kind of rotation
  // among the stages, others for long sequences where RopeScalingType::longrope has them, and sinusoidal positions f
  // [P, C], absent where the configuration has no use for them.
  struct Frequencies {
    Rotate rotate;
    Tensor inverse;
    Tensor long_inverse;
  };
  const std::vector<Frequencies>& frequencies() const { return frequencies_; }
  // Those of a stage, for sequences of up to `longest` positions.
  const Tensor& inverse_frequencies(const Rotate& rotate, std::int64_t longest) const;
  const Tensor& position_table() const { return position_table_; }

  // Whether there are packed or transposed parameters.
  bool packs() const { return parameters_.layout().segments().size() < layout_.arena.segments().size(); }

  // Matrices that passes made from now on read in 8 or 4 bits: packed ones, or those of quantise().
  const QuantisedWeights& quantised() const { return quantised_; }
  // Makes them, of all matrices but embeddings, and of the embedding where it makes logits. Throws as QuantisedWeights,
  // and Error(usage) if some are packed or transposed. Such a model is for inference.
  void quantise(Quantisation quantisation);

  void initialize(std::uint64_t seed) { initialize_parameters(backend_, config_, parameters_, seed); }

 private:
  Backend& backend_;
  Config config_;
  DType dtype_;
  std::vector<Stage> stages_;
  ParameterLayout layout_;
  Arena parameters_;
  QuantisedWeights quantised_;
  Arena constants_;
  std::vector<Frequencies> frequencies_;
  Tensor position_table_;
};

}  // namespace mslt
