// What training on the CPU would hold beside its tensors, without computing anything.
#include <algorithm>

#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/scratch.h"
#include "backend/memoryless_backend.h"
#include "tensor/half.h"

namespace mslt {
namespace {

class Rehearsal final : public MemorylessBackend<Rehearsal> {
 public:
  // With `rounds`, products round their operands.
  Rehearsal(const DeviceInfo& device, bool rounds) : rounds_(rounds) { device_ = device; }

  template <class Op>
  void each(const Op& op) {
    floats_ = std::max(floats_, scratch_floats(op));
    const OperandElements operands = operand_elements(op);
    operands_.a = std::max(operands_.a, operands.a);
    operands_.b = std::max(operands_.b, operands.b);
  }
  WorkingMemory working_memory() const override {
    return {.scratch = floats_ * sizeof(float) + (rounds_ ? (operands_.a + operands_.b) * sizeof(BFloat16) : 0)};
  }

 private:
  bool rounds_ = false;
  std::size_t floats_ = 0;
  OperandElements operands_;
};

}  // namespace

WorkingMemory CpuBackend::rehearse(const std::function<void(Backend&)>& work) const {
  Rehearsal rehearsal(device_, bf16_ != nullptr);
  work(rehearsal);
  return rehearsal.working_memory();
}

}  // namespace mslt
