// CpuBackend: the backend interface in native C++ on the host's cores.
#pragma once

#include "backend/backend.h"

namespace mslt {

// Runs every operation at once, on the threads of base/parallel.h: oneDNN for large matrix products, Highway with
// run-time dispatch for the rest. Training is in f32; inference takes bf16 and f16 weights and caches beside f32
// activations, and quantised ones in matvec. One file an operation group, named as in every backend.
class CpuBackend final : public Backend {
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
  std::size_t scratch_bytes() const override;
  void embedding_forward(const Tensor& out, const Tensor& tokens, const Tensor& token_weight,
                         const Tensor& position_weight, const Positions& positions, float scale) override;
  void embedding_backward(const Tensor& dtoken_weight, const Tensor& dposition_weight, const Tensor& dout,
                          const Tensor& tokens, float scale) override;
  void rope_forward(const Tensor& qkv, const Tensor& inverse_frequencies, const Positions& positions,
                    const AttentionShape& shape) override;
  void rope_backward(const Tensor& dqkv, const Tensor& inverse_frequencies, const Positions& positions,
                     const AttentionShape& shape) override;
  void residual_norm_forward(const Tensor& out, const Tensor& sum, const Tensor& mean, const Tensor& rstd,
                             const Tensor& residual, const Tensor& x, const Tensor& weight, const Tensor& bias,
                             const NormKind& kind, const Dropout& dropout) override;
  void residual_norm_backward(const Tensor& dsum, const Tensor& dweight, const Tensor& dbias, const Tensor& dout,
                              const Tensor& dsum_direct, const Tensor& sum, const Tensor& mean, const Tensor& rstd,
                              const Tensor& weight, const NormKind& kind) override;
  void matmul_forward(const Tensor& out, const Tensor& in, const Tensor& weight, const Tensor& bias,
                      Activation activation, const Tensor& pre_activation) override;
  void matmul_backward_input(const Tensor& din, const Tensor& dout, const Tensor& weight, Activation activation,
                             const Tensor& pre_activation, bool accumulate) override;
  void matmul_backward_weight(const Tensor& dweight, const Tensor& dbias, const Tensor& dout,
                              const Tensor& in) override;
  void attention_forward(const Tensor& out, const Tensor& log_sum_exp, const Tensor& qkv, const AttentionShape& shape,
                         const Dropout& dropout) override;
  void attention_backward(const Tensor& dqkv, const Tensor& dout, const Tensor& qkv, const Tensor& out,
                          const Tensor& log_sum_exp, const AttentionShape& shape, const Dropout& dropout) override;
  void activation_forward(Activation activation, const Tensor& out, const Tensor& in) override;
  void activation_backward(Activation activation, const Tensor& din, const Tensor& dout, const Tensor& in) override;
  void dropout_forward(const Tensor& out, const Tensor& in, const Dropout& dropout) override;
  void dropout_backward(const Tensor& din, const Tensor& dout, const Dropout& dropout) override;
  void cross_entropy(const Tensor& losses, const Tensor& logits, const Tensor& targets, std::int64_t vocab,
                     const Tensor& loss_scale) override;
  void sum(const Tensor& out, const Tensor& in, bool accumulate) override;
  void global_norm(const Tensor& out, const Tensor& gradients, bool accumulate) override;
  void adamw(const Tensor& parameters, const Tensor& gradients, const Tensor& first_moment, const Tensor& second_moment,
             const Tensor& master, const Tensor& state, const Tensor& norm, const AdamWConfig& config) override;
  void kv_cache_append(const KvCacheView& cache, const Tensor& qkv, const Positions& positions, const Tensor& counts,
                       const AttentionShape& shape) override;
  void attention_decode(const Tensor& out, const Tensor& qkv, const KvCacheView& cache, const Positions& positions,
                        const AttentionShape& shape) override;
  void matvec(const Tensor& out, const Tensor& in, const Weight& weight, const Tensor& bias) override;
  void argmax(const Tensor& out, const Tensor& logits, std::int64_t vocab) override;
  void top_k(const Tensor& values, const Tensor& indices, const Tensor& logits, std::int64_t vocab) override;
  void split_qkv(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& qkv,
                 const AttentionShape& shape) override;
  void join_qkv(const Tensor& qkv, const Tensor& q, const Tensor& k, const Tensor& v,
                const AttentionShape& shape) override;
  void cast(const Tensor& out, const Tensor& in) override;
  void fill(const Tensor& out, float value) override;
  void copy(const Tensor& out, const Tensor& in) override;
  void add(const Tensor& out, const Tensor& in) override;
  void gather_rows(const Tensor& out, const Tensor& in, const Tensor& indices) override;

 private:
  struct Scratch;
  // Reusable memory for partial sums and converted weights; grows to the largest need of one call.
  std::unique_ptr<Scratch> scratch_;
  DeviceInfo device_;
};

}  // namespace mslt
