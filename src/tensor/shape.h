// The dimensions of a tensor.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <string>

namespace mslt {

// Up to four non-negative dimensions, outermost first. A value type.
class Shape {
 public:
  static constexpr int max_rank = 4;

  Shape() = default;
  // Throws Error(input) for more than four dimensions, a negative one, or a product that overflows 63 bits.
  Shape(std::initializer_list<std::int64_t> dimensions) : Shape(dimensions.begin(), dimensions.size()) {}
  Shape(const std::int64_t* dimensions, std::size_t rank);

  int rank() const { return rank_; }
  // The i-th dimension; negative i counts from the end. i must be in [-rank, rank).
  std::int64_t operator[](int i) const { return dimensions_[static_cast<std::size_t>(i < 0 ? i + rank_ : i)]; }
  // Product of the dimensions; 1 for rank 0.
  std::int64_t elements() const { return elements_; }
  // Product of all dimensions except the last: the rows of the matrix in memory.
  std::int64_t rows() const;
  bool operator==(const Shape& other) const = default;
  // "[2, 3, 4]"
  std::string to_string() const;

 private:
  std::array<std::int64_t, max_rank> dimensions_ = {};
  int rank_ = 0;
  std::int64_t elements_ = 1;
};

}  // namespace mslt
