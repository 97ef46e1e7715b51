// What the tests of every backend share: the list of backends, guarded tensors, random values and error norms.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "mslt/error.h"

namespace mslt::test {

// What the command line asks for.
struct TestOptions {
  std::vector<std::string> devices;  // those to run on; empty for all
  bool zeroed = true;                // whether the memory of "cuda" starts zeroed
  std::string order = "forward";     // in which "msl-host" runs groups and threads; see parse_run_order
};
TestOptions& test_options();

// The device "cuda" without its libraries.
inline constexpr char cuda_kernels_device[] = "cuda-msl";

// The devices whose operations the suites run on, as make_backend takes them or the one above.
std::vector<std::string> test_backends();

// One of them. Throws as make_backend does.
std::unique_ptr<Backend> make_test_backend(const std::string& device);

// "msl_host" for "msl-host": how a suite's tests on a device are called, for filters such as '*/cuda'.
std::string test_backend_name(const testing::TestParamInfo<std::string>& info);

// A tensor between two guard bands. All of it, guards included, starts as 0xFF bytes: NaN in every floating type, -1 in
// the signed ones; so an output that is read or not written shows up, too. On msl-host, where kernels are code that
// AddressSanitizer sees, that reports every access to the guards.
class Guarded {
 public:
  Guarded() = default;
  // It begins `shift` elements behind a multiple of 64 bytes.
  Guarded(Backend& backend, DType dtype, const Shape& shape, std::size_t shift = 0);
  Guarded(Guarded&& other) noexcept = default;
  Guarded& operator=(Guarded&& other) noexcept;
  // Waits: operations that were given the tensor may not have run yet.
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

// `values` rounded to what `dtype` holds.
std::vector<double> rounded(DType dtype, std::vector<double> values);

// The dtypes of activations that the device takes in every operation, backward ones included.
std::vector<DType> activation_types(const Backend& backend);

// The dtypes that weights and caches may have beside activations of `dtype`.
std::vector<DType> kept_types(DType dtype);

// Standard normal values, rounded to `dtype`; a function of the seed.
std::vector<double> random_values(DType dtype, std::int64_t count, std::uint64_t seed);

// A guarded tensor holding `values`.
Guarded upload(Backend& backend, DType dtype, const Shape& shape, const std::vector<double>& values,
               std::size_t shift = 0);

// ‖actual - expected‖ / ‖expected‖, infinite where sizes differ or an element of `actual` is not finite.
double relative_error(const std::vector<double>& actual, const std::vector<double>& expected);

// The message of the Error(kind) that `call` throws; fails the test where it throws none or one of another kind.
template <class Call>
std::string error_of(ErrorKind kind, Call&& call) {
  try {
    call();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), kind) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "Nothing was thrown.";
  return {};
}

// The property of a test that names the kernels it used, separated by spaces.
inline constexpr char used_kernels_property[] = "used_kernels";

// A suite over test_backends(). Its tests on devices that have kernels record which they used.
class BackendTest : public testing::TestWithParam<std::string> {
 protected:
  BackendTest();
  void TearDown() override;
  Backend& backend() { return *backend_; }

 private:
  std::unique_ptr<Backend> backend_;
};

}  // namespace mslt::test
