// Which library does what, and starting them.
#include "backend/cuda/cuda_backend.h"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <utility>

#include "backend/msl/drivers/cuda/cuda_status.h"

namespace mslt {
namespace {

// Of one backward pass of attention: more makes parts larger and few, and gains little.
constexpr std::size_t most_attention_workspace = std::size_t{1280} << 20;
constexpr std::size_t least_attention_workspace = std::size_t{64} << 20;

DeviceInfo with_libraries(DeviceInfo info) {
  for (const std::string& library : {msl::cuda::CublasLtProducts::version(), msl::cuda::CudnnAttention::version()}) {
    if (!library.empty()) info.software += ", " + library;
  }
  return info;
}

}  // namespace

CudaBackend::Use CudaBackend::use_of(std::string_view choice) {
  if (choice == "msl") return Use::never;
  return choice == "auto" ? Use::where_it_serves : Use::always;
}

CudaBackend::CudaBackend(std::unique_ptr<msl::Device> device, msl::ChosenTuning tuning, const LibraryChoice& choice)
    : MslBackend(std::move(device), std::move(tuning)),
      info_(with_libraries(MslBackend::device())),
      product_use_(use_of(choice.products)),
      attention_use_(use_of(choice.attention)) {
  check_libraries(choice, "cuda");
  const auto require = [](Use& use, bool is_available, std::string_view option, std::string_view library) {
    if (is_available) return;
    if (use == Use::always) {
      fail(ErrorKind::device, "This build of mslt has no {}, which {} asks for; valid are auto and msl.", library,
           option);
    }
    use = Use::never;
  };
  require(product_use_, msl::cuda::CublasLtProducts::available(), "--products cublas", "cuBLASLt");
  require(attention_use_, msl::cuda::CudnnAttention::available(), "--attention cudnn", "cuDNN");
}

CudaBackend::CudaBackend(std::unique_ptr<msl::Device> device, const CudaBackend& other)
    : MslBackend(std::move(device), msl::ChosenTuning{other.tuning(), {}, {}}),
      info_(other.info_),
      product_use_(other.product_use_),
      attention_use_(other.attention_use_),
      libraries_(other.libraries_) {}

std::unique_ptr<MslBackend> CudaBackend::same_on(std::unique_ptr<msl::Device> device) const {
  return std::unique_ptr<MslBackend>(new CudaBackend(std::move(device), *this));
}

msl::cuda::CublasLtProducts& CudaBackend::products() {
  std::shared_ptr<msl::cuda::CublasLtProducts>& products = libraries_->products;
  if (products) return *products;
  try {
    products = std::make_shared<msl::cuda::CublasLtProducts>();
  } catch (const Error& error) {
    fail(error.kind(), "{} --products msl does without it.", error.what());
  }
  return *products;
}

msl::cuda::CudnnAttention& CudaBackend::attention() {
  std::shared_ptr<msl::cuda::CudnnAttention>& attention = libraries_->attention;
  if (attention) return *attention;
  std::size_t free = 0;
  std::size_t total = 0;
  msl::cuda::check(cudaMemGetInfo(&free, &total), "asking for free memory");
  const std::size_t workspace = std::clamp(free / 4, least_attention_workspace, most_attention_workspace);
  try {
    attention = std::make_shared<msl::cuda::CudnnAttention>(msl::cuda::AttentionOptions{.workspace_bytes = workspace});
  } catch (const Error& error) {
    fail(error.kind(), "{} --attention msl does without it.", error.what());
  }
  return *attention;
}

}  // namespace mslt
