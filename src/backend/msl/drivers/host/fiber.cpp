// Stacks and switches between them.
#include "backend/msl/drivers/host/fiber.h"

#include <sys/mman.h>
#include <unistd.h>

#include <utility>

#include "backend/cpu/host_info.h"
#include "backend/msl/drivers/host/sanitizer_hooks.h"
#include "base/fail.h"
#include "base/process_limits.h"

namespace mslt::msl::host {
namespace {

constexpr std::size_t stacks_a_slab = 32;
// Under ThreadSanitizer a stack orders the kernel threads that use it, so it must rest for long before its next use.
constexpr std::size_t watched_stacks = 4096;
// Its handles take ten times as long to make as to switch to. The stack orders its kernel threads anyway, so one handle
// is as good as one for each of them. But a handle's history of accesses grows with its use.
constexpr std::uint32_t most_served = 16;

// Stacks start at different cache sets, since all lanes touch the top of theirs at about the same time.
std::size_t colour(std::size_t index) {
  return index * 320 % 16384;
}

void arrived(Fiber& self, boost::context::detail::transfer_t transfer) {
  auto* previous = static_cast<Fiber*>(transfer.data);
  previous->context = transfer.fctx;
  const void* bottom = nullptr;
  std::size_t size = 0;
  sanitizer::finish_switch(self.fake_stack, &bottom, &size);
  // Only the sanitizer knows the size of a host thread's own stack.
  if (previous->bottom == nullptr) {
    previous->bottom = bottom;
    previous->size = size;
  }
}

void end_thread(Fiber& fiber) {
  if (fiber.thread != nullptr) sanitizer::destroy_thread(std::exchange(fiber.thread, nullptr));
  fiber.served = 0;
}

}  // namespace

void switch_fiber(Fiber& from, Fiber& to) {
  sanitizer::start_switch(&from.fake_stack, to.bottom, to.size);
  const boost::context::detail::transfer_t transfer = boost::context::detail::jump_fcontext(to.context, &from);
  sanitizer::values_known(&transfer, sizeof(transfer));
  arrived(from, transfer);
}

void first_switch(Fiber& self, boost::context::detail::transfer_t transfer) {
  arrived(self, transfer);
}

FiberPool::~FiberPool() {
  for (const std::unique_ptr<Fiber>& fiber : fibers_) end_thread(*fiber);
  for (const Slab& slab : slabs_) munmap(slab.memory, slab.bytes);
}

Fiber& FiberPool::take() {
  if constexpr (sanitizer::sees_races) {
    while (fibers_.size() < watched_stacks || oldest_ == free_.size()) add_slab();
    Fiber* fiber = free_[oldest_++];
    if (oldest_ > watched_stacks) {
      free_.erase(free_.begin(), free_.begin() + static_cast<std::ptrdiff_t>(oldest_));
      oldest_ = 0;
    }
    return *fiber;
  } else {
    if (free_.empty()) add_slab();
    Fiber* fiber = free_.back();
    free_.pop_back();
    return *fiber;
  }
}

void FiberPool::give_back(Fiber& fiber) {
  free_.push_back(&fiber);
}

void* FiberPool::thread_on(Fiber& fiber) {
  if (fiber.served == most_served) end_thread(fiber);
  if (fiber.thread == nullptr) fiber.thread = sanitizer::create_thread();
  ++fiber.served;
  return fiber.thread;
}

void FiberPool::reset() {
  free_.clear();
  oldest_ = 0;
  for (const std::unique_ptr<Fiber>& fiber : fibers_) {
    // To the sanitizer a suspended thread is still inside of its functions.
    end_thread(*fiber);
    prepare(*fiber);
    free_.push_back(fiber.get());
  }
}

void FiberPool::add_slab() {
  const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  constexpr std::size_t stack = sanitizer::stack_bytes;
  const std::size_t bytes = stacks_a_slab * stack;
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) {
    fail(ErrorKind::memory, "There is no room for the stacks of a kernel's threads, {}: {}.", binary_size(bytes),
         explain_memory(bytes, host_free_bytes()));
  }
  slabs_.push_back({memory, bytes});
  auto* bottom = static_cast<std::byte*>(memory);
  for (std::size_t i = 0; i < stacks_a_slab; ++i, bottom += stack) {
    // An overflow of the stack faults here. Each guard costs the system a mapping, too many for thousands of stacks.
    if (!sanitizer::sees_races) mprotect(bottom, page, PROT_NONE);
    auto fiber = std::make_unique<Fiber>();
    fiber->bottom = bottom + page;
    fiber->size = stack - page - colour(fibers_.size());
    prepare(*fiber);
    free_.push_back(fiber.get());
    fibers_.push_back(std::move(fiber));
  }
}

void FiberPool::prepare(Fiber& fiber) const {
  sanitizer::forget_stack(fiber.bottom, fiber.size);
  auto* bottom = static_cast<std::byte*>(const_cast<void*>(fiber.bottom));
  fiber.context = boost::context::detail::make_fcontext(bottom + fiber.size, fiber.size, function_);
  fiber.fake_stack = nullptr;
  fiber.lane = nullptr;
}

}  // namespace mslt::msl::host
