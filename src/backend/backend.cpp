// Recorded work as a list of operations and slots as plain uploads, for backends that have no better way.
#include "backend/backend.h"

#include "base/fail.h"

namespace mslt {

class Backend::OperationRecording final : public Recording {
 public:
  RecordedOperations operations;
  const Backend* of = nullptr;
};

void Backend::require_transposed(std::string_view operation) const {
  if (device().reads_transposed) return;
  fail(ErrorKind::device, "{}: the weight is transposed, which the device {} cannot read.", operation,
       device().backend);
}

void Backend::multiply_in_bf16(bool rounds) {
  if (!rounds) return;
  fail(ErrorKind::device, "The device {} does not round the operands of f32 products.", device().name);
}

std::unique_ptr<Recording> Backend::record(const std::function<void()>& work) {
  auto recording = std::make_unique<OperationRecording>();
  recording->of = this;
  recorded_.record(recording->operations, work);
  return recording;
}

void Backend::replay(const Recording& recording) {
  require_not_recording("replay");
  const auto* const operations = dynamic_cast<const OperationRecording*>(&recording);
  if (operations == nullptr || operations->of != this) {
    fail(ErrorKind::usage, "The recording is of another backend than {}.", device().backend);
  }
  for (const auto& operation : operations->operations) operation(*this);
}

std::vector<KernelTime> Backend::time_kernels(const std::function<void()>& work) {
  begin_times();
  try {
    work();
  } catch (...) {
    end_times();
    throw;
  }
  return end_times();
}

Tensor UploadSlot::beginning(const Tensor& tensor, std::size_t bytes) {
  if (bytes >= tensor.bytes()) return tensor;
  const std::size_t elements = bytes / size_of(tensor.dtype());
  return {tensor.buffer(), tensor.offset(), tensor.dtype(), {static_cast<std::int64_t>(elements)}};
}

namespace {

class PlainSlot final : public UploadSlot {
 public:
  PlainSlot(Backend& backend, const Tensor& destination) : backend_(backend), destination_(destination) {}
  void write(std::span<const std::byte> source) override {
    backend_.upload(beginning(destination_, source.size()), source);
  }

 private:
  Backend& backend_;
  Tensor destination_;
};

}  // namespace

std::unique_ptr<UploadSlot> Backend::upload_slot(const Tensor& destination, std::size_t /*under_way*/,
                                                 std::string_view /*label*/) {
  return std::make_unique<PlainSlot>(*this, destination);
}

}  // namespace mslt
