// What the host driver's fibers report to the sanitizer of the build; nothing without one.
//
// AddressSanitizer must know which stack is in use. ThreadSanitizer must know which kernel thread runs and what orders
// threads: only the start and end of a dispatch and the barriers, so it detects every missing one.
#pragma once

#include <cstddef>

#if defined(__SANITIZE_ADDRESS__)
#define MSLT_HOST_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define MSLT_HOST_ASAN 1
#endif
#endif

#if defined(__SANITIZE_THREAD__)
#define MSLT_HOST_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define MSLT_HOST_TSAN 1
#endif
#endif
// The scheduler is compiled without the sanitizers' checks and must be told that the rest has them.
#if defined(MSLT_HOST_UNDER_ASAN) && !defined(MSLT_HOST_ASAN)
#define MSLT_HOST_ASAN 1
#endif
#if defined(MSLT_HOST_UNDER_TSAN) && !defined(MSLT_HOST_TSAN)
#define MSLT_HOST_TSAN 1
#endif

#if defined(__has_feature)
#if __has_feature(memory_sanitizer)
#define MSLT_HOST_MSAN 1
#endif
#endif

#ifdef MSLT_HOST_ASAN
extern "C" {
void __sanitizer_start_switch_fiber(void** fake_stack_save, const void* bottom, std::size_t size);
void __sanitizer_finish_switch_fiber(void* fake_stack_save, const void** bottom_old, std::size_t* size_old);
void __asan_unpoison_memory_region(const volatile void* address, std::size_t size);
}
#endif

#ifdef MSLT_HOST_TSAN
extern "C" {
void* __tsan_get_current_fiber();
void* __tsan_create_fiber(unsigned flags);
void __tsan_destroy_fiber(void* fiber);
void __tsan_switch_to_fiber(void* fiber, unsigned flags);
void __tsan_acquire(void* address);
void __tsan_release(void* address);
void AnnotateIgnoreReadsBegin(const char* file, int line);
void AnnotateIgnoreReadsEnd(const char* file, int line);
void AnnotateIgnoreWritesBegin(const char* file, int line);
void AnnotateIgnoreWritesEnd(const char* file, int line);
}
#endif

#ifdef MSLT_HOST_MSAN
extern "C" {
void __msan_allocated_memory(const volatile void* address, std::size_t size);
void __msan_unpoison(const volatile void* address, std::size_t size);
}
#endif

namespace mslt::msl::host::sanitizer {

#ifdef MSLT_HOST_ASAN
inline void start_switch(void** fake_stack, const void* bottom, std::size_t size) {
  __sanitizer_start_switch_fiber(fake_stack, bottom, size);
}
inline void finish_switch(void* fake_stack, const void** old_bottom, std::size_t* old_size) {
  __sanitizer_finish_switch_fiber(fake_stack, old_bottom, old_size);
}
// A stack whose frames will never return.
inline void forget_stack(const void* bottom, std::size_t size) {
  __asan_unpoison_memory_region(bottom, size);
}
inline constexpr std::size_t stack_bytes = std::size_t{512} << 10;
#else
inline void start_switch(void** /*fake_stack*/, const void* /*bottom*/, std::size_t /*size*/) {}
inline void finish_switch(void* /*fake_stack*/, const void** /*old_bottom*/, std::size_t* /*old_size*/) {}
inline void forget_stack(const void* /*bottom*/, std::size_t /*size*/) {}
inline constexpr std::size_t stack_bytes = std::size_t{256} << 10;
#endif

#ifdef MSLT_HOST_TSAN
inline constexpr bool sees_races = true;
// A kernel thread, as ThreadSanitizer's handle.
inline void* current_thread() {
  return __tsan_get_current_fiber();
}
inline void* create_thread() {
  return __tsan_create_fiber(0);
}
inline void destroy_thread(void* thread) {
  __tsan_destroy_fiber(thread);
}
// Flag 1: the switch itself orders nothing.
inline void switch_thread(void* thread) {
  __tsan_switch_to_fiber(thread, 1);
}
// Everything released at this address before happens before whatever follows the acquire.
inline void acquire(void* address) {
  __tsan_acquire(address);
}
inline void release(void* address) {
  __tsan_release(address);
}
// ThreadSanitizer ignores this thread between the two calls.
inline void ignore_begin() {
  AnnotateIgnoreReadsBegin(__FILE__, __LINE__);
  AnnotateIgnoreWritesBegin(__FILE__, __LINE__);
}
inline void ignore_end() {
  AnnotateIgnoreWritesEnd(__FILE__, __LINE__);
  AnnotateIgnoreReadsEnd(__FILE__, __LINE__);
}
#else
inline constexpr bool sees_races = false;
inline void* current_thread() {
  return nullptr;
}
inline void* create_thread() {
  return nullptr;
}
inline void destroy_thread(void* /*thread*/) {}
inline void switch_thread(void* /*thread*/) {}
inline void acquire(void* /*address*/) {}
inline void release(void* /*address*/) {}
inline void ignore_begin() {}
inline void ignore_end() {}
#endif

#ifdef MSLT_HOST_MSAN
// Makes memory undefined.
inline void forget_values(const void* address, std::size_t size) {
  __msan_allocated_memory(address, size);
}
inline void values_known(const void* address, std::size_t size) {
  __msan_unpoison(address, size);
}
#else
inline void forget_values(const void* /*address*/, std::size_t /*size*/) {}
inline void values_known(const void* /*address*/, std::size_t /*size*/) {}
#endif

}  // namespace mslt::msl::host::sanitizer
