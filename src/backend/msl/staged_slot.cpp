// Uploads from memory of their own.
#include "backend/msl/staged_slot.h"

#include <cstring>
#include <utility>

namespace mslt::msl {

StagedSlot::StagedSlot(Recorder& recorder, const Tensor& destination, std::size_t under_way, std::string_view label)
    : recorder_(recorder), destination_(destination), pieces_(under_way) {
  for (Piece& piece : pieces_) piece.memory = recorder_.allocate_staging(destination.bytes(), label);
}

StagedSlot::~StagedSlot() {
  for (Piece& piece : pieces_) recorder_.release_staging(std::move(piece.memory), piece.batch);
}

void StagedSlot::write(std::span<const std::byte> source) {
  const Tensor destination = beginning(destination_, source.size());
  if (recorder_.upload_at_once(destination, source)) return;
  Piece& piece = pieces_[next_];
  recorder_.finish(piece.batch);
  std::memcpy(piece.memory->host(), source.data(), source.size());
  piece.batch = recorder_.upload_from(*piece.memory, destination);
  next_ = (next_ + 1) % pieces_.size();
}

}  // namespace mslt::msl
