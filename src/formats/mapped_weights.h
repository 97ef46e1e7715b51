// Reading parameters where their file is mapped.
#pragma once

#include <memory>
#include <span>

#include "backend/backend.h"
#include "formats/hf_weights.h"
#include "formats/safetensors.h"
#include "tensor/arena.h"

namespace mslt {

// Finds the parameters of `parameters` that a file holds just as the backend needs them: of their dtype, not
// transposed, their pieces one after another, at a multiple of 16 bytes of the file, below which kernels leave their
// fast paths. The files that hold some are wrapped whole (Backend::wrap), where the backend can; their buffers keep
// `files`. `pieces` and `tensors` as for load_weights, which copies the others.
MappedSegments map_weights(Backend& backend, const ArenaLayout& parameters, std::span<const WeightPiece> pieces,
                           std::span<const FileTensor* const> tensors,
                           const std::shared_ptr<const SafetensorsModel>& files);

}  // namespace mslt
