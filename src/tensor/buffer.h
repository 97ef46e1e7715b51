// Memory allocated by a backend.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace mslt {

// Owns one allocation of one backend, aligned to at least 64 bytes; its destructor frees it. Neither copied nor moved,
// so Tensors may point to it. Must not outlive its backend.
class Buffer {
 public:
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  virtual ~Buffer() = default;

  std::size_t size() const { return size_; }
  // The host's address of the bytes, or null for memory that only the device can access. On asynchronous backends, use
  // it only between wait() and the next recorded operation.
  std::byte* host() const { return host_; }
  // The contents, for diagnostics.
  std::string_view label() const { return label_; }

 protected:
  Buffer(std::size_t size, std::byte* host, std::string_view label) : size_(size), host_(host), label_(label) {}

 private:
  std::size_t size_;
  std::byte* host_;
  std::string label_;
};

}  // namespace mslt
