// What a kernel may do while those in front of it still run, where a target starts it that early: elsewhere nothing.
//
// A kernel that calls wait_for_earlier_kernels starts without waiting, so all its threads call that once, before they
// return and before they read or write a buffer. Before it they may ask for memory ahead: that is no access.
#pragma once

// Whether the target does any of it.
constant constexpr bool asks_ahead = false;

// Lets `bytes` bytes, a multiple of 16 from one on, come closer. One thread asks for them.
inline void ask_ahead(device const uchar* /*data*/, ulong /*bytes*/) {}

template <typename T>
inline void ask_ahead(device const T* data, ulong bytes) {
  ask_ahead((device const uchar*)data, bytes);
}

// A number that tells what to ask for. It may be out of date: an earlier kernel may still write it.
inline int peek_ahead(device const int* /*data*/) {
  return 0;
}

inline void wait_for_earlier_kernels() {}
