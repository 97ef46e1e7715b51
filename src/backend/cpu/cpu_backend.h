// CpuBackend: the backend interface in native C++ on the host's cores.
#pragma once

#include <memory>
#include <vector>

#include "backend/backend.h"
#include "base/weighted_draw.h"

namespace mslt {

class Bf16Gemm;
struct GemmMatrix;

// Runs every operation at once, on the threads of base/parallel.h: oneDNN for large matrix products, Highway with
// run-time dispatch for the rest. Training is in f32. Inference takes bf16 and f16 weights and caches with f32
// activations, and quantised weights in products. One file per operation group, named as in every backend.
class CpuBackend : public Backend {
 public:
  CpuBackend();
  ~CpuBackend() override;

  const DeviceInfo& device() const override;
  std::unique_ptr<Buffer> allocate(std::size_t bytes, std::string_view label) override;
  std::unique_ptr<Buffer> wrap(std::span<const std::byte> memory, std::string_view label,
                               std::shared_ptr<const void> owner) override;
  void upload(const Tensor& destination, std::span<const std::byte> source) override;
  void download(const Tensor& source, std::span<std::byte> destination) override;
  void read_back(const Tensor& source, std::function<void(std::span<const std::byte>)> receive) override;
  void submit() override;
  void wait() override;
  void throttle(std::size_t in_flight) override;
  WorkingMemory working_memory() const override;
  void multiply_in_bf16(bool rounds) override;
  // Counts what the operations of training ask for.
  WorkingMemory rehearse(const std::function<void(Backend&)>& work) const override;
  void execute(const EmbeddingForward& op) override;
  void execute(const EmbeddingBackward& op) override;
  void execute(const Rope& op) override;
  void execute(const ResidualNormForward& op) override;
  void execute(const ResidualNormBackward& op) override;
  void execute(const MatmulForward& op) override;
  void execute(const FusedProduct& op) override;
  void execute(const MatmulBackwardInput& op) override;
  void execute(const MatmulBackwardWeight& op) override;
  void execute(const AttentionForward& op) override;
  void execute(const AttentionBackward& op) override;
  void execute(const KvCacheAppend& op) override;
  void execute(const AttentionDecode& op) override;
  void execute(const ActivationForward& op) override;
  void execute(const ActivationBackward& op) override;
  void execute(const DropElements& op) override;
  void execute(const SoftCap& op) override;
  void execute(const CrossEntropy& op) override;
  void execute(const Sum& op) override;
  void execute(const GlobalNorm& op) override;
  void execute(const AdamWUpdate& op) override;
  void execute(const Argmax& op) override;
  void execute(const TopK& op) override;
  void execute(const DrawTokens& op) override;
  void execute(const Cast& op) override;
  void execute(const Fill& op) override;
  void execute(const Copy& op) override;
  void execute(const Add& op) override;
  void execute(const GatherRows& op) override;

 private:
  struct Scratch;
  // C [m, n] = A [m, k] · B [k, n] + (accumulate ? C : 0).
  void multiply(std::int64_t m, std::int64_t n, std::int64_t k, const GemmMatrix& a, const GemmMatrix& b, float* c,
                std::int64_t c_stride, bool accumulate);
  // The product alone, for few rows: each weight is read once.
  void matvec(const MatmulForward& op);
  // The same where the weight is transposed.
  void matvec_by_columns(const MatmulForward& op);
  // Reusable memory for partial sums and converted weights; grows to the largest need of a call.
  std::unique_ptr<Scratch> scratch_;
  std::unique_ptr<Bf16Gemm> bf16_;   // that products of whole matrices are computed by, if any
  std::vector<WeightedDraw> draws_;  // one a slot of a loop
  DeviceInfo device_;
};

}  // namespace mslt
