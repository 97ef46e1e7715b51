// Which operations a chain has, and recording it.
#include "backend/cuda/fused_chain.h"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <utility>

#include "backend/cuda/cuda_backend.h"
#include "backend/cuda/suits.h"
#include "backend/msl/drivers/cuda/cuda_status.h"

namespace mslt {
namespace {

// Fewer are as fast as launches of their own.
constexpr std::size_t fewest_operations = 3;

bool same(const Tensor& a, const Tensor& b) {
  if (!a || !b) return !a && !b;
  return &a.buffer() == &b.buffer() && a.offset() == b.offset() && a.bytes() == b.bytes();
}

bool overlap(const Tensor& a, const Tensor& b) {
  return a && b && &a.buffer() == &b.buffer() && a.offset() < b.offset() + b.bytes() &&
         b.offset() < a.offset() + a.bytes();
}

const Tensor& input_of(const FusedProduct& op) {
  return op.in;
}
const Tensor& input_of(const AttentionDecode& op) {
  return op.qkv;
}
const Tensor& input_of(const EmbeddingForward& op) {
  return op.tokens;
}
const Tensor& input_of(const Argmax& op) {
  return op.logits;
}

const Tensor& result_of(const Argmax& op) {
  return op.indices;
}
template <class Op>
const Tensor& result_of(const Op& op) {
  return op.out;
}
const Tensor& result_of(const FusedChain::Operation& op) {
  return std::visit([](const auto& each) -> const Tensor& { return result_of(each); }, op);
}

// Whether both are at the same place of the same sequence, as far as they know it.
bool same_place(const FusedChain::Operation& a, const FusedChain::Operation& b) {
  const auto position_of = [](const FusedChain::Operation& op) -> const Tensor* {
    if (const auto* embedding = std::get_if<EmbeddingForward>(&op)) return &embedding->positions.first;
    if (const auto* attention = std::get_if<AttentionDecode>(&op)) return &attention->positions.first;
    return nullptr;
  };
  const Tensor* const first = position_of(a);
  const Tensor* const second = position_of(b);
  if (first == nullptr || second == nullptr) return true;
  if (!same(*first, *second)) return false;
  const auto* const one = std::get_if<AttentionDecode>(&a);
  const auto* const other = std::get_if<AttentionDecode>(&b);
  return one == nullptr || other == nullptr || same(one->cache.block_table, other->cache.block_table);
}

// Whether the result's elements are divided among threadgroups as all others of their number.
bool is_shared_out(const FusedChain::Operation& op) {
  return std::holds_alternative<FusedProduct>(op) || std::holds_alternative<EmbeddingForward>(op);
}

bool is_of_one_row(DType dtype, const Tensor& tensor) {
  return is_16_bit(dtype) && tensor.shape().rows() == 1;
}

bool reaches(const FusedChain::Operation& op, const Tensor& tensor) {
  return std::visit(
      [&](const auto& each) {
        return std::ranges::any_of(each.arguments(),
                                   [&](const Argument& argument) { return overlap(*argument.tensor, tensor); });
      },
      op);
}

}  // namespace

bool FusedChain::serves(const FusedProduct& op) {
  const DType dtype = op.in.dtype();
  const std::int64_t inner = op.in.shape()[-1];
  const std::int64_t outputs = op.out.shape()[-1];
  const bool has_activation =
      op.activation == Activation::none || op.activation == Activation::gelu || op.activation == Activation::relu;
  return is_of_one_row(dtype, op.in) && !op.weight.scales && has_activation && inner % 128 == 0 && inner > 0 &&
         inner <= msl::cuda::chain_most_inner && outputs % 2 == 0 && outputs > 0 &&
         suit(dtype, {&op.out, &op.in, &op.norm_weight, &op.norm_bias, &op.weight.values, &op.bias});
}

bool FusedChain::serves(const AttentionDecode& op) {
  const DType dtype = op.qkv.dtype();
  const AttentionShape& shape = op.shape;
  return is_of_one_row(dtype, op.qkv) && shape.head_size == msl::cuda::chain_head_size && shape.window == 0 &&
         shape.softcap == 0.0f && !op.inverse_frequencies && op.cache.keys.elements() > 0 &&
         op.cache.block_table.shape()[1] > 0 &&
         op.cache.block_table.shape()[1] * KvCacheView::block_size <= msl::cuda::chain_most_positions &&
         suit(dtype, {&op.out, &op.qkv, &op.cache.keys, &op.cache.values});
}

bool FusedChain::serves(const EmbeddingForward& op) {
  const DType dtype = op.out.dtype();
  return is_of_one_row(dtype, op.out) && !op.token_scales && op.out.shape()[-1] % 2 == 0 &&
         suit(dtype, {&op.out, &op.token_weight, &op.position_weight});
}

bool FusedChain::serves(const Argmax& op) {
  return is_of_one_row(op.logits.dtype(), op.logits);
}

bool FusedChain::continues_with(const Operation& op) const {
  const bool ends = std::holds_alternative<Argmax>(op);
  if (operations_.empty()) return !ends;
  if (operations_.size() == msl::cuda::Chain::most_steps || std::holds_alternative<Argmax>(operations_.back()) ||
      std::holds_alternative<EmbeddingForward>(op) ||
      (ends && !std::holds_alternative<FusedProduct>(operations_.back()))) {
    return false;
  }
  const Tensor& input = std::visit([](const auto& each) -> const Tensor& { return input_of(each); }, op);
  if (!same(input, result_of(operations_.back())) || input.dtype() != dtype()) return false;
  return std::ranges::all_of(operations_, [&](const Operation& before) {
    const Tensor& written = result_of(before);
    if (!same_place(before, op)) return false;
    if (const auto* attention = std::get_if<AttentionDecode>(&before); attention != nullptr) {
      if (reaches(op, attention->cache.keys) || reaches(op, attention->cache.values)) return false;
    }
    // Results that share memory are divided alike, so that one thread of the GPU writes an element each time.
    const bool is_alike = is_shared_out(before) ? is_shared_out(op) : before.index() == op.index();
    if (overlap(written, result_of(op)) && !(same(written, result_of(op)) && is_alike)) return false;
    return std::visit(
        [&](const auto& each) {
          return std::ranges::none_of(each.arguments(), [&](const Argument& argument) {
            const Tensor& tensor = *argument.tensor;
            if (!tensor || same(tensor, input) || same(tensor, result_of(op))) return false;
            return overlap(tensor, written);
          });
        },
        op);
  });
}

DType FusedChain::dtype() const {
  return result_of(operations_.front()).dtype();
}

std::vector<Argument> FusedChain::arguments() const {
  std::vector<Argument> all;
  for (const Operation& op : operations_) {
    std::visit(
        [&](const auto& each) {
          for (const Argument& argument : each.arguments()) all.push_back(argument);
        },
        op);
  }
  return all;
}

bool CudaBackend::chains() {
  if (!chains_) {
    chains_ = product_use_ == Use::where_it_serves && msl::cuda::runs_chains();
    if (*chains_) msl::cuda::check(msl::cuda::prepare_chains(), "preparing launches of several operations");
  }
  return *chains_;
}

template <class Op>
bool CudaBackend::chain(const Op& op) {
  if (!is_recording() || !FusedChain::serves(op) || !chains()) return false;
  std::shared_ptr<FusedChain> chain = chain_.lock();
  if (chain && !chain->continues_with(op)) {
    recorder().do_pending();
    chain.reset();
  }
  if (!chain) {
    chain = std::make_shared<FusedChain>();
    if (!chain->continues_with(op)) return false;
    chain_ = chain;
    recorder().set_pending([this, chain] { record_chain(*chain); });
  }
  chain->append(op);
  return true;
}

void CudaBackend::record_chain(const FusedChain& chain) {
  chain_.reset();
  if (chain.operations().size() < fewest_operations) {
    for (const FusedChain::Operation& op : chain.operations()) {
      std::visit([this](const auto& each) { MslBackend::execute(each); }, op);
    }
    return;
  }
  const std::shared_ptr<msl::cuda::Chain> steps = chain.steps([this](const Tensor& tensor) { return address(tensor); });
  // Launches follow each other, and tell what is theirs by their number: chains share the memory.
  if (chain_memory_.empty() || chain_memory_.back()->size() < steps->state_bytes()) {
    chain_memory_.push_back(allocate(steps->state_bytes(), "results between threadgroups"));
  }
  Buffer& memory = *chain_memory_.back();
  const Tensor state(memory, 0, DType::u8, {static_cast<std::int64_t>(memory.size())});
  steps->state = static_cast<std::uint32_t*>(address(state));
  steps->plan();
  std::vector<Argument> arguments = chain.arguments();
  Work work;
  for (const FusedChain::Operation& op : chain.operations()) {
    const Work own = std::visit([](const auto& each) { return work_of(each); }, op);
    work.flops += own.flops;
    work.bytes += own.bytes;
  }
  arguments.push_back(updates("state", state, Elements::any));
  recorder().library_call("decode_chain", arguments, work, 0,
                          {[steps, dtype = chain.dtype()](const msl::LibraryContext& context) {
                             msl::cuda::check(
                                 msl::cuda::launch_chain(*steps, dtype, static_cast<cudaStream_t>(context.stream)),
                                 "launching 'decode_chain'");
                           },
                           msl::identity_of(++recorded_chains_)});
}

void CudaBackend::execute(const FusedProduct& op) {
  if (chain(op) || multiply_few_rows(op, op)) return;
  if (prefers_library(op)) return multiply_unfused(op);
  MslBackend::execute(op);
}

void CudaBackend::execute(const AttentionDecode& op) {
  if (!chain(op)) MslBackend::execute(op);
}

void CudaBackend::execute(const EmbeddingForward& op) {
  if (!chain(op)) MslBackend::execute(op);
}

void CudaBackend::execute(const Argmax& op) {
  if (!chain(op)) MslBackend::execute(op);
}

}  // namespace mslt
