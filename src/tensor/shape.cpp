// Checked construction and printing of shapes.
#include "tensor/shape.h"

#include <fmt/ranges.h>

#include <span>

#include "base/fail.h"

namespace mslt {

Shape::Shape(const std::int64_t* dimensions, std::size_t rank) : rank_(static_cast<int>(rank)) {
  if (rank > static_cast<std::size_t>(max_rank)) {
    fail(ErrorKind::input, "A tensor has at most {} dimensions, not {}.", max_rank, rank);
  }
  for (std::size_t i = 0; i < rank; ++i) {
    if (dimensions[i] < 0) fail(ErrorKind::input, "A tensor dimension is negative: {}.", dimensions[i]);
    dimensions_[i] = dimensions[i];
    if (__builtin_mul_overflow(elements_, dimensions[i], &elements_)) {
      fail(ErrorKind::input, "The dimensions [{}] multiply to more than 63 bits.",
           fmt::join(std::span(dimensions, rank), ", "));
    }
  }
}

std::int64_t Shape::rows() const {
  std::int64_t rows = 1;
  for (int i = 0; i + 1 < rank_; ++i) rows *= dimensions_[static_cast<std::size_t>(i)];
  return rows;
}

std::string Shape::to_string() const {
  return fmt::format("[{}]", fmt::join(dimensions_.begin(), dimensions_.begin() + rank_, ", "));
}

}  // namespace mslt
