// Arena: one buffer holding many named tensors, such as all parameters or all gradients of a model.
#pragma once

#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tensor/tensor.h"

namespace mslt {

// One named tensor of an arena. Offsets are in bytes.
struct Segment {
  std::string name;
  DType dtype = DType::f32;
  Shape shape;
  std::size_t offset = 0;
};

// The table of an arena, made before any memory is. A value type.
class ArenaLayout {
 public:
  // Bytes to which every segment is aligned; the gaps hold zeros for as long as nobody writes them.
  static constexpr std::size_t alignment = 256;

  // Appends a segment; throws Error(input) on a name already taken or an overflow of the total.
  void add(std::string name, DType dtype, const Shape& shape);
  // The same segments, in the same order, with another element type throughout.
  ArenaLayout with_dtype(DType dtype) const;

  std::span<const Segment> segments() const { return segments_; }
  // Throws Error(input) where there is none of that name.
  const Segment& segment(std::string_view name) const;
  bool contains(std::string_view name) const { return index_.find(name) != index_.end(); }
  // Total bytes, a multiple of the alignment.
  std::size_t bytes() const { return bytes_; }

 private:
  std::vector<Segment> segments_;
  std::map<std::string, std::size_t, std::less<>> index_;
  std::size_t bytes_ = 0;
};

// Owns the buffer; movable. Tensors taken from it are valid as long as it lives (moving keeps them valid).
class Arena {
 public:
  Arena() = default;
  // `buffer` must hold layout.bytes() bytes.
  Arena(ArenaLayout layout, std::unique_ptr<Buffer> buffer);

  explicit operator bool() const { return buffer_ != nullptr; }
  const ArenaLayout& layout() const { return layout_; }
  Buffer& buffer() const { return *buffer_; }
  Tensor tensor(std::string_view name) const;
  Tensor tensor(const Segment& segment) const;
  // All elements, gaps included, as one tensor of rank 1; the layout must have one dtype.
  Tensor whole() const;
  // The elements from the start of segment `first` to the start of the segment after `last`, gaps included.
  Tensor range(std::size_t first, std::size_t last) const;

 private:
  ArenaLayout layout_;
  std::unique_ptr<Buffer> buffer_;
};

}  // namespace mslt
