// One NCCL communicator on one GPU, with a stream of its own and a thread that ends its work when a rank fails.
#pragma once

#include <cuda_runtime_api.h>

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <functional>
#include <mutex>
#include <optional>
#include <string>

#include "base/joining_thread.h"
#include "parallel/nccl_library.h"

namespace mslt {

// What a collective does. Calls NCCL's functions and returns their worst result.
using NcclWork = std::function<ncclResult_t(const NcclLibrary&, ncclComm_t, cudaStream_t)>;

// One thread at a time, where nothing else is said.
class NcclSession {
 public:
  // Connects with the other ranks on the current GPU. `has_failed` says whether a rank failed, from any thread; a
  // failure ends the wait. Throws Error(device).
  NcclSession(const NcclLibrary& nccl, const ncclUniqueId& id, int rank, int size, std::function<bool()> has_failed);
  NcclSession(const NcclSession&) = delete;
  NcclSession& operator=(const NcclSession&) = delete;
  ~NcclSession();

  // Puts the work into the session's stream, after what is in `stream` so far. Throws Error(device).
  void begin(cudaStream_t stream, const NcclWork& work);
  // Lets what comes into `stream` wait for all work begun.
  void finish(cudaStream_t stream);
  // Returns when all work begun is done, or was aborted.
  void wait();
  // Ends all work, whose results are undefined then; `why` is what later calls throw. Thread-safe.
  void abort(const std::string& why);
  // Throws Error(device) where NCCL has failed or was aborted.
  void require_sound();

 private:
  // Waits until the communicator is done with its last call.
  ncclResult_t settled(ncclResult_t result);
  void watch();
  void fail_with(ncclResult_t result, const char* what);

  NcclLibrary nccl_;
  std::function<bool()> has_failed_;
  cudaStream_t stream_ = nullptr;
  cudaEvent_t ready_ = nullptr;
  cudaEvent_t done_ = nullptr;
  std::timed_mutex calls_;  // of NCCL's functions on communicator_
  ncclComm_t communicator_ = nullptr;
  std::atomic<bool> is_aborted_{false};
  std::mutex mutex_;  // of what follows
  std::string problem_;
  std::condition_variable stop_;
  bool stopping_ = false;
  std::optional<JoiningThread> thread_;
};

}  // namespace mslt
