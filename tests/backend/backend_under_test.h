// Shared by the tests of every backend: the list of backends and guarded tensors.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "base/test_errors.h"
#include "tests/backend/values.h"

namespace mslt::test {

// Options of the command line.
struct TestOptions {
  std::vector<std::string> devices;  // devices to run on; empty for all
  bool zeroed = true;                // whether memory of "cuda" starts zeroed
  std::string order = "forward";     // of groups and threads on "msl-host"; see parse_run_order
};
TestOptions& test_options();

// The device "cuda" without its libraries.
inline constexpr char cuda_kernels_device[] = "cuda-msl";

// The devices that the suites run on, as make_backend takes them or the one above.
std::vector<std::string> test_backends();

// One of them. Throws as make_backend does.
std::unique_ptr<Backend> make_test_backend(const std::string& device);

// "msl_host" for "msl-host": the name of a suite's tests on a device, for filters such as '*/cuda'.
std::string test_backend_name(const testing::TestParamInfo<std::string>& info);

// A tensor between two guard bands. All of it, including guards, starts as 0xFF bytes: NaN in every floating type, -1
// in signed types; so an output that is read or not written is detected. On msl-host, whose kernels AddressSanitizer
// sees, it reports every access to the guards.
class Guarded {
 public:
  Guarded() = default;
  // It starts `shift` elements after a multiple of 64 bytes.
  Guarded(Backend& backend, DType dtype, const Shape& shape, std::size_t shift = 0);
  Guarded(Guarded&& other) noexcept = default;
  Guarded& operator=(Guarded&& other) noexcept;
  // Waits: operations on the tensor may not have run yet.
  ~Guarded();

  const Tensor& tensor() const { return tensor_; }
  operator const Tensor&() const { return tensor_; }
  // The elements as doubles; waits.
  std::vector<double> values() const;
  // The bytes; waits.
  std::vector<std::byte> bytes() const;
  // Whether nothing wrote outside the tensor.
  bool intact() const;

 private:
  bool is_watched() const;
  void watch() const;
  void stop_watching() const;

  Backend* backend_ = nullptr;
  std::unique_ptr<Buffer> buffer_;
  Tensor tensor_;
};

// The dtypes that suites go through. ThreadSanitizer, under which a suite takes minutes, sees nothing in f16 that it
// does not see in bf16: kernels are the same source for both, and elements have the same size.
std::vector<DType> floating_types();

// Of `types` only the last under ThreadSanitizer, for kernels that do the same with elements of all sizes.
std::vector<DType> last_under_tsan(std::vector<DType> types);

// The dtypes of activations that the device accepts in every operation, including backward ones.
std::vector<DType> activation_types(const Backend& backend);

// The dtypes allowed for weights and caches with activations of `dtype`.
std::vector<DType> kept_types(DType dtype);

// A guarded tensor holding `values`.
Guarded upload(Backend& backend, DType dtype, const Shape& shape, const std::vector<double>& values,
               std::size_t shift = 0);

// The property of a test that names its kernels, separated by spaces.
inline constexpr char used_kernels_property[] = "used_kernels";

// A suite over test_backends(). Its tests record the kernels they used.
class BackendTest : public testing::TestWithParam<std::string> {
 protected:
  BackendTest();
  void TearDown() override;
  Backend& backend() { return *backend_; }

 private:
  std::unique_ptr<Backend> backend_;
};

}  // namespace mslt::test
