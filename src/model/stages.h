// A model between its embedding and its output head as a sequence of stages: parameters, training and inference are
// all made from it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "backend/operations/norm.h"
#include "backend/operations/parameters.h"
#include "mslt/config.h"
#include "tensor/shape.h"

namespace mslt {

// Rows of activations, x, go through the stages in order, next to the residual stream. Both begin as the embedding. A
// branch (attention or feed-forward) reads x as a Join leaves it; the next Join adds the branch's result to the stream.

// x = x · weightᵀ + bias.
struct Linear {
  std::int64_t in;
  std::int64_t out;
  bool bias;
};

// x = activation(x). All but gated ones are part of the product before them.
struct Activate {
  Activation activation;
  std::int64_t size;  // columns of the result
  bool gated() const { return is_gated(activation); }
};

// RMSNorm of the queries and the keys of x, in place.
struct NormalizeHeads {
  RowPieces queries;
  RowPieces keys;
  std::int64_t query_size;  // columns of a piece
  std::int64_t key_size;
  std::string key_name;  // of the keys' weight, as the stage's name is of the queries'
};

// Rotates the queries and keys of x by their positions, in place.
struct Rotate {
  AttentionShape shape;
  double theta;
  RopeScaling scaling;
  std::int64_t size;  // rotated channels of each head, the first ones
  float scale;        // of rotated channels
  bool rotates_like(const Rotate& other) const {
    return theta == other.theta && scaling == other.scaling && size == other.size;
  }
};

// x = attention of the queries, keys and values in x.
struct Attend {
  AttentionShape shape;
  std::uint32_t dropout;  // the number of its dropout operation
};

// x = norm(x), at a branch's end.
struct Normalize {};

// stream = stream + dropout(x), then x = norm(stream).
struct Join {
  bool adds;               // false if no branch has run before
  bool normalizes;         // else x is the stream
  bool stream_normalized;  // the stream goes on as x
  std::uint32_t dropout;   // the number of its dropout operation
};

struct Stage {
  std::string name;     // of its parameters and of its result: "layers.3.qkv"
  std::int64_t layer;   // the number of layers for a stage behind the last layer
  std::int64_t branch;  // parameters' order: two for each layer
  std::variant<Linear, Activate, NormalizeHeads, Rotate, Attend, Normalize, Join> kind;

  template <class Kind>
  const Kind* as() const {
    return std::get_if<Kind>(&kind);
  }
  // The name without its layer.
  std::string_view role() const;
};

std::vector<Stage> stages_of(const Config& config);

// The activation that the product of stage `i` applies to its result: that of the next stage, unless it is gated. Null
// without one.
const Activate* fused_activation(const std::vector<Stage>& stages, std::size_t i);

// The names and shapes of a stage's parameters, biases last.
struct StageParameter {
  std::string name;
  Shape shape;
};
std::vector<StageParameter> parameters_of(const Stage& stage, const Config& config);

// Names of one layer's tensor: layer_name(3, "qkv.weight") is "layers.3.qkv.weight".
std::string layer_name(std::int64_t layer, std::string_view tensor);

// The backend's words for settings.
AttentionShape attention_shape(const AttentionConfig& attention);
NormKind norm_kind(const Config& config);
NormKind head_norm_kind(const Config& config);

}  // namespace mslt
