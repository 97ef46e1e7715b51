// The element types of tensors.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "tensor/half.h"

namespace mslt {

enum class DType : std::uint8_t { f32, bf16, f16, i32, u32, i8, u8 };

// Bytes of one element.
std::size_t size_of(DType dtype);
// "f32", "bf16", ...; and back, for floating types only, which Error(usage) lists.
std::string_view name_of(DType dtype);
DType dtype_from_name(std::string_view name);
// Whether it is f32, bf16 or f16.
bool is_floating(DType dtype);

// The DType of a C++ element type: dtype_of<float> is DType::f32.
template <class T>
inline constexpr DType dtype_of = [] {
  static_assert(sizeof(T) == 0, "not an element type");
  return DType::f32;
}();
template <>
inline constexpr DType dtype_of<float> = DType::f32;
template <>
inline constexpr DType dtype_of<BFloat16> = DType::bf16;
template <>
inline constexpr DType dtype_of<Float16> = DType::f16;
template <>
inline constexpr DType dtype_of<std::int32_t> = DType::i32;
template <>
inline constexpr DType dtype_of<std::uint32_t> = DType::u32;
template <>
inline constexpr DType dtype_of<std::int8_t> = DType::i8;
template <>
inline constexpr DType dtype_of<std::uint8_t> = DType::u8;

}  // namespace mslt
