// A backend that does more after each operation of one name: a slow-down whose size is known.
#pragma once

#include <algorithm>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "backend/for_each_operation.h"
#include "tensor/tensor.h"

namespace mslt::bench {

// Fills memory after the operation, on whatever device runs it. The other backend must outlive it. One thread at a
// time.
class PlantedBackend final : public ForEachOperation<PlantedBackend> {
 public:
  static constexpr std::int64_t most_elements = std::int64_t{1} << 26;

  explicit PlantedBackend(Backend& inner)
      : inner_(inner), memory_(inner.allocate(most_elements * sizeof(float), "planted work")) {}

  // From now on, each call of the operation `name` is followed by filling so many elements; none without a name.
  // Recordings that exist stay as they are.
  void plant(std::string name, std::int64_t elements) {
    name_ = std::move(name);
    elements_ = std::clamp<std::int64_t>(elements, 1, most_elements);
  }

  template <class Op>
  void each(const Op& op) {
    inner_.run(op);
    if (Op::name == name_) inner_.run(Fill{.out = Tensor(*memory_, 0, DType::f32, {elements_}), .value = 1.0f});
  }

  const DeviceInfo& device() const override { return inner_.device(); }
  std::unique_ptr<Buffer> allocate(std::size_t bytes, std::string_view label) override {
    return inner_.allocate(bytes, label);
  }
  void upload(const Tensor& destination, std::span<const std::byte> source) override {
    inner_.upload(destination, source);
  }
  std::unique_ptr<UploadSlot> upload_slot(const Tensor& destination, std::size_t under_way,
                                          std::string_view label) override {
    return inner_.upload_slot(destination, under_way, label);
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
  std::unique_ptr<Recording> record(const std::function<void()>& work) override { return inner_.record(work); }
  void replay(const Recording& recording) override { inner_.replay(recording); }
  std::int64_t fused_rows(const Weight& weight, DType activations, bool has_norm) const override {
    return inner_.fused_rows(weight, activations, has_norm);
  }
  double device_seconds() const override { return inner_.device_seconds(); }
  bool has_device_times() const override { return inner_.has_device_times(); }
  void begin_times() override { inner_.begin_times(); }
  std::vector<KernelTime> end_times() override { return inner_.end_times(); }
  void as_operation(const std::function<void()>& run) override { inner_.as_operation(run); }
  std::size_t peak_device_bytes() const override { return inner_.peak_device_bytes(); }
  WorkingMemory working_memory() const override { return inner_.working_memory(); }
  WorkingMemory rehearse(const std::function<void(Backend&)>& work) const override { return inner_.rehearse(work); }

 private:
  Backend& inner_;
  std::unique_ptr<Buffer> memory_;
  std::string name_;
  std::int64_t elements_ = 1;
};

}  // namespace mslt::bench
