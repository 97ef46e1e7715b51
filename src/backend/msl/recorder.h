// Recording dispatches into command buffers, and the memory that goes with it: scratch, staging and read-backs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "backend/msl/command_list.h"
#include "backend/msl/driver.h"
#include "backend/msl/kernel_info.h"
#include "tensor/tensor.h"

namespace mslt::msl {

// How much was done so far.
struct Counters {
  std::uint64_t dispatches = 0;
  std::uint64_t commits = 0;
  std::uint64_t waits = 0;      // how often the host waited for the device: calls of wait, throttle and download
  double device_seconds = 0.0;  // of the batches retired, those that ran side by side once
};

// What one dispatch has to do at least, for whoever counts.
struct DispatchRecord {
  std::string_view kernel;
  double bytes = 0.0;  // every bound tensor once, those that are added to twice
  double flops = 0.0;
};

class Recorder;

// Work that a recorder keeps, divided as it is handed over.
struct RecordedCommands final : Recording {
  struct Part {
    CommandList commands;
    std::uint64_t dispatches = 0;
    std::uint64_t bytes = 0;
  };
  struct Report {
    std::string kernel;
    double bytes = 0.0;
    double flops = 0.0;
  };
  const Recorder* of = nullptr;
  std::deque<Part> parts;
  std::vector<Report> reports;
};

// A tensor from the recorder's pool for the partial results of one operation. Its contents are undefined at first.
// Destroying it gives the memory back at once: whatever takes it next is recorded later and so runs later.
class [[nodiscard]] Scratch {
 public:
  Scratch(Recorder& recorder, std::unique_ptr<Buffer> buffer, DType dtype, const Shape& shape);
  Scratch(Scratch&& other) noexcept;
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  Scratch& operator=(Scratch&&) = delete;
  ~Scratch();

  const Tensor& tensor() const { return tensor_; }
  operator const Tensor&() const { return tensor_; }

 private:
  Recorder& recorder_;
  std::unique_ptr<Buffer> buffer_;
  Tensor tensor_;
};

// What one backend has recorded and not yet seen done. One thread at a time.
class Recorder {
 public:
  Recorder(Device& device, std::span<const KernelInfo> kernels);
  Recorder(const Recorder&) = delete;
  Recorder& operator=(const Recorder&) = delete;
  // Waits for what was committed; drops what was not.
  ~Recorder();

  struct Kernel {
    const KernelInfo* info = nullptr;
    const Pipeline* pipeline = nullptr;
  };
  // Looks a kernel up and compiles it at its first use. Throws Error(device) where there is none.
  const Kernel& kernel(std::string_view name);
  // The names of those looked up so far, sorted.
  std::vector<std::string_view> used_kernels() const;

  Device& device() { return device_; }
  // What takes the next command.
  Commands& commands();
  // Says that a dispatch bound to so many bytes was encoded into commands().
  void dispatched(std::uint64_t bytes);
  // Calls `observer` with every dispatch, copy and fill from now on, as it is recorded; empty: no longer.
  void observe(std::function<void(const DispatchRecord&)> observer) { observer_ = std::move(observer); }
  void report(const DispatchRecord& record) const;

  // Scratch is given back to no one but the recorder, so that recordings may hold its address.
  Scratch scratch(DType dtype, const Shape& shape);
  // 16 bytes of zeros on the device, for absent arguments.
  Buffer& placeholder() { return *placeholder_; }

  // Records what a library does for an operation with these arguments, see CommandBuffer::library_call; counted as one
  // dispatch. The call is given `workspace_bytes` of scratch.
  void library_call(std::string_view name, std::span<const Argument> arguments, const Work& work,
                    std::size_t workspace_bytes, LibraryCall call);

  // Recorded in order, as bytes: the whole of `destination`. Throws Error(input) where the sizes differ.
  void copy(const Tensor& destination, const Tensor& source);
  // Sets every byte of `destination` to `value`.
  void fill_bytes(const Tensor& destination, std::uint8_t value);
  // As the Backend's functions of these names.
  void upload(const Tensor& destination, std::span<const std::byte> source);
  void download(const Tensor& source, std::span<std::byte> destination);
  void read_back(const Tensor& source, std::function<void(std::span<const std::byte>)> receive);
  void submit();
  // Throws Error(device) where a command failed, Error of a receiver where that threw; nothing is pending then.
  void wait();
  // As wait(), but leaves the last `in_flight` submissions running.
  void throttle(std::size_t in_flight);

  // As the Backend's functions of these names. Every replay hands the same command buffers over, with nothing else in
  // them, so that a driver can know them again.
  std::unique_ptr<RecordedCommands> record(const std::function<void()>& work);
  void replay(const RecordedCommands& recording);

  const Counters& counters() const { return counters_; }
  // What it holds. Staging is for uploads and read-backs.
  const WorkingMemory& working_memory() const { return held_; }

 private:
  friend class Scratch;
  struct Batch;

  std::unique_ptr<Buffer> take(std::vector<std::unique_ptr<Buffer>>& free, std::size_t bytes, bool host_visible);
  Batch& batch();
  // Throws Error(usage) naming the function while work is being recorded.
  void require_not_recording(std::string_view function) const;
  // Counts a command, and ends the batch or the part of a recording where that has reached the device's limits.
  void count(std::uint64_t dispatches, std::uint64_t bytes);
  // Commits the open batch, if any.
  void commit();
  // Waits for the oldest committed batch, hands out its read-backs and recycles its memory.
  void retire_first();
  // Retires the batches that are done, without waiting.
  void poll();
  // Retires the oldest batches until `last` of them remain, all of them where one fails.
  void retire_until(std::size_t last);

  Device& device_;
  std::span<const KernelInfo> table_;
  std::map<std::string, Kernel, std::less<>> kernels_;
  std::unique_ptr<Buffer> placeholder_;
  std::vector<std::unique_ptr<Buffer>> free_scratch_;
  std::vector<std::unique_ptr<Buffer>> free_staging_;
  std::unique_ptr<Batch> open_;
  RecordedCommands* recorded_ = nullptr;  // what takes commands while work is being recorded
  bool part_is_full_ = false;
  std::deque<std::unique_ptr<Batch>> committed_;
  std::function<void(const DispatchRecord&)> observer_;
  std::uint64_t submissions_ = 0;
  Counters counters_;
  double device_end_ = 0.0;  // when the last batch retired ended, by the device's clock
  WorkingMemory held_;
};

}  // namespace mslt::msl
