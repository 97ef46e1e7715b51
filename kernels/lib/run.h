// Runs: a few neighbouring elements of a row as stored, by one access if all are known to exist.
#pragma once

// `count` elements, a power of two, of 4 to 32 bytes.
template <typename T, uint count>
struct Run {
  uint words[count * sizeof(T) / 4];
};

// The run at `data`, which is aligned to its size or to 16 bytes, whichever is less.
template <typename T, uint count>
inline void fetch_run(device const T* data, thread Run<T, count>& run) {
  constexpr uint words = count * sizeof(T) / 4;
  if (words == 1) {
    run.words[0] = *(device const uint*)data;
  } else if (words == 2) {
    const uint2 pair = *(device const uint2*)data;
    run.words[0] = pair.x;
    run.words[words - 1] = pair.y;
  } else {
#pragma unroll
    for (uint k = 0; k + 4 <= words; k += 4) {
      const uint4 four = ((device const uint4*)data)[k / 4];
      run.words[k] = four.x;
      run.words[k + 1] = four.y;
      run.words[k + 2] = four.z;
      run.words[k + 3] = four.w;
    }
  }
}

// Sets an element in a run of zeros.
template <uint count>
inline void put_in_run(thread Run<float, count>& run, uint k, float value) {
  run.words[k] = as_type<uint>(value);
}

template <uint count, typename T>
inline void put_in_run(thread Run<T, count>& run, uint k, T value) {
  run.words[k / 2] |= uint(as_type<ushort>(value)) << (16 * (k & 1u));
}

template <typename T, uint count>
inline void clear_run(thread Run<T, count>& run) {
#pragma unroll
  for (uint k = 0; k < count * sizeof(T) / 4; ++k) {
    run.words[k] = 0;
  }
}

// The same as fetch_run, element by element, with zeros for elements from number `left` on.
template <typename T, uint count>
inline void fetch_run_before(device const T* data, uint left, thread Run<T, count>& run) {
  clear_run(run);
#pragma unroll
  for (uint k = 0; k < count; ++k) {
    if (k < left) {
      put_in_run(run, k, data[k]);
    }
  }
}

// Element `k` of a run.
template <uint count>
inline float run_element(thread const Run<float, count>& run, uint k) {
  return as_type<float>(run.words[k]);
}

template <uint count, typename T>
inline T run_element(thread const Run<T, count>& run, uint k) {
  return as_type<T>(ushort(run.words[k / 2] >> (16 * (k & 1u))));
}

// Stores to data[0 .. count), which is aligned as for fetch_run and has at least 16 bytes.
template <typename T, uint count>
inline void store_run(device T* data, thread const Run<T, count>& run) {
#pragma unroll
  for (uint k = 0; k + 4 <= count * sizeof(T) / 4; k += 4) {
    ((device uint4*)data)[k / 4] = uint4(run.words[k], run.words[k + 1], run.words[k + 2], run.words[k + 3]);
  }
}

// Stores the elements with numbers below `left`, one by one.
template <typename T, uint count>
inline void store_run_before(device T* data, uint left, thread const Run<T, count>& run) {
#pragma unroll
  for (uint k = 0; k < count; ++k) {
    if (k < left) {
      data[k] = run_element(run, k);
    }
  }
}
