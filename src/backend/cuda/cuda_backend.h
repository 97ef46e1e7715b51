// CudaBackend: the MSL backend on NVIDIA GPUs, with products by cuBLASLt and attention by cuDNN where they serve.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "backend/cuda/fused_chain.h"
#include "backend/libraries.h"
#include "backend/msl/drivers/cuda/cublaslt_products.h"
#include "backend/msl/drivers/cuda/cudnn_attention.h"
#include "backend/msl/msl_backend.h"

namespace mslt {

// One file an operation group, named as in every backend. What a library does not serve goes by mslt's kernels, unless
// the choice names the library: then the operation throws Error(device) that says why not. The libraries are started by
// the first operation that they may serve.
class CudaBackend final : public MslBackend {
 public:
  // Throws as MslBackend, and Error(device) where a library is chosen that this build has not.
  CudaBackend(std::unique_ptr<msl::Device> device, msl::ChosenTuning tuning, const LibraryChoice& choice);

  // Tells the libraries' versions, too.
  const DeviceInfo& device() const override { return info_; }
  std::int64_t fused_rows(const Weight& weight, DType activations, bool has_norm) const override;
  using MslBackend::execute;
  void execute(const MatmulForward& op) override;
  void execute(const FusedProduct& op) override;
  void execute(const MatmulBackwardInput& op) override;
  void execute(const MatmulBackwardWeight& op) override;
  void execute(const AttentionForward& op) override;
  void execute(const AttentionBackward& op) override;
  void execute(const AttentionDecode& op) override;
  void execute(const EmbeddingForward& op) override;
  void execute(const Argmax& op) override;

 protected:
  std::unique_ptr<MslBackend> same_on(std::unique_ptr<msl::Device> device) const override;

 private:
  enum class Use { never, where_it_serves, always };
  static Use use_of(std::string_view choice);

  // As another on its GPU, with the libraries and the plans of that.
  CudaBackend(std::unique_ptr<msl::Device> device, const CudaBackend& other);

  // The libraries, started by the first call. Throw Error(device) where they cannot be used.
  msl::cuda::CublasLtProducts& products();
  msl::cuda::CudnnAttention& attention();

  // The products, linear.cpp. Each is recorded for an operation, whose arguments it takes, and is false where the
  // kernels have to do it; throws Error(device) where they must not.
  template <class Op>
  bool multiply(const Op& op, const msl::cuda::Product& product, const msl::cuda::ProductOperands& operands);
  bool multiply_forward(const MatmulForward& op);
  // By the driver's kernels for few rows, as `product`.
  template <class Op>
  bool multiply_few_rows(const Op& op, const FusedProduct& product);
  // Sets the operands of one of those kernels, whose sizes are set.
  template <class Op, class Kernel>
  void record_few_rows(std::string_view name, const Op& op, const FusedProduct& product, Kernel& kernel);
  // Whether a product that no kernel of few rows takes is faster apart from its norm, by the library.
  bool prefers_library(const FusedProduct& op) const;

  // Operations of one row as one launch, fused_chain.cpp. Whether the GPU does that and may.
  bool chains();
  // Takes the operation into the chain that is recorded before anything else is, or is false.
  template <class Op>
  bool chain(const Op& op);
  void record_chain(const FusedChain& chain);

  DeviceInfo info_;
  Use product_use_;
  Use attention_use_;
  struct Libraries {
    // Recorded calls share them until their work is done.
    std::shared_ptr<msl::cuda::CublasLtProducts> products;
    std::shared_ptr<msl::cuda::CudnnAttention> attention;
  };
  std::optional<bool> chains_;
  std::optional<bool> few_rows_;                       // whether the GPU has the kernels for few rows and may use them
  std::vector<std::unique_ptr<Buffer>> chain_memory_;  // the last is in use by new chains
  std::uint64_t recorded_chains_ = 0;
  std::weak_ptr<FusedChain> chain_;  // that the recorder is to record
  std::shared_ptr<Libraries> libraries_ = std::make_shared<Libraries>();
};

}  // namespace mslt
