// The kernels for the tests of the MSL backend: those of mslc/testdata, built as a separate set.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "backend/msl/driver.h"
#include "backend/msl/drivers/host/entry.h"
#include "backend/msl/drivers/host/host_device.h"
#include "backend/msl/kernel_info.h"
#include "mslc/testdata/row_sum_args.h"
#include "mslc/testdata/scale_rows_args.h"
#include "mslc/testdata/vector_add_args.h"
#include "mslt/error.h"
#include "tensor/tensor.h"

namespace mslt::msl::driver_test {
std::span<const KernelInfo> kernel_table();
}  // namespace mslt::msl::driver_test

namespace mslt::msl::host::driver_test {
std::span<const HostKernel> host_kernels();
}  // namespace mslt::msl::host::driver_test

namespace mslt::msl::test {

inline std::unique_ptr<host::HostDevice> test_device(int threads = 0) {
  return std::make_unique<host::HostDevice>(host::driver_test::host_kernels(), threads);
}

// A tensor with its own buffer.
struct OwnedTensor {
  std::unique_ptr<Buffer> buffer;
  Tensor tensor;
  operator const Tensor&() const { return tensor; }
};

inline OwnedTensor make_tensor(Device& device, DType dtype, const Shape& shape) {
  OwnedTensor owned;
  owned.buffer = device.allocate(static_cast<std::size_t>(shape.elements()) * size_of(dtype), "test", true);
  owned.tensor = Tensor(*owned.buffer, 0, dtype, shape);
  return owned;
}

// The message of the Error(kind) that `call` throws, empty if it throws none.
template <class Call>
std::string error_of(ErrorKind kind, Call&& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.kind() == kind ? error.what() : std::string("of another kind: ") + error.what();
  }
  return {};
}

}  // namespace mslt::msl::test
