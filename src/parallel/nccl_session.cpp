// Calling NCCL so that no call waits for a rank that has gone.
#include "parallel/nccl_session.h"

#include <chrono>
#include <thread>
#include <utility>

#include "backend/msl/drivers/cuda/cuda_status.h"
#include "base/fail.h"

namespace mslt {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds watch_interval{100};
// A rank that ends breaks NCCL's connections, too; who ended and why comes by another way.
constexpr std::chrono::seconds to_be_explained{3};
constexpr std::chrono::seconds to_enter{5};  // a call that another thread makes

}  // namespace

NcclSession::NcclSession(const NcclLibrary& nccl, const ncclUniqueId& id, int rank, int size,
                         std::function<bool()> has_failed)
    : nccl_(nccl), has_failed_(std::move(has_failed)) {
  int lowest = 0;
  int highest = 0;
  msl::cuda::check(cudaDeviceGetStreamPriorityRange(&lowest, &highest), "asking for priorities");
  msl::cuda::check(cudaStreamCreateWithPriority(&stream_, cudaStreamNonBlocking, highest), "making a stream");
  msl::cuda::check(cudaEventCreateWithFlags(&ready_, cudaEventDisableTiming), "making an event");
  msl::cuda::check(cudaEventCreateWithFlags(&done_, cudaEventDisableTiming), "making an event");
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 0;
  const ncclResult_t result = settled(nccl_.init_rank(&communicator_, size, id, rank, &config));
  if (result != ncclSuccess) {
    if (communicator_ != nullptr) nccl_.abort(communicator_);
    communicator_ = nullptr;
    fail_with(result, "connecting the GPUs");
  }
  thread_.emplace([this] { watch(); });
}

NcclSession::~NcclSession() {
  {
    const std::scoped_lock lock(mutex_);
    stopping_ = true;
  }
  stop_.notify_one();
  thread_.reset();
  // Destroying would wait for all ranks, which may not come after an error.
  if (!is_aborted_) nccl_.abort(communicator_);
  cudaEventDestroy(ready_);
  cudaEventDestroy(done_);
  cudaStreamDestroy(stream_);
}

void NcclSession::begin(cudaStream_t stream, const NcclWork& work) {
  msl::cuda::check(cudaEventRecord(ready_, stream), "marking the gradients");
  msl::cuda::check(cudaStreamWaitEvent(stream_, ready_, 0), "waiting for the gradients");
  ncclResult_t result = ncclSuccess;
  {
    const std::scoped_lock lock(calls_);
    require_sound();
    result = settled(work(nccl_, communicator_, stream_));
  }
  if (result != ncclSuccess) fail_with(result, "a collective");
}

void NcclSession::finish(cudaStream_t stream) {
  require_sound();
  msl::cuda::check(cudaEventRecord(done_, stream_), "marking the sums");
  msl::cuda::check(cudaStreamWaitEvent(stream, done_, 0), "waiting for the sums");
}

void NcclSession::wait() {
  msl::cuda::check(cudaStreamSynchronize(stream_), "waiting for collectives");
}

void NcclSession::require_sound() {
  if (!is_aborted_) return;
  const std::scoped_lock lock(mutex_);
  fail(ErrorKind::device, "NCCL: {}", problem_);
}

ncclResult_t NcclSession::settled(ncclResult_t result) {
  const Clock::time_point begin = Clock::now();
  while (result == ncclInProgress) {
    if (has_failed_() || is_aborted_) return ncclRemoteError;
    if (Clock::now() - begin < std::chrono::milliseconds(2)) {
      std::this_thread::yield();
    } else {
      std::this_thread::sleep_for(std::chrono::microseconds(100));
    }
    if (const ncclResult_t outcome = nccl_.get_async_error(communicator_, &result); outcome != ncclSuccess) {
      return outcome;
    }
  }
  return result;
}

void NcclSession::watch() {
  std::unique_lock lock(mutex_);
  std::optional<Clock::time_point> failed;
  while (!stop_.wait_for(lock, watch_interval, [this] { return stopping_; })) {
    lock.unlock();
    ncclResult_t state = ncclSuccess;
    if (const std::unique_lock calls(calls_, watch_interval); calls.owns_lock() && !is_aborted_) {
      if (nccl_.get_async_error(communicator_, &state) != ncclSuccess) state = ncclSystemError;
    }
    const bool is_sound = state == ncclSuccess || state == ncclInProgress;
    if (!is_sound && !failed) failed = Clock::now();
    if (has_failed_()) return abort("ended, since a rank has failed.");
    if (failed && Clock::now() - *failed > to_be_explained) {
      return abort(fmt::format("{} ({}).", nccl_.error_text(state), nccl_.last_error(communicator_)));
    }
    lock.lock();
  }
}

void NcclSession::abort(const std::string& why) {
  {
    const std::scoped_lock lock(mutex_);
    if (is_aborted_) return;
    problem_ = why;
    is_aborted_ = true;
  }
  // A call that waits for the GPU, which waits for a rank that has gone, ends only by this.
  const bool is_alone = calls_.try_lock_for(to_enter);
  nccl_.abort(communicator_);
  if (is_alone) calls_.unlock();
}

void NcclSession::fail_with(ncclResult_t result, const char* what) {
  require_sound();
  const std::string text =
      fmt::format("NCCL failed in {}: {} ({}).", what, nccl_.error_text(result), nccl_.last_error(communicator_));
  throw Error(ErrorKind::device, text);
}

}  // namespace mslt
