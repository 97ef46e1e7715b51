// FusedChain: operations of one row, in a recording, that become one launch: at most those of a whole decoding step.
#pragma once

#include <memory>
#include <optional>
#include <variant>
#include <vector>

#include "backend/msl/drivers/cuda/decode_chain.h"
#include "backend/operations/attention.h"
#include "backend/operations/embedding.h"
#include "backend/operations/linear.h"
#include "backend/operations/sampling.h"
#include "base/overloaded.h"
#include "tensor/tensor.h"

namespace mslt {

// Gathers operations of which each reads what the one before it writes, and that depend on each other in no other way.
class FusedChain {
 public:
  using Operation = std::variant<FusedProduct, AttentionDecode, EmbeddingForward, Argmax>;

  // Whether a chain can have the operation at all.
  static bool serves(const FusedProduct& op);
  static bool serves(const AttentionDecode& op);
  static bool serves(const EmbeddingForward& op);
  static bool serves(const Argmax& op);

  // Whether the operation, which chains can have, may follow those that are here.
  bool continues_with(const Operation& op) const;
  void append(const Operation& op) { operations_.push_back(op); }
  const std::vector<Operation>& operations() const { return operations_; }
  // The element type of all its tensors.
  DType dtype() const;
  // All arguments of its operations, valid as long as the chain is.
  std::vector<Argument> arguments() const;
  // Its steps, where address(tensor) says where a tensor is on the device.
  template <class Address>
  std::shared_ptr<msl::cuda::Chain> steps(const Address& address) const {
    auto chain = std::make_shared<msl::cuda::Chain>();
    const auto add = [&](const auto& op) {
      chain->steps[chain->count++] = step_of(op, address);
      set_place(op, address, chain->place);
    };
    const auto end = [&](const Argmax& op) {
      chain->largest = {.value = static_cast<float*>(address(op.values)),
                        .index = static_cast<std::int32_t*>(address(op.indices)),
                        .choices = static_cast<std::uint32_t>(op.vocab)};
    };
    for (const Operation& op : operations_) std::visit(Overloaded{end, add}, op);
    return chain;
  }

 private:
  // Sets what the operation knows of the row's place, which is the same for all.
  template <class Address>
  static void set_place(const FusedProduct& /*op*/, const Address& /*address*/, msl::cuda::ChainPlace& /*place*/) {}
  template <class Address>
  static void set_place(const EmbeddingForward& op, const Address& address, msl::cuda::ChainPlace& place) {
    place.first = static_cast<const std::int32_t*>(address(op.positions.first));
  }
  template <class Address>
  static void set_place(const AttentionDecode& op, const Address& address, msl::cuda::ChainPlace& place) {
    place = {.first = static_cast<const std::int32_t*>(address(op.positions.first)),
             .table = static_cast<const std::int32_t*>(address(op.cache.block_table)),
             .positions = static_cast<std::uint32_t>(op.cache.block_table.shape()[1] * KvCacheView::block_size)};
  }

  template <class Address>
  static msl::cuda::ChainStep step_of(const FusedProduct& op, const Address& address) {
    msl::cuda::ChainStep step;
    step.product = {.in = address(op.in),
                    .weight = address(op.weight.values),
                    .bias = address(op.bias),
                    .gain = address(op.norm_weight),
                    .offset = address(op.norm_bias),
                    .out = address(op.out),
                    .inner = static_cast<std::uint32_t>(op.in.shape()[-1]),
                    .outputs = static_cast<std::uint32_t>(op.out.shape()[-1]),
                    .activation = static_cast<std::uint32_t>(op.activation),
                    .norm = !op.norm_weight ? 0u
                            : op.norm.rms   ? 2u
                                            : 1u,
                    .accumulate = op.accumulate ? 1u : 0u,
                    .epsilon = op.norm.epsilon,
                    .weight_offset = op.norm.weight_offset};
    return step;
  }
  template <class Address>
  static msl::cuda::ChainStep step_of(const AttentionDecode& op, const Address& address) {
    msl::cuda::ChainStep step;
    step.kind = msl::cuda::ChainStep::Kind::attention;
    step.attention = {.qkv = address(op.qkv),
                      .keys = address(op.cache.keys),
                      .values = address(op.cache.values),
                      .out = address(op.out),
                      .heads = static_cast<std::uint32_t>(op.shape.heads),
                      .kv_heads = static_cast<std::uint32_t>(op.shape.kv_heads),
                      .blocks = static_cast<std::uint32_t>(op.cache.keys.shape()[0]),
                      .scale = op.shape.scale};
    return step;
  }

  template <class Address>
  static msl::cuda::ChainStep step_of(const EmbeddingForward& op, const Address& address) {
    msl::cuda::ChainStep step;
    step.kind = msl::cuda::ChainStep::Kind::embedding;
    step.embedding = {.token = static_cast<const std::int32_t*>(address(op.tokens)),
                      .token_weight = address(op.token_weight),
                      .position_weight = address(op.position_weight),
                      .out = address(op.out),
                      .vocab = static_cast<std::uint32_t>(op.token_weight.shape()[0]),
                      .places = op.position_weight ? static_cast<std::uint32_t>(op.position_weight.shape()[0]) : 0,
                      .columns = static_cast<std::uint32_t>(op.out.shape()[-1]),
                      .scale = op.scale};
    return step;
  }

  std::vector<Operation> operations_;
};

}  // namespace mslt
