// The parameters of models that tests compare.
#pragma once

#include <cstddef>
#include <vector>

#include "model/transformer.h"

namespace mslt {

inline std::vector<std::byte> parameter_bytes(const Transformer& model) {
  const Tensor all = model.parameters().whole();
  std::vector<std::byte> bytes(all.bytes());
  model.backend().download(all, bytes);
  return bytes;
}

}  // namespace mslt
