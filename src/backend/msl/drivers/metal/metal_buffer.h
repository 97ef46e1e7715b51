// Memory shared by an Apple GPU and the host. Objective-C++ only.
#pragma once

#import <Metal/Metal.h>

#include <cstddef>
#include <string_view>

#include "backend/msl/drivers/metal/retained.h"
#include "tensor/buffer.h"

namespace mslt::msl::metal {

// Holds a shared MTLBuffer of at least `bytes` bytes.
class MetalBuffer final : public Buffer {
 public:
  MetalBuffer(Retained<id<MTLBuffer>> buffer, std::size_t bytes, std::string_view label)
      : Buffer(bytes, static_cast<std::byte*>([buffer.get() contents]), label), buffer_(std::move(buffer)) {}

  id<MTLBuffer> buffer() const { return buffer_.get(); }

 private:
  Retained<id<MTLBuffer>> buffer_;
};

// The MTLBuffer of a buffer made by a MetalDevice.
inline id<MTLBuffer> metal_buffer(const Buffer& buffer) {
  return static_cast<const MetalBuffer&>(buffer).buffer();
}

}  // namespace mslt::msl::metal
