// What takes the place of attention by cuDNN in builds without it.
#include "backend/msl/drivers/cuda/cudnn_attention.h"
#include "base/fail.h"

namespace mslt::msl::cuda {
namespace {

constexpr char absent[] = "This build of mslt has no cuDNN.";

}  // namespace

struct CudnnAttention::State {};

bool CudnnAttention::available() {
  return false;
}

std::string CudnnAttention::version() {
  return {};
}

CudnnAttention::CudnnAttention(const AttentionOptions& /*options*/) {}

CudnnAttention::~CudnnAttention() = default;

std::string CudnnAttention::forward_refusal(const AttentionProblem& /*problem*/) {
  return absent;
}

std::string CudnnAttention::backward_refusal(const AttentionProblem& /*problem*/) {
  return absent;
}

AttentionPlan CudnnAttention::forward_plan(const AttentionProblem& /*problem*/) {
  fail(ErrorKind::device, "{}", absent);
}

AttentionPlan CudnnAttention::backward_plan(const AttentionProblem& /*problem*/) {
  fail(ErrorKind::device, "{}", absent);
}

void CudnnAttention::forward(const AttentionProblem& /*problem*/, const AttentionForward& /*tensors*/,
                             void* /*workspace*/, cudaStream_t /*stream*/) {
  fail(ErrorKind::device, "{}", absent);
}

void CudnnAttention::backward(const AttentionProblem& /*problem*/, const AttentionBackward& /*tensors*/,
                              void* /*workspace*/, cudaStream_t /*stream*/) {
  fail(ErrorKind::device, "{}", absent);
}

}  // namespace mslt::msl::cuda
