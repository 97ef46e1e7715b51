// Sums over lanes of several values at once.
#pragma once

// Sums each of `count` values over groups of `lanes` neighbouring lanes, both powers of two, count at most lanes:
// values[0] becomes the sum of value number (lane % lanes) / (lanes / count). One shuffle serves two values, so this
// takes count + log2(lanes / count) of them. The order of additions is fixed.
template <uint count, uint lanes>
inline void spread_sums(thread float* values, uint lane) {
#pragma unroll
  for (uint part = 2; part <= lanes; part *= 2) {
    const uint bit = lanes / part;
    const uint left = count / part;
    if (left > 0) {
      const bool upper = (lane & bit) != 0;
#pragma unroll
      for (uint i = 0; i < left; ++i) {
        const float first = values[i];
        const float second = values[i + left];
        values[i] = (upper ? second : first) + simd_shuffle_xor(upper ? first : second, ushort(bit));
      }
    } else {
      values[0] += simd_shuffle_xor(values[0], ushort(bit));
    }
  }
}
