// The MSL backend's memory and order, delegated to the recorder.
#include "backend/msl/msl_backend.h"

#include <utility>

#include "backend/msl/drivers/idle/idle_device.h"
#include "backend/msl/staged_slot.h"

namespace mslt {

MslBackend::MslBackend(std::unique_ptr<msl::Device> device) : MslBackend(std::move(device), msl::kernel_table()) {}

MslBackend::MslBackend(std::unique_ptr<msl::Device> device, std::span<const msl::KernelInfo> kernels)
    : MslBackend(std::move(device), kernels, {}) {
  tuning_ = msl::table_tuning(device_->info()).tuning;
}

MslBackend::MslBackend(std::unique_ptr<msl::Device> device, msl::ChosenTuning tuning)
    : MslBackend(std::move(device), msl::kernel_table(), std::move(tuning)) {}

MslBackend::MslBackend(std::unique_ptr<msl::Device> device, std::span<const msl::KernelInfo> kernels,
                       msl::ChosenTuning tuning)
    : device_(std::move(device)),
      tuning_(tuning.tuning),
      recorder_(std::make_unique<msl::Recorder>(*device_, kernels)) {
  msl::check_tuning(tuning_, tuning.origin, limits().max_threads_per_threadgroup);
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

std::unique_ptr<UploadSlot> MslBackend::upload_slot(const Tensor& destination, std::size_t under_way,
                                                    std::string_view label) {
  return std::make_unique<msl::StagedSlot>(*recorder_, destination, under_way, label);
}

void MslBackend::download(const Tensor& source, std::span<std::byte> destination) {
  recorder_->download(source, destination);
}

void MslBackend::read_back(const Tensor& source, std::function<void(std::span<const std::byte>)> receive) {
  recorder_->read_back(source, std::move(receive));
}

std::unique_ptr<Recording> MslBackend::record(const std::function<void()>& work) {
  return recorder_->record(work);
}

void MslBackend::replay(const Recording& recording) {
  const auto* const commands = dynamic_cast<const msl::RecordedCommands*>(&recording);
  if (commands == nullptr) fail(ErrorKind::usage, "The recording is of another backend.");
  recorder_->replay(*commands);
}

WorkingMemory MslBackend::rehearse(const std::function<void(Backend&)>& work) const {
  const std::unique_ptr<MslBackend> rehearsal =
      same_on(std::make_unique<msl::idle::IdleDevice>(device_->info(), device_->limits()));
  work(*rehearsal);
  return rehearsal->working_memory();
}

std::unique_ptr<MslBackend> MslBackend::same_on(std::unique_ptr<msl::Device> device) const {
  return std::make_unique<MslBackend>(std::move(device), msl::ChosenTuning{tuning_, {}, {}});
}

std::unique_ptr<Backend> make_tuned_backend(std::unique_ptr<msl::Device> device, std::string_view tuning) {
  msl::ChosenTuning chosen = msl::choose_tuning(device->info(), tuning);
  return std::make_unique<MslBackend>(std::move(device), std::move(chosen));
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
