// Every operation of the backend interface as one step that touches its tensors.
#include "model/dry_run_backend.h"

#include "base/fail.h"

namespace mslt {

class DryRunBackend::SizeOnlyBuffer final : public Buffer {
 public:
  SizeOnlyBuffer(std::size_t bytes, std::string_view label) : Buffer(bytes, nullptr, label) {}

  std::int64_t first_use = -1;
  std::int64_t last_use = -1;
};

DryRunBackend::DryRunBackend() {
  device_.backend = "dry-run";
  device_.name = "dry run";
  device_.trains_16_bit = true;
}

DryRunBackend::~DryRunBackend() = default;

Tensor DryRunBackend::track(std::string_view name, DType dtype, const Shape& shape) {
  const std::size_t bytes = static_cast<std::size_t>(shape.elements()) * size_of(dtype);
  tracked_.push_back(std::make_unique<SizeOnlyBuffer>(bytes, name));
  return {*tracked_.back(), 0, dtype, shape};
}

std::vector<Lifetime> DryRunBackend::lifetimes() const {
  std::vector<Lifetime> result;
  for (const auto& buffer : tracked_) {
    if (buffer->first_use < 0) fail(ErrorKind::input, "Nothing uses the activation '{}'.", buffer->label());
    result.push_back({std::string(buffer->label()), buffer->size(), buffer->first_use, buffer->last_use});
  }
  return result;
}

std::unique_ptr<Buffer> DryRunBackend::allocate(std::size_t bytes, std::string_view label) {
  return std::make_unique<SizeOnlyBuffer>(bytes, label);
}

void DryRunBackend::step(std::initializer_list<std::reference_wrapper<const Tensor>> tensors) {
  for (const Tensor& tensor : tensors) {
    if (!tensor) continue;
    auto& buffer = static_cast<SizeOnlyBuffer&>(tensor.buffer());
    if (buffer.first_use < 0) buffer.first_use = now_;
    buffer.last_use = now_;
  }
  ++now_;
}

void DryRunBackend::upload(const Tensor& destination, std::span<const std::byte> /*source*/) {
  step({destination});
}

void DryRunBackend::download(const Tensor& source, std::span<std::byte> /*destination*/) {
  step({source});
}

void DryRunBackend::read_back(const Tensor& source, std::function<void(std::span<const std::byte>)> /*receive*/) {
  step({source});
}

void DryRunBackend::embedding_forward(const Tensor& out, const Tensor& tokens, const Tensor& token_weight,
                                      const Tensor& position_weight, const Positions& positions, float /*scale*/) {
  step({out, tokens, token_weight, position_weight, positions.first});
}

void DryRunBackend::embedding_backward(const Tensor& dtoken_weight, const Tensor& dposition_weight, const Tensor& dout,
                                       const Tensor& tokens, float /*scale*/) {
  step({dtoken_weight, dposition_weight, dout, tokens});
}

void DryRunBackend::rope_forward(const Tensor& qkv, const Tensor& inverse_frequencies, const Positions& positions,
                                 const AttentionShape& /*shape*/) {
  step({qkv, inverse_frequencies, positions.first});
}

void DryRunBackend::rope_backward(const Tensor& dqkv, const Tensor& inverse_frequencies, const Positions& positions,
                                  const AttentionShape& /*shape*/) {
  step({dqkv, inverse_frequencies, positions.first});
}

void DryRunBackend::residual_norm_forward(const Tensor& out, const Tensor& sum, const Tensor& mean, const Tensor& rstd,
                                          const Tensor& residual, const Tensor& x, const Tensor& weight,
                                          const Tensor& bias, const NormKind& /*kind*/, const Dropout& dropout) {
  step({out, sum, mean, rstd, residual, x, weight, bias, dropout.random_state});
}

void DryRunBackend::residual_norm_backward(const Tensor& dsum, const Tensor& dweight, const Tensor& dbias,
                                           const Tensor& dout, const Tensor& dsum_direct, const Tensor& sum,
                                           const Tensor& mean, const Tensor& rstd, const Tensor& weight,
                                           const NormKind& /*kind*/) {
  step({dsum, dweight, dbias, dout, dsum_direct, sum, mean, rstd, weight});
}

void DryRunBackend::matmul_forward(const Tensor& out, const Tensor& in, const Tensor& weight, const Tensor& bias,
                                   Activation /*activation*/, const Tensor& pre_activation) {
  step({out, in, weight, bias, pre_activation});
}

void DryRunBackend::matmul_backward_input(const Tensor& din, const Tensor& dout, const Tensor& weight,
                                          Activation /*activation*/, const Tensor& pre_activation,
                                          bool /*accumulate*/) {
  step({din, dout, weight, pre_activation});
}

void DryRunBackend::matmul_backward_weight(const Tensor& dweight, const Tensor& dbias, const Tensor& dout,
                                           const Tensor& in) {
  step({dweight, dbias, dout, in});
}

void DryRunBackend::attention_forward(const Tensor& out, const Tensor& log_sum_exp, const Tensor& qkv,
                                      const AttentionShape& /*shape*/, const Dropout& dropout) {
  step({out, log_sum_exp, qkv, dropout.random_state});
}

void DryRunBackend::attention_backward(const Tensor& dqkv, const Tensor& dout, const Tensor& qkv, const Tensor& out,
                                       const Tensor& log_sum_exp, const AttentionShape& /*shape*/,
                                       const Dropout& dropout) {
  step({dqkv, dout, qkv, out, log_sum_exp, dropout.random_state});
}

void DryRunBackend::activation_forward(Activation /*activation*/, const Tensor& out, const Tensor& in) {
  step({out, in});
}

void DryRunBackend::activation_backward(Activation /*activation*/, const Tensor& din, const Tensor& dout,
                                        const Tensor& in) {
  step({din, dout, in});
}

void DryRunBackend::dropout_forward(const Tensor& out, const Tensor& in, const Dropout& dropout) {
  step({out, in, dropout.random_state});
}

void DryRunBackend::dropout_backward(const Tensor& din, const Tensor& dout, const Dropout& dropout) {
  step({din, dout, dropout.random_state});
}

void DryRunBackend::cross_entropy(const Tensor& losses, const Tensor& logits, const Tensor& targets,
                                  std::int64_t /*vocab*/, const Tensor& loss_scale) {
  step({losses, logits, targets, loss_scale});
}

void DryRunBackend::sum(const Tensor& out, const Tensor& in, bool /*accumulate*/) {
  step({out, in});
}

void DryRunBackend::global_norm(const Tensor& out, const Tensor& gradients, bool /*accumulate*/) {
  step({out, gradients});
}

void DryRunBackend::adamw(const Tensor& parameters, const Tensor& gradients, const Tensor& first_moment,
                          const Tensor& second_moment, const Tensor& master, const Tensor& state, const Tensor& norm,
                          const AdamWConfig& /*config*/) {
  step({parameters, gradients, first_moment, second_moment, master, state, norm});
}

void DryRunBackend::kv_cache_append(const KvCacheView& cache, const Tensor& qkv, const Positions& positions,
                                    const Tensor& counts, const AttentionShape& /*shape*/) {
  step({cache.keys, cache.values, cache.block_table, qkv, positions.first, counts});
}

void DryRunBackend::attention_decode(const Tensor& out, const Tensor& qkv, const KvCacheView& cache,
                                     const Positions& positions, const AttentionShape& /*shape*/) {
  step({out, qkv, cache.keys, cache.values, cache.block_table, positions.first});
}

void DryRunBackend::matvec(const Tensor& out, const Tensor& in, const Weight& weight, const Tensor& bias) {
  step({out, in, weight.values, weight.scales, bias});
}

void DryRunBackend::argmax(const Tensor& out, const Tensor& logits, std::int64_t /*vocab*/) {
  step({out, logits});
}

void DryRunBackend::top_k(const Tensor& values, const Tensor& indices, const Tensor& logits, std::int64_t /*vocab*/) {
  step({values, indices, logits});
}

void DryRunBackend::split_qkv(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& qkv,
                              const AttentionShape& /*shape*/) {
  step({q, k, v, qkv});
}

void DryRunBackend::join_qkv(const Tensor& qkv, const Tensor& q, const Tensor& k, const Tensor& v,
                             const AttentionShape& /*shape*/) {
  step({qkv, q, k, v});
}

void DryRunBackend::cast(const Tensor& out, const Tensor& in) {
  step({out, in});
}

void DryRunBackend::fill(const Tensor& out, float /*value*/) {
  step({out});
}

void DryRunBackend::copy(const Tensor& out, const Tensor& in) {
  step({out, in});
}

void DryRunBackend::add(const Tensor& out, const Tensor& in) {
  step({out, in});
}

void DryRunBackend::gather_rows(const Tensor& out, const Tensor& in, const Tensor& indices) {
  step({out, in, indices});
}

}  // namespace mslt
