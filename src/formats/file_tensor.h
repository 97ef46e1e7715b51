// FileTensor: one named tensor in a mapped weight file of any format.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace mslt {

// A view; the mapping must outlive it. `dtype` is in safetensors' spelling ("F32", "BF16", ...). The data need not be
// aligned to its element size.
struct FileTensor {
  std::string name;
  std::string dtype;
  std::vector<std::uint64_t> shape;
  std::span<const std::byte> data;
};

}  // namespace mslt
