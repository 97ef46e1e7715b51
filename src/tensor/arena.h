// Arena: one buffer holding many named tensors, such as all parameters or all gradients of a model.
#pragma once

#include <functional>
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
  std::int64_t spare_rows = 0;  // behind its own; zeros for as long as nobody writes them
};

struct MappedSegments;

// The table of an arena, made before any memory is. A value type.
class ArenaLayout {
 public:
  // Bytes to which every segment is aligned; the gaps hold zeros for as long as nobody writes them.
  static constexpr std::size_t alignment = 256;

  // Appends a segment; throws Error(input) on a name already taken or an overflow of the total. A matrix may have spare
  // rows, which Arena::with_spare shows.
  void add(std::string name, DType dtype, const Shape& shape, std::int64_t spare_rows = 0);
  // The same segments, in the same order, with another element type throughout.
  ArenaLayout with_dtype(DType dtype) const;
  // The segments that have no place in `mapped`, in the same order.
  ArenaLayout without(const MappedSegments& mapped) const;

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

// Segments of an arena that lie in other memory than its own, such as a mapped file, and may only be read.
struct MappedSegments {
  struct Place {
    std::size_t buffer = 0;  // among `buffers`
    std::size_t offset = 0;
  };
  std::vector<std::unique_ptr<Buffer>> buffers;
  std::map<std::string, Place, std::less<>> places;
  // Throws Error(io) where what was read of them so far may not be what the memory should hold; or empty.
  std::function<void()> require_intact;
};

// Owns the buffer; movable. Tensors taken from it are valid as long as it lives (moving keeps them valid).
class Arena {
 public:
  Arena() = default;
  // `buffer` must hold layout.bytes() bytes.
  Arena(ArenaLayout layout, std::unique_ptr<Buffer> buffer);
  // `buffer` must hold layout.without(mapped).bytes() bytes.
  Arena(ArenaLayout layout, std::unique_ptr<Buffer> buffer, MappedSegments mapped);

  explicit operator bool() const { return buffer_ != nullptr; }
  const ArenaLayout& layout() const { return layout_; }
  // Of all segments but the mapped ones.
  Buffer& buffer() const { return *buffer_; }
  bool is_mapped(std::string_view name) const { return mapped_.places.find(name) != mapped_.places.end(); }
  // To be called after mapped segments were read and before what follows from them is given out. Throws Error(io)
  // naming the file that became shorter or could not be read.
  void require_intact() const {
    if (mapped_.require_intact) mapped_.require_intact();
  }
  Tensor tensor(std::string_view name) const;
  Tensor tensor(const Segment& segment) const;
  // A matrix with its spare rows, which a mapped one has not.
  Tensor with_spare(std::string_view name) const;
  // All elements, gaps included, as one tensor of rank 1; the layout must have one dtype and nothing be mapped.
  Tensor whole() const;
  // The elements from the start of segment `first` to the start of the segment after `last`, gaps included, likewise.
  Tensor range(std::size_t first, std::size_t last) const;

 private:
  ArenaLayout layout_;
  ArenaLayout own_;  // of buffer_
  std::unique_ptr<Buffer> buffer_;
  MappedSegments mapped_;
};

}  // namespace mslt
