// The backend interface: everything a Transformer needs of a device.
//
// run() records or runs one operation on tensor views; operations/operations.h lists them. Whatever was recorded
// earlier is complete before a later operation reads it. Views must stay valid until wait(). Every operation is
// deterministic: the same inputs, device and thread count give the same bits. The host waits for the device in wait(),
// throttle() and download(), nowhere else. A Backend is used by one thread at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "backend/operations/checks.h"
#include "backend/operations/operations.h"
#include "tensor/tensor.h"

namespace mslt {

// What a device is and can do; 0 or false where it is not known.
struct DeviceInfo {
  std::string backend;             // "cpu", "cuda", "metal", "msl-host"
  std::string name;                // "AMD EPYC", "NVIDIA H100", ...
  std::uint64_t memory_bytes = 0;  // what may be allocated in all
  int compute_units = 0;           // threads or multiprocessors
  bool trains_16_bit = false;      // whether the backward operations take bf16 and f16
};

// What a backend holds for itself, in bytes: partial results of operations, and what is on its way to and from a
// device.
struct WorkingMemory {
  std::size_t scratch = 0;
  std::size_t staging = 0;
};

// What executes the operations of a list, one overload each.
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

class Backend : public ExecutesAll<Operations> {
 public:
  virtual ~Backend() = default;

  // Checks the operation, which throws Error(input) naming it, the argument, what that is and what it should be; then
  // records or runs it. A backend implements execute(), which takes arguments that were checked.
  template <class Op>
  void run(const Op& op) {
    check(op);
    if (recorded_ == nullptr) {
      execute(op);
    } else {
      recorded_->push_back([op](Backend& backend) { backend.execute(op); });
    }
  }

  virtual const DeviceInfo& device() const = 0;
  // Sentences about what was passed over when the backend was made, such as a file or another device; empty where
  // nothing was.
  const std::string& warning() const { return warning_; }
  // Adds sentences to them.
  void warn(std::string_view sentences) {
    if (!warning_.empty() && !sentences.empty()) warning_ += ' ';
    warning_ += sentences;
  }

  // Memory and order.

  // Zeroed memory, aligned to at least 64 bytes. Throws Error(memory) naming the label, the bytes asked for and what is
  // free.
  virtual std::unique_ptr<Buffer> allocate(std::size_t bytes, std::string_view label) = 0;
  // A buffer of the bytes of `memory` where they lie, for operations to read and never to write, or null where the
  // device cannot and they have to be copied. `memory` starts at a page and is readable up to the end of its last page,
  // as mapped files are; `owner` keeps it, and is let go only when the buffer and the work that reads it are done.
  virtual std::unique_ptr<Buffer> wrap(std::span<const std::byte> /*memory*/, std::string_view /*label*/,
                                       std::shared_ptr<const void> /*owner*/) {
    return nullptr;
  }
  // Copies host bytes into `destination` in the order of recording; `source` may be reused at return.
  virtual void upload(const Tensor& destination, std::span<const std::byte> source) = 0;
  // Copies `source` to the host, once the work recorded so far is done.
  virtual void download(const Tensor& source, std::span<std::byte> destination) = 0;
  // Calls `receive` with the bytes of `source` as they are at this point of the recording: at once, later from wait(),
  // or from a completion handler that runs inside a call of this object. Bytes are valid during the call only.
  virtual void read_back(const Tensor& source, std::function<void(std::span<const std::byte>)> receive) = 0;
  // Hands recorded work to the device without waiting.
  virtual void submit() = 0;
  // Returns when all recorded work is done and all read_back callbacks have run.
  virtual void wait() = 0;
  // Returns when at most `in_flight` of the submissions made so far are still running and the read_back callbacks of
  // the others have run: so a training step waits, without the device running dry.
  virtual void throttle(std::size_t in_flight) = 0;

  // Recorded work. A recording holds the settings and addresses of its operations: what changes from one replay to the
  // next lies in device memory, and is uploaded between them.

  // Keeps the operations that `work` runs instead of running them. Their buffers must live as long as the recording.
  // Throws what run() throws, and Error(usage) where `work` does anything but run operations.
  virtual std::unique_ptr<Recording> record(const std::function<void()>& work);
  // Runs the operations in the order in which they were recorded, as run() would: with the same results, but without
  // checking anything anew and without taking memory of the device. Throws Error(usage) for a recording of another
  // backend.
  virtual void replay(const Recording& recording);

  // Seconds that the device itself has worked on what wait(), throttle() and download() have seen done, by its own
  // clock; 0 where it has none.
  virtual double device_seconds() const { return 0.0; }

  // What the backend holds for itself at present; it gives nothing of it back.
  virtual WorkingMemory working_memory() const { return {}; }
  // What a new backend of this kind would hold after `work`, for which nothing is allocated or computed: `work` is
  // given a backend whose buffers have a size but no memory, and whose device is done with nothing before it is waited
  // for.
  virtual WorkingMemory rehearse(const std::function<void(Backend&)>& /*work*/) const { return {}; }

 protected:
  // Throws Error(usage) naming the function where it is called by record()'s `work`.
  void require_not_recording(std::string_view function) const;

 private:
  class OperationRecording;

  std::string warning_;
  std::vector<std::function<void(Backend&)>>* recorded_ = nullptr;  // where run() puts operations, while they are kept
};

}  // namespace mslt
