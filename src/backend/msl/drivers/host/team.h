// The host threads that run the threadgroups of successive dispatches.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "backend/msl/drivers/host/group_runner.h"

namespace mslt::msl::host {

// One thread at a time.
class Team {
 public:
  // With that many threads, including the caller of run().
  explicit Team(int threads);
  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;
  ~Team();

  // Runs all threadgroups, each on one of the threads. Returns the kernel's error, or an empty string; after an error,
  // groups that had not started do not run.
  std::string run(const Dispatch& dispatch);

 private:
  void stop();
  void serve();
  void take_part(GroupRunner& runner, const Dispatch& dispatch);

  std::vector<std::thread> threads_;
  GroupRunner own_;
  std::mutex mutex_;
  std::condition_variable start_;
  std::condition_variable done_;
  const Dispatch* dispatch_ = nullptr;
  std::uint64_t round_ = 0;
  std::size_t busy_ = 0;
  bool stop_ = false;
  std::atomic<std::uint64_t> next_group_ = 0;
  std::atomic<bool> failed_ = false;
  std::string mistake_;
};

}  // namespace mslt::msl::host
