// Stacks with switches between them; switches are reported to AddressSanitizer.
#pragma once

#include <boost/context/detail/fcontext.hpp>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace mslt::msl::host {

struct Lane;

// One stack and its occupant. The fiber of a host thread's own stack has no memory of its own.
struct Fiber {
  boost::context::detail::fcontext_t context = nullptr;
  const void* bottom = nullptr;  // lowest address
  std::size_t size = 0;
  void* fake_stack = nullptr;  // AddressSanitizer's
  Lane* lane = nullptr;        // the kernel thread running or suspended on it
  std::uint64_t clock = 0;     // its address orders the kernel threads that use the stack one after another
  void* thread = nullptr;      // ThreadSanitizer's handle of these kernel threads, which are one to it
  std::uint32_t served = 0;    // how many of them the handle has had
};

// Continues `to` where it stopped; returns when another fiber continues `from`.
void switch_fiber(Fiber& from, Fiber& to);
// Must be the first call of a fiber's function, with that function's argument.
void first_switch(Fiber& self, boost::context::detail::transfer_t transfer);

// The fibers of one host thread.
class FiberPool {
 public:
  using Function = void (*)(boost::context::detail::transfer_t);

  // Every fiber starts with `function`, at the first switch to it.
  explicit FiberPool(Function function) : function_(function) {}
  FiberPool(const FiberPool&) = delete;
  FiberPool& operator=(const FiberPool&) = delete;
  ~FiberPool();

  // A fiber that nothing runs on. Throws Error(memory) if there is no room for its stack.
  Fiber& take();
  void give_back(Fiber& fiber);
  // ThreadSanitizer's handle for the next kernel thread on this fiber.
  static void* thread_on(Fiber& fiber);
  // Resets every fiber; whatever was suspended on them never continues.
  void reset();

 private:
  void add_slab();
  void prepare(Fiber& fiber) const;

  struct Slab {
    void* memory = nullptr;
    std::size_t bytes = 0;
  };

  Function function_;
  std::vector<Slab> slabs_;
  std::vector<std::unique_ptr<Fiber>> fibers_;
  std::vector<Fiber*> free_;
  std::size_t oldest_ = 0;  // for ThreadSanitizer, the longest unused stack is taken first
};

}  // namespace mslt::msl::host
