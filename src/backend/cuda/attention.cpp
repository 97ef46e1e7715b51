// Attention over whole sequences by cuDNN.
#include <string>

#include "backend/cuda/cuda_backend.h"
#include "base/fail.h"

namespace mslt {
namespace {

// A pass without statistics is that of a prompt, whose length is its own: making a plan for it takes longer than the
// kernels do unless it is large.
constexpr double planned_flops = 1e10;

msl::cuda::AttentionProblem problem_of(const Tensor& qkv, const AttentionShape& shape, const Dropout& dropout,
                                       bool has_statistics) {
  return {.dtype = qkv.dtype(),
          .batch = qkv.shape()[0],
          .length = qkv.shape()[1],
          .heads = shape.heads,
          .kv_heads = shape.kv_heads,
          .head_size = shape.head_size,
          .scale = shape.scale,
          .causal = shape.causal,
          .dropout = dropout.probability,
          .statistics = has_statistics};
}

std::string identity_of(const msl::cuda::AttentionProblem& p) {
  return msl::identity_of(p.dtype, p.batch, p.length, p.heads, p.kv_heads, p.head_size, p.scale, p.causal, p.dropout,
                          p.statistics);
}

// Why the library does not take such attention, or operands that lie so.
template <class Op>
std::string refusal(const Op& op) {
  if (op.shape.window > 0 && op.shape.window < op.qkv.shape()[1]) return "cuDNN is not asked for sliding windows.";
  if (op.shape.softcap > 0.0f) return "cuDNN is not asked for soft caps.";
  for (const Argument& argument : op.arguments()) {
    if (*argument.tensor && argument.tensor->offset() % 16 != 0) {
      return "cuDNN takes tensors that begin at a multiple of 16 bytes.";
    }
  }
  return {};
}

[[noreturn]] void fail_unserved(std::string_view operation, std::string_view why) {
  fail(ErrorKind::device, "{}: --attention cudnn cannot be had: {}", operation, why);
}

}  // namespace

void CudaBackend::execute(const AttentionForward& op) {
  const bool has_statistics = static_cast<bool>(op.log_sum_exp);
  if (attention_use_ == Use::never || op.qkv.elements() == 0 ||
      (attention_use_ == Use::where_it_serves && !has_statistics && op.flops() < planned_flops)) {
    return MslBackend::execute(op);
  }
  const msl::cuda::AttentionProblem problem = problem_of(op.qkv, op.shape, op.dropout, has_statistics);
  std::string why = refusal(op);
  if (why.empty()) why = attention().forward_refusal(problem);
  if (!why.empty()) {
    if (attention_use_ == Use::always) fail_unserved(AttentionForward::name, why);
    return MslBackend::execute(op);
  }
  const msl::cuda::AttentionForward tensors = {
      .out = address(op.out), .log_sum_exp = address(op.log_sum_exp), .qkv = address(op.qkv)};
  library_call("cudnn", op, attention().forward_plan(problem).workspace_bytes,
               {[attention = libraries_->attention, problem, tensors](const msl::LibraryContext& context) {
                  attention->forward(problem, tensors, context.workspace, static_cast<cudaStream_t>(context.stream));
                },
                identity_of(problem) + msl::identity_of(tensors.out, tensors.log_sum_exp, tensors.qkv)});
}

void CudaBackend::execute(const AttentionBackward& op) {
  if (attention_use_ == Use::never || op.qkv.elements() == 0) return MslBackend::execute(op);
  const msl::cuda::AttentionProblem problem = problem_of(op.qkv, op.shape, op.dropout, true);
  std::string why = refusal(op);
  if (why.empty()) why = attention().backward_refusal(problem);
  if (!why.empty()) {
    if (attention_use_ == Use::always) fail_unserved(AttentionBackward::name, why);
    return MslBackend::execute(op);
  }
  const msl::cuda::AttentionBackward tensors = {.dqkv = address(op.dqkv),
                                                .dout = address(op.dout),
                                                .qkv = address(op.qkv),
                                                .out = address(op.out),
                                                .log_sum_exp = address(op.log_sum_exp)};
  library_call("cudnn", op, attention().backward_plan(problem).workspace_bytes,
               {[attention = libraries_->attention, problem, tensors](const msl::LibraryContext& context) {
                  attention->backward(problem, tensors, context.workspace, static_cast<cudaStream_t>(context.stream));
                },
                identity_of(problem) +
                    msl::identity_of(tensors.dqkv, tensors.dout, tensors.qkv, tensors.out, tensors.log_sum_exp)});
}

}  // namespace mslt
