// Matrices of GGUF files whose blocks are the groups that products read (backend/operations/linear.h).
#pragma once

#include <span>
#include <string>
#include <vector>

#include "formats/hf_weights.h"
#include "model/transformer.h"

namespace mslt {

// The matrices of a file that can stay in 8 or 4 bits without changing a weight: those of products, and the embedding
// of tokens, all of whose pieces are Q4_0 or Q4_1 (4 bits with a minimum), or Q8_0, Q5_0 or Q4_0 (8 bits). The minimum
// of Q4_0 is -8 scales, so it has 8 bits where that is beyond f16. The one that makes logits gets its spare rows.
// `pieces` and `tensors` as for load_weights.
std::vector<PackedMatrix> packed_matrices(const ArenaLayout& parameters, std::span<const WeightPiece> pieces,
                                          std::span<const FileTensor* const> tensors);

// A sentence about quantised matrices that are not among them, if there are any.
std::string unpacked_note(std::span<const PackedMatrix> packed, std::span<const WeightPiece> pieces,
                          std::span<const FileTensor* const> tensors, std::string_view source);

// Uploads the packed matrices of a model: every block's bits, its scale and minimum apart from its values. Uses a few
// megabytes in addition to the mapped file and the model.
void load_packed(const Transformer& model, std::span<const WeightPiece> pieces,
                 std::span<const FileTensor* const> tensors);

}  // namespace mslt
