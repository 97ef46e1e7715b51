// UploadSlot of the MSL backend.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "backend/backend.h"
#include "backend/msl/recorder.h"

namespace mslt::msl {

// Uploads from pieces of host-visible memory in turn: the host fills one while the device may still read the others.
class StagedSlot final : public UploadSlot {
 public:
  // Throws Error(memory).
  StagedSlot(Recorder& recorder, const Tensor& destination, std::size_t under_way, std::string_view label);
  ~StagedSlot() override;

  void write(std::span<const std::byte> source) override;

 private:
  struct Piece {
    std::unique_ptr<Buffer> memory;
    std::uint64_t batch = 0;  // that reads it last; 0 if none does
  };

  Recorder& recorder_;
  Tensor destination_;
  std::vector<Piece> pieces_;
  std::size_t next_ = 0;
};

}  // namespace mslt::msl
