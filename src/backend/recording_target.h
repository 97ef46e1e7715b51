// Where work goes while it is being recorded.
#pragma once

#include <functional>
#include <string_view>

#include "base/fail.h"

namespace mslt {

// Points to a `Target` that takes work during record(), and to nothing otherwise. One thread at a time.
template <class Target>
class RecordingTarget {
 public:
  // The target, or null while nothing is being recorded.
  Target* get() const { return target_; }

  // Calls `work` with this target. Throws what `work` throws, and Error(usage) inside another record().
  void record(Target& target, const std::function<void()>& work) {
    require_none("record");
    target_ = &target;
    try {
      work();
    } catch (...) {
      target_ = nullptr;
      throw;
    }
    target_ = nullptr;
  }

  // Throws Error(usage) naming the function if something is being recorded.
  void require_none(std::string_view function) const {
    if (target_ == nullptr) return;
    fail(ErrorKind::usage, "{} cannot be recorded: a recording holds operations alone.", function);
  }

 private:
  Target* target_ = nullptr;
};

}  // namespace mslt
