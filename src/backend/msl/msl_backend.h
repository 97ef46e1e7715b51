// MslBackend: the backend interface as Metal Shading Language kernels over a driver.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "backend/backend.h"
#include "backend/msl/driver.h"
#include "backend/msl/encoder.h"
#include "backend/msl/kernel_info.h"
#include "backend/msl/recorder.h"
#include "backend/msl/tuning_store.h"

namespace mslt {

// Records every operation as dispatches of kernels/ and hands them over in batches, never waiting but in wait() and
// download(). Trains in f32, bf16 and f16. One file an operation group, named as in every backend; each operation
// checks its arguments (backend/checks.h), then encodes:
//
//   check_cast(out, in);
//   const CastArgs args = {.count = static_cast<std::uint64_t>(in.elements())};
//   encode(msl::kernel_name("cast", in.dtype(), out.dtype()))
//       .buffer(0, in).buffer(1, out).bytes(2, args)
//       .dispatch({msl::group_count(in.elements(), 256)}, {256});
class MslBackend final : public Backend {
 public:
  // Launched by the table's row for the device.
  explicit MslBackend(std::unique_ptr<msl::Device> device);
  // Throws Error(input) where the device does not allow such groups.
  MslBackend(std::unique_ptr<msl::Device> device, msl::ChosenTuning tuning);
  // With other kernels than those of kernels/; the table must outlive the backend.
  MslBackend(std::unique_ptr<msl::Device> device, std::span<const msl::KernelInfo> kernels);
  ~MslBackend() override;

  // Where operations are recorded, and the counts of dispatches, commits and waits.
  msl::Recorder& recorder() { return *recorder_; }

  // How kernels are launched. set_tuning holds for what is recorded from then on and throws as the constructor does.
  const msl::Tuning& tuning() const { return tuning_; }
  void set_tuning(const msl::Tuning& tuning);
  // Where the tuning it began with is from.
  std::string_view tuning_origin() const { return tuning_origin_; }

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
  double device_seconds() const override { return recorder_->counters().device_seconds; }
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
  // The next dispatch of a kernel; see encoder.h.
  msl::Encoder encode(std::string_view kernel) { return msl::Encoder(*recorder_, kernel); }
  // Memory for partial results of one operation, undefined at first; see recorder.h.
  msl::Scratch scratch(DType dtype, const Shape& shape) { return recorder_->scratch(dtype, shape); }
  const msl::DeviceLimits& limits() const { return device_->limits(); }

  MslBackend(std::unique_ptr<msl::Device> device, std::span<const msl::KernelInfo> kernels, msl::ChosenTuning tuning);

  std::unique_ptr<msl::Device> device_;
  msl::Tuning tuning_;
  std::string tuning_origin_;
  std::unique_ptr<msl::Recorder> recorder_;
};

}  // namespace mslt
