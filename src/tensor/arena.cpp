// Layout and views of arenas.
#include "tensor/arena.h"

#include <utility>

#include "base/checked.h"

namespace mslt {

void ArenaLayout::add(std::string name, DType dtype, const Shape& shape, std::int64_t spare_rows) {
  std::uint64_t size = checked_multiply(static_cast<std::uint64_t>(shape.elements()), size_of(dtype), name);
  if (spare_rows > 0) {
    const std::uint64_t row = checked_multiply(static_cast<std::uint64_t>(shape[-1]), size_of(dtype), name);
    size = checked_add(size, checked_multiply(row, static_cast<std::uint64_t>(spare_rows), name), name);
  }
  const std::uint64_t padded = checked_add(size, alignment - 1, name) / alignment * alignment;
  const std::uint64_t end = checked_add(bytes_, padded, name);
  if (!index_.emplace(name, segments_.size()).second) fail(ErrorKind::input, "Two tensors are named '{}'.", name);
  segments_.push_back({std::move(name), dtype, shape, bytes_, spare_rows});
  bytes_ = end;
}

ArenaLayout ArenaLayout::with_dtype(DType dtype) const {
  ArenaLayout result;
  for (const Segment& segment : segments_) result.add(segment.name, dtype, segment.shape, segment.spare_rows);
  return result;
}

ArenaLayout ArenaLayout::placed(const std::function<std::size_t(const Segment&)>& place, std::size_t bytes) const {
  ArenaLayout result = *this;
  for (Segment& segment : result.segments_) segment.offset = place(segment);
  result.bytes_ = bytes;
  return result;
}

ArenaLayout ArenaLayout::without(const MappedSegments& mapped) const {
  ArenaLayout result;
  for (const Segment& segment : segments_) {
    if (mapped.places.find(segment.name) != mapped.places.end()) continue;
    result.add(segment.name, segment.dtype, segment.shape, segment.spare_rows);
  }
  return result;
}

const Segment& ArenaLayout::segment(std::string_view name) const {
  const auto found = index_.find(name);
  if (found == index_.end()) fail(ErrorKind::input, "There is no tensor named '{}'.", name);
  return segments_[found->second];
}

Arena::Arena(ArenaLayout layout, std::unique_ptr<Buffer> buffer)
    : Arena(std::move(layout), std::move(buffer), MappedSegments()) {}

Arena::Arena(ArenaLayout layout, std::unique_ptr<Buffer> buffer, MappedSegments mapped)
    : layout_(std::move(layout)),
      own_(mapped.places.empty() ? layout_ : layout_.without(mapped)),
      buffer_(std::move(buffer)),
      mapped_(std::move(mapped)) {
  if (buffer_->size() < own_.bytes()) {
    fail(ErrorKind::input, "The buffer '{}' has {} bytes, its arena needs {}.", buffer_->label(), buffer_->size(),
         own_.bytes());
  }
}

Tensor Arena::tensor(std::string_view name) const {
  return tensor(layout_.segment(name));
}

Tensor Arena::tensor(const Segment& segment) const {
  if (const auto found = mapped_.places.find(segment.name); found != mapped_.places.end()) {
    const auto& [buffer, offset] = found->second;
    return {*mapped_.buffers[buffer], offset, segment.dtype, segment.shape};
  }
  return {*buffer_, own_.segment(segment.name).offset, segment.dtype, segment.shape};
}

Tensor Arena::transposed(std::string_view name) const {
  const auto found = mapped_.transposed.find(name);
  return found == mapped_.transposed.end() ? Tensor() : found->second;
}

Tensor Arena::with_spare(std::string_view name) const {
  const Segment& segment = layout_.segment(name);
  const Tensor plain = tensor(segment);
  if (segment.spare_rows == 0 || is_mapped(name)) return plain;
  return {plain.buffer(), plain.offset(), segment.dtype, {segment.shape[0] + segment.spare_rows, segment.shape[1]}};
}

Tensor Arena::whole() const {
  if (layout_.segments().empty()) return {*buffer_, 0, DType::u8, Shape{0}};
  return range(0, layout_.segments().size() - 1);
}

Tensor Arena::range(std::size_t first, std::size_t last) const {
  if (!mapped_.places.empty()) {
    fail(ErrorKind::input, "The arena '{}' is not one piece: some of it is mapped.", buffer_->label());
  }
  const auto segments = layout_.segments();
  if (last >= segments.size() || first > last) {
    fail(ErrorKind::input, "The arena '{}' has no segments {} to {}.", buffer_->label(), first, last);
  }
  const DType dtype = segments[first].dtype;
  for (std::size_t i = first; i <= last; ++i) {
    if (segments[i].dtype != dtype) fail(ErrorKind::input, "The arena '{}' mixes dtypes.", buffer_->label());
  }
  const std::size_t begin = segments[first].offset;
  const std::size_t end = last + 1 < segments.size() ? segments[last + 1].offset : layout_.bytes();
  return {*buffer_, begin, dtype, Shape{static_cast<std::int64_t>((end - begin) / size_of(dtype))}};
}

}  // namespace mslt
