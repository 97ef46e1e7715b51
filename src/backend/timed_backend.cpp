// Timing operations, and finding the layer that each belongs to.
#include "backend/timed_backend.h"

#include <algorithm>
#include <utility>

#include "base/fail.h"

namespace mslt {
namespace {

// "layers.3.qkv.weight" is of "layer 3".
std::string layer_of_parameter(std::string_view name) {
  constexpr std::string_view prefix = "layers.";
  if (name.starts_with(prefix)) {
    const std::string_view rest = name.substr(prefix.size());
    return fmt::format("layer {}", rest.substr(0, rest.find('.')));
  }
  if (name.find("embedding") != std::string_view::npos) return "embedding";
  return "output";
}

}  // namespace

// Uploads through the other backend's slot, and keeps the time.
class TimedBackend::Slot final : public UploadSlot {
 public:
  Slot(TimedBackend& of, std::unique_ptr<UploadSlot> inner) : of_(of), inner_(std::move(inner)) {}
  void write(std::span<const std::byte> source) override {
    of_.keep_host("upload", source.size(), [&] { inner_->write(source); });
  }

 private:
  TimedBackend& of_;
  std::unique_ptr<UploadSlot> inner_;
};

// A recording of the other backend, and what is to be known to time it.
struct TimedBackend::TimedRecording final : Recording {
  std::unique_ptr<Recording> whole;
  std::unique_ptr<Recording> single;      // the same operations one by one; for a device without times
  std::vector<OperationTime> operations;  // without times; for a device with them
  std::map<const void*, HeldBuffer> buffers;
};

TimedBackend::TimedBackend(Backend& inner, const CpuCounters* counters)
    : inner_(inner), counters_(counters != nullptr && counters->counts() ? counters : nullptr) {}

void TimedBackend::begin_step() {
  inner_.begin_times();
  step_ = {};
  last_layer_.clear();
  timing_ = true;
  start_ = steady_seconds();
}

StepTimeline TimedBackend::end_step() {
  wait();
  step_.seconds = now();
  timing_ = false;
  const std::vector<KernelTime> kernels = inner_.end_times();
  for (OperationTime& one : step_.operations) one.layer = layer_of(one);
  if (inner_.has_device_times()) {
    place(kernels);
    join_fused();
  }
  return std::exchange(step_, {});
}

void TimedBackend::place(const std::vector<KernelTime>& kernels) {
  for (const KernelTime& kernel : kernels) {
    if (kernel.operation < step_.operations.size()) step_.operations[kernel.operation].kernels.push_back(kernel);
  }
  double end = 0.0;
  for (OperationTime& one : step_.operations) {
    one.begin = one.end = std::max(end, one.handed_over);
    if (one.kernels.empty()) continue;
    for (KernelTime& kernel : one.kernels) {
      kernel.begin -= start_;
      one.seconds += kernel.seconds;
    }
    // The clocks agree but for some microseconds.
    one.begin = std::max(one.begin, one.kernels.front().begin);
    one.end = std::max(one.begin + one.seconds, one.kernels.back().begin + one.kernels.back().seconds);
    end = one.end;
  }
}

// The commands of several operations in one launch are those of the first.
void TimedBackend::join_fused() {
  std::vector<OperationTime> joined;
  for (OperationTime& one : step_.operations) {
    const bool is_fused = one.kernels.empty() && one.work.bytes > 0.0 && !joined.empty();
    if (!is_fused) {
      joined.push_back(std::move(one));
      continue;
    }
    OperationTime& first = joined.back();
    first.operation = "fused_operations";
    if (first.layer != one.layer) first.layer = "all layers";
    first.work.flops += one.work.flops;
    first.work.bytes += one.work.bytes;
    first.uses.insert(first.uses.end(), one.uses.begin(), one.uses.end());
  }
  step_.operations = std::move(joined);
}

void TimedBackend::name_layers(const Arena& arena) {
  for (const Segment& segment : arena.layout().segments()) {
    const Tensor tensor = arena.tensor(segment);
    names_[&tensor.buffer()].push_back(
        {tensor.offset(), tensor.offset() + tensor.bytes(), layer_of_parameter(segment.name)});
  }
  for (auto& [buffer, named] : names_) std::ranges::sort(named, {}, &Named::begin);
}

// The layer of the parameters, or their gradients, that an operation accesses. Others belong to the layer before them.
std::string TimedBackend::layer_of(const OperationTime& operation) {
  for (const MemoryUse& use : operation.uses) {
    if (use.begin == use.end) continue;
    const auto found = names_.find(use.buffer);
    if (found == names_.end()) continue;
    const std::vector<Named>& named = found->second;
    auto at = std::ranges::upper_bound(named, use.begin, {}, &Named::begin);
    if (at == named.begin()) continue;
    --at;
    const auto next = std::next(at);
    if (next != named.end() && use.end > next->end) return "all layers";
    return last_layer_ = at->layer;
  }
  return last_layer_;
}

OperationTime TimedBackend::describe(std::string_view name, std::span<const Argument> arguments, const Work& work,
                                     std::map<const void*, HeldBuffer>& buffers) {
  OperationTime one;
  one.operation = name;
  one.work = work;
  const Tensor& first = *arguments.front().tensor;
  if (first) one.shape = first.shape().to_string();
  for (const Argument& argument : arguments) {
    const Tensor& tensor = *argument.tensor;
    if (!tensor) continue;
    const Buffer* const buffer = &tensor.buffer();
    one.uses.push_back({buffer, tensor.offset(), tensor.offset() + tensor.bytes(), argument.access});
    buffers.try_emplace(buffer, HeldBuffer{std::string(buffer->label()), buffer->size()});
  }
  return one;
}

void TimedBackend::time(std::string_view name, std::span<const Argument> arguments, const Work& work,
                        const std::function<void()>& run) {
  if (recorded_ != nullptr) {
    recorded_->operations.push_back(describe(name, arguments, work, recorded_->buffers));
    inner_.as_operation(run);
    return;
  }
  OperationTime& one = step_.operations.emplace_back(describe(name, arguments, work, step_.buffers));
  if (inner_.has_device_times()) {
    one.handed_over = now();
    inner_.as_operation(run);
    one.handed_end = now();
    return;
  }
  const CpuCounts before = counters_ != nullptr ? counters_->read() : CpuCounts{};
  one.handed_over = one.begin = now();
  run();
  inner_.wait();
  one.handed_end = one.end = now();
  if (counters_ != nullptr) one.counts = counters_->read() - before;
  one.seconds = one.end - one.begin;
}

void TimedBackend::keep_host(std::string_view what, std::size_t bytes, const std::function<void()>& work) {
  if (!timing_) return work();
  const double begin = now();
  work();
  step_.host.push_back({what, begin, now(), bytes});
}

void TimedBackend::upload(const Tensor& destination, std::span<const std::byte> source) {
  keep_host("upload", source.size(), [&] { inner_.upload(destination, source); });
}

std::unique_ptr<UploadSlot> TimedBackend::upload_slot(const Tensor& destination, std::size_t under_way,
                                                      std::string_view label) {
  return std::make_unique<Slot>(*this, inner_.upload_slot(destination, under_way, label));
}

void TimedBackend::download(const Tensor& source, std::span<std::byte> destination) {
  keep_host("download", destination.size(), [&] { inner_.download(source, destination); });
}

void TimedBackend::read_back(const Tensor& source, std::function<void(std::span<const std::byte>)> receive) {
  const std::size_t bytes = source ? source.bytes() : 0;
  keep_host("read back", bytes, [&] { inner_.read_back(source, std::move(receive)); });
}

void TimedBackend::wait() {
  keep_host("wait", 0, [&] { inner_.wait(); });
}

void TimedBackend::throttle(std::size_t in_flight) {
  keep_host("wait", 0, [&] { inner_.throttle(in_flight); });
}

std::unique_ptr<Recording> TimedBackend::record(const std::function<void()>& work) {
  auto recording = std::make_unique<TimedRecording>();
  TimedRecording* const outer = std::exchange(recorded_, nullptr);
  const bool timing = std::exchange(timing_, false);
  try {
    if (inner_.has_device_times()) {
      recorded_ = recording.get();
      recording->whole = inner_.record(work);
    } else {
      recording->single = Backend::record(work);
      recording->whole = inner_.record([&] { Backend::replay(*recording->single); });
    }
  } catch (...) {
    recorded_ = outer;
    timing_ = timing;
    throw;
  }
  recorded_ = outer;
  timing_ = timing;
  return recording;
}

void TimedBackend::replay(const Recording& recording) {
  const auto* const timed = dynamic_cast<const TimedRecording*>(&recording);
  if (timed == nullptr) fail(ErrorKind::usage, "The recording is of another backend than the one that times.");
  if (!timing_) return inner_.replay(*timed->whole);
  if (timed->single) return Backend::replay(*timed->single);
  const double begin = now();
  keep_host("replay", 0, [&] { inner_.replay(*timed->whole); });
  // The device works meanwhile.
  for (const OperationTime& one : timed->operations) {
    OperationTime& replayed = step_.operations.emplace_back(one);
    replayed.handed_over = replayed.handed_end = begin;
  }
  step_.buffers.insert(timed->buffers.begin(), timed->buffers.end());
}

}  // namespace mslt
