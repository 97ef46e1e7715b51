// What training on the CPU would hold beside its tensors, without computing anything.
#include <algorithm>

#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/scratch.h"
#include "backend/memoryless_backend.h"

namespace mslt {
namespace {

class Rehearsal final : public MemorylessBackend<Rehearsal> {
 public:
  explicit Rehearsal(const DeviceInfo& device) { device_ = device; }

  template <class Op>
  void each(const Op& op) {
    floats_ = std::max(floats_, scratch_floats(op));
  }
  WorkingMemory working_memory() const override { return {.scratch = floats_ * sizeof(float)}; }

 private:
  std::size_t floats_ = 0;
};

}  // namespace

WorkingMemory CpuBackend::rehearse(const std::function<void(Backend&)>& work) const {
  Rehearsal rehearsal(device_);
  work(rehearsal);
  return rehearsal.working_memory();
}

}  // namespace mslt
