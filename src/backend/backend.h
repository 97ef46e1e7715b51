// The backend interface: everything a Transformer needs of a device, one function an operation.
//
// Notation: B sequences, T positions each, C channels, H query heads, K key/value heads, D head size, F feed-forward
// width, V vocabulary, N = B·T rows. Matrices are row-major; weights are [out, in].
//
// Calls record or run one operation on tensor views. Whatever was recorded earlier is complete before a later operation
// reads it. Views must stay valid until wait(). Every operation is deterministic: the same inputs, device and thread
// count give the same bits.
//
// "f" below stands for f32, bf16 or f16; statistics, losses, norms and optimiser moments are f32 always; arithmetic is
// f32. All f tensors of one call share one dtype, but for what is kept beside the activations - weights with their
// bias, position table, KV cache - where the activations are f32: these may then be 16-bit, too, with one dtype of
// their own, so that a device which computes in f32 alone runs 16-bit models. bf16 and f16 never meet, and in the
// backward operations and the optimiser everything f is of one dtype.
//
// Every operation checks its arguments before it runs and throws Error(input) naming itself, the argument, the shape or
// dtype it has and the one it should have. A Backend is used by one thread at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "tensor/tensor.h"

namespace mslt {

// What a device is and can do; 0 or false where it is not known.
struct DeviceInfo {
  std::string backend;             // "cpu", "cuda", "metal", "msl-host"
  std::string name;                // "AMD EPYC", "NVIDIA H100", ...
  std::uint64_t memory_bytes = 0;  // what may be allocated in all
  int compute_units = 0;           // threads or multiprocessors
  bool trains_16_bit = false;      // whether the backward operations take bf16 and f16
};

enum class Activation { none, gelu, gelu_erf, relu, swiglu };

// Positions. Row (b, t) of a batch stands at position first[b] + t, or at t where `first` is absent.
struct Positions {
  Tensor first;  // i32 [B], optional
};

// A weight matrix [out, in], plain or quantised. For quantised ones, groups of 32 neighbours in a row share a scale and
// `in` is a multiple of 32:
//   i8: values [out, in];     w = value · scale
//   u8: values [out, in / 2]; two 4-bit values a byte: in a group's 16 bytes, byte j holds element j in its low and
//       element j + 16 in its high half; w = (half - 8) · scale
struct Weight {
  Tensor values;  // f as the activations allow, or i8 or u8 beside any
  Tensor scales;  // f16 [out, in / 32]; absent for plain weights
};

// Counter-based dropout: element e of the operation numbered `operation` is kept where
// uniform(philox_word(seed, step, operation, e)) >= probability, and is then scaled by 1 / (1 - probability).
struct Dropout {
  float probability = 0.0f;
  std::uint32_t operation = 0;
  Tensor random_state;  // u32 [4]: seed low, seed high, step, unused; required where probability > 0
};

struct AttentionShape {
  int heads = 1;
  int kv_heads = 1;  // divides heads; query head h reads key/value head h / (heads / kv_heads)
  int head_size = 1;
  float scale = 1.0f;  // of q·k, customarily 1 / sqrt(D)
  bool causal = true;
};

// One layer's paged cache of keys and values. Position p of sequence b lies in block block_table[b][p / block_size] at
// row p % block_size. Blocks are shared by nobody else; the table's unused entries are never read.
struct KvCacheView {
  static constexpr int block_size = 16;
  Tensor keys;         // f [blocks, block_size, K·D]
  Tensor values;       // f [blocks, block_size, K·D]
  Tensor block_table;  // i32 [B, blocks a sequence]
};

struct NormKind {
  bool rms = false;  // RMSNorm, else LayerNorm
  float epsilon = 1e-5f;
};

struct AdamWConfig {
  float beta1 = 0.9f;
  float beta2 = 0.999f;
  float epsilon = 1e-8f;
  float weight_decay = 0.0f;
};

// What AdamW needs that changes every step, in device memory: f32 [adamw_state_size].
enum AdamWState : std::size_t {
  adamw_learning_rate,
  adamw_inverse_correction1,  // 1 / (1 - beta1^step)
  adamw_inverse_correction2,  // 1 / (1 - beta2^step)
  adamw_gradient_scale,       // gradients are multiplied by it first (one over the loss scale)
  adamw_max_norm,             // clip the global norm to this; 0 clips nothing
  adamw_state_size
};

class Backend {
 public:
  virtual ~Backend() = default;

  virtual const DeviceInfo& device() const = 0;
  // Sentences about what was passed over when the backend was made, such as a file or another device; empty where
  // nothing was.
  const std::string& warning() const { return warning_; }
  // Adds sentences to them.
  void warn(std::string_view sentences) {
    if (!warning_.empty() && !sentences.empty()) warning_ += ' ';
    warning_ += sentences;
  }

  // Memory and order.

  // Zeroed memory, aligned to at least 64 bytes. Throws Error(memory) naming the label, the bytes asked for and what is
  // free.
  virtual std::unique_ptr<Buffer> allocate(std::size_t bytes, std::string_view label) = 0;
  // A buffer of the bytes of `memory` where they lie, for operations to read and never to write, or null where the
  // device cannot and they have to be copied. `memory` starts at a page and is readable up to the end of its last page,
  // as mapped files are; `owner` keeps it, and is let go only when the buffer and the work that reads it are done.
  virtual std::unique_ptr<Buffer> wrap(std::span<const std::byte> /*memory*/, std::string_view /*label*/,
                                       std::shared_ptr<const void> /*owner*/) {
    return nullptr;
  }
  // Copies host bytes into `destination` in the order of recording; `source` may be reused at return.
  virtual void upload(const Tensor& destination, std::span<const std::byte> source) = 0;
  // Copies `source` to the host; waits for the work that it depends on.
  virtual void download(const Tensor& source, std::span<std::byte> destination) = 0;
  // Calls `receive` with the bytes of `source` as they are at this point of the recording: at once, later from wait(),
  // or from a completion handler that runs inside a call of this object. Bytes are valid during the call only.
  virtual void read_back(const Tensor& source, std::function<void(std::span<const std::byte>)> receive) = 0;
  // Hands recorded work to the device without waiting.
  virtual void submit() = 0;
  // Returns when all recorded work is done and all read_back callbacks have run.
  virtual void wait() = 0;
  // Returns when at most `in_flight` of the submissions made so far are still running and the read_back callbacks of
  // the others have run: the one place where a training step waits, without the device running dry.
  virtual void throttle(std::size_t in_flight) = 0;
  // Seconds that the device itself has worked on what wait(), throttle() and download() have seen done, by its own
  // clock; 0 where it has none.
  virtual double device_seconds() const { return 0.0; }
  // Bytes the backend holds for its own use (packed weights, partial sums), at their largest so far.
  virtual std::size_t scratch_bytes() const = 0;

  // Embedding.

  // out[b,t] = scale · token_weight[tokens[b,t]] + position_weight[position(b,t)].
  // out f [B,T,C]; tokens i32 [B,T]; token_weight f [V,C]; position_weight f [P,C] or absent. Ids outside [0, V) and
  // positions outside [0, P) give rows of zeros, never a read out of bounds; callers check them beforehand.
  virtual void embedding_forward(const Tensor& out, const Tensor& tokens, const Tensor& token_weight,
                                 const Tensor& position_weight, const Positions& positions, float scale) = 0;
  // dtoken_weight[v] += scale · sum of dout over the rows of token v; dposition_weight[t] += sum of dout over b.
  // For positions starting at 0. Either gradient may be absent. Sums in the order of rows.
  virtual void embedding_backward(const Tensor& dtoken_weight, const Tensor& dposition_weight, const Tensor& dout,
                                  const Tensor& tokens, float scale) = 0;

  // Rotary position embedding (Su et al., 2021) on the query and key parts of fused qkv [B,T,(H+2K)·D], in place, in
  // Hugging Face's half rotation: with angle a = position · inverse_frequencies[i], for i < D/2,
  // (x[i], x[i+D/2]) becomes (x[i] cos a - x[i+D/2] sin a, x[i+D/2] cos a + x[i] sin a).
  // inverse_frequencies f32 [D/2].
  virtual void rope_forward(const Tensor& qkv, const Tensor& inverse_frequencies, const Positions& positions,
                            const AttentionShape& shape) = 0;
  // The transpose: rotates gradients by the negative angle, in place.
  virtual void rope_backward(const Tensor& dqkv, const Tensor& inverse_frequencies, const Positions& positions,
                             const AttentionShape& shape) = 0;

  // Norm.

  // sum = residual + dropout(x); out = LayerNorm(sum) or RMSNorm(sum), over the last dimension:
  //   LayerNorm: (sum - mean) · rstd · weight + bias, rstd = 1 / sqrt(variance + epsilon)     (Ba et al., 2016)
  //   RMSNorm:   sum · rstd · weight,                 rstd = 1 / sqrt(mean square + epsilon)  (Zhang & Sennrich, 2019)
  // out, sum, residual, x f [N,C]; weight, bias f [C]; mean, rstd f32 [N].
  // bias may be absent, and is for RMSNorm. Where x is absent, residual is what is normalised and sum is not written
  // (it may be absent). mean and rstd may be absent where no backward pass follows; RMSNorm has no mean. sum may be
  // residual; out may be x.
  virtual void residual_norm_forward(const Tensor& out, const Tensor& sum, const Tensor& mean, const Tensor& rstd,
                                     const Tensor& residual, const Tensor& x, const Tensor& weight, const Tensor& bias,
                                     const NormKind& kind, const Dropout& dropout) = 0;
  // dsum = dsum_direct + the norm's gradient of dout; dweight and dbias are added to. Dropout's share is a call of
  // dropout_backward on dsum. dsum_direct (the gradient that reaches the sum past the norm) may be absent, and may be
  // dsum itself; dsum may be dout. mean absent for RMSNorm; dbias absent without a bias.
  virtual void residual_norm_backward(const Tensor& dsum, const Tensor& dweight, const Tensor& dbias,
                                      const Tensor& dout, const Tensor& dsum_direct, const Tensor& sum,
                                      const Tensor& mean, const Tensor& rstd, const Tensor& weight,
                                      const NormKind& kind) = 0;

  // Linear.

  // out = activation(in · weightᵀ + bias). out f [M,N]; in f [M,K]; weight [N,K]; bias f [N] or absent. Activation
  // none, gelu or relu; where pre_activation f [M,N] is given, the argument of the activation is kept there.
  virtual void matmul_forward(const Tensor& out, const Tensor& in, const Tensor& weight, const Tensor& bias,
                              Activation activation, const Tensor& pre_activation) = 0;
  // din (+)= (dout · weight) · activation'(pre_activation). din f [M,K]; dout f [M,N]; weight f [N,K];
  // pre_activation f [M,K], absent for Activation::none. Adds where `accumulate`.
  virtual void matmul_backward_input(const Tensor& din, const Tensor& dout, const Tensor& weight, Activation activation,
                                     const Tensor& pre_activation, bool accumulate) = 0;
  // dweight += doutᵀ · in; dbias += column sums of dout. dbias may be absent.
  virtual void matmul_backward_weight(const Tensor& dweight, const Tensor& dbias, const Tensor& dout,
                                      const Tensor& in) = 0;

  // Attention.

  // out[b,i,h] = sum_j p_ij v_j, p = softmax(scale · q_i·k_j over j <= i), in one pass that never stores T×T
  // (Dao et al., 2022). qkv f [B,T,(H+2K)·D]: queries, keys, values along the last dimension. out f [B,T,H·D].
  // log_sum_exp f32 [B,H,T] (natural logarithm of the softmax's denominator) or absent. Dropout acts on p; its element
  // number is ((b·H + h)·T + i)·T + j. Right-padded rows need no mask: causality hides them from the rows before.
  virtual void attention_forward(const Tensor& out, const Tensor& log_sum_exp, const Tensor& qkv,
                                 const AttentionShape& shape, const Dropout& dropout) = 0;
  // dqkv from dout, recomputing p from qkv and log_sum_exp. Overwrites dqkv. No two threads add to one address.
  virtual void attention_backward(const Tensor& dqkv, const Tensor& dout, const Tensor& qkv, const Tensor& out,
                                  const Tensor& log_sum_exp, const AttentionShape& shape, const Dropout& dropout) = 0;

  // Activation and dropout.

  // gelu: 0.5 x (1 + tanh(sqrt(2/π) (x + 0.044715 x³))), gelu_erf: 0.5 x (1 + erf(x / sqrt(2))) (Hendrycks & Gimpel,
  // 2016); relu: max(x, 0): out, in f [N,F].
  // swiglu: silu(gate) · up (Shazeer, 2020): in f [N,2F] holds gate then up along the row; out f [N,F].
  virtual void activation_forward(Activation activation, const Tensor& out, const Tensor& in) = 0;
  // din from dout and the forward's input. din may be dout (gelu, gelu_erf, relu) or in (swiglu).
  virtual void activation_backward(Activation activation, const Tensor& din, const Tensor& dout, const Tensor& in) = 0;
  // out = dropout(in), element by element; out may be in. The backward is the same function of the gradient.
  virtual void dropout_forward(const Tensor& out, const Tensor& in, const Dropout& dropout) = 0;
  virtual void dropout_backward(const Tensor& din, const Tensor& dout, const Dropout& dropout) = 0;

  // Loss.

  // losses[n] = log_sum_exp(logits[n, :vocab]) - logits[n, targets[n]], or 0 where targets[n] < 0 (padding).
  // logits f [N, V'] with V' >= vocab columns; losses f32 [N]; targets i32 [N].
  // Where loss_scale f32 [1] is given, logits becomes dlogits in place: loss_scale · (softmax - one-hot), zeros in
  // ignored rows and in columns from vocab on. Targets of vocab and above count as ignored; callers check beforehand.
  virtual void cross_entropy(const Tensor& losses, const Tensor& logits, const Tensor& targets, std::int64_t vocab,
                             const Tensor& loss_scale) = 0;
  // out f32 [1] = (accumulate ? out : 0) + sum of in f32 [N], in a fixed order.
  virtual void sum(const Tensor& out, const Tensor& in, bool accumulate) = 0;

  // Optimiser.

  // out f32 [1] = (accumulate ? sqrt(out² + Σ g²) : sqrt(Σ g²)) over gradients f of any shape.
  virtual void global_norm(const Tensor& out, const Tensor& gradients, bool accumulate) = 0;
  // AdamW with decoupled decay (Loshchilov & Hutter, 2019) on one range of an arena:
  //   g = gradient · gradient_scale · min(1, max_norm / (norm · gradient_scale + 1e-6))
  //   m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g²
  //   p -= learning_rate · (m · correction1 / (sqrt(v · correction2) + epsilon) + weight_decay · p)
  // parameters, gradients f [n]; first_moment, second_moment f32 [n]; master f32 [n] or absent: where given, beside
  // 16-bit parameters only, it is the p that is updated and parameters receives its rounding. state f32
  // [adamw_state_size]; norm f32 [1], of the gradients before gradient_scale. Where norm is not finite, nothing is
  // written at all.
  virtual void adamw(const Tensor& parameters, const Tensor& gradients, const Tensor& first_moment,
                     const Tensor& second_moment, const Tensor& master, const Tensor& state, const Tensor& norm,
                     const AdamWConfig& config) = 0;

  // Inference.

  // Positions, counts and block tables lie in device memory, where only some devices see them in time to refuse them.
  // Rows at positions that the block table does not hold, or in blocks that the cache does not have, are mistakes of
  // the caller: a device whose memory the host sees as it records (the CPU) throws Error(input) before anything is
  // written; others store no such row and attend to no such position, and never access memory outside the tensors.

  // Stores the keys and values of qkv f [B,T,(H+2K)·D] (rotated already) at their positions of the cache.
  // counts i32 [B] or absent: only the first counts[b] of the T rows of sequence b are stored; all where it is T or
  // more, none where it is below 1.
  virtual void kv_cache_append(const KvCacheView& cache, const Tensor& qkv, const Positions& positions,
                               const Tensor& counts, const AttentionShape& shape) = 0;
  // Attention of the queries in qkv f [B,T,(H+2K)·D] over the cache: row (b,t) sees cache positions 0..position(b,t).
  // Its own keys and values have been appended. out f [B,T,H·D]. T is 1 while decoding, more when a prompt is
  // continued.
  virtual void attention_decode(const Tensor& out, const Tensor& qkv, const KvCacheView& cache,
                                const Positions& positions, const AttentionShape& shape) = 0;
  // out = in · weightᵀ + bias for few rows, bound by reading the weight once. out f [M,N]; in f [M,K]; bias f [N] or
  // absent, of a plain weight's dtype.
  virtual void matvec(const Tensor& out, const Tensor& in, const Weight& weight, const Tensor& bias) = 0;
  // out i32 [N]: the index of the largest of logits[n, :vocab], the smallest such index on ties.
  virtual void argmax(const Tensor& out, const Tensor& logits, std::int64_t vocab) = 0;
  // The k largest of logits[n, :vocab] in descending order (ties: the smaller index first).
  // values f32 [N,k]; indices i32 [N,k].
  virtual void top_k(const Tensor& values, const Tensor& indices, const Tensor& logits, std::int64_t vocab) = 0;

  // Layout.

  // q f [B,T,H·D], k and v f [B,T,K·D] from fused qkv, and back.
  virtual void split_qkv(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& qkv,
                         const AttentionShape& shape) = 0;
  virtual void join_qkv(const Tensor& qkv, const Tensor& q, const Tensor& k, const Tensor& v,
                        const AttentionShape& shape) = 0;
  // out[i] = in[i], rounding to nearest even, between f32 and bf16 or f16, or from one dtype to itself.
  virtual void cast(const Tensor& out, const Tensor& in) = 0;
  // out[i] = value, for f dtypes.
  virtual void fill(const Tensor& out, float value) = 0;
  // out = in, byte for byte; same dtype, same count.
  virtual void copy(const Tensor& out, const Tensor& in) = 0;
  // out += in; f, same dtype and count.
  virtual void add(const Tensor& out, const Tensor& in) = 0;
  // out[m] = in[indices[m]], rows of f [N,C]; indices i32 [M]. An index outside [0, N) gives zeros.
  virtual void gather_rows(const Tensor& out, const Tensor& in, const Tensor& indices) = 0;

 private:
  std::string warning_;
};

}  // namespace mslt
