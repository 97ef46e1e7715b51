// What the argument checks are written with.
#pragma once

#include <cstdint>
#include <string_view>

#include "backend/backend.h"
#include "base/fail.h"

namespace mslt {

// What element types an argument may have; `floating` is f32, bf16 or f16.
enum class Elements { floating, f32, f16, i32, u32 };

// The arguments of one call of `operation`; every function throws Error(input) where the argument named `name` is not
// what the operation takes.
class Arguments {
 public:
  explicit Arguments(std::string_view operation) : operation_(operation) {}

  void present(const Tensor& tensor, std::string_view name) const;
  void absent(const Tensor& tensor, std::string_view name, std::string_view when) const;
  void elements(const Tensor& tensor, std::string_view name, Elements elements) const;
  // Present, of these elements and exactly this shape.
  void shaped(const Tensor& tensor, std::string_view name, Elements elements, const Shape& shape) const;
  // Present, of these elements, with this last dimension and as many rows before it.
  void matrix(const Tensor& tensor, std::string_view name, Elements elements, std::int64_t rows,
              std::int64_t columns) const;
  // Present, of these elements, `count` of them in whatever shape.
  void vector(const Tensor& tensor, std::string_view name, Elements elements, std::int64_t count) const;
  // Present, of these elements, with this many dimensions.
  void rank(const Tensor& tensor, std::string_view name, Elements elements, int rank) const;
  void same_dtype(const Tensor& tensor, std::string_view name, const Tensor& other, std::string_view other_name) const;
  // What is kept beside the activations - weights, a cache - is of their dtype, or of any where they are f32.
  void kept_dtype(const Tensor& kept, std::string_view name, const Tensor& activations,
                  std::string_view activations_name) const;
  // No byte of one, where both are present, is a byte of the other.
  void apart(const Tensor& tensor, std::string_view name, const Tensor& other, std::string_view other_name) const;
  // As apart(), but both may be the very same elements.
  void apart_or_same(const Tensor& tensor, std::string_view name, const Tensor& other,
                     std::string_view other_name) const;
  void attention_shape(const AttentionShape& shape) const;
  void dropout(const Dropout& dropout) const;
  void positions(const Positions& positions, std::int64_t batch) const;

  // Fails with `operation: ` before the message unless `holds`.
  template <class... Args>
  void require(bool holds, fmt::format_string<Args...> format, Args&&... args) const {
    if (!holds) fail(ErrorKind::input, "{}: {}", operation_, fmt::format(format, std::forward<Args>(args)...));
  }

 private:
  std::string_view operation_;
};

}  // namespace mslt
