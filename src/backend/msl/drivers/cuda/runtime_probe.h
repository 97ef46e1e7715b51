// What the tests see of the metal:: library in CUDA C++, through functions that other compilers can call.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

namespace mslt::msl::cuda::probe {

enum class Element { f32, f16, bf16 };

// Conversions and the map of matrices, on the host.
std::uint16_t half_bits(float value);
float half_value(std::uint16_t bits);
std::uint16_t bfloat_bits(float value);
float bfloat_value(std::uint16_t bits);
std::uint32_t matrix_row(std::uint32_t lane);
std::uint32_t matrix_column(std::uint32_t lane);
std::uint32_t matrix_lane(std::uint32_t row, std::uint32_t column);

// Whether a kernel can run here.
bool has_gpu();

// The same conversions on the GPU, of each value.
std::vector<std::uint16_t> half_bits_on_gpu(const std::vector<float>& values);
std::vector<std::uint16_t> bfloat_bits_on_gpu(const std::vector<float>& values);

// An 8×8 matrix, row by row.
using Square = std::array<float, 64>;
// a · b + c on the GPU, with a and b of that type and loaded transposed where said.
Square product(Element element, const Square& a, const Square& b, const Square& c, bool transpose_a, bool transpose_b);

// What each of 32 lanes gets of operations on their values.
using Lanes = std::array<float, 32>;
struct SimdResults {
  float sum[32], product[32], max[32], min[32], xor_5[32], up_3[32], down_3[32], from_7[32], inclusive[32],
      exclusive[32];
};
SimdResults simd_operations(const Lanes& values);
// Sum, largest, smallest, and, or and exclusive or of all, which every lane must have; 0 in `agree` where they do not.
struct IntegerResults {
  std::uint32_t sum, max, min, bit_and, bit_or, bit_xor, agree;
};
IntegerResults integer_operations(const std::array<std::uint32_t, 32>& values);

}  // namespace mslt::msl::cuda::probe
