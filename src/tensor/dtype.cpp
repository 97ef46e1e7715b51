// Names and sizes of the element types.
#include "tensor/dtype.h"

#include <array>
#include <string_view>
#include <vector>

#include "base/fail.h"
#include "base/suggest.h"

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
  constexpr std::array<DType, 3> floating = {DType::f32, DType::bf16, DType::f16};
  std::vector<std::string_view> names;
  for (const DType dtype : floating) {
    if (name_of(dtype) == name) return dtype;
    names.push_back(name_of(dtype));
  }
  fail(ErrorKind::usage, "--dtype is '{}'; valid are f32, bf16 and f16.{}", name, near_name_hint(name, names));
}

bool is_floating(DType dtype) {
  return dtype == DType::f32 || dtype == DType::bf16 || dtype == DType::f16;
}

}  // namespace mslt
