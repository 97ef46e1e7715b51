// Copies of parts of matrices to threadgroup memory by 128 threads, on NVIDIA. Included inside a unit's namespace.
#pragma once

constexpr uint stage_threads = 128;

// Copies the `rows` rows and 8 · units columns at (row, column) of a matrix [height, width], whose rows are `stride`
// elements apart, to `tile`, as msl_tensor_core.cuh lays it out, with zeros outside the matrix. `aligned`: its rows are
// whole units at multiples of 16 bytes, and their copies go on in the background.
template <uint rows, uint units, typename T>
__device__ __forceinline__ void stage_units(uint4* tile, const T* data, uint stride, uint row, uint column, uint height,
                                            uint width, bool aligned, uint position) {
#pragma unroll
  for (uint i = 0; i < rows * units; i += stage_threads) {
    const uint at = i + position;
    if (rows * units % stage_threads != 0 && at >= rows * units) {
      break;
    }
    const uint r = row + at / units;
    const uint c = column + at % units * 8;
    uint4* to = tile + tensor_core::place_of<units>(at / units, at % units);
    const uint left = left_in_row(r, height, c, width);
    const T* from = data + (left > 0 ? ulong(r) * stride + c : 0);
    if (aligned) {
      tensor_core::copy_unit(to, from, left > 0);
    } else {
      Run<T, 8> run;
      fetch_run_before(from, left, run);
      *to = uint4(run.words[0], run.words[1], run.words[2], run.words[3]);
    }
  }
}

// The same to floats, rows of which are `pitch` floats apart.
template <uint rows, uint columns, uint pitch, typename T>
__device__ __forceinline__ void stage_floats(float* tile, const T* data, uint stride, uint row, uint column,
                                             uint height, uint width, bool aligned, uint position) {
  constexpr uint each = is_same_v<T, float> ? 4 : 8;
#pragma unroll
  for (uint i = 0; i < rows * columns / each; i += stage_threads) {
    const uint y = (i + position) / (columns / each);
    const uint x = (i + position) % (columns / each) * each;
    const uint left = left_in_row(row + y, height, column + x, width);
    const T* from = data + (left > 0 ? ulong(row + y) * stride + column + x : 0);
    float* to = tile + y * pitch + x;
    if (is_same_v<T, float> && aligned) {
      tensor_core::copy_unit(to, from, left > 0);
    } else {
#pragma unroll
      for (uint k = 0; k < each; ++k) {
        to[k] = k < left ? float(from[k]) : 0.0f;
      }
    }
  }
}
