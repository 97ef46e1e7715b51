// Recording dispatches into command buffers, with their memory: scratch, staging and read-backs.
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
#include "backend/msl/command_times.h"
#include "backend/msl/driver.h"
#include "backend/msl/kernel_info.h"
#include "tensor/tensor.h"

namespace mslt::msl {

// Totals so far.
struct Counters {
  std::uint64_t dispatches = 0;
  std::uint64_t commits = 0;
  std::uint64_t waits = 0;      // waits of the host for the device: calls of wait, throttle and download
  double device_seconds = 0.0;  // of retired batches; concurrent ones count once
};

// The minimum work of one dispatch, for counters.
struct DispatchRecord {
  std::string_view kernel;
  double bytes = 0.0;  // every bound tensor once, accumulated ones twice
  double flops = 0.0;
};

class Recorder;

// Recorded work, divided into the command buffers that a replay commits.
struct RecordedCommands final : Recording {
  struct Part {
    CommandList commands;  // with a mark behind each command
    std::vector<CommandNote> notes;
    std::uint64_t dispatches = 0;
    std::uint64_t bytes = 0;
  };
  const Recorder* of = nullptr;
  std::deque<Part> parts;
  std::size_t operations = 0;
  bool is_alone = false;  // played in command buffers of its own
};

// A tensor from the recorder's pool for the partial results of one operation, undefined at first. Destroying it frees
// the memory at once: its next user is recorded later and so runs later.
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

// The recorded and unfinished work of one backend. One thread at a time.
class Recorder {
 public:
  Recorder(Device& device, std::span<const KernelInfo> kernels);
  Recorder(const Recorder&) = delete;
  Recorder& operator=(const Recorder&) = delete;
  // Waits for committed work; drops the rest.
  ~Recorder();

  struct Kernel {
    const KernelInfo* info = nullptr;
    const Pipeline* pipeline = nullptr;
  };
  // Looks up a kernel and compiles it at first use. Throws Error(device) if there is none.
  const Kernel& kernel(std::string_view name);
  // The names of the kernels looked up so far, sorted.
  std::vector<std::string_view> used_kernels() const;

  Device& device() { return device_; }
  // Takes the next command, after what is pending.
  Commands& commands();
  // While something is recorded: calls `work`, which records, before the next command is taken or when the recording
  // ends. One at a time; a recording that fails drops it.
  void set_pending(std::function<void()> work) {
    pending_ = std::move(work);
    pending_operation_ = operation_;
  }
  // Calls it now, if there is one.
  void do_pending();
  // Reports a dispatch bound to `bytes` bytes that was encoded into commands().
  void dispatched(std::uint64_t bytes, const DispatchRecord& record) { count(1, bytes, record); }
  // Calls `observer` with every later dispatch, copy and fill as it is recorded; an empty one stops that.
  void observe(std::function<void(const DispatchRecord&)> observer) { observer_ = std::move(observer); }

  // Scratch is given back to no one but the recorder, so that recordings may hold its address.
  Scratch scratch(DType dtype, const Shape& shape);
  // 16 bytes of zeros on the device, for absent arguments.
  Buffer& placeholder() { return *placeholder_; }

  // Records a library's work for an operation with these arguments, see CommandBuffer::library_call; counts as one
  // dispatch. The call gets `workspace_bytes` of scratch.
  void library_call(std::string_view name, std::span<const Argument> arguments, const Work& work,
                    std::size_t workspace_bytes, LibraryCall call);

  // Copies the bytes of all of `destination` in recording order. Throws Error(input) if the sizes differ.
  void copy(const Tensor& destination, const Tensor& source);
  // Sets every byte of `destination` to `value`.
  void fill_bytes(const Tensor& destination, std::uint8_t value);
  // As the functions of Backend with these names. Data larger than the device's staging memory goes in parts, and waits
  // for earlier work if there is no room.
  void upload(const Tensor& destination, std::span<const std::byte> source);
  void download(const Tensor& source, std::span<std::byte> destination);
  void read_back(const Tensor& source, std::function<void(std::span<const std::byte>)> receive);
  // For StagedSlot. Copies at once and returns true if nothing is under way and the host reaches the tensor. Throws
  // Error(input) if the sizes differ.
  bool upload_at_once(const Tensor& destination, std::span<const std::byte> source);
  // Records a copy from `staging`, and returns the number of the batch that does it.
  std::uint64_t upload_from(Buffer& staging, const Tensor& destination);
  // Staging memory for the caller to keep, and to give back for release once the batch of that number is done.
  std::unique_ptr<Buffer> allocate_staging(std::size_t bytes, std::string_view label);
  void release_staging(std::unique_ptr<Buffer> staging, std::uint64_t batch);
  // Returns when the batch of that number is done, after delivering the read-backs up to it. Throws as wait().
  void finish(std::uint64_t batch);
  void submit();
  // Throws Error(device) if a command failed, or the Error that a receiver threw; nothing is pending then.
  void wait();
  // As wait(), but leaves the last `in_flight` submissions running.
  void throttle(std::size_t in_flight);

  // As the Backend's functions of these names. Every replay of DeviceLimits::least_replay dispatches or more hands the
  // same command buffers over, with nothing else in them, so that a driver can know them again.
  std::unique_ptr<RecordedCommands> record(const std::function<void()>& work);
  bool is_recording() const { return recorded_.get() != nullptr; }
  // Whether the next command may read the tensors, absent ones aside, before those in front of it have ended: it is
  // recorded, and no command of the recording so far writes to them. The recording is then never played among others.
  bool may_read_early(std::initializer_list<const Tensor*> tensors);
  void replay(const RecordedCommands& recording);

  // As the Backend's functions of these names. What set_pending() keeps belongs to the operation that called it. After
  // a command buffer that failed, there are no times.
  void begin_times();
  std::vector<KernelTime> end_times();
  void as_operation(const std::function<void()>& run);

  const Counters& counters() const { return counters_; }
  // What it holds. Staging is for uploads and read-backs.
  const WorkingMemory& working_memory() const { return held_; }

 private:
  friend class Scratch;
  struct Batch;

  std::unique_ptr<Buffer> take(std::vector<std::unique_ptr<Buffer>>& free, std::size_t bytes, bool host_visible);
  // Staging memory of the open batch, valid until that is retired. Retires older batches first where too much is in
  // use.
  Buffer& stage(std::size_t bytes);
  // Keeps staging memory for later, and frees what was not used for the longest time beyond the limit.
  void recycle(std::vector<std::unique_ptr<Buffer>> staging);
  // Of a large upload or download: some fit, so that the host fills one while the device reads another.
  std::size_t part_bytes() const;
  Batch& batch();
  // Counts and marks a command, and ends the batch or the part of a recording that has reached the device's limits. A
  // transfer has no record.
  void count(std::uint64_t dispatches, std::uint64_t bytes, const DispatchRecord& record = {});
  // Plays a recorded part into the open batch.
  void play(const RecordedCommands::Part& part, std::size_t first_operation);
  // Whether a batch or a part of a recording has reached the device's limits.
  bool is_full(std::uint64_t dispatches, std::uint64_t bytes) const;
  // Commits the open batch, if any.
  void commit();
  // Waits for the oldest committed batch, delivers its read-backs and recycles its memory.
  void retire_first();
  // Retires finished batches without waiting.
  void poll();
  // Retires the oldest batches until `last` remain, or all of them if one fails.
  void retire_until(std::size_t last);

  Device& device_;
  std::span<const KernelInfo> table_;
  std::map<std::string, Kernel, std::less<>> kernels_;
  std::unique_ptr<Buffer> placeholder_;
  std::vector<std::unique_ptr<Buffer>> free_scratch_;
  std::vector<std::unique_ptr<Buffer>> free_staging_;
  std::unique_ptr<Batch> open_;
  RecordingTarget<RecordedCommands> recorded_;  // what takes commands while work is being recorded
  std::function<void()> pending_;
  bool part_is_full_ = false;
  std::deque<std::unique_ptr<Batch>> committed_;
  std::function<void(const DispatchRecord&)> observer_;
  std::uint64_t submissions_ = 0;
  std::uint64_t batches_ = 0;
  Counters counters_;
  double device_end_ = 0.0;  // end of the last retired batch, by the device's clock
  bool timing_ = false;
  std::vector<TimedBatch> timed_;  // retired while timing
  std::size_t operations_ = 0;     // since begin_times()
  std::size_t operation_ = KernelTime::no_operation;
  std::size_t pending_operation_ = KernelTime::no_operation;
  WorkingMemory held_;
};

}  // namespace mslt::msl
