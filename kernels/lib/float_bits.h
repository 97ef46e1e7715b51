// Conversions by integers that keep subnormals, which some devices' own conversions flush to zero.
#pragma once

// The bits of the float that equals the element. Subnormal halfs are normal floats.
inline uint float_bits(float x) {
  return as_type<uint>(x);
}

inline uint float_bits(half x) {
  return as_type<uint>(float(x));
}

inline uint float_bits(bfloat x) {
  return uint(as_type<ushort>(x)) << 16;
}

// The element nearest to the float with those bits; ties to even.
inline void round_bits(uint bits, thread float& result) {
  result = as_type<float>(bits);
}

inline void round_bits(uint bits, thread half& result) {
  result = half(as_type<float>(bits));
}

inline void round_bits(uint bits, thread bfloat& result) {
  const bool is_nan = (bits & 0x7fffffffu) > 0x7f800000u;
  // A NaN stays a (quiet) NaN, whatever its lower bits.
  const uint rounded = is_nan ? bits | 0x00400000u : bits + 0x7fffu + ((bits >> 16) & 1u);
  result = as_type<bfloat>(ushort(rounded >> 16));
}
