// Lifetimes of activations within a step.
#include "profile/memory_curve.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <utility>

namespace mslt {
namespace {

// Bytes that hold one result, over the operations [first, last].
struct Life {
  std::size_t begin = 0;
  std::size_t end = 0;
  std::size_t first = 0;
  std::size_t last = 0;
  std::string_view writer;
};

// The results in one buffer.
class Lives {
 public:
  void use(const MemoryUse& use, std::size_t operation, std::string_view name) {
    if (use.access == Access::write) return write(use, operation, name);
    bool known = false;
    for (Life& life : open_) {
      if (life.end <= use.begin || use.end <= life.begin) continue;
      life.last = operation;
      known = true;
    }
    if (!known) open_.push_back({use.begin, use.end, 0, operation, "before the step"});
  }

  std::vector<Life> all() && {
    std::move(open_.begin(), open_.end(), std::back_inserter(over_));
    return std::move(over_);
  }

 private:
  void write(const MemoryUse& use, std::size_t operation, std::string_view name) {
    std::vector<Life> still;
    for (Life& life : open_) {
      if (life.end <= use.begin || use.end <= life.begin) {
        still.push_back(life);
        continue;
      }
      // What is written over is no longer that result's; what lies beside it goes on.
      if (life.begin < use.begin) still.push_back({life.begin, use.begin, life.first, life.last, life.writer});
      if (use.end < life.end) still.push_back({use.end, life.end, life.first, life.last, life.writer});
      // An operation that reads in place holds the bytes once, as its own.
      if (life.first == operation) continue;
      over_.push_back({std::max(life.begin, use.begin), std::min(life.end, use.end), life.first,
                       std::min(life.last, operation - 1), life.writer});
    }
    open_ = std::move(still);
    open_.push_back({use.begin, use.end, operation, operation, name});
  }

  std::vector<Life> open_;
  std::vector<Life> over_;
};

}  // namespace

double MemoryCurve::most() const {
  double most = 0.0;
  for (std::size_t i = 0; i < times.size(); ++i) {
    double sum = 0.0;
    for (const std::vector<double>& holder : bytes) sum += holder[i];
    most = std::max(most, sum);
  }
  return most;
}

MemoryCurve memory_curve(const StepTimeline& step, std::size_t most_holders) {
  const std::size_t count = step.operations.size();
  std::map<std::string, std::vector<double>> held;
  const auto holder = [&](const std::string& name) -> std::vector<double>& {
    std::vector<double>& bytes = held[name];
    bytes.resize(count);
    return bytes;
  };
  std::map<const void*, Lives> activations;
  for (const auto& [buffer, about] : step.buffers) {
    if (about.label.starts_with("activations")) {
      activations[buffer];
      continue;
    }
    for (double& bytes : holder(about.label)) bytes += static_cast<double>(about.bytes);
  }
  for (std::size_t i = 0; i < count; ++i) {
    const OperationTime& one = step.operations[i];
    // Reads come first: what an operation reads is in use while it writes.
    for (const bool writes : {false, true}) {
      for (const MemoryUse& use : one.uses) {
        const auto found = activations.find(use.buffer);
        if (found == activations.end() || (use.access == Access::write) != writes) continue;
        found->second.use(use, i, one.operation);
      }
    }
  }
  for (auto& [buffer, lives] : activations) {
    for (const Life& life : std::move(lives).all()) {
      std::vector<double>& bytes = holder("activations of " + std::string(life.writer));
      for (std::size_t i = life.first; i <= life.last; ++i) bytes[i] += static_cast<double>(life.end - life.begin);
    }
  }

  std::vector<std::pair<std::string, std::vector<double>>> sorted(held.begin(), held.end());
  std::ranges::stable_sort(sorted, std::greater(), [](const auto& each) {
    return std::accumulate(each.second.begin(), each.second.end(), 0.0);
  });
  MemoryCurve curve;
  for (const OperationTime& one : step.operations) curve.times.push_back(one.begin);
  for (auto& [name, bytes] : sorted) {
    if (curve.holders.size() < most_holders || sorted.size() <= most_holders + 1) {
      curve.holders.push_back(name);
      curve.bytes.push_back(std::move(bytes));
      continue;
    }
    if (curve.holders.size() == most_holders) {
      curve.holders.emplace_back("others");
      curve.bytes.emplace_back(count);
    }
    for (std::size_t i = 0; i < count; ++i) curve.bytes.back()[i] += bytes[i];
  }
  return curve;
}

}  // namespace mslt
