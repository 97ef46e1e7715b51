// Reading parameters in their mapped file.
#pragma once

#include <memory>
#include <span>

#include "backend/backend.h"
#include "formats/hf_weights.h"
#include "formats/safetensors.h"
#include "tensor/arena.h"

namespace mslt {

// Finds the parameters that a file stores exactly as the backend needs them: of their dtype, not transposed,
// contiguous, at a multiple of 16 bytes of the file (otherwise kernels leave their fast paths). With `by_columns`,
// matrices that it stores transposed are among them if the backend reads those. Files with such parameters are wrapped
// whole (Backend::wrap) if the backend can; their buffers keep `files` alive. `pieces` and `tensors` as for
// load_weights, which copies the others.
MappedSegments map_weights(Backend& backend, const ArenaLayout& parameters, std::span<const WeightPiece> pieces,
                           std::span<const FileTensor* const> tensors,
                           const std::shared_ptr<const SafetensorsModel>& files, bool by_columns);

}  // namespace mslt
