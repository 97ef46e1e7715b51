// The backend interface: all that a Transformer needs from a device.
//
// run() records or runs one operation on tensor views; operations/operations.h lists them. An operation sees the
// results of all earlier ones. Views must stay valid until wait(). Every operation is deterministic: the same inputs,
// device and thread count give the same bits. The host waits for the device only in wait(), throttle() and download(),
// and in uploads and read_back() when the staging memory is full. One thread at a time uses a Backend.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "backend/operations/checks.h"
#include "backend/operations/operations.h"
#include "backend/recording_target.h"
#include "base/named_interval.h"
#include "tensor/tensor.h"

namespace mslt {

// A device's identity and abilities; 0 or false if unknown.
struct DeviceInfo {
  std::string backend;             // "cpu", "cuda", "metal", "msl-host"
  std::string name;                // "AMD EPYC", "NVIDIA H100", ...
  std::uint64_t memory_bytes = 0;  // total memory available for allocation
  int compute_units = 0;           // threads or multiprocessors
  std::string instructions = {};   // of a CPU: the vector instructions that its operations use, such as "AVX2"
  std::string software = {};       // versions of the driver and of the libraries that compute; empty where unknown
  bool trains_16_bit = false;      // whether the backward operations accept bf16 and f16
  bool multiplies_bf16 = false;    // whether multiply_in_bf16() may be called
  bool reads_transposed = false;   // whether products take transposed weights
};

// What training in `asked` stores parameters and activations in: f32 on devices that have bf16 in products alone.
inline DType storage_dtype(const DeviceInfo& device, DType asked) {
  return asked == DType::bf16 && !device.trains_16_bit && device.multiplies_bf16 ? DType::f32 : asked;
}

// Memory that a backend holds for itself, in bytes: partial results of operations, and data on its way to and from a
// device.
struct WorkingMemory {
  std::size_t scratch = 0;
  std::size_t staging = 0;
};

// One dispatch, copy or fill on a device that runs kernels.
struct KernelTime {
  static constexpr std::size_t no_operation = std::numeric_limits<std::size_t>::max();

  std::string kernel;
  Work work;                             // as the backend counts it
  double seconds = 0.0;                  // by the device's clock
  double begin = 0.0;                    // by std::chrono::steady_clock, as near as the two clocks can be compared
  std::size_t operation = no_operation;  // the number of the as_operation() that it belongs to
};

// Executes the operations of a list, one overload each.
template <class Op>
class Executes {
 public:
  virtual void execute(const Op& op) = 0;

 protected:
  ~Executes() = default;
};

template <class List>
class ExecutesAll;

template <class... Ops>
class ExecutesAll<OperationList<Ops...>> : public Executes<Ops>... {
 public:
  using Executes<Ops>::execute...;

 protected:
  ~ExecutesAll() = default;
};

// Operations that were recorded once, to run again and again on the backend that recorded them.
class Recording {
 public:
  Recording() = default;
  Recording(const Recording&) = delete;
  Recording& operator=(const Recording&) = delete;
  virtual ~Recording() = default;
};

// What the host uploads to one tensor again and again, from staging memory of its own: nothing is allocated for an
// upload, and it comes from one of a few fixed addresses.
class UploadSlot {
 public:
  UploadSlot() = default;
  UploadSlot(const UploadSlot&) = delete;
  UploadSlot& operator=(const UploadSlot&) = delete;
  virtual ~UploadSlot() = default;

  // As Backend::upload to the tensor of the slot, or to its first elements if `source` has fewer bytes. Waits if the
  // device has not read the upload `under_way` times before.
  virtual void write(std::span<const std::byte> source) = 0;

 protected:
  // The first elements of the tensor, of so many bytes; all where it has not so many.
  static Tensor beginning(const Tensor& tensor, std::size_t bytes);
};

class Backend : public ExecutesAll<Operations> {
 public:
  virtual ~Backend() = default;

  // Checks the operation, then records or runs it. Throws Error(input) naming the operation, the argument, what it is
  // and what it should be; Error(device) for a transposed weight where the device reads none. A backend implements
  // execute(), whose arguments have been checked.
  template <class Op>
  void run(const Op& op) {
    check(op);
    if constexpr (requires { op.weight.transposed; }) {
      if (op.weight.transposed) require_transposed(Op::name);
    }
    const NamedInterval interval(Op::name.data());
    if (RecordedOperations* const recorded = recorded_.get()) {
      recorded->push_back([op](Backend& backend) { backend.execute(op); });
    } else {
      execute(op);
    }
  }

  virtual const DeviceInfo& device() const = 0;
  // Sentences about files or devices skipped when the backend was made; empty if none.
  const std::string& warning() const { return warning_; }
  // Adds sentences to warning().
  void warn(std::string_view sentences) {
    if (!warning_.empty() && !sentences.empty()) warning_ += ' ';
    warning_ += sentences;
  }

  // Memory and order.

  // Zeroed memory, aligned to at least 64 bytes. Throws Error(memory) naming the label, the requested bytes and the
  // free bytes.
  virtual std::unique_ptr<Buffer> allocate(std::size_t bytes, std::string_view label) = 0;
  // A read-only buffer over the bytes of `memory` in place, or null if the device cannot do that and they must be
  // copied. `memory` starts at a page and is readable to the end of its last page, like a mapped file. `owner` keeps it
  // alive and is released when the buffer and the work that reads it are done.
  virtual std::unique_ptr<Buffer> wrap(std::span<const std::byte> /*memory*/, std::string_view /*label*/,
                                       std::shared_ptr<const void> /*owner*/) {
    return nullptr;
  }
  // Copies host bytes into `destination`, in recording order; `source` may be reused on return. Waits for earlier work
  // if that work holds all staging memory of the device.
  virtual void upload(const Tensor& destination, std::span<const std::byte> source) = 0;
  // A slot for `destination`, of whose uploads so many may be under way. Neither the backend nor the tensor's buffer
  // may go before it.
  virtual std::unique_ptr<UploadSlot> upload_slot(const Tensor& destination, std::size_t under_way,
                                                  std::string_view label);
  // Copies `source` to the host, once the work recorded so far is done.
  virtual void download(const Tensor& source, std::span<std::byte> destination) = 0;
  // Calls `receive` with the bytes that `source` has at this point of the recording: at once, later from wait(), or
  // from a completion handler inside another call of this object. The bytes are valid during the call only.
  virtual void read_back(const Tensor& source, std::function<void(std::span<const std::byte>)> receive) = 0;
  // Hands recorded work to the device without waiting.
  virtual void submit() = 0;
  // Returns when all recorded work is done and all read_back callbacks have run.
  virtual void wait() = 0;
  // Returns when at most `in_flight` of the submissions so far are still running and the read_back callbacks of the
  // others have run. A training step waits only here, without the device running dry.
  virtual void throttle(std::size_t in_flight) = 0;

  // Recorded work. A recording holds the settings and addresses of its operations; values that change between replays
  // lie in device memory and are uploaded between them, through slots if they change each time.

  // Keeps the operations that `work` runs instead of running them. Their buffers must live as long as the recording.
  // Throws as run(), and Error(usage) if `work` does anything other than run operations.
  virtual std::unique_ptr<Recording> record(const std::function<void()>& work);
  // Runs the operations in recorded order, with the results of run(), but without repeating checks and without
  // allocating device memory. Throws Error(usage) for a recording of another backend.
  virtual void replay(const Recording& recording);

  // Up to so many rows a FusedProduct of this weight, activations of this dtype and a norm or none is faster than the
  // operations that it stands for.
  virtual std::int64_t fused_rows(const Weight& /*weight*/, DType /*activations*/, bool /*has_norm*/) const {
    return 0;
  }

  // Seconds of work by the device's own clock, over all work that wait(), throttle() and download() have seen done; 0
  // without such a clock.
  virtual double device_seconds() const { return 0.0; }

  // Times of single commands, on a device that works while the host goes on. Nothing waits for a command; marks between
  // them cost a little, and where a driver has none, each command is handed over by itself.

  // Whether there are such times. Where not, an operation is done when run() returns, or wait().
  virtual bool has_device_times() const { return false; }
  // Waits; from now on, the times of commands are kept, those of replays, too.
  virtual void begin_times() { wait(); }
  // Waits, and returns what each dispatch, copy and fill of operations took since begin_times(), in order and none
  // beside another. Throws Error(device) if there were more than the device could keep.
  virtual std::vector<KernelTime> end_times() {
    wait();
    return {};
  }
  // Calls `run`. The commands that it records belong to one operation, the next in number since begin_times(). Those of
  // a recording are numbered by its replays, as if they were called there.
  virtual void as_operation(const std::function<void()>& run) { run(); }
  // The times of what `work` runs; empty on devices without. What was recorded earlier is done first.
  std::vector<KernelTime> time_kernels(const std::function<void()>& work);
  // The most bytes of the device's own memory that were allocated at a time; 0 where it works in the host's.
  virtual std::size_t peak_device_bytes() const { return 0; }

  // Whether products of f32 matrices round their operands to bf16 from now on; sums, results and everything else stay
  // f32. Throws Error(device) if they should where device().multiplies_bf16 is false.
  virtual void multiply_in_bf16(bool rounds);

  // What the backend holds for itself at present; it gives nothing of it back.
  virtual WorkingMemory working_memory() const { return {}; }
  // What a new backend of this kind would hold after `work`, for which nothing is allocated or computed: `work` is
  // given a backend whose buffers have a size but no memory, and whose device is done with nothing before it is waited
  // for.
  virtual WorkingMemory rehearse(const std::function<void(Backend&)>& /*work*/) const { return {}; }

 protected:
  // Throws Error(usage) naming the function where it is called by record()'s `work`.
  void require_not_recording(std::string_view function) const { recorded_.require_none(function); }

 private:
  class OperationRecording;
  using RecordedOperations = std::vector<std::function<void(Backend&)>>;

  void require_transposed(std::string_view operation) const;

  std::string warning_;
  RecordingTarget<RecordedOperations> recorded_;  // where run() puts operations, while they are kept
};

}  // namespace mslt
