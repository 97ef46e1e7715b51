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

// The same operations one by one and as the other backend keeps them.
struct TimedBackend::BothRecordings final : Recording {
  std::unique_ptr<Recording> single;
  std::unique_ptr<Recording> whole;
};

TimedBackend::TimedBackend(Backend& inner, const CpuCounters* counters)
    : inner_(inner), counters_(counters != nullptr && counters->counts() ? counters : nullptr) {}

void TimedBackend::begin_step() {
  inner_.wait();
  step_ = {};
  last_layer_.clear();
  timing_ = true;
  start_ = Clock::now();
}

StepTimeline TimedBackend::end_step() {
  wait();
  step_.seconds = now();
  timing_ = false;
  return std::exchange(step_, {});
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
std::string TimedBackend::layer_of(std::span<const Argument> arguments) {
  for (const Argument& argument : arguments) {
    const Tensor& tensor = *argument.tensor;
    if (!tensor || tensor.bytes() == 0) continue;
    const auto found = names_.find(&tensor.buffer());
    if (found == names_.end()) continue;
    const std::vector<Named>& named = found->second;
    auto at = std::ranges::upper_bound(named, tensor.offset(), {}, &Named::begin);
    if (at == named.begin()) continue;
    --at;
    const std::size_t end = tensor.offset() + tensor.bytes();
    const auto next = std::next(at);
    if (next != named.end() && end > next->end) return "all layers";
    return last_layer_ = at->layer;
  }
  return last_layer_;
}

void TimedBackend::time(std::string_view name, std::span<const Argument> arguments, const Work& work,
                        const std::function<void()>& run) {
  OperationTime one;
  one.operation = name;
  one.work = work;
  const Tensor& first = *arguments.front().tensor;
  if (first) one.shape = first.shape().to_string();
  one.layer = layer_of(arguments);
  for (const Argument& argument : arguments) {
    const Tensor& tensor = *argument.tensor;
    if (!tensor) continue;
    const Buffer* const buffer = &tensor.buffer();
    one.uses.push_back({buffer, tensor.offset(), tensor.offset() + tensor.bytes(), argument.access});
    step_.buffers.try_emplace(buffer, HeldBuffer{std::string(buffer->label()), buffer->size()});
  }
  const CpuCounts before = counters_ != nullptr ? counters_->read() : CpuCounts{};
  one.handed_over = now();
  one.kernels = inner_.time_kernels(run);
  one.end = now();
  if (counters_ != nullptr) one.counts = counters_->read() - before;
  one.begin = one.handed_over;
  one.seconds = one.end - one.begin;
  if (!one.kernels.empty()) {
    // The device's clock tells how long, the host's when it was over.
    double seconds = 0.0;
    for (const KernelTime& kernel : one.kernels) seconds += kernel.seconds;
    one.seconds = std::min(seconds, one.seconds);
    one.begin = one.end - one.seconds;
  }
  step_.operations.push_back(std::move(one));
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
  auto both = std::make_unique<BothRecordings>();
  both->single = Backend::record(work);
  const bool timing = std::exchange(timing_, false);
  try {
    both->whole = inner_.record([&] { Backend::replay(*both->single); });
  } catch (...) {
    timing_ = timing;
    throw;
  }
  timing_ = timing;
  return both;
}

void TimedBackend::replay(const Recording& recording) {
  const auto* const both = dynamic_cast<const BothRecordings*>(&recording);
  if (both == nullptr) fail(ErrorKind::usage, "The recording is of another backend than the one that times.");
  if (timing_) {
    Backend::replay(*both->single);
  } else {
    inner_.replay(*both->whole);
  }
}

}  // namespace mslt
