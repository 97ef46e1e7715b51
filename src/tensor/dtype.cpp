// Names and sizes of the element types.
#include "tensor/dtype.h"

#include <array>

#include "base/fail.h"

namespace mslt {
namespace {

struct DTypeInfo {
  std::string_view name;
  std::size_t size;
};
constexpr std::array<DTypeInfo, 7> infos = {
    {{"f32", 4}, {"bf16", 2}, {"f16", 2}, {"i32", 4}, {"u32", 4}, {"i8", 1}, {"u8", 1}}};

}  // namespace

std::size_t size_of(DType dtype) {
  return infos[static_cast<std::size_t>(dtype)].size;
}

std::string_view name_of(DType dtype) {
  return infos[static_cast<std::size_t>(dtype)].name;
}

DType dtype_from_name(std::string_view name) {
  for (std::size_t i = 0; i < infos.size(); ++i) {
    if (infos[i].name == name) return static_cast<DType>(i);
  }
  fail(ErrorKind::usage, "'{}' is not a data type; valid are f32, bf16, f16, i32, u32, i8 and u8.", name);
}

bool is_floating(DType dtype) {
  return dtype == DType::f32 || dtype == DType::bf16 || dtype == DType::f16;
}

}  // namespace mslt
