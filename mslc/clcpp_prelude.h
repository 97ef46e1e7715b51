// The part of the Metal library in the subset, declared for clang's C++ for OpenCL, where address spaces are real.
//
// Nothing here is ever run: `clang -x clcpp -cl-std=clc++2021` reads it before each file that mslc wrote, to reject
// code that mixes device, constant, threadgroup and thread memory, and to show which arrays of a thread its optimiser
// leaves in memory. For the latter, functions that take a reference to thread memory have a body; functions without one
// take scalars. bfloat is a struct; float4 and the like are clang's vectors, whose constructors mslc calls make_float4.
// The numeric limits and M_PI_F are OpenCL's own macros.
#pragma once

#pragma OPENCL EXTENSION cl_khr_fp16 : enable

namespace metal {

typedef unsigned char uchar;
typedef unsigned short ushort;
typedef unsigned int uint;
typedef unsigned long ulong;
typedef unsigned long size_t;
typedef signed char int8_t;
typedef uchar uint8_t;
typedef short int16_t;
typedef ushort uint16_t;
typedef int int32_t;
typedef uint uint32_t;
typedef long int64_t;
typedef ulong uint64_t;

ushort mslt_narrow(float value);
float mslt_widen(ushort bits);

struct bfloat {
  ushort bits;
  bfloat() = default;
  explicit bfloat(float value) : bits(mslt_narrow(value)) {}
  operator float() const { return mslt_widen(bits); }
  operator float() const __constant { return mslt_widen(bits); }
};

// The vectors of n elements, and the functions that replace their constructors.
#define MSLT_VECTORS(scalar)                                                  \
  typedef scalar scalar##2 __attribute__((ext_vector_type(2)));               \
  typedef scalar scalar##3 __attribute__((ext_vector_type(3)));               \
  typedef scalar scalar##4 __attribute__((ext_vector_type(4)));               \
  inline scalar##2 make_##scalar##2(scalar x, scalar y) {                     \
    return (scalar##2)(x, y);                                                 \
  }                                                                           \
  inline scalar##3 make_##scalar##3(scalar x, scalar y, scalar z) {           \
    return (scalar##3)(x, y, z);                                              \
  }                                                                           \
  inline scalar##4 make_##scalar##4(scalar x, scalar y, scalar z, scalar w) { \
    return (scalar##4)(x, y, z, w);                                           \
  }                                                                           \
  template <typename T>                                                       \
  scalar##2 make_##scalar##2(T value);                                        \
  template <typename T>                                                       \
  scalar##3 make_##scalar##3(T value);                                        \
  template <typename T>                                                       \
  scalar##4 make_##scalar##4(T value);                                        \
  struct packed_##scalar##2 {                                                 \
    scalar x, y;                                                              \
  };                                                                          \
  struct packed_##scalar##3 {                                                 \
    scalar x, y, z;                                                           \
  };                                                                          \
  struct packed_##scalar##4 {                                                 \
    scalar x, y, z, w;                                                        \
  };
MSLT_VECTORS(char)
MSLT_VECTORS(uchar)
MSLT_VECTORS(short)
MSLT_VECTORS(ushort)
MSLT_VECTORS(int)
MSLT_VECTORS(uint)
MSLT_VECTORS(long)
MSLT_VECTORS(ulong)
MSLT_VECTORS(half)
MSLT_VECTORS(float)
#undef MSLT_VECTORS

struct bfloat2 {
  bfloat x, y;
};
struct bfloat4 {
  bfloat x, y, z, w;
  bfloat4() = default;
  bfloat4(bfloat a, bfloat b, bfloat c, bfloat d) : x(a), y(b), z(c), w(d) {}
  explicit bfloat4(float4 value) : x(value.x), y(value.y), z(value.z), w(value.w) {}
  explicit operator float4() const { return (float4)(float(x), float(y), float(z), float(w)); }
};

// The result of vector comparisons here.
typedef int2 bool2;
typedef int3 bool3;
typedef int4 bool4;

template <typename T, int n>
struct mslt_vector;
#define MSLT_VECTOR(scalar, n)    \
  template <>                     \
  struct mslt_vector<scalar, n> { \
    typedef scalar##n type;       \
  };
#define MSLT_VECTOR_ALL(scalar) MSLT_VECTOR(scalar, 2) MSLT_VECTOR(scalar, 4)
MSLT_VECTOR_ALL(float)
MSLT_VECTOR_ALL(half)
MSLT_VECTOR_ALL(bfloat)
MSLT_VECTOR_ALL(int)
MSLT_VECTOR_ALL(uint)
MSLT_VECTOR_ALL(uchar)
MSLT_VECTOR_ALL(char)
MSLT_VECTOR_ALL(ushort)
#undef MSLT_VECTOR_ALL
#undef MSLT_VECTOR
template <typename T, int n>
using vec = typename mslt_vector<T, n>::type;

template <typename To, typename From>
To as_type(From value) {
  return __builtin_bit_cast(To, value);
}

template <typename A, typename B>
struct is_same {
  static constexpr __constant bool value = false;
};
template <typename A>
struct is_same<A, A> {
  static constexpr __constant bool value = true;
};
template <typename A, typename B>
constexpr __constant bool is_same_v = is_same<A, B>::value;

// The memory of a kernel's threadgroup array.
template <typename T>
__local T& mslt_threadgroup_array();

#define MSLT_UNARY(name) \
  float name(float x);   \
  float2 name(float2 x); \
  float3 name(float3 x); \
  float4 name(float4 x);
#define MSLT_UNARY_ALL \
  MSLT_UNARY(exp)      \
  MSLT_UNARY(exp2)     \
  MSLT_UNARY(exp10)    \
  MSLT_UNARY(log)      \
  MSLT_UNARY(log2)     \
  MSLT_UNARY(log10)    \
  MSLT_UNARY(sqrt)     \
  MSLT_UNARY(rsqrt)    \
  MSLT_UNARY(sin)      \
  MSLT_UNARY(cos)      \
  MSLT_UNARY(tan)      \
  MSLT_UNARY(tanh)     \
  MSLT_UNARY(sinh)     \
  MSLT_UNARY(cosh)     \
  MSLT_UNARY(floor)    \
  MSLT_UNARY(ceil)     \
  MSLT_UNARY(round)    \
  MSLT_UNARY(rint)     \
  MSLT_UNARY(trunc)    \
  MSLT_UNARY(fabs)
MSLT_UNARY_ALL
float pow(float x, float y);
float powr(float x, float y);
float4 pow(float4 x, float4 y);
float fmod(float x, float y);
float atan2(float y, float x);
float ldexp(float x, int k);
namespace precise {
MSLT_UNARY_ALL
float pow(float x, float y);
}  // namespace precise
namespace fast {
MSLT_UNARY_ALL
float pow(float x, float y);
}  // namespace fast
#undef MSLT_UNARY_ALL
#undef MSLT_UNARY

bool isnan(float x);
bool isinf(float x);
bool isfinite(float x);
inline float sincos(float x, __private float& cosine) {
  cosine = cos(x);
  return sin(x);
}
float fma(float a, float b, float c);
float4 fma(float4 a, float4 b, float4 c);
float2 fma(float2 a, float2 b, float2 c);
float dot(float2 a, float2 b);
float dot(float3 a, float3 b);
float dot(float4 a, float4 b);
template <typename T>
T abs(T x);
template <typename T>
T min(T a, T b);
template <typename T>
T max(T a, T b);
template <typename T>
T fmin(T a, T b);
template <typename T>
T fmax(T a, T b);
template <typename T>
T clamp(T x, T low, T high);
template <typename T, typename B>
T select(T when_false, T when_true, B condition);
template <typename T>
T mix(T x, T y, T a);
template <typename T>
T sign(T x);
template <typename T>
T popcount(T x);
template <typename T>
T clz(T x);
template <typename T>
T ctz(T x);
template <typename T>
T mulhi(T a, T b);
template <typename T>
T extract_bits(T x, uint offset, uint bits);
template <typename T>
bool any(T x);
template <typename T>
bool all(T x);

enum class mem_flags { mem_none = 0, mem_device = 1, mem_threadgroup = 2 };
mem_flags operator|(mem_flags a, mem_flags b);
void threadgroup_barrier(mem_flags flags);
void simdgroup_barrier(mem_flags flags);

template <typename T>
T simd_sum(T x);
template <typename T>
T simd_product(T x);
template <typename T>
T simd_max(T x);
template <typename T>
T simd_min(T x);
template <typename T>
T simd_and(T x);
template <typename T>
T simd_or(T x);
template <typename T>
T simd_xor(T x);
template <typename T>
T simd_broadcast(T x, ushort lane);
template <typename T>
T simd_broadcast_first(T x);
template <typename T>
T simd_shuffle(T x, ushort lane);
template <typename T>
T simd_shuffle_xor(T x, ushort mask);
template <typename T>
T simd_shuffle_up(T x, ushort delta);
template <typename T>
T simd_shuffle_down(T x, ushort delta);
template <typename T>
T simd_prefix_inclusive_sum(T x);
template <typename T>
T simd_prefix_exclusive_sum(T x);
bool simd_any(bool x);
bool simd_all(bool x);
bool simd_is_first();
struct simd_vote {
  ulong votes;
  explicit operator ulong() const;
};
simd_vote simd_ballot(bool x);

// thread_elements() returns the two elements of the calling lane.
template <typename T, int rows, int columns>
struct simdgroup_matrix {
  T elements[2];
  simdgroup_matrix() = default;
  explicit simdgroup_matrix(T diagonal) : elements{diagonal, diagonal} {}
  __private T (&thread_elements() __private)[2] { return elements; }
};
typedef simdgroup_matrix<float, 8, 8> simdgroup_float8x8;
typedef simdgroup_matrix<half, 8, 8> simdgroup_half8x8;
typedef simdgroup_matrix<bfloat, 8, 8> simdgroup_bfloat8x8;
template <typename T, int rows, int columns>
simdgroup_matrix<T, rows, columns> make_filled_simdgroup_matrix(T value) {
  return simdgroup_matrix<T, rows, columns>(value);
}

// The position of a lane's element, and the elements of a product: any function of all their inputs will do.
ulong mslt_place(ulong elements_per_row, ulong2 origin, bool transpose, uint element);
float mslt_product(float a0, float a1, float b0, float b1, float c);
#define MSLT_MATRIX_MEMORY(space)                                                                                      \
  template <typename T>                                                                                                \
  void simdgroup_load(__private simdgroup_matrix<T, 8, 8>& d, const space T* s, ulong elements_per_row, ulong2 origin, \
                      bool transpose = false) {                                                                        \
    d.elements[0] = s[mslt_place(elements_per_row, origin, transpose, 0)];                                             \
    d.elements[1] = s[mslt_place(elements_per_row, origin, transpose, 1)];                                             \
  }                                                                                                                    \
  template <typename T>                                                                                                \
  void simdgroup_load(__private simdgroup_matrix<T, 8, 8>& d, const space T* s, ulong elements_per_row = 8) {          \
    simdgroup_load(d, s, elements_per_row, (ulong2)(0, 0));                                                            \
  }
MSLT_MATRIX_MEMORY(__global)
MSLT_MATRIX_MEMORY(__local)
MSLT_MATRIX_MEMORY(__constant)
#undef MSLT_MATRIX_MEMORY
#define MSLT_MATRIX_MEMORY(space)                                                                      \
  template <typename T>                                                                                \
  void simdgroup_store(simdgroup_matrix<T, 8, 8> a, space T* d, ulong elements_per_row, ulong2 origin, \
                       bool transpose = false) {                                                       \
    d[mslt_place(elements_per_row, origin, transpose, 0)] = a.elements[0];                             \
    d[mslt_place(elements_per_row, origin, transpose, 1)] = a.elements[1];                             \
  }                                                                                                    \
  template <typename T>                                                                                \
  void simdgroup_store(simdgroup_matrix<T, 8, 8> a, space T* d, ulong elements_per_row = 8) {          \
    simdgroup_store(a, d, elements_per_row, (ulong2)(0, 0));                                           \
  }
MSLT_MATRIX_MEMORY(__global)
MSLT_MATRIX_MEMORY(__local)
#undef MSLT_MATRIX_MEMORY
template <typename D, typename A, typename B, typename C>
void simdgroup_multiply_accumulate(__private simdgroup_matrix<D, 8, 8>& d, simdgroup_matrix<A, 8, 8> a,
                                   simdgroup_matrix<B, 8, 8> b, simdgroup_matrix<C, 8, 8> c) {
  const float a0 = float(a.elements[0]);
  const float a1 = float(a.elements[1]);
  const float b0 = float(b.elements[0]);
  const float b1 = float(b.elements[1]);
  d.elements[0] = D(mslt_product(a0, a1, b0, b1, float(c.elements[0])));
  d.elements[1] = D(mslt_product(a0, a1, b0, b1, float(c.elements[1])));
}
template <typename D, typename A, typename B>
void simdgroup_multiply(__private simdgroup_matrix<D, 8, 8>& d, simdgroup_matrix<A, 8, 8> a,
                        simdgroup_matrix<B, 8, 8> b) {
  simdgroup_multiply_accumulate(d, a, b, simdgroup_matrix<D, 8, 8>(D(0.0f)));
}

enum memory_order { memory_order_relaxed };
struct atomic_uint {
  uint value;
};
struct atomic_int {
  int value;
};
#define MSLT_ATOMICS(space)                                                             \
  uint atomic_load_explicit(const space atomic_uint* p, memory_order order);            \
  void atomic_store_explicit(space atomic_uint* p, uint value, memory_order order);     \
  uint atomic_fetch_add_explicit(space atomic_uint* p, uint value, memory_order order); \
  uint atomic_fetch_max_explicit(space atomic_uint* p, uint value, memory_order order); \
  uint atomic_fetch_or_explicit(space atomic_uint* p, uint value, memory_order order);  \
  int atomic_load_explicit(const space atomic_int* p, memory_order order);              \
  void atomic_store_explicit(space atomic_int* p, int value, memory_order order);       \
  int atomic_fetch_add_explicit(space atomic_int* p, int value, memory_order order);
MSLT_ATOMICS(__global)
MSLT_ATOMICS(__local)
#undef MSLT_ATOMICS

}  // namespace metal
