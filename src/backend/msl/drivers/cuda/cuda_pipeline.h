// A kernel's entry on the GPU and the layout of its launch parameters.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "backend/msl/driver.h"
#include "backend/msl/drivers/cuda/entry.h"
#include "backend/msl/kernel_info.h"

namespace mslt::msl::cuda {

class CudaPipeline final : public Pipeline {
 public:
  // One launch parameter, in the order of entry.h. Values lie in a block of parameter_bytes() at multiples of 16.
  struct Parameter {
    ArgumentKind kind = ArgumentKind::buffer;
    std::uint32_t index = 0;  // of [[buffer(n)]] or [[threadgroup(n)]]
    std::size_t offset = 0;   // in the block
    std::size_t bytes = 0;
  };

  // `waits_itself`: it may be launched before the kernel in front of it has ended, see msl_begin.cuh.
  CudaPipeline(const CudaKernel& kernel, const KernelInfo& info, std::uint32_t max_threads, bool waits_itself)
      : kernel_(kernel), max_threads_(max_threads), waits_itself_(waits_itself) {
    for (const ArgumentInfo& argument : info.arguments) {
      if (argument.kind != ArgumentKind::threadgroup) add(argument);
    }
    for (const ArgumentInfo& argument : info.arguments) {
      if (argument.kind == ArgumentKind::threadgroup) add(argument);
    }
  }

  std::string_view name() const override { return kernel_.name; }
  std::uint32_t max_threads_per_threadgroup() const override { return max_threads_; }
  bool waits_itself() const { return waits_itself_; }
  const void* function() const { return kernel_.function; }
  const std::vector<Parameter>& parameters() const { return parameters_; }
  std::size_t parameter_bytes() const { return parameter_bytes_; }

 private:
  void add(const ArgumentInfo& argument) {
    const std::size_t bytes = argument.kind == ArgumentKind::buffer  ? sizeof(void*)
                              : argument.kind == ArgumentKind::bytes ? argument.element_bytes
                                                                     : sizeof(std::uint32_t);
    parameters_.push_back({argument.kind, argument.index, parameter_bytes_, bytes});
    parameter_bytes_ += (bytes + 15) / 16 * 16;
  }

  CudaKernel kernel_;
  std::uint32_t max_threads_;
  bool waits_itself_;
  std::vector<Parameter> parameters_;
  std::size_t parameter_bytes_ = 0;
};

}  // namespace mslt::msl::cuda
