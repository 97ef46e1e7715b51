// Checking an operation's arguments: shapes, dtypes, presence and overlap.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <utility>

#include "backend/operations/argument.h"
#include "backend/operations/parameters.h"
#include "base/fail.h"

namespace mslt {

// The arguments of one operation. Every function throws Error(input) naming the operation, the argument, what it is and
// what it should be. Tensors are the members that the operation lists; their contents are not read. The rows of a
// matrix [N, C] may be split into several leading dimensions, such as [B, T, C].
class Arguments {
 public:
  Arguments(std::string_view operation, std::span<const Argument> listed) : operation_(operation), listed_(listed) {}

  void present(const Tensor& tensor) const;
  void absent(const Tensor& tensor, std::string_view when) const;
  // Requires the tensor, with the elements that the operation lists for it.
  void elements(const Tensor& tensor) const;
  // The same, with exactly this shape.
  void shaped(const Tensor& tensor, const Shape& shape) const;
  // The same, with this last dimension and this many rows before it.
  void matrix(const Tensor& tensor, std::int64_t rows, std::int64_t columns) const;
  // The same, with `count` elements in any shape.
  void vector(const Tensor& tensor, std::int64_t count) const;
  // The same, with this many dimensions.
  void rank(const Tensor& tensor, int rank) const;
  // The same, with at least one dimension, i.e. with rows.
  void rows(const Tensor& tensor) const;
  // What the operation calls it.
  std::string_view listed_name(const Tensor& tensor) const { return find(tensor).name; }
  // Requires what holds for every operation: dtypes match as listed, and written tensors overlap no others.
  void consistent() const;

  // Fails with `operation: ` before the message unless `holds`.
  template <class... Args>
  void require(bool holds, fmt::format_string<Args...> format, Args&&... args) const {
    if (!holds) fail(ErrorKind::input, "{}: {}", operation_, fmt::format(format, std::forward<Args>(args)...));
  }

 private:
  const Argument& find(const Tensor& tensor) const;
  // Requires the listed elements and `fits`; the message ends with what the tensor should be.
  template <class... Args>
  void must_be(const Tensor& tensor, bool fits, fmt::format_string<Args...> format, Args&&... args) const;
  void check_dtypes() const;
  void check_overlaps() const;
  void same_dtype(const Argument& argument, const Argument& other) const;
  void kept_dtype(const Argument& kept, const Argument& activations) const;

  std::string_view operation_;
  std::span<const Argument> listed_;
};

// Checks shared by several operations.

void check_attention_shape(const Arguments& given, const AttentionShape& shape);
// Checks the shape, and fused queries, keys and values [B, T, (H+2K)·D].
void check_qkv(const Arguments& given, const Tensor& qkv, const AttentionShape& shape);
// Requires frequencies of one or more pairs of channels that a head has.
void check_frequencies(const Arguments& given, const Tensor& frequencies, const AttentionShape& shape);
void check_dropout(const Arguments& given, const Dropout& dropout);
void check_positions(const Arguments& given, const Positions& positions, std::int64_t batch);
// Requires a weight matrix of whole groups with its scales if it is quantised, and without any if it is not (Weight in
// linear.h). Returns the weights of a row.
std::int64_t check_weight(const Arguments& given, const Tensor& values, const Tensor& scales);
// Requires logits with at least `vocab` columns.
void check_logits(const Arguments& given, const Tensor& logits, std::int64_t vocab);

// Throws Error(input) unless the operation can run. Safe to call from several threads.
template <class Op>
void check(const Op& op) {
  const auto listed = op.arguments();
  const Arguments given(Op::name, listed);
  op.check(given);
  given.consistent();
}

}  // namespace mslt
