// What the tests of NVIDIA's libraries share: arrays on the GPU between guard bands.
#pragma once

#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "backend/msl/drivers/cuda/device_memory.h"
#include "tests/backend/values.h"

namespace mslt::msl::cuda::test {

inline bool has_gpu() {
  int count = 0;
  const bool found = cudaGetDeviceCount(&count) == cudaSuccess && count > 0;
  cudaGetLastError();
  return found;
}

using mslt::test::decode;
using mslt::test::encode;
using mslt::test::random_values;
using mslt::test::relative_error;
using mslt::test::tolerance_of;

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

}  // namespace mslt::msl::cuda::test
