// Attention over whole sequences by cuDNN: which it serves, the memory it needs, and running it.
#pragma once

#include <cuda_runtime_api.h>

#include <compare>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "tensor/dtype.h"

namespace mslt::msl::cuda {

// As Backend::attention_forward and attention_backward have it: qkv and dqkv [batch, length, (heads + 2 kv_heads) ·
// head_size], out and dout [batch, length, heads · head_size], log_sum_exp f32 [batch, heads, length].
struct AttentionProblem {
  DType dtype = DType::bf16;
  std::int64_t batch = 0;
  std::int64_t length = 0;
  std::int64_t heads = 1;
  std::int64_t kv_heads = 1;
  std::int64_t head_size = 1;
  float scale = 1.0f;
  bool causal = true;
  float dropout = 0.0f;
  bool statistics = true;  // whether the forward pass writes log_sum_exp

  auto operator<=>(const AttentionProblem&) const = default;
};

// Addresses on the GPU, multiples of 16.
struct AttentionForward {
  void* out = nullptr;
  void* log_sum_exp = nullptr;  // null without statistics
  const void* qkv = nullptr;
};
struct AttentionBackward {
  void* dqkv = nullptr;  // overwritten
  const void* dout = nullptr;
  const void* qkv = nullptr;
  const void* out = nullptr;
  const void* log_sum_exp = nullptr;
};

struct AttentionOptions {
  // Of one pass. The deterministic backward pass keeps the scores' gradients, two bytes for every pair of positions of
  // every head, and so runs over as many sequences, or heads of one sequence, at a time as this holds.
  std::size_t workspace_bytes = std::size_t{512} << 20;
  // Whether the backward pass gives the same bits each time.
  bool deterministic = true;
};

// What is known of a pass.
struct AttentionPlan {
  std::string engine;               // as cuDNN calls it
  std::size_t workspace_bytes = 0;  // that it uses
  int parts = 0;                    // that it runs one after another
};

// Attention on the GPU that is current when it is made. Plans are made at the first mention of a problem, which takes
// up to a second, and kept. Used by one thread at a time.
class CudnnAttention {
 public:
  // Whether this build has cuDNN.
  static bool available();
  // "cuDNN 9.19.0"; empty where this build has none.
  static std::string version();

  // Throws Error(device) where cuDNN cannot be used.
  explicit CudnnAttention(const AttentionOptions& options = AttentionOptions());
  ~CudnnAttention();
  CudnnAttention(const CudnnAttention&) = delete;
  CudnnAttention& operator=(const CudnnAttention&) = delete;

  // Empty where the pass is served; else a sentence that says why it is not.
  std::string forward_refusal(const AttentionProblem& problem);
  std::string backward_refusal(const AttentionProblem& problem);
  // The plan of a pass that is served. Throws Error(device) for others.
  AttentionPlan forward_plan(const AttentionProblem& problem);
  AttentionPlan backward_plan(const AttentionProblem& problem);
  // Put the pass into the stream. `workspace` has the plan's bytes, begins at a multiple of 256 and is used by nothing
  // else until then. Throw Error(device) for a problem that is not served and where cuDNN fails.
  void forward(const AttentionProblem& problem, const AttentionForward& tensors, void* workspace, cudaStream_t stream);
  void backward(const AttentionProblem& problem, const AttentionBackward& tensors, void* workspace,
                cudaStream_t stream);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace mslt::msl::cuda
