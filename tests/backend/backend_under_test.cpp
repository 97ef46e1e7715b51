// Shared by the tests of every backend.
#include "tests/backend/backend_under_test.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "backend/msl/cuda_backend.h"
#include "backend/msl/drivers/host/host_device.h"
#include "backend/msl/drivers/host/sanitizer_hooks.h"
#include "backend/msl/msl_backend.h"
#include "backend/registry.h"
#include "tests/backend/guard_bands.h"

namespace mslt::test {
namespace {

constexpr std::size_t guard = 192;
constexpr std::byte poison{0xFF};

Tensor all_bytes(Buffer& buffer) {
  return {buffer, 0, DType::u8, {static_cast<std::int64_t>(buffer.size())}};
}

}  // namespace

TestOptions& test_options() {
  static TestOptions options;
  return options;
}

std::vector<std::string> test_backends() {
  if (!test_options().devices.empty()) return test_options().devices;
  std::vector<std::string> names;
  for (const auto& [option, device] : available_devices()) {
    // Of several GPUs, the first will do.
    if (device.backend == "cuda" && !names.empty() && names.back() == cuda_kernels_device) continue;
    names.push_back(device.backend);
    if (device.backend == "cuda") names.emplace_back(cuda_kernels_device);
  }
  return names;
}

std::unique_ptr<Backend> make_test_backend(const std::string& device) {
  if (device == cuda_kernels_device) {
    return make_msl_cuda_backend({}, test_options().zeroed, "none", {.attention = "msl", .products = "msl"});
  }
  if (device == "cuda") return make_msl_cuda_backend({}, test_options().zeroed);
  if (device != "msl-host" || test_options().order == "forward") return make_backend(device);
  const msl::host::RunOrder order = msl::host::parse_run_order(test_options().order);
  return std::make_unique<MslBackend>(std::make_unique<msl::host::HostDevice>(order));
}

std::string test_backend_name(const testing::TestParamInfo<std::string>& info) {
  std::string name = info.param;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

Guarded::Guarded(Backend& backend, DType dtype, const Shape& shape, std::size_t shift) : backend_(&backend) {
  const std::size_t bytes = static_cast<std::size_t>(shape.elements()) * size_of(dtype);
  const std::size_t begin = guard + shift * size_of(dtype);
  buffer_ = backend.allocate(begin + bytes + guard, "guarded");
  backend.upload(all_bytes(*buffer_), std::vector<std::byte>(buffer_->size(), poison));
  tensor_ = Tensor(*buffer_, begin, dtype, shape);
  if (!is_watched()) return;
  backend.wait();
  watch();
}

bool Guarded::is_watched() const {
  return guards_bands && buffer_ != nullptr && buffer_->host() != nullptr && backend_->device().backend == "msl-host";
}

void Guarded::watch() const {
  const std::span<const std::byte> all(buffer_->host(), buffer_->size());
  forbid(all.first(tensor_.offset()));
  forbid(all.subspan(tensor_.offset() + tensor_.bytes()));
}

void Guarded::stop_watching() const {
  allow({buffer_->host(), buffer_->size()});
}

// The previous tensor moves to `other`, whose destructor waits.
Guarded& Guarded::operator=(Guarded&& other) noexcept {
  std::swap(backend_, other.backend_);
  std::swap(buffer_, other.buffer_);
  std::swap(tensor_, other.tensor_);
  return *this;
}

Guarded::~Guarded() {
  if (buffer_ == nullptr) return;
  try {
    backend_->wait();
  } catch (const Error& error) {
    ADD_FAILURE() << error.what();
  }
  if (is_watched()) stop_watching();
}

std::vector<std::byte> Guarded::bytes() const {
  std::vector<std::byte> bytes(tensor_.bytes());
  backend_->download(tensor_, bytes);
  return bytes;
}

std::vector<double> Guarded::values() const {
  return decode(tensor_.dtype(), bytes());
}

bool Guarded::intact() const {
  std::vector<std::byte> all(buffer_->size());
  if (is_watched()) {
    backend_->wait();
    stop_watching();
  }
  backend_->download(all_bytes(*buffer_), all);
  if (is_watched()) watch();
  const auto poisoned = [](std::byte byte) {
    return byte == poison;
  };
  const auto begin = static_cast<std::ptrdiff_t>(tensor_.offset());
  return std::all_of(all.begin(), all.begin() + begin, poisoned) && std::all_of(all.end() - guard, all.end(), poisoned);
}

std::vector<DType> floating_types() {
  if (msl::host::sanitizer::sees_races) return {DType::f32, DType::bf16};
  return {DType::f32, DType::bf16, DType::f16};
}

std::vector<DType> last_under_tsan(std::vector<DType> types) {
  if (msl::host::sanitizer::sees_races) types.erase(types.begin(), types.end() - 1);
  return types;
}

std::vector<DType> activation_types(const Backend& backend) {
  if (!backend.device().trains_16_bit) return {DType::f32};
  return floating_types();
}

std::vector<DType> kept_types(DType dtype) {
  if (dtype != DType::f32) return {dtype};
  return floating_types();
}

Guarded upload(Backend& backend, DType dtype, const Shape& shape, const std::vector<double>& values,
               std::size_t shift) {
  Guarded guarded(backend, dtype, shape, shift);
  backend.upload(guarded, encode(dtype, values));
  return guarded;
}

BackendTest::BackendTest() : backend_(make_test_backend(GetParam())) {}

void BackendTest::TearDown() {
  if (auto* backend = dynamic_cast<MslBackend*>(backend_.get())) {
    RecordProperty(used_kernels_property, fmt::format("{}", fmt::join(backend->recorder().used_kernels(), " ")));
  }
}

}  // namespace mslt::test
