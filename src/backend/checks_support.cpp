// What the argument checks are written with.
#include "backend/checks_support.h"

#include <string>

namespace mslt {
namespace {

std::string_view name_of(Elements elements) {
  switch (elements) {
    case Elements::floating:
      return "f32, bf16 or f16";
    case Elements::f32:
      return "f32";
    case Elements::f16:
      return "f16";
    case Elements::i32:
      return "i32";
    case Elements::u32:
      return "u32";
  }
  return "";
}

bool has(const Tensor& tensor, Elements elements) {
  switch (elements) {
    case Elements::floating:
      return is_floating(tensor.dtype());
    case Elements::f32:
      return tensor.dtype() == DType::f32;
    case Elements::f16:
      return tensor.dtype() == DType::f16;
    case Elements::i32:
      return tensor.dtype() == DType::i32;
    case Elements::u32:
      return tensor.dtype() == DType::u32;
  }
  return false;
}

}  // namespace

void Arguments::present(const Tensor& tensor, std::string_view name) const {
  require(static_cast<bool>(tensor), "{} is absent, but required.", name);
}

void Arguments::absent(const Tensor& tensor, std::string_view name, std::string_view when) const {
  if (tensor) require(false, "{} is {}, but must be absent {}.", name, tensor.describe(), when);
}

void Arguments::elements(const Tensor& tensor, std::string_view name, Elements elements) const {
  present(tensor, name);
  if (!has(tensor, elements)) {
    require(false, "{} is {}, but must be {}.", name, tensor.describe(), name_of(elements));
  }
}

void Arguments::shaped(const Tensor& tensor, std::string_view name, Elements elements, const Shape& shape) const {
  present(tensor, name);
  if (!has(tensor, elements) || tensor.shape() != shape) {
    require(false, "{} is {}, but must be {} {}.", name, tensor.describe(), name_of(elements), shape.to_string());
  }
}

void Arguments::matrix(const Tensor& tensor, std::string_view name, Elements elements, std::int64_t rows,
                       std::int64_t columns) const {
  present(tensor, name);
  const Shape& shape = tensor.shape();
  if (!has(tensor, elements) || shape.rank() < 1 || shape[-1] != columns || shape.rows() != rows) {
    require(false, "{} is {}, but must be {} with {} rows of {}.", name, tensor.describe(), name_of(elements), rows,
            columns);
  }
}

void Arguments::vector(const Tensor& tensor, std::string_view name, Elements elements, std::int64_t count) const {
  present(tensor, name);
  if (!has(tensor, elements) || tensor.elements() != count) {
    require(false, "{} is {}, but must be {} with {} elements.", name, tensor.describe(), name_of(elements), count);
  }
}

void Arguments::rank(const Tensor& tensor, std::string_view name, Elements elements, int rank) const {
  present(tensor, name);
  if (!has(tensor, elements) || tensor.shape().rank() != rank) {
    require(false, "{} is {}, but must be {} with {} dimensions.", name, tensor.describe(), name_of(elements), rank);
  }
}

void Arguments::same_dtype(const Tensor& tensor, std::string_view name, const Tensor& other,
                           std::string_view other_name) const {
  if (tensor.dtype() != other.dtype()) {
    require(false, "{} is {} and {} is {}, but both must have one dtype.", name, tensor.describe(), other_name,
            other.describe());
  }
}

void Arguments::kept_dtype(const Tensor& kept, std::string_view name, const Tensor& activations,
                           std::string_view activations_name) const {
  if (activations.dtype() != DType::f32 && kept.dtype() != activations.dtype()) {
    require(false, "{} is {} and {} is {}, but {} must be {} as well, or {} f32.", name, kept.describe(),
            activations_name, activations.describe(), name, mslt::name_of(activations.dtype()), activations_name);
  }
}

void Arguments::apart(const Tensor& tensor, std::string_view name, const Tensor& other,
                      std::string_view other_name) const {
  if (!tensor || !other || &tensor.buffer() != &other.buffer()) return;
  const bool overlap =
      tensor.offset() < other.offset() + other.bytes() && other.offset() < tensor.offset() + tensor.bytes();
  if (overlap && tensor.bytes() != 0 && other.bytes() != 0) {
    require(false, "{}, {}, and {}, {}, overlap in memory, but must be apart.", name, tensor.describe(), other_name,
            other.describe());
  }
}

void Arguments::apart_or_same(const Tensor& tensor, std::string_view name, const Tensor& other,
                              std::string_view other_name) const {
  const bool same = tensor && other && &tensor.buffer() == &other.buffer() && tensor.offset() == other.offset() &&
                    tensor.bytes() == other.bytes();
  if (!same) apart(tensor, name, other, other_name);
}

void Arguments::attention_shape(const AttentionShape& shape) const {
  require(shape.heads >= 1, "there are {} query heads, but must be at least 1.", shape.heads);
  require(shape.kv_heads >= 1 && shape.heads % shape.kv_heads == 0,
          "there are {} key/value heads, but their number must divide that of the query heads, {}.", shape.kv_heads,
          shape.heads);
  require(shape.head_size >= 1 && shape.head_size <= 256, "the head size is {}, but must be in 1…256.",
          shape.head_size);
}

void Arguments::dropout(const Dropout& dropout) const {
  require(dropout.probability >= 0.0f && dropout.probability < 1.0f,
          "the dropout probability is {}, but must be in [0, 1).", dropout.probability);
  if (dropout.probability > 0.0f) shaped(dropout.random_state, "dropout.random_state", Elements::u32, {4});
}

void Arguments::positions(const Positions& positions, std::int64_t batch) const {
  if (positions.first) shaped(positions.first, "positions.first", Elements::i32, {batch});
}

}  // namespace mslt
