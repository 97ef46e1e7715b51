// Random operands of a product in memory of their own, on which its plans are compared and timed.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "backend/msl/drivers/cuda/cublaslt_products.h"
#include "backend/msl/drivers/cuda/device_memory.h"

namespace mslt::msl::cuda {

struct DestroyStream {
  void operator()(CUstream_st* stream) const { cudaStreamDestroy(stream); }
};
struct DestroyEvent {
  void operator()(CUevent_st* event) const { cudaEventDestroy(event); }
};

// On the current GPU. Throws Error(device) where CUDA fails.
class ProductScratch {
 public:
  // Empty where there is no room. Waits for the GPU, so that nothing else runs beside what is timed.
  static std::optional<ProductScratch> make(const Product& product, std::size_t workspace_bytes);

  const ProductOperands& operands() const { return operands_; }
  void* workspace() const { return workspace_.get(); }
  cudaStream_t stream() const { return stream_.get(); }
  // Gives what the product writes the contents that it had at first.
  void reset() const;
  // Bits of what the product wrote, from all over it; waits.
  std::vector<std::byte> sample() const;
  // Of one run; the shortest of some averages, or of the first run alone where that is much longer than `fastest`.
  double microseconds(const std::function<bool()>& run, double fastest) const;

 private:
  struct Written {
    std::byte* data = nullptr;
    std::size_t bytes = 0;
  };
  using Event = std::unique_ptr<CUevent_st, DestroyEvent>;

  ProductScratch() = default;
  // Null where there is no room or `wanted` is false.
  std::byte* add(std::int64_t rows, std::int64_t columns, DType dtype, bool wanted = true);
  void fill(std::byte* data, std::size_t bytes) const;
  double timed(const std::function<bool()>& run, int times) const;

  bool has_room_ = true;
  std::vector<DeviceMemory> memory_;
  std::vector<Written> written_;
  DeviceMemory workspace_;
  DeviceMemory random_;
  ProductOperands operands_;
  std::unique_ptr<CUstream_st, DestroyStream> stream_;
  Event begin_, end_;
};

}  // namespace mslt::msl::cuda
