// The CPU backend's scratch memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>

#include "backend/cpu/cpu_backend.h"

namespace mslt {

// One allocation that grows and never shrinks. An operation asks once and divides the result; the contents do not
// survive between operations.
struct CpuBackend::Scratch {
  static constexpr std::size_t alignment = 64;
  struct Deleter {
    void operator()(float* memory) const { ::operator delete(memory, std::align_val_t{alignment}); }
  };

  // At least `count` floats, aligned to 64 bytes, uninitialised, valid until the next call.
  float* floats(std::size_t count) {
    if (count > capacity) {
      memory.reset();
      capacity = 0;
      memory.reset(static_cast<float*>(::operator new(count * sizeof(float), std::align_val_t{alignment})));
      capacity = count;
    }
    return memory.get();
  }

  std::unique_ptr<float, Deleter> memory;
  std::size_t capacity = 0;  // floats
};

// Floats of a line of the cache, which are those of the largest vector; and so many that what follows begins a line.
inline constexpr std::int64_t floats_a_line = 16;
inline std::int64_t round_to_line(std::int64_t floats) {
  return (floats + floats_a_line - 1) / floats_a_line * floats_a_line;
}

// How many floats an operation of training asks for.
template <class Op>
std::size_t scratch_floats(const Op& /*op*/) {
  return 0;
}
// The elements of a product's operands.
struct OperandElements {
  std::size_t a = 0;
  std::size_t b = 0;
};
template <class Op>
OperandElements operand_elements(const Op& /*op*/) {
  return {};
}
OperandElements operand_elements(const MatmulForward& op);
OperandElements operand_elements(const MatmulBackwardInput& op);
OperandElements operand_elements(const MatmulBackwardWeight& op);

std::size_t scratch_floats(const MatmulBackwardInput& op);
std::size_t scratch_floats(const AttentionForward& op);
std::size_t scratch_floats(const AttentionBackward& op);

}  // namespace mslt
