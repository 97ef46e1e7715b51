// Recorded work as a list of operations, for backends that have no better way.
#include "backend/backend.h"

#include "base/fail.h"

namespace mslt {

class Backend::OperationRecording final : public Recording {
 public:
  std::vector<std::function<void(Backend&)>> operations;
  const Backend* of = nullptr;
};

void Backend::require_not_recording(std::string_view function) const {
  if (recorded_ == nullptr) return;
  fail(ErrorKind::usage, "{} cannot be recorded: a recording holds operations alone.", function);
}

std::unique_ptr<Recording> Backend::record(const std::function<void()>& work) {
  require_not_recording("record");
  auto recording = std::make_unique<OperationRecording>();
  recording->of = this;
  recorded_ = &recording->operations;
  try {
    work();
  } catch (...) {
    recorded_ = nullptr;
    throw;
  }
  recorded_ = nullptr;
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

}  // namespace mslt
