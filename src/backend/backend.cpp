// Recorded work as a list of operations, for backends that have no better way.
#include "backend/backend.h"

#include "base/fail.h"

namespace mslt {

class Backend::OperationRecording final : public Recording {
 public:
  RecordedOperations operations;
  const Backend* of = nullptr;
};

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

}  // namespace mslt
