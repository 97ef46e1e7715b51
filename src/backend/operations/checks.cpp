// What the operations' checks are written with.
#include "backend/operations/checks.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "backend/operations/limits.h"

namespace mslt {
namespace {

std::string_view name_of(Elements elements) {
  constexpr std::string_view floating = "f32, bf16 or f16";
  constexpr auto names =
      std::to_array<std::string_view>({floating, floating, floating, "of any type", "f16", "f32", "i32", "u32"});
  return names[static_cast<std::size_t>(elements)];
}

bool has(const Argument& argument) {
  const DType dtype = argument.tensor->dtype();
  if (argument.elements <= Elements::floating) return is_floating(dtype);
  if (argument.elements == Elements::any) return true;
  constexpr std::array<DType, 4> single = {DType::f16, DType::f32, DType::i32, DType::u32};
  return dtype == single[static_cast<std::size_t>(argument.elements) - static_cast<std::size_t>(Elements::f16)];
}

// Where a tensor lies; nowhere if it is absent or empty.
struct Place {
  const Buffer* buffer = nullptr;
  std::size_t begin = 0;
  std::size_t end = 0;
  bool operator==(const Place&) const = default;
  bool overlaps(const Place& other) const {
    return buffer != nullptr && buffer == other.buffer && begin < other.end && other.begin < end;
  }
};

Place place_of(const Tensor& tensor) {
  if (!tensor || tensor.bytes() == 0) return {};
  return {&tensor.buffer(), tensor.offset(), tensor.offset() + tensor.bytes()};
}

bool may_be(const Argument& argument, const Argument& other) {
  return std::find(argument.in_place.begin(), argument.in_place.end(), other.tensor) != argument.in_place.end();
}

}  // namespace

const Argument& Arguments::find(const Tensor& tensor) const {
  const auto found = std::find_if(listed_.begin(), listed_.end(),
                                  [&tensor](const Argument& argument) { return argument.tensor == &tensor; });
  require(found != listed_.end(), "a tensor is checked, but not listed by the operation.");
  return *found;
}

void Arguments::present(const Tensor& tensor) const {
  if (!tensor) require(false, "{} is absent, but required.", find(tensor).name);
}

void Arguments::absent(const Tensor& tensor, std::string_view when) const {
  if (tensor) require(false, "{} is {}, but must be absent {}.", find(tensor).name, tensor.describe(), when);
}

template <class... Args>
void Arguments::must_be(const Tensor& tensor, bool fits, fmt::format_string<Args...> format, Args&&... args) const {
  const Argument& argument = find(tensor);
  if (has(argument) && fits) return;
  require(false, "{} is {}, but must be {}{}.", argument.name, tensor.describe(), name_of(argument.elements),
          fmt::format(format, std::forward<Args>(args)...));
}

void Arguments::elements(const Tensor& tensor) const {
  present(tensor);
  must_be(tensor, true, "");
}

void Arguments::shaped(const Tensor& tensor, const Shape& shape) const {
  elements(tensor);
  if (tensor.shape() != shape) must_be(tensor, false, " {}", shape.to_string());
}

void Arguments::matrix(const Tensor& tensor, std::int64_t rows, std::int64_t columns) const {
  present(tensor);
  const Shape& shape = tensor.shape();
  must_be(tensor, shape.rank() >= 1 && shape[-1] == columns && shape.rows() == rows, " with {} rows of {}", rows,
          columns);
}

void Arguments::vector(const Tensor& tensor, std::int64_t count) const {
  present(tensor);
  must_be(tensor, tensor.elements() == count, " with {} elements", count);
}

void Arguments::rank(const Tensor& tensor, int rank) const {
  present(tensor);
  must_be(tensor, tensor.shape().rank() == rank, " with {} dimensions", rank);
}

void Arguments::rows(const Tensor& tensor) const {
  present(tensor);
  must_be(tensor, tensor.shape().rank() >= 1, " with at least 1 dimension");
}

void Arguments::same_dtype(const Argument& argument, const Argument& other) const {
  if (argument.tensor->dtype() != other.tensor->dtype()) {
    require(false, "{} is {} and {} is {}, but both must have the same dtype.", argument.name,
            argument.tensor->describe(), other.name, other.tensor->describe());
  }
}

void Arguments::kept_dtype(const Argument& kept, const Argument& activations) const {
  const DType dtype = activations.tensor->dtype();
  if (dtype != DType::f32 && kept.tensor->dtype() != dtype) {
    require(false, "{} is {} and {} is {}, but {} must be {} as well, or {} f32.", kept.name, kept.tensor->describe(),
            activations.name, activations.tensor->describe(), kept.name, mslt::name_of(dtype), activations.name);
  }
}

void Arguments::check_dtypes() const {
  // What is read decides for the rest.
  const Argument* f = nullptr;
  const Argument* kept = nullptr;
  for (const Argument& argument : listed_) {
    if (!*argument.tensor) continue;
    const bool is_f = argument.elements == Elements::f;
    if (is_f && (f == nullptr || (f->is_written() && !argument.is_written()))) f = &argument;
    if (argument.elements == Elements::kept && kept == nullptr) kept = &argument;
  }
  if (kept != nullptr && f != nullptr) kept_dtype(*kept, *f);
  for (const Argument& argument : listed_) {
    if (!*argument.tensor) continue;
    if (argument.elements == Elements::f) same_dtype(argument, *f);
    if (argument.elements == Elements::kept) same_dtype(argument, *kept);
  }
}

void Arguments::check_overlaps() const {
  std::array<Place, 16> places;
  for (std::size_t i = 0; i < listed_.size(); ++i) {
    const Argument& a = listed_[i];
    places.at(i) = place_of(*a.tensor);
    for (std::size_t j = 0; j < i; ++j) {
      const Argument& b = listed_[j];
      if (!places[i].overlaps(places[j]) || !(a.is_written() || b.is_written())) continue;
      if (places[i] == places[j] && (may_be(a, b) || may_be(b, a))) continue;
      require(false, "{}, {}, and {}, {}, overlap in memory, but must be apart.", b.name, b.tensor->describe(), a.name,
              a.tensor->describe());
    }
  }
}

void Arguments::consistent() const {
  check_dtypes();
  check_overlaps();
}

void check_attention_shape(const Arguments& given, const AttentionShape& shape) {
  given.require(shape.heads >= 1, "there are {} query heads, but must be at least 1.", shape.heads);
  given.require(shape.kv_heads >= 1 && shape.heads % shape.kv_heads == 0,
                "there are {} key/value heads, but their number must divide that of the query heads, {}.",
                shape.kv_heads, shape.heads);
  given.require(shape.head_size >= 1 && shape.head_size <= max_head_size, "the head size is {}, but must be in 1…{}.",
                shape.head_size, max_head_size);
  given.require(shape.window >= 0 && (shape.window == 0 || shape.causal),
                "the window is {}, but must be 0, or above it where attention is causal.", shape.window);
  given.require(shape.softcap >= 0.0f && std::isfinite(shape.softcap),
                "the soft cap is {}, but must be 0 or a number above it.", shape.softcap);
}

void check_qkv(const Arguments& given, const Tensor& qkv, const AttentionShape& shape) {
  check_attention_shape(given, shape);
  given.rank(qkv, 3);
  given.shaped(qkv, {qkv.shape()[0], qkv.shape()[1], shape.qkv_columns()});
}

void check_frequencies(const Arguments& given, const Tensor& frequencies, const AttentionShape& shape) {
  given.rank(frequencies, 1);
  const std::int64_t most = shape.head_size / 2;
  given.require(frequencies.elements() >= 1 && frequencies.elements() <= most,
                "{} is {}, but must be f32 with 1 to {} elements, pairs of the {} channels of a head.",
                given.listed_name(frequencies), frequencies.describe(), most, shape.head_size);
}

void check_dropout(const Arguments& given, const Dropout& dropout) {
  given.require(dropout.probability >= 0.0f && dropout.probability < 1.0f,
                "the dropout probability is {}, but must be in [0, 1).", dropout.probability);
  if (dropout.probability > 0.0f) given.shaped(dropout.random_state, {4});
}

void check_positions(const Arguments& given, const Positions& positions, std::int64_t batch) {
  if (positions.first) given.shaped(positions.first, {batch});
}

std::int64_t check_weight(const Arguments& given, const Tensor& values, const Tensor& scales) {
  constexpr std::int64_t group = 32;
  given.present(values);
  const std::string_view name = given.listed_name(values);
  given.require(values.shape().rank() == 2, "{} is {}, but must have 2 dimensions.", name, values.describe());
  const bool nibbles = values.dtype() == DType::u8;
  const bool quantised = nibbles || values.dtype() == DType::i8;
  given.require(quantised || is_floating(values.dtype()), "{} is {}, but must be f32, bf16, f16, i8 or u8.", name,
                values.describe());
  const std::int64_t rows = values.shape()[0];
  const std::int64_t columns = values.shape()[1] * (nibbles ? 2 : 1);
  if (!quantised) {
    given.absent(scales, "for a plain weight");
    return columns;
  }
  given.require(columns % group == 0, "{} is {}, rows of {} weights, but their number must be a multiple of {}.", name,
                values.describe(), columns, group);
  given.shaped(scales, nibbles ? Shape{rows, columns / group, 2} : Shape{rows, columns / group});
  return columns;
}

void check_logits(const Arguments& given, const Tensor& logits, std::int64_t vocab) {
  given.elements(logits);
  given.require(logits.shape().rank() >= 1 && vocab >= 1 && vocab <= logits.shape()[-1],
                "vocab is {}, but must be in 1…the number of columns of logits, {}.", vocab, logits.describe());
}

}  // namespace mslt
