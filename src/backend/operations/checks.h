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
// what it should be. Tensors are the members that the operation lists; none is looked into. A matrix [N, C] may have
// its rows split into several leading dimensions, as [B, T, C].
class Arguments {
 public:
  Arguments(std::string_view operation, std::span<const Argument> listed) : operation_(operation), listed_(listed) {}

  void present(const Tensor& tensor) const;
  void absent(const Tensor& tensor, std::string_view when) const;
  // Present, with the elements that the operation lists for it.
  void elements(const Tensor& tensor) const;
  // The same, with exactly this shape.
  void shaped(const Tensor& tensor, const Shape& shape) const;
  // The same, with this last dimension and as many rows before it.
  void matrix(const Tensor& tensor, std::int64_t rows, std::int64_t columns) const;
  // The same, with `count` elements in whatever shape.
  void vector(const Tensor& tensor, std::int64_t count) const;
  // The same, with this many dimensions.
  void rank(const Tensor& tensor, int rank) const;
  // The same, with at least one dimension, so that it has rows.
  void rows(const Tensor& tensor) const;
  // What holds for every operation: dtypes meet as listed, and what is written is apart from the rest.
  void consistent() const;

  // Fails with `operation: ` before the message unless `holds`.
  template <class... Args>
  void require(bool holds, fmt::format_string<Args...> format, Args&&... args) const {
    if (!holds) fail(ErrorKind::input, "{}: {}", operation_, fmt::format(format, std::forward<Args>(args)...));
  }

 private:
  const Argument& find(const Tensor& tensor) const;
  // It has the elements that are listed and `fits`; the message ends in what it should be.
  template <class... Args>
  void must_be(const Tensor& tensor, bool fits, fmt::format_string<Args...> format, Args&&... args) const;
  void check_dtypes() const;
  void check_overlaps() const;
  void same_dtype(const Argument& argument, const Argument& other) const;
  void kept_dtype(const Argument& kept, const Argument& activations) const;

  std::string_view operation_;
  std::span<const Argument> listed_;
};

// What several operations take.

void check_attention_shape(const Arguments& given, const AttentionShape& shape);
// The shape, and fused queries, keys and values [B, T, (H+2K)·D].
void check_qkv(const Arguments& given, const Tensor& qkv, const AttentionShape& shape);
void check_dropout(const Arguments& given, const Dropout& dropout);
void check_positions(const Arguments& given, const Positions& positions, std::int64_t batch);
// Logits of at least `vocab` columns.
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
