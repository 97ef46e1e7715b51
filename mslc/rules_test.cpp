// For every rule that mslc checks: a text that breaks it, with the position and words of the diagnostic, and a text
// that follows it.
#include <gtest/gtest.h>

#include <algorithm>
#include <ostream>
#include <string>
#include <vector>

#include "mslc/test_units.h"

namespace mslt::mslc {
namespace {

struct RuleCase {
  const char* name;
  std::string wrong;
  std::string place;    // LINE:COL of the first diagnostic
  std::string message;  // part of it
  std::string right;
};

void PrintTo(const RuleCase& rule, std::ostream* out) {
  *out << rule.name;
}

const std::string args = "struct Args {\n  uint32_t n;\n  float scale;\n};\n";

std::string helper(const std::string& head, const std::string& body = "return 0.0f;") {
  return "inline float h(" + head + ") { " + body + " }\n";
}

std::string kernel_with(const std::string& arguments) {
  return args + "kernel void k(" + arguments + ") {}\n";
}

std::vector<RuleCase> pointer_rules() {
  return {
      {"parameter_pointer", helper("const float* p"), "1:27", "parameter 'p' is a pointer without address space",
       helper("device const float* p")},
      {"parameter_reference", helper("float& p"), "1:21", "parameter 'p' is a reference without address space",
       helper("thread float& p")},
      {"unnamed_parameter", helper("float*"), "1:21", "without address space", helper("thread float*")},
      {"array_parameter", helper("float p[4]"), "1:22", "array parameter 'p'", helper("thread float p[4]")},
      {"second_level", helper("device float** p"), "1:29", "without address space", helper("device float* thread* p")},
      {"template_function", "template <typename T>\ninline T h(const T* p) { return p[0]; }", "2:19",
       "without address space", "template <typename T>\ninline T h(device const T* p) { return p[0]; }"},
      {"template_argument", in_kernel("x[i] = load<float*>(x);"), "2:18", "without address space",
       in_kernel("x[i] = load<device float*>(x);")},
      {"return_type", "inline float* h(device float* p) { return p; }", "1:13", "return type of 'h'",
       "inline device float* h(device float* p) { return p; }"},
      {"local_pointer", in_kernel("float* p = x;"), "2:6", "variable 'p' is a pointer",
       in_kernel("device float* p = x;")},
      {"local_const_pointer", in_kernel("const float* p = x;"), "2:12", "variable 'p'",
       in_kernel("const device float* p = x;")},
      {"local_auto_reference", in_kernel("auto& p = x[i];"), "2:5", "variable 'p' is a reference",
       in_kernel("device auto& p = x[i];")},
      {"loop_pointer", in_kernel("for (float* p = x; p != x; ++p) {}"), "2:11", "variable 'p'",
       in_kernel("for (device float* p = x; p != x; ++p) {}")},
      {"after_condition", in_kernel("if (i > 0) float* p = x;"), "2:17", "variable 'p'",
       in_kernel("if (i > 0) x[i] = float(i) * x[0];")},
      {"product_is_no_pointer", in_kernel("vec<float*, 4> y;"), "2:10", "without address space",
       in_kernel("x[i] = (float)i * x[0];\nfloat y[2] = {x[0] * x[1], i & 1};\nif (i & uint(3)) { x[i] = 1.0f; }")},
      {"cast", in_kernel("x[i] = *(float*)x;"), "2:15", "without address space",
       in_kernel("x[i] = sizeof(device float*) * 1.0f;")},
      {"member", "struct S {\n  float* p;\n};", "2:8", "member 'p'", "struct S {\n  device float* p;\n};"},
      {"alias", "using P = float*;", "1:16", "without address space", "using P = device float*;"},
  };
}

std::vector<RuleCase> kernel_rules() {
  return {
      {"attribute_spelling", "[[kernel]] void k(device float* x [[buffer(0)]]) {}", "1:3", "by the keyword",
       "kernel void k(device float* x [[buffer(0)]]) {}"},
      {"returns_value", "kernel float k(device float* x [[buffer(0)]]) { return x[0]; }", "1:14",
       "does not return void", "kernel void k(device float* x [[buffer(0)]]) { x[0] = 1.0f; }"},
      {"overloaded", "kernel void k() {}\nkernel void k(device float* x [[buffer(0)]]) {}", "2:13", "not overloaded",
       "kernel void k() {}\nkernel void l(device float* x [[buffer(0)]]) {}"},
      {"named_main", "kernel void main() {}", "1:13", "named main", "kernel void mains() {}"},
      {"static_kernel", "static kernel void k() {}", "1:1", "cannot be static", "kernel void k() {}"},
      {"no_attribute", kernel_with("device float* x"), "5:29", "argument 'x' has no attribute",
       kernel_with("device float* x [[buffer(0)]]")},
      {"two_attributes", kernel_with("device float* x [[buffer(0), buffer(1)]]"), "5:44", "2 attributes",
       kernel_with("device float* x [[buffer(0)]]")},
      {"unknown_attribute", kernel_with("uint lane [[lane_id]]"), "5:27", "attribute 'lane_id' is unknown",
       kernel_with("uint simdgroups [[simdgroups_per_threadgroup]]")},
      {"fixed_launch", kernel_with("uint i [[thread_position_in_threadgroup]]"), "5:13", "its launch is fixed",
       args +
           "[[max_total_threads_per_threadgroup(64)]] kernel void k(uint i [[thread_position_in_threadgroup]]) {}\n"},
      {"fixed_simdgroups", kernel_with("uint i [[simdgroup_index_in_threadgroup]]"), "5:13", "its launch is fixed",
       kernel_with("uint i [[simdgroup_index_in_threadgroup]], uint n [[simdgroups_per_threadgroup]]")},
      {"texture_attribute", kernel_with("device float* x [[texture(0)]]"), "5:33", "attribute 'texture' is unknown",
       kernel_with("device float* x [[buffer(0)]]")},
      {"function_attribute", "[[early_fragment_tests]] kernel void k() {}", "1:3", "unknown on kernels",
       "[[max_total_threads_per_threadgroup(256)]] kernel void k() {}"},
      {"too_many_threads", "[[max_total_threads_per_threadgroup(2048)]] kernel void k() {}", "1:3", "1 to 1024",
       "[[max_total_threads_per_threadgroup(1024)]] kernel void k() {}"},
      {"buffer_range", kernel_with("device float* x [[buffer(31)]]"), "5:33", "out of range; 0 to 30",
       kernel_with("device float* x [[buffer(30)]]")},
      {"buffer_twice", kernel_with("device float* x [[buffer(1)]], device float* y [[buffer(1)]]"), "5:64",
       "taken by 'x'", kernel_with("device float* x [[buffer(1)]], threadgroup float* y [[threadgroup(1)]]")},
      {"threadgroup_twice",
       kernel_with("threadgroup float* x [[threadgroup(0)]], threadgroup float* y [[threadgroup(0)]]"), "5:79",
       "taken by 'x'", kernel_with("threadgroup float* x [[threadgroup(0)]], threadgroup float* y [[threadgroup(1)]]")},
      {"threadgroup_range", kernel_with("threadgroup float* x [[threadgroup(31)]]"), "5:38", "out of range",
       kernel_with("threadgroup float* x [[threadgroup(30)]]")},
      {"no_number", kernel_with("device float* x [[buffer]]"), "5:33", "needs a constant number",
       kernel_with("device float* x [[buffer(1 + 1)]]")},
      {"threadgroup_space", kernel_with("device float* x [[threadgroup(0)]]"), "5:15", "threadgroup T* x",
       kernel_with("threadgroup float* x [[threadgroup(0)]]")},
      {"device_reference", kernel_with("device float& x [[buffer(0)]]"), "5:15", "'device T*', 'constant T*'",
       kernel_with("constant float* x [[buffer(0)]]")},
      {"by_value", kernel_with("float x [[buffer(0)]]"), "5:15", "not 'float'",
       kernel_with("constant Args& x [[buffer(0)]]")},
      {"scalar_reference", kernel_with("constant uint& n [[buffer(0)]]"), "5:15", "not a struct included by this file",
       kernel_with("constant Args& n [[buffer(0)]]")},
      {"unknown_element", kernel_with("device Unknown* n [[buffer(0)]]"), "5:15", "element type 'Unknown'",
       kernel_with("device Args* n [[buffer(0)]]")},
      {"builtin_type", kernel_with("int i [[thread_index_in_threadgroup]]"), "5:15", "declared as uint, not 'int'",
       kernel_with("uint i [[simdgroups_per_threadgroup]]")},
      {"scalar_builtin", kernel_with("uint2 i [[thread_index_in_simdgroup]]"), "5:15", "declared as uint",
       kernel_with("uint2 i [[thread_position_in_grid]]")},
      {"mixed_positions", kernel_with("uint2 i [[thread_position_in_grid]], uint3 j [[threadgroup_position_in_grid]]"),
       "5:58", "have one type",
       kernel_with("uint3 i [[thread_position_in_grid]], uint3 j [[threadgroup_position_in_grid]]")},
      {"attribute_on_helper", helper("uint i [[thread_position_in_grid]]"), "1:25",
       "only valid on arguments of kernels", helper("uint i")},
      {"never_instantiated", "template <typename T>\nkernel void k(device T* x [[buffer(0)]]) {}", "2:13",
       "no instantiation",
       "template <typename T>\nkernel void k(device T* x [[buffer(0)]]) {}\nMSLT_INSTANTIATE(k_f32, k, float)"},
      {"explicit_instantiation",
       "template <typename T>\nkernel void k(device T* x [[buffer(0)]]) {}\nMSLT_INSTANTIATE(k_f32, k, float)\n"
       "template [[host_name(\"k_f16\")]] kernel decltype(k<half>) k<half>;",
       "4:1", "MSLT_INSTANTIATE",
       "template <typename T>\nkernel void k(device T* x [[buffer(0)]]) {}\nMSLT_INSTANTIATE(k_f32, k, float)\n"
       "MSLT_INSTANTIATE(k_f16, k, half);"},
      {"unknown_template", "MSLT_INSTANTIATE(k_f32, k, float)", "1:25", "no kernel template 'k'",
       "template <typename T>\nkernel void k() {}\nMSLT_INSTANTIATE(k_f32, k, float)"},
      {"no_template", "kernel void k() {}\nMSLT_INSTANTIATE(k_f32, k, float)", "2:25", "is not a template",
       "kernel void k() {}"},
      {"template_argument_count",
       "template <typename T, uint n>\nkernel void k() {}\nMSLT_INSTANTIATE(k_f32, k, float)", "3:25",
       "takes 2 template arguments, not 1",
       "template <typename T, uint n = 4>\nkernel void k() {}\nMSLT_INSTANTIATE(k_f32, k, float)"},
      {"template_argument_type", "template <typename T>\nkernel void k() {}\nMSLT_INSTANTIATE(k_s, k, sampler)", "3:26",
       "not a storage type", "template <typename T>\nkernel void k() {}\nMSLT_INSTANTIATE(k_s, k, bfloat)"},
      {"template_argument_value", "template <uint n>\nkernel void k() {}\nMSLT_INSTANTIATE(k_n, k, n)", "3:26",
       "not an integer constant", "template <uint n>\nkernel void k() {}\nMSLT_INSTANTIATE(k_n, k, (1 << 4) + 2)"},
      {"host_name_twice",
       "template <typename T>\nkernel void k() {}\nMSLT_INSTANTIATE(k_f32, k, float)\nMSLT_INSTANTIATE(k_f32, k, half)",
       "4:1", "host names are unique",
       "template <typename T>\nkernel void k() {}\nMSLT_INSTANTIATE(k_f32, k, float)\nMSLT_INSTANTIATE(k_f16, k, "
       "half)"},
  };
}

std::string struct_with(const std::string& member) {
  return "struct Args {\n  " + member + "\n};\nkernel void k(constant Args& a [[buffer(0)]]) {}\n";
}

std::vector<RuleCase> data_rules() {
  return {
      {"bool_member", struct_with("bool b;"), "2:3", "member 'b' of argument struct 'Args'",
       struct_with("uint32_t b;")},
      {"long_member", struct_with("long b;"), "2:3", "'long', whose size", struct_with("int64_t b;")},
      {"float3_member", struct_with("float3 b;"), "2:3", "'float3'", struct_with("float b[3];")},
      {"pointer_member", struct_with("device float* b;"), "2:3", "'device float*'", struct_with("uint64_t b;")},
      {"member_list", struct_with("uint32_t a, b;"), "2:3", "one per declaration",
       struct_with("uint32_t a;\nuint32_t b;")},
      {"struct_too_large", struct_with("uint32_t b[1025];"), "1:8", "4100 bytes; at most 4096",
       struct_with("uint32_t b[1024];")},
      {"file_scope_variable", "uint counter = 0;", "1:6", "not in constant memory",
       "constant constexpr uint counter = 0;"},
      {"file_scope_constexpr", "constexpr uint width = 4;", "1:16", "not in constant memory",
       "constant constexpr uint width = 4;"},
      {"file_scope_device", "device float total[4];", "1:14", "not in constant memory",
       "constant float totals[4] = {0.0f, 1.0f, 2.0f, 3.0f};"},
      {"constant_list", "constant constexpr uint a = 1, b = 2;", "1:25", "one constant per declaration",
       "constant constexpr uint a = max(1, 2);\nconstant constexpr uint b = 2;"},
      {"constant_without_value", "constant uint width;", "1:15", "has no value", "constant uint width = 2;"},
      {"class_constant", "struct S {\n  static constexpr uint n = 4;\n};", "2:25", "static constant constexpr",
       "struct S {\n  static constant constexpr uint n = 4;\n};"},
      {"threadgroup_member", "struct S {\n  threadgroup float t[4];\n};", "2:21", "is threadgroup memory",
       "struct S {\n  threadgroup float* t;\n};"},
      {"threadgroup_in_helper", helper("uint i", "threadgroup float t[4]; return t[i];"), "1:44",
       "declared in helper 'h'", helper("threadgroup float* t, uint i", "return t[i];")},
      {"threadgroup_in_block", in_kernel("{ threadgroup float t[4]; }"), "2:21", "inner block",
       in_kernel("threadgroup float t[4];")},
      {"threadgroup_in_loop", in_kernel("for (uint j = 0; j < 2; ++j) {\n  threadgroup float t[4];\n}"), "3:21",
       "inner block", in_kernel("threadgroup float t[4];\nfor (uint j = 0; j < 2; ++j) {}")},
      {"threadgroup_initialiser", in_kernel("threadgroup float t[2] = {0.0f, 0.0f};"), "2:19", "has an initialiser",
       in_kernel("threadgroup float t[2];")},
      {"threadgroup_scalar_initialiser", in_kernel("threadgroup float t = 0.0f;"), "2:19", "has an initialiser",
       in_kernel("threadgroup float t;\nthreadgroup float* p = &t;")},
      {"threadgroup_list", in_kernel("threadgroup float t[2], u[2];"), "2:19", "one threadgroup variable",
       in_kernel("threadgroup float t[2];\nthreadgroup float u[2];")},
      {"threadgroup_size_unknown", in_kernel("threadgroup float t[i];"), "2:1", "is not known here",
       in_kernel("constexpr uint n = 4;\nthreadgroup float t[n * 2 + 1][sizeof(float4)];")},
      {"threadgroup_too_large", in_kernel("threadgroup float t[8193];"), "1:13", "32772 bytes",
       in_kernel("threadgroup float t[8192];")},
      {"threadgroup_too_large_together", in_kernel("threadgroup float t[8192];\nthreadgroup uchar u[1];"), "1:13",
       "at most 32768", in_kernel("threadgroup float t[8188];\nthreadgroup uchar u[1];")},
      {"threadgroup_too_large_instance",
       "template <typename T>\nkernel void k() { threadgroup T t[16384]; }\nMSLT_INSTANTIATE(k_f32, k, float)", "3:1",
       "65536 bytes",
       "template <typename T>\nkernel void k() { threadgroup T t[16384]; }\nMSLT_INSTANTIATE(k_f16, k, half)"},
  };
}

std::vector<RuleCase> language_rules() {
  return {
      {"lambda", in_kernel("auto f = [&](uint j) { return j; };"), "2:10", "lambdas",
       in_kernel("float f[2];\nf[1] = x[i];")},
      {"lambda_argument", in_kernel("sort(x, [](uint j) { return j; });"), "2:9", "lambdas",
       in_kernel("x[(i)] = x[i];")},
      {"goto", in_kernel("goto end;"), "2:1", "'goto' is outside the subset", in_kernel("return;")},
      {"new", in_kernel("device float* p = new float;"), "2:19", "'new'", in_kernel("float newest = 1.0f;")},
      {"delete", in_kernel("delete x;"), "2:1", "'delete'", in_kernel("float deleted = 1.0f;")},
      {"virtual", "struct S {\n  virtual void f() {}\n};", "2:3", "'virtual'", "struct S {\n  void f() thread {}\n};"},
      {"inheritance", "struct A {};\nstruct B : A {};", "2:10", "inherits", "struct A {};\nstruct B { A a; };"},
      {"throw", in_kernel("throw 1;"), "2:1", "'throw'", in_kernel("return;")},
      {"try", in_kernel("try {} catch (...) {}"), "2:1", "'try'", in_kernel("{}")},
      {"dynamic_cast", in_kernel("x = dynamic_cast<device float*>(x);"), "2:5", "'dynamic_cast'",
       in_kernel("x[i] = static_cast<float>(i);")},
      {"typeid", in_kernel("typeid(x);"), "2:1", "'typeid'", in_kernel("uint typeids = 1;")},
      {"double_type", in_kernel("double y = 0.0f;"), "2:1", "'double'", in_kernel("float y = 0.0f;")},
      {"double_literal", in_kernel("float y = 1.0;"), "2:11", "'1.0' is a double", in_kernel("float y = 1.0f;")},
      {"double_exponent", in_kernel("float y = 1e-5;"), "2:11", "write 1e-5f", in_kernel("half y = 1e-2h;")},
      {"long_double", in_kernel("float y = 1.0L;"), "2:11", "long double", in_kernel("float y = 0x1p3f;")},
      {"float_suffix_on_integer", in_kernel("float y = 1f;"), "2:11", "1.0f", in_kernel("uint y = 0xfu;")},
      {"standard_library", in_kernel("x[i] = std::max(x[i], 0.0f);"), "2:8", "no C++ standard library",
       in_kernel("x[i] = metal::max(x[i], 0.0f);")},
      {"swizzle", in_kernel("float4 v;\nx[i] = v.xy[0];"), "3:10", "swizzle '.xy'",
       in_kernel("float4 v;\nx[i] = v.x + v[1];")},
      {"colour_swizzle", in_kernel("float4 v;\nv.rgb = v.rgb;"), "3:3", "swizzle '.rgb'",
       "struct S { float bar; };\n" + in_kernel("S s;\nx[i] = s.bar;")},
      {"reinterpret_value", in_kernel("uint y = reinterpret_cast<uint>(x[i]);"), "2:10", "as_type<T>",
       in_kernel("uint y = as_type<uint>(x[i]);")},
      {"reinterpret_pointer", in_kernel("device uint* y = reinterpret_cast<device uint*>(x);"), "2:18",
       "only in kernels/lib", in_kernel("device float* y = x;")},
      {"c_cast", in_kernel("device uint* y = (device uint*)x;"), "2:18", "only in kernels/lib",
       in_kernel("x[i] = (float)i;")},
      {"bits_by_pointer", in_kernel("float f;\nuint y = *(thread uint*)&f;"), "3:11", "as_type<T>",
       in_kernel("float f;\nuint y = as_type<uint>(f);")},
      {"define", "#define N 4", "1:1", "directive '#define' is outside", "constant constexpr uint N = 4;"},
      {"conditional", "#if 1\n#endif", "1:1", "directive '#if'", "#pragma once"},
      {"pragma", "#pragma omp parallel", "1:1", "directive '#pragma'",
       in_kernel("#pragma unroll\nfor (uint j = 0; j < 4; ++j) {}")},
      {"atomic_float", in_kernel("device atomic_float* a;"), "2:8", "fixed order", in_kernel("device atomic_uint* a;")},
      {"atomic_of_float", in_kernel("device atomic<float>* a;"), "2:8", "fixed order",
       in_kernel("device atomic<uint>* a;")},
      {"infinity", in_kernel("float low = -INFINITY;"), "2:14", "-FLT_MAX", in_kernel("float low = -FLT_MAX;")},
      {"static_local", in_kernel("static uint count = 0;"), "2:1", "static variables", in_kernel("uint count = 0;")},
      {"unknown_attribute_inside", in_kernel("[[gnu::hot]] float y;"), "2:3", "attribute 'gnu' is unknown",
       in_kernel("[[maybe_unused]] float y;")},
      {"union", "union U {\n  float f;\n};", "1:1", "'union'", "struct U {\n  float f;\n};"},
      {"opencl_word", in_kernel("float local = 0.0f;"), "2:7", "another name", in_kernel("float locals = 0.0f;")},
      {"long_long", in_kernel("long long y = 0;"), "2:1", "64 bits are long", in_kernel("long y = 0;")},
      {"structured_binding", in_kernel("auto [a, b] = x[i];"), "2:6", "structured bindings",
       in_kernel("auto a = x[i];")},
  };
}

std::vector<RuleCase> call_rules() {
  return {
      {"recursion", helper("uint n", "return n == 0 ? 0.0f : h(n - 1);"), "1:49", "'h' calls itself",
       helper("uint n", "return n == 0 ? 0.0f : g(n - 1);")},
      {"template_recursion", "template <uint n>\ninline uint f(uint i) { return f<n - 1>(i); }", "2:32", "calls itself",
       "template <uint n>\ninline uint f(uint i) { return i < n; }"},
      {"mutual_recursion",
       "inline uint b(uint n);\ninline uint a(uint n) { return b(n); }\ninline uint b(uint n) { return a(n); }",
       "2:", "", "inline uint b(uint n) { return n; }\ninline uint a(uint n) { return b(n); }"},
      {"overload_is_no_recursion", helper("uint n", "return h(n);"), "1:33", "calls itself",
       "inline float h(float x) { return x; }\ninline float4 h(float4 x) { return float4(h(x.x), h(x.y), h(x.z), "
       "h(x.w)); }"},
      {"calls_kernel", "kernel void k() {}\nkernel void l() { k(); }", "2:19", "kernel 'k' is called",
       "inline void k() {}\nkernel void l() { k(); }"},
      {"overload_by_space",
       "inline float h(device const float* p) { return p[0]; }\ninline float h(threadgroup const float* p) { return "
       "p[0]; }",
       "2:14", "only in address spaces",
       "inline float h(device const float* p) { return p[0]; }\ninline float h(device float* p) { return p[0]; }"},
  };
}

// `loop` over `body` in a kernel with an array `v`, after the pragma.
std::string unrolled(const std::string& loop, const std::string& body) {
  return in_kernel("float v[8];\n#pragma unroll\n" + loop + " {\n" + body + "\n}");
}

std::vector<RuleCase> array_rules() {
  const std::string eight = "for (uint k = 0; k < 8; ++k)";
  const std::string matrix = "simdgroup_float8x8 m;\n";
  return {
      {"rolled", in_kernel("float v[8];\n" + eight + " { v[k] = x[k]; }"), "3:1", "write #pragma unroll before it",
       unrolled(eight, "v[k] = x[k];")},
      {"rolled_around",
       in_kernel("float v[8];\nfor (uint j = 0; j < 2; ++j) {\n#pragma unroll\nfor (uint k = 0; k < "
                 "4; ++k) { v[4 * j + k] = x[k]; }\n}"),
       "3:1", "is not unrolled", unrolled("for (uint j = 0; j < 2; ++j)", "v[4 * j] = x[j];")},
      {"rolled_through_a_name", in_kernel("float v[8];\n" + eight + " {\nconst uint at = 7 - k;\nv[at] = x[k];\n}"),
       "3:1", "is not unrolled", unrolled(eight, "const uint at = 7 - k;\nv[at] = x[k];")},
      {"rolled_pointer", in_kernel("float v[8];\nfor (uint k = 0; k < 2; ++k) { load(x, v + 4 * k); }"), "3:1",
       "is not unrolled", unrolled("for (uint k = 0; k < 2; ++k)", "load(x, v + 4 * k);")},
      {"rolled_member",
       "struct S {\n  uint words[4];\n};\ninline void h(thread S& s) {\nfor (uint k = 0; k < 4; ++k) "
       "{ s.words[k] = 0; }\n}",
       "5:1", "is not unrolled",
       "struct S {\n  uint words[4];\n};\ninline void h(thread S& s) {\n#pragma unroll\nfor (uint k = 0; k < 4; ++k) { "
       "s.words[k] = 0; }\n}"},
      {"run_time_length", in_kernel("float v[8];\n#pragma unroll\nfor (uint k = 0; k < i; ++k) { v[k] = x[k]; }"),
       "4:34", "only known at run time", in_kernel("for (uint k = 0; k < i; ++k) { x[k] = 0.0f; }")},
      {"run_time_start", in_kernel("float v[8];\n#pragma unroll\nfor (uint k = i; k < 8; ++k) { v[k] = x[k]; }"),
       "4:34", "only known at run time",
       in_kernel("threadgroup float v[8];\nfor (uint k = i; k < 8; ++k) { v[k] = x[k]; }")},
      {"run_time_count",
       "inline void h(thread float* v, uint n) {\n#pragma unroll\nfor (uint k = 0; k < n; ++k) { v[k] = 0.0f; }\n}",
       "3:34", "only known at run time",
       "template <uint n>\ninline void h(thread float* v) {\n#pragma unroll\nfor (uint k = 0; k < n; ++k) { v[k] = "
       "0.0f; "
       "}\n}"},
      {"run_time_index", in_kernel("float v[8];\nuint at = 3;\nv[at] = x[i];"), "4:3", "only known at run time",
       in_kernel("float v[8];\nconst uint at = 3;\nv[at] = x[i];")},
      {"run_time_index_of_a_block", in_kernel("float v[8];\n{ const uint at = 3; }\nuint at = i;\nv[at] = 0.0f;"),
       "5:3", "only known at run time", in_kernel("float v[8];\n{ uint at = i; }\nconst uint at = 3;\nv[at] = 0.0f;")},
      {"elements_by_lane", in_kernel(matrix + "x[i] = m.thread_elements()[i];"), "3:28", "elements of 'm'",
       in_kernel(matrix + "x[i] = m.thread_elements()[0];")},
      {"elements_by_argument",
       "inline float h(thread simdgroup_float8x8& m, uint k) { return m.thread_elements()[k]; }", "1:83",
       "elements of 'm'",
       "template <uint k>\ninline float h(thread simdgroup_float8x8& m) { return m.thread_elements()[k]; }"},
  };
}

std::vector<RuleCase> syntax_rules() {
  return {
      {"unclosed_brace", "kernel void k() {", "1:17", "never closed", "kernel void k() {}"},
      {"wrong_bracket", "kernel void k( {)}", "1:17", "closes nothing", "kernel void k() {}"},
      {"unclosed_comment", "/* comment", "1:1", "does not end", "/* comment */"},
      {"unclosed_string", "static_assert(true, \"text);", "1:21", "does not end", "static_assert(true, \"text\");"},
      {"strange_character", in_kernel("x[i] = `1`;"), "2:8", "0x60", in_kernel("x[i] = 1;")},
      {"missing_header", "#include \"lib/nothing.h\"", "1:1", "no file 'lib/nothing.h'", "#include <metal_stdlib>"},
  };
}

class Rules : public testing::TestWithParam<RuleCase> {};

TEST_P(Rules, WrongIsReportedAtItsPlace) {
  const std::string text = diagnostics_of(GetParam().wrong);
  const std::string prefix = "t.metal:" + GetParam().place + (GetParam().place.ends_with(':') ? "" : ": error: ");
  EXPECT_NE(text.find(prefix), std::string::npos) << "expected " << prefix << " in\n" << text;
  EXPECT_NE(text.find(GetParam().message), std::string::npos) << text;
}

TEST_P(Rules, RightIsAccepted) {
  EXPECT_EQ(diagnostics_of(GetParam().right), "");
}

const auto rule_name = [](const testing::TestParamInfo<RuleCase>& info) {
  return std::string(info.param.name);
};
INSTANTIATE_TEST_SUITE_P(Pointers, Rules, testing::ValuesIn(pointer_rules()), rule_name);
INSTANTIATE_TEST_SUITE_P(Kernels, Rules, testing::ValuesIn(kernel_rules()), rule_name);
INSTANTIATE_TEST_SUITE_P(Data, Rules, testing::ValuesIn(data_rules()), rule_name);
INSTANTIATE_TEST_SUITE_P(Language, Rules, testing::ValuesIn(language_rules()), rule_name);
INSTANTIATE_TEST_SUITE_P(Calls, Rules, testing::ValuesIn(call_rules()), rule_name);
INSTANTIATE_TEST_SUITE_P(Arrays, Rules, testing::ValuesIn(array_rules()), rule_name);
INSTANTIATE_TEST_SUITE_P(Syntax, Rules, testing::ValuesIn(syntax_rules()), rule_name);

TEST(RulesTogether, NamesAreUniqueAcrossFiles) {
  FrontEnd front_end("/", "/nonexistent");
  front_end.add_text("constant constexpr uint width = 4;\nkernel void a() {}\n", "a.metal");
  front_end.add_text("kernel void b() {}\nconstant constexpr uint width = 8;\n", "b.metal");
  front_end.finish();
  EXPECT_EQ(
      front_end.diagnostics().text(),
      "b.metal:2:25: error: 'width' is defined at a.metal:1 too; Apple's compiler sees all files as one, so share "
      "it through a header of kernels/lib or name it differently\n");
}

TEST(RulesTogether, HostNamesAreUniqueAcrossFiles) {
  FrontEnd front_end("/", "/nonexistent");
  front_end.add_text("kernel void k_f32() {}\n", "a.metal");
  front_end.add_text("template <typename T>\nkernel void k() {}\nMSLT_INSTANTIATE(k_f32, k, float)\n", "b.metal");
  front_end.finish();
  EXPECT_NE(front_end.diagnostics().text().find("b.metal:3:1: error: host name 'k_f32' is taken at a.metal:1"),
            std::string::npos)
      << front_end.diagnostics().text();
}

TEST(RulesTogether, PointersMayBeCastInTheLibraryAndInHelpersOfATarget) {
  for (const char* file : {"kernels/lib/load.h", "kernels/target/load.h"}) {
    FrontEnd front_end("/", "/nonexistent");
    front_end.add_text("inline uint h(device float* x) { return *(device uint*)x; }\n", file);
    front_end.finish();
    EXPECT_EQ(front_end.diagnostics().text(), "");
  }
}

TEST(RulesTogether, EveryErrorIsReportedOnceInOrder) {
  const std::string text = diagnostics_of(in_kernel("float* p = x;\nfloat y = 1.0;\ngoto end;"));
  EXPECT_EQ(text.find("t.metal:2:6"), 0U);
  EXPECT_LT(text.find("t.metal:3:11"), text.find("t.metal:4:1"));
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 3);
}

}  // namespace
}  // namespace mslt::mslc
