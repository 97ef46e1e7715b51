// A backend that runs each operation alone on another one and keeps how long it took.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <tuple>

#include "backend/for_each_operation.h"
#include "cli/bench.h"

namespace mslt::cli {

// What is recorded runs operation by operation, too. Throws as the other backend, which must outlive it. One thread at
// a time.
class OperationTimes final : public ForEachOperation<OperationTimes> {
 public:
  // Operations of one name on tensors of the same sizes.
  struct Times {
    std::int64_t calls = 0;
    double seconds = 0.0;  // of all calls, by the device's own clock where it has one
    Work work;             // of one call
  };
  // Name, shape of the first tensor, bytes.
  using Key = std::tuple<std::string_view, std::string, double>;

  explicit OperationTimes(Backend& inner) : inner_(inner) {}

  // Keeps times from here on, or no longer.
  void keep(bool keeps) { keeps_ = keeps; }
  const std::map<Key, Times>& times() const { return times_; }

  template <class Op>
  void each(const Op& op) {
    // As a part of a recording, where plans may be chosen by what they take.
    const std::unique_ptr<Recording> recording = inner_.record([&] { inner_.run(op); });
    inner_.wait();
    const double before = inner_.device_seconds();
    const double elapsed = time_once([&] {
      inner_.replay(*recording);
      inner_.wait();
    });
    if (!keeps_) return;
    const double of_device = inner_.device_seconds() - before;
    const Work work = work_of(op);
    const Tensor& first = *op.arguments().front().tensor;
    Times& times = times_[{Op::name, first ? first.shape().to_string() : std::string(), work.bytes}];
    ++times.calls;
    times.seconds += of_device > 0.0 ? of_device : elapsed;
    times.work = work;
  }

  const DeviceInfo& device() const override { return inner_.device(); }
  std::unique_ptr<Buffer> allocate(std::size_t bytes, std::string_view label) override {
    return inner_.allocate(bytes, label);
  }
  std::unique_ptr<Buffer> wrap(std::span<const std::byte> memory, std::string_view label,
                               std::shared_ptr<const void> owner) override {
    return inner_.wrap(memory, label, std::move(owner));
  }
  void upload(const Tensor& destination, std::span<const std::byte> source) override {
    inner_.upload(destination, source);
  }
  void download(const Tensor& source, std::span<std::byte> destination) override {
    inner_.download(source, destination);
  }
  void read_back(const Tensor& source, std::function<void(std::span<const std::byte>)> receive) override {
    inner_.read_back(source, std::move(receive));
  }
  void submit() override { inner_.submit(); }
  void wait() override { inner_.wait(); }
  void throttle(std::size_t in_flight) override { inner_.throttle(in_flight); }
  std::int64_t fused_rows() const override { return inner_.fused_rows(); }
  double device_seconds() const override { return inner_.device_seconds(); }
  std::size_t peak_device_bytes() const override { return inner_.peak_device_bytes(); }
  WorkingMemory working_memory() const override { return inner_.working_memory(); }
  WorkingMemory rehearse(const std::function<void(Backend&)>& work) const override { return inner_.rehearse(work); }

 private:
  Backend& inner_;
  bool keeps_ = false;
  std::map<Key, Times> times_;
};

}  // namespace mslt::cli
