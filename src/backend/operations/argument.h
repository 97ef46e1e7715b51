// How an operation describes each of its tensors, for all code that treats operations alike.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "tensor/tensor.h"

namespace mslt {

class Arguments;  // checks.h

// Which elements a tensor may have.
enum class Elements : std::uint8_t {
  f,         // f32, bf16 or f16: one dtype for all f tensors of a call
  kept,      // the same for weights and caches: one dtype for all, that of the f tensors or, with f32 activations, any
  floating,  // f32, bf16 or f16, independent of the other tensors
  any,       // any that the operation's check allows
  f16,
  f32,
  i32,
  u32
};

enum class Access : std::uint8_t { read, write, update };  // update: read and written

// One tensor of an operation; valid as long as the operation is.
struct Argument {
  std::string_view name;
  const Tensor* tensor;  // never null; an absent tensor if the operation allows that
  Access access;
  Elements elements;
  // A written tensor must not overlap any other, but may have the very same elements as these.
  std::array<const Tensor*, 2> in_place{};
  double share = 1.0;  // of its elements, which the operation accesses

  bool is_written() const { return access != Access::read; }
  // The same argument, allowed to coincide with `other`.
  Argument over(const Tensor& other) const {
    Argument result = *this;
    (result.in_place[0] == nullptr ? result.in_place[0] : result.in_place[1]) = &other;
    return result;
  }
  // The same argument, of which so many elements are accessed.
  Argument of(std::int64_t elements) const {
    Argument result = *this;
    if (*tensor && tensor->elements() > 0) {
      result.share = static_cast<double>(elements) / static_cast<double>(tensor->elements());
    }
    return result;
  }
};

inline Argument reads(std::string_view name, const Tensor& tensor, Elements elements = Elements::f) {
  return {name, &tensor, Access::read, elements};
}
inline Argument writes(std::string_view name, const Tensor& tensor, Elements elements = Elements::f) {
  return {name, &tensor, Access::write, elements};
}
inline Argument updates(std::string_view name, const Tensor& tensor, Elements elements = Elements::f) {
  return {name, &tensor, Access::update, elements};
}

// The minimum work of an operation.
struct Work {
  double flops = 0.0;  // of products and attention; other operations are limited by memory traffic
  double bytes = 0.0;  // every accessed element once, updated ones twice
};

template <class Op>
Work work_of(const Op& op) {
  Work work;
  if constexpr (requires { op.flops(); }) work.flops = op.flops();
  if constexpr (requires { op.bytes(); }) {
    work.bytes = op.bytes();
  } else {
    for (const Argument& argument : op.arguments()) {
      if (!*argument.tensor) continue;
      const double times = argument.access == Access::update ? 2.0 : 1.0;
      work.bytes += times * argument.share * static_cast<double>(argument.tensor->bytes());
    }
  }
  return work;
}

}  // namespace mslt
