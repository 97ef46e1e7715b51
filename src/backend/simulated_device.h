// For tests: a device without memory, which tells what it is asked to run and computes nothing.
#pragma once

#include <functional>
#include <string_view>
#include <utility>

#include "backend/memoryless_backend.h"

namespace mslt {

class SimulatedDevice final : public MemorylessBackend<SimulatedDevice> {
 public:
  // Called with each operation's name, the type of its first tensor, and its work.
  using Ran = std::function<void(std::string_view operation, DType dtype, const Work& work)>;

  explicit SimulatedDevice(Ran ran) : ran_(std::move(ran)) { device_.trains_16_bit = true; }

  template <class Op>
  void each(const Op& op) {
    ran_(Op::name, op.arguments().front().tensor->dtype(), work_of(op));
  }

 private:
  Ran ran_;
};

}  // namespace mslt
