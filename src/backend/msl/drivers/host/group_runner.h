// Runs threadgroups on one host thread, their threads as fibers.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "backend/msl/drivers/host/entry.h"
#include "backend/msl/drivers/host/run_order.h"

namespace mslt::msl::host {

inline constexpr std::uint32_t simdgroup_width = 32;

// One dispatch for the runners; constant while it runs.
struct Dispatch {
  const HostKernel* kernel = nullptr;
  Bindings bindings;
  Extent groups;
  Extent threads;
  std::array<std::uint32_t, max_threadgroup_arguments> threadgroup_bytes{};
  RunOrder order;
  bool flush_subnormals = false;  // if can_flush_subnormals
  // Its addresses represent the dispatch's start and end for ThreadSanitizer.
  mutable std::uint64_t start_clock = 0;
  mutable std::uint64_t end_clock = 0;

  std::uint64_t group_count() const { return std::uint64_t{groups.x} * groups.y * groups.z; }
  std::uint32_t thread_count() const { return threads.x * threads.y * threads.z; }
};

// A kernel thread gets a fiber only when it runs, and one that never waits leaves its fiber to the next; so a kernel
// without barriers needs no switches. Stacks, lanes and threadgroup memory are kept from group to group. Under
// ThreadSanitizer each kernel thread is a thread to the tool, and memory of a group is never reused by another in a way
// that would order the two.
// another in a way that would order the two.
class GroupRunner {
 public:
  GroupRunner();
  GroupRunner(const GroupRunner&) = delete;
  GroupRunner& operator=(const GroupRunner&) = delete;
  ~GroupRunner();

  // Prepares for the groups of `dispatch`, which must stay valid until finish().
  void begin(const Dispatch& dispatch);
  // Runs the group with that linear number, its threads in the dispatch's order. Returns the kernel's error, or an
  // empty string.
  std::string run(std::uint64_t group);
  void finish();

  class Impl;

 private:
  std::unique_ptr<Impl> impl_;
};

}  // namespace mslt::msl::host
