// Argument checks of the embedding and rotary operations.
#include "backend/checks.h"
#include "backend/checks_support.h"

namespace mslt {

void check_embedding_forward(const Tensor& out, const Tensor& tokens, const Tensor& token_weight,
                             const Tensor& position_weight, const Positions& positions) {
  const Arguments arguments("embedding_forward");
  arguments.rank(tokens, "tokens", Elements::i32, 2);
  arguments.rank(token_weight, "token_weight", Elements::floating, 2);
  const std::int64_t channels = token_weight.shape()[1];
  arguments.matrix(out, "out", Elements::floating, tokens.elements(), channels);
  arguments.kept_dtype(token_weight, "token_weight", out, "out");
  if (position_weight) {
    arguments.rank(position_weight, "position_weight", Elements::floating, 2);
    arguments.matrix(position_weight, "position_weight", Elements::floating, position_weight.shape()[0], channels);
    arguments.same_dtype(position_weight, "position_weight", token_weight, "token_weight");
  }
  arguments.positions(positions, tokens.shape()[0]);
  arguments.apart(out, "out", token_weight, "token_weight");
  arguments.apart(out, "out", position_weight, "position_weight");
  arguments.apart(out, "out", tokens, "tokens");
}

void check_embedding_backward(const Tensor& dtoken_weight, const Tensor& dposition_weight, const Tensor& dout,
                              const Tensor& tokens) {
  const Arguments arguments("embedding_backward");
  arguments.rank(tokens, "tokens", Elements::i32, 2);
  arguments.present(dout, "dout");
  const std::int64_t channels = dout.shape().rank() == 0 ? 1 : dout.shape()[-1];
  arguments.matrix(dout, "dout", Elements::floating, tokens.elements(), channels);
  if (dtoken_weight) {
    arguments.rank(dtoken_weight, "dtoken_weight", Elements::floating, 2);
    arguments.matrix(dtoken_weight, "dtoken_weight", Elements::floating, dtoken_weight.shape()[0], channels);
    arguments.same_dtype(dtoken_weight, "dtoken_weight", dout, "dout");
    arguments.apart(dtoken_weight, "dtoken_weight", dout, "dout");
  }
  if (!dposition_weight) return;
  arguments.rank(dposition_weight, "dposition_weight", Elements::floating, 2);
  arguments.matrix(dposition_weight, "dposition_weight", Elements::floating, dposition_weight.shape()[0], channels);
  arguments.require(dposition_weight.shape()[0] >= tokens.shape()[1],
                    "dposition_weight is {}, but must have a row for each of {} positions.",
                    dposition_weight.describe(), tokens.shape()[1]);
  arguments.same_dtype(dposition_weight, "dposition_weight", dout, "dout");
  arguments.apart(dposition_weight, "dposition_weight", dout, "dout");
  arguments.apart(dposition_weight, "dposition_weight", dtoken_weight, "dtoken_weight");
}

void check_rope(const Tensor& qkv, const Tensor& inverse_frequencies, const Positions& positions,
                const AttentionShape& shape) {
  const Arguments arguments("rope");
  arguments.attention_shape(shape);
  arguments.require(shape.head_size % 2 == 0, "the head size is {}, but must be even.", shape.head_size);
  arguments.rank(qkv, "qkv", Elements::floating, 3);
  const std::int64_t columns = (shape.heads + std::int64_t{2} * shape.kv_heads) * shape.head_size;
  arguments.shaped(qkv, "qkv", Elements::floating, {qkv.shape()[0], qkv.shape()[1], columns});
  arguments.vector(inverse_frequencies, "inverse_frequencies", Elements::f32, shape.head_size / 2);
  arguments.positions(positions, qkv.shape()[0]);
  arguments.apart(qkv, "qkv", inverse_frequencies, "inverse_frequencies");
}

}  // namespace mslt
