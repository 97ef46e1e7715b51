// FileTensor: one named tensor in a mapped weight file of any format.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/gguf.h"

namespace mslt {

// A view; the mapping must outlive it. `dtype` is in safetensors' spelling ("F32", "BF16", ...). The data need not be
// aligned to its element size. Its length fits the shape where file_float knows `dtype`, or `block` is given.
struct FileTensor {
  std::string name;
  std::string dtype;
  std::vector<std::uint64_t> shape;
  std::span<const std::byte> data;
  std::optional<GgufBlock> block = std::nullopt;  // of a GGUF file, whose reader checks the number of blocks
};

}  // namespace mslt
