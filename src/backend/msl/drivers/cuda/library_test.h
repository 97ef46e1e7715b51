// What the tests of NVIDIA's libraries share: arrays on the GPU between guard bands, random values and error norms.
#pragma once

#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "backend/msl/drivers/cuda/device_memory.h"
#include "base/philox.h"
#include "tensor/dtype.h"
#include "tensor/half.h"

namespace mslt::msl::cuda::test {

inline bool has_gpu() {
  int count = 0;
  const bool found = cudaGetDeviceCount(&count) == cudaSuccess && count > 0;
  cudaGetLastError();
  return found;
}

inline std::vector<std::byte> encode(DType dtype, const std::vector<double>& values) {
  std::vector<std::byte> bytes(values.size() * size_of(dtype));
  for (std::size_t i = 0; i < values.size(); ++i) {
    const auto value = static_cast<float>(values[i]);
    const BFloat16 as_bfloat = to_bfloat16(value);
    const Float16 as_half = to_float16(value);
    const void* from = dtype == DType::bf16  ? static_cast<const void*>(&as_bfloat)
                       : dtype == DType::f16 ? static_cast<const void*>(&as_half)
                                             : static_cast<const void*>(&value);
    std::memcpy(bytes.data() + i * size_of(dtype), from, size_of(dtype));
  }
  return bytes;
}

inline std::vector<double> decode(DType dtype, const std::vector<std::byte>& bytes) {
  std::vector<double> values(bytes.size() / size_of(dtype));
  for (std::size_t i = 0; i < values.size(); ++i) {
    const std::byte* from = bytes.data() + i * size_of(dtype);
    float value = 0.0f;
    std::uint16_t bits = 0;
    if (dtype == DType::f32) {
      std::memcpy(&value, from, sizeof(value));
    } else {
      std::memcpy(&bits, from, sizeof(bits));
      value = dtype == DType::bf16 ? to_float(BFloat16{bits}) : to_float(Float16{bits});
    }
    values[i] = value;
  }
  return values;
}

// Standard normal values, rounded to the dtype.
inline std::vector<double> random_values(DType dtype, std::int64_t count, std::uint64_t seed) {
  PhiloxStream stream(seed, 0, 0);
  std::vector<double> values(static_cast<std::size_t>(count));
  for (double& value : values) value = stream.normal();
  return decode(dtype, encode(dtype, values));
}

// An array on the GPU between guard bands. All of it starts as 0xFF bytes, which are NaN.
class GuardedArray {
 public:
  // It begins `shift` bytes behind a multiple of 256.
  GuardedArray(DType dtype, std::int64_t count, std::size_t shift = 0)
      : dtype_(dtype),
        bytes_(static_cast<std::size_t>(count) * size_of(dtype)),
        begin_(guard + shift),
        memory_(allocate_device(bytes_ + begin_ + guard)) {
    check(cudaMemset(memory_.get(), 0xFF, bytes_ + begin_ + guard), "filling memory");
  }
  GuardedArray(DType dtype, const std::vector<double>& values, std::size_t shift = 0)
      : GuardedArray(dtype, static_cast<std::int64_t>(values.size()), shift) {
    set_bytes(encode(dtype, values));
  }

  std::byte* data() const { return memory_.get() + begin_; }
  std::size_t size() const { return bytes_; }

  // The whole array holds `period` again and again.
  void set_bytes(const std::vector<std::byte>& period) const {
    std::size_t done = std::min(period.size(), bytes_);
    check(cudaMemcpy(data(), period.data(), done, cudaMemcpyHostToDevice), "copying");
    // What is there is repeated, twice as much each time: a copy of few bytes takes as long as one of many.
    for (std::size_t more = 0; done > 0 && done < bytes_; done += more) {
      more = std::min(done, bytes_ - done);
      check(cudaMemcpy(data() + done, data(), more, cudaMemcpyDeviceToDevice), "copying");
    }
  }

  std::vector<std::byte> bytes() const { return download(begin_, bytes_); }
  std::vector<double> values() const { return decode(dtype_, bytes()); }

  // Whether nothing wrote outside the array.
  bool intact() const {
    std::vector<std::byte> bands = download(0, begin_);
    const std::vector<std::byte> after = download(begin_ + bytes_, guard);
    bands.insert(bands.end(), after.begin(), after.end());
    return std::all_of(bands.begin(), bands.end(), [](std::byte each) { return each == std::byte{0xFF}; });
  }

 private:
  static constexpr std::size_t guard = 512;

  std::vector<std::byte> download(std::size_t from, std::size_t count) const {
    std::vector<std::byte> result(count);
    check(cudaDeviceSynchronize(), "running");
    check(cudaMemcpy(result.data(), memory_.get() + from, count, cudaMemcpyDeviceToHost), "copying");
    return result;
  }

  DType dtype_;
  std::size_t bytes_;
  std::size_t begin_;
  DeviceMemory memory_;
};

// ‖actual - expected‖ / ‖expected‖, infinite where an element is not finite.
inline double relative_error(const std::vector<double>& actual, const std::vector<double>& expected) {
  if (actual.size() != expected.size()) return std::numeric_limits<double>::infinity();
  double difference = 0.0;
  double norm = 0.0;
  for (std::size_t i = 0; i < actual.size(); ++i) {
    if (!std::isfinite(actual[i])) return std::numeric_limits<double>::infinity();
    difference += (actual[i] - expected[i]) * (actual[i] - expected[i]);
    norm += expected[i] * expected[i];
  }
  return difference == 0.0 ? 0.0 : std::sqrt(difference / norm);
}

// As tests/backend has it.
inline double tolerance_of(DType dtype, double f32 = 1e-6) {
  if (dtype == DType::bf16) return 4e-3;
  return dtype == DType::f16 ? 5e-4 : f32;
}

}  // namespace mslt::msl::cuda::test
