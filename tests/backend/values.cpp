// Elements of a dtype as doubles, random values and error norms. Apart from the header, since these loops are most of
// what the tests of backends compute: they are optimised where the tests are not.
#include "tests/backend/values.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <type_traits>

#include "base/philox.h"
#include "tensor/half.h"

namespace mslt::test {
namespace {

template <class T>
std::vector<double> as_doubles(const std::vector<std::byte>& bytes) {
  std::vector<T> elements(bytes.size() / sizeof(T));
  if (!bytes.empty()) std::memcpy(elements.data(), bytes.data(), bytes.size());
  std::vector<double> values;
  values.reserve(elements.size());
  for (const T element : elements) {
    if constexpr (std::is_class_v<T>) {
      values.push_back(to_float(element));
    } else {
      values.push_back(static_cast<double>(element));
    }
  }
  return values;
}

template <class T, class Convert>
std::vector<std::byte> as_bytes(const std::vector<double>& values, Convert convert) {
  std::vector<std::byte> bytes(values.size() * sizeof(T));
  for (std::size_t i = 0; i < values.size(); ++i) {
    const T element = convert(values[i]);
    std::memcpy(bytes.data() + i * sizeof(T), &element, sizeof(T));
  }
  return bytes;
}

}  // namespace

std::vector<std::byte> encode(DType dtype, const std::vector<double>& values) {
  switch (dtype) {
    case DType::f32:
      return as_bytes<float>(values, [](double v) { return static_cast<float>(v); });
    case DType::bf16:
      return as_bytes<BFloat16>(values, [](double v) { return to_bfloat16(static_cast<float>(v)); });
    case DType::f16:
      return as_bytes<Float16>(values, [](double v) { return to_float16(static_cast<float>(v)); });
    case DType::i32:
      return as_bytes<std::int32_t>(values, [](double v) { return static_cast<std::int32_t>(v); });
    case DType::u32:
      return as_bytes<std::uint32_t>(values, [](double v) { return static_cast<std::uint32_t>(v); });
    case DType::i8:
      return as_bytes<std::int8_t>(values, [](double v) { return static_cast<std::int8_t>(v); });
    case DType::u8:
      return as_bytes<std::uint8_t>(values, [](double v) { return static_cast<std::uint8_t>(v); });
  }
  return {};
}

std::vector<double> decode(DType dtype, const std::vector<std::byte>& bytes) {
  switch (dtype) {
    case DType::f32:
      return as_doubles<float>(bytes);
    case DType::bf16:
      return as_doubles<BFloat16>(bytes);
    case DType::f16:
      return as_doubles<Float16>(bytes);
    case DType::i32:
      return as_doubles<std::int32_t>(bytes);
    case DType::u32:
      return as_doubles<std::uint32_t>(bytes);
    case DType::i8:
      return as_doubles<std::int8_t>(bytes);
    case DType::u8:
      return as_doubles<std::uint8_t>(bytes);
  }
  return {};
}

std::vector<double> rounded(DType dtype, const std::vector<double>& values) {
  return decode(dtype, encode(dtype, values));
}

std::vector<double> random_values(DType dtype, std::int64_t count, std::uint64_t seed) {
  // Those of PhiloxStream::normal, two from each block of words.
  std::vector<double> values(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < values.size(); i += 2) {
    const PhiloxBlock words = philox_block(seed, 0, 0, i / 2);
    values[i] = normal_from_words(words[0], words[1]);
    if (i + 1 < values.size()) values[i + 1] = normal_from_words(words[2], words[3]);
  }
  return rounded(dtype, values);
}

double relative_error(const std::vector<double>& actual, const std::vector<double>& expected) {
  if (actual.size() != expected.size()) return std::numeric_limits<double>::infinity();
  double difference = 0.0;
  double norm = 0.0;
  for (std::size_t i = 0; i < actual.size(); ++i) {
    if (!std::isfinite(actual[i])) return std::numeric_limits<double>::infinity();
    difference += (actual[i] - expected[i]) * (actual[i] - expected[i]);
    norm += expected[i] * expected[i];
  }
  return difference == 0.0 ? 0.0 : std::sqrt(difference / norm);
}

}  // namespace mslt::test
