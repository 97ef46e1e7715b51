// The MSL backend's memory and order, delegated to the recorder.
#include "backend/msl/msl_backend.h"

#include <utility>

namespace mslt {

MslBackend::MslBackend(std::unique_ptr<msl::Device> device) : MslBackend(std::move(device), msl::kernel_table()) {}

MslBackend::MslBackend(std::unique_ptr<msl::Device> device, std::span<const msl::KernelInfo> kernels)
    : MslBackend(std::move(device), kernels, {}) {
  msl::ChosenTuning chosen = msl::table_tuning(device_->info());
  tuning_ = chosen.tuning;
  tuning_origin_ = std::move(chosen.origin);
}

MslBackend::MslBackend(std::unique_ptr<msl::Device> device, msl::ChosenTuning tuning)
    : MslBackend(std::move(device), msl::kernel_table(), std::move(tuning)) {}

MslBackend::MslBackend(std::unique_ptr<msl::Device> device, std::span<const msl::KernelInfo> kernels,
                       msl::ChosenTuning tuning)
    : device_(std::move(device)),
      tuning_(tuning.tuning),
      tuning_origin_(std::move(tuning.origin)),
      recorder_(std::make_unique<msl::Recorder>(*device_, kernels)) {
  msl::check_tuning(tuning_, tuning_origin_, limits().max_threads_per_threadgroup);
  warn(tuning.warning);
}

void MslBackend::set_tuning(const msl::Tuning& tuning) {
  msl::check_tuning(tuning, "set_tuning", limits().max_threads_per_threadgroup);
  tuning_ = tuning;
}

MslBackend::~MslBackend() = default;

const DeviceInfo& MslBackend::device() const {
  return device_->info();
}

std::unique_ptr<Buffer> MslBackend::allocate(std::size_t bytes, std::string_view label) {
  return device_->allocate(bytes, label, false);
}

std::unique_ptr<Buffer> MslBackend::wrap(std::span<const std::byte> memory, std::string_view label,
                                         std::shared_ptr<const void> owner) {
  return device_->wrap(memory, label, std::move(owner));
}

void MslBackend::upload(const Tensor& destination, std::span<const std::byte> source) {
  recorder_->upload(destination, source);
}

void MslBackend::download(const Tensor& source, std::span<std::byte> destination) {
  recorder_->download(source, destination);
}

void MslBackend::read_back(const Tensor& source, std::function<void(std::span<const std::byte>)> receive) {
  recorder_->read_back(source, std::move(receive));
}

void MslBackend::submit() {
  recorder_->submit();
}

void MslBackend::wait() {
  recorder_->wait();
}

void MslBackend::throttle(std::size_t in_flight) {
  recorder_->throttle(in_flight);
}

}  // namespace mslt
