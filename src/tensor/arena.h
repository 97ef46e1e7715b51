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

// The table of an arena, made before its memory. A value type.
class ArenaLayout {
 public:
  // The alignment of every segment in bytes; the gaps hold zeros until somebody writes them.
  static constexpr std::size_t alignment = 256;

  // Appends a segment; throws Error(input) if the name is taken or the total overflows. A matrix may have spare rows,
  // which Arena::with_spare includes.
  void add(std::string name, DType dtype, const Shape& shape, std::int64_t spare_rows = 0);
  // The same segments in the same order, all with another element type.
  ArenaLayout with_dtype(DType dtype) const;
  // The same segments at other offsets, which may share memory, in so many bytes: at place(segment).
  ArenaLayout placed(const std::function<std::size_t(const Segment&)>& place, std::size_t bytes) const;
  // The segments that `mapped` does not contain, in the same order.
  ArenaLayout without(const MappedSegments& mapped) const;

  std::span<const Segment> segments() const { return segments_; }
  // Throws Error(input) if there is no such segment.
  const Segment& segment(std::string_view name) const;
  bool contains(std::string_view name) const { return index_.find(name) != index_.end(); }
  // Total bytes, a multiple of the alignment.
  std::size_t bytes() const { return bytes_; }

 private:
  std::vector<Segment> segments_;
  std::map<std::string, std::size_t, std::less<>> index_;
  std::size_t bytes_ = 0;
};

// Read-only segments of an arena that are in other memory, such as a mapped file.
struct MappedSegments {
  struct Place {
    std::size_t buffer = 0;  // index in `buffers`
    std::size_t offset = 0;
  };
  std::vector<std::unique_ptr<Buffer>> buffers;
  std::map<std::string, Place, std::less<>> places;
  // Matrices [columns, rows] in the buffers, by the names of the matrices [rows, columns] that they are the transposes
  // of, which are no segments of the arena.
  std::map<std::string, Tensor, std::less<>> transposed;
  // Throws Error(io) if their bytes read so far may be wrong; may be empty.
  std::function<void()> require_intact;
};

// Owns the buffer; movable. Its tensors are valid as long as it lives (also after a move).
class Arena {
 public:
  Arena() = default;
  // `buffer` must hold layout.bytes() bytes.
  Arena(ArenaLayout layout, std::unique_ptr<Buffer> buffer);
  // `buffer` must hold layout.without(mapped).bytes() bytes.
  Arena(ArenaLayout layout, std::unique_ptr<Buffer> buffer, MappedSegments mapped);

  explicit operator bool() const { return buffer_ != nullptr; }
  const ArenaLayout& layout() const { return layout_; }
  // The buffer of all segments except mapped ones.
  Buffer& buffer() const { return *buffer_; }
  bool is_mapped(std::string_view name) const { return mapped_.places.find(name) != mapped_.places.end(); }
  // Call after mapped segments were read and before results are passed on. Throws Error(io) naming the file that was
  // shortened or could not be read.
  void require_intact() const {
    if (mapped_.require_intact) mapped_.require_intact();
  }
  Tensor tensor(std::string_view name) const;
  Tensor tensor(const Segment& segment) const;
  // The transpose [columns, rows] that is mapped instead of a segment [rows, columns]; absent if there is none.
  Tensor transposed(std::string_view name) const;
  // A matrix with its spare rows; a mapped one has none.
  Tensor with_spare(std::string_view name) const;
  // All elements, including gaps, as one tensor of rank 1; requires a single dtype and no mapped segments.
  Tensor whole() const;
  // The same from the start of segment `first` to the start of the segment after `last`.
  Tensor range(std::size_t first, std::size_t last) const;

 private:
  ArenaLayout layout_;
  ArenaLayout own_;  // of buffer_
  std::unique_ptr<Buffer> buffer_;
  MappedSegments mapped_;
};

}  // namespace mslt
