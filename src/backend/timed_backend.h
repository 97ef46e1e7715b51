// A backend that runs operations on another one and keeps when each ran.
#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "backend/for_each_operation.h"
#include "backend/timeline.h"
#include "base/clock.h"
#include "tensor/arena.h"

namespace mslt {

// Times operations between begin_step() and end_step(). Where the device works beside the host, they go to the other
// backend as in any other step, recordings whole, and the device keeps when it ran the commands of each. Operations of
// a recording that the other backend makes one launch of are one operation then. Elsewhere operations run one by one,
// those of recordings, too, and the host's clock tells. Otherwise everything goes to the other backend as it is: the
// same model takes both kinds of steps, one after another. Throws as the other backend, which must outlive it. One
// thread at a time.
class TimedBackend final : public ForEachOperation<TimedBackend> {
 public:
  // Counts with `counters` where given; they must outlive it.
  explicit TimedBackend(Backend& inner, const CpuCounters* counters = nullptr);

  void begin_step();
  StepTimeline end_step();
  bool is_timing() const { return timing_; }
  // The backend that runs the operations.
  Backend& inner() { return inner_; }

  // Names what lies in an arena, so that operations on it are those of a layer. The arena must outlive this.
  void name_layers(const Arena& arena);

  template <class Op>
  void each(const Op& op) {
    if (recorded_ == nullptr && !timing_) return inner_.run(op);
    const auto arguments = op.arguments();
    time(Op::name, arguments, work_of(op), [&] { inner_.run(op); });
  }

  const DeviceInfo& device() const override { return inner_.device(); }
  std::unique_ptr<Buffer> allocate(std::size_t bytes, std::string_view label) override {
    return inner_.allocate(bytes, label);
  }
  std::unique_ptr<Buffer> wrap(std::span<const std::byte> memory, std::string_view label,
                               std::shared_ptr<const void> owner) override {
    return inner_.wrap(memory, label, std::move(owner));
  }
  void upload(const Tensor& destination, std::span<const std::byte> source) override;
  std::unique_ptr<UploadSlot> upload_slot(const Tensor& destination, std::size_t under_way,
                                          std::string_view label) override;
  void download(const Tensor& source, std::span<std::byte> destination) override;
  void read_back(const Tensor& source, std::function<void(std::span<const std::byte>)> receive) override;
  void submit() override { inner_.submit(); }
  void wait() override;
  void throttle(std::size_t in_flight) override;
  std::unique_ptr<Recording> record(const std::function<void()>& work) override;
  void replay(const Recording& recording) override;
  std::int64_t fused_rows(const Weight& weight, DType activations, bool has_norm) const override {
    return inner_.fused_rows(weight, activations, has_norm);
  }
  double device_seconds() const override { return inner_.device_seconds(); }
  std::size_t peak_device_bytes() const override { return inner_.peak_device_bytes(); }
  WorkingMemory working_memory() const override { return inner_.working_memory(); }
  WorkingMemory rehearse(const std::function<void(Backend&)>& work) const override { return inner_.rehearse(work); }

 private:
  class Slot;
  struct TimedRecording;
  struct Named {
    std::size_t begin = 0;
    std::size_t end = 0;
    std::string layer;
  };

  // Seconds since the step began.
  double now() const { return steady_seconds() - start_; }
  // All about an operation but its times and layer.
  static OperationTime describe(std::string_view name, std::span<const Argument> arguments, const Work& work,
                                std::map<const void*, HeldBuffer>& buffers);
  void time(std::string_view name, std::span<const Argument> arguments, const Work& work,
            const std::function<void()>& run);
  void keep_host(std::string_view what, std::size_t bytes, const std::function<void()>& work);
  std::string layer_of(const OperationTime& operation);
  // Gives the operations of the step the times of their commands.
  void place(const std::vector<KernelTime>& kernels);
  // Makes one of operations that were one launch.
  void join_fused();

  Backend& inner_;
  const CpuCounters* counters_ = nullptr;
  bool timing_ = false;
  double start_ = 0.0;
  StepTimeline step_;
  std::string last_layer_;
  std::map<const void*, std::vector<Named>> names_;  // by buffer
  TimedRecording* recorded_ = nullptr;               // what takes operations while they are recorded, for their times
};

}  // namespace mslt
