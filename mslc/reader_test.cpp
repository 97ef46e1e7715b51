// How the reader and the evaluator understand declarations.
#include <gtest/gtest.h>

#include <string>

#include "mslc/test_units.h"

namespace mslt::mslc {
namespace {

Syntax syntax_of(std::string_view text, Sources& sources) {
  Diagnostics diagnostics;
  Syntax syntax = read_syntax(sources.load_text(text, "t.metal", diagnostics), diagnostics);
  EXPECT_EQ(diagnostics.text(), "");
  return syntax;
}

TEST(Reader, FindsDeclarations) {
  Sources sources("/", "/nonexistent");
  const Syntax syntax = syntax_of(
      "using namespace metal;\n"
      "enum Mode : uint { first, second = 4 };\n"
      "constant constexpr float values[2] = {1.0f, 2.0f};\n"
      "struct Pair { float a; uint b; Pair() = default; float sum() const thread { return a + float(b); } };\n"
      "template <typename T, uint n = 4>\n"
      "inline vec<T, 4> load(device const vec<T, 4>* p, thread float (&q)[n], uint i = 3) { return p[i]; }\n"
      "template <>\n"
      "inline float f<half>(half x) { return x; }\n"
      "inline bool operator<(Pair a, Pair b) { return a.a < b.a; }\n",
      sources);
  ASSERT_EQ(syntax.functions.size(), 5U);
  EXPECT_EQ(syntax.functions[1].name, "sum");
  EXPECT_EQ(syntax.functions[1].owner, "Pair");
  const Function& load = syntax.functions[2];
  EXPECT_EQ(load.name, "load");
  EXPECT_TRUE(load.is_template);
  ASSERT_EQ(load.template_parameters.size(), 2U);
  EXPECT_TRUE(load.template_parameters[0].is_type);
  EXPECT_EQ(load.template_parameters[1].name, "n");
  EXPECT_FALSE(load.template_parameters[1].default_value.empty());
  ASSERT_EQ(load.parameters.size(), 3U);
  EXPECT_EQ(load.parameters[0].name, "p");
  EXPECT_EQ(load.parameters[1].name, "q");
  EXPECT_EQ(load.parameters[2].name, "i");
  EXPECT_EQ(syntax.functions[3].name, "f");
  ASSERT_EQ(syntax.variables.size(), 1U);
  EXPECT_EQ(syntax.variables[0].name, "values");
  ASSERT_EQ(syntax.structs.size(), 1U);
  EXPECT_EQ(syntax.structs[0].members.size(), 2U);
}

TEST(Evaluator, FollowsPrecedence) {
  Sources sources("/", "/nonexistent");
  const Syntax syntax = syntax_of(
      "constant constexpr uint a = 2 + 3 * 4;\n"
      "constant constexpr uint b = (a << 2) / 7 % 5;\n"
      "constant constexpr int c = -1 < 2 && !(a == b) ? sizeof(float3) : 0;\n"
      "constant constexpr uint d = min(a, 3u) + max(static_cast<uint>(b), uint(0x10)) + (256 >> 4);\n"
      "constant constexpr uint e = 1 - 2 - 3 | ~7;\n"
      "struct S { static constant constexpr uint n = 6; };\n"
      "constant constexpr uint f = S::n * sizeof(S);\n"
      "constant constexpr uint g = 1 / 0;\n",
      sources);
  const Scope scope = file_scope(syntax);
  EXPECT_EQ(scope.values.at("a"), 14);
  EXPECT_EQ(scope.values.at("b"), 3);
  EXPECT_EQ(scope.values.at("c"), 16);
  EXPECT_EQ(scope.values.at("d"), 35);
  EXPECT_EQ(scope.values.at("e"), -4);
  EXPECT_EQ(scope.values.at("f"), 6);
  EXPECT_FALSE(scope.values.contains("g"));
}

struct Mixed {
  std::uint8_t a;
  std::uint64_t b;
  std::uint16_t c[3];
  float d;
};

TEST(Layout, IsThatOfTheHostCompiler) {
  Sources sources("/", "/nonexistent");
  const Syntax syntax = syntax_of(
      "struct Mixed { uint8_t a; uint64_t b; uint16_t c[3]; float d; };\n"
      "struct Outer { half h; Mixed m; };\nstruct Unknown { Foreign f; };\nstruct Words { unsigned int a; unsigned b; "
      "unsigned short c; };\n",
      sources);
  const Scope scope = file_scope(syntax);
  EXPECT_EQ(layout_of("Mixed", scope)->bytes, sizeof(Mixed));
  EXPECT_EQ(layout_of("Mixed", scope)->alignment, alignof(Mixed));
  EXPECT_EQ(layout_of("Outer", scope)->bytes, 40U);
  EXPECT_EQ(layout_of("float3", scope)->bytes, 16U);
  EXPECT_EQ(layout_of("Words", scope)->bytes, 12U);
  EXPECT_EQ(layout_of("packed_float3", scope)->bytes, 12U);
  EXPECT_EQ(layout_of("bfloat4", scope)->bytes, 8U);
  EXPECT_FALSE(layout_of("Unknown", scope));
  EXPECT_FALSE(layout_of("float5", scope));
}

TEST(Entries, FillInTemplateArguments) {
  FrontEnd front_end("/", "/nonexistent");
  front_end.add_text(
      "struct Args { uint32_t n; };\n"
      "constant constexpr uint width = 8;\n"
      "template <typename T, typename U = float, uint rows = width>\n"
      "[[max_total_threads_per_threadgroup(width * 16)]] kernel void k(\n"
      "    constant Args& args [[buffer(2)]], device const T* x [[buffer(0)]], device U* y [[buffer(1)]],\n"
      "    threadgroup T* shared [[threadgroup(3)]], uint2 p [[thread_position_in_grid]]) {\n"
      "  constexpr uint padded = rows + 1;\n"
      "  threadgroup T tile[rows][padded];\n"
      "  threadgroup U total;\n"
      "}\n"
      "MSLT_INSTANTIATE(k_bf16, k, bfloat, half, 4)\nMSLT_INSTANTIATE(k_f32, k, float)\n",
      "t.metal");
  front_end.finish();
  EXPECT_EQ(front_end.diagnostics().text(), "");
  const std::vector<KernelEntry> entries = front_end.entries();
  ASSERT_EQ(entries.size(), 2U);
  const KernelEntry& narrow = entries[0];
  EXPECT_EQ(narrow.host_name, "k_bf16");
  EXPECT_EQ(narrow.template_arguments, "<bfloat, half, 4>");
  EXPECT_EQ(narrow.max_threads_per_threadgroup, 128U);
  ASSERT_EQ(narrow.arguments.size(), 5U);
  EXPECT_EQ(narrow.arguments[0].kind, KernelArgumentKind::bytes);
  EXPECT_EQ(narrow.arguments[0].element, "Args");
  EXPECT_EQ(narrow.arguments[0].element_bytes, 4U);
  EXPECT_EQ(narrow.arguments[1].type, "const bfloat*");
  EXPECT_FALSE(narrow.arguments[1].written);
  EXPECT_EQ(narrow.arguments[2].element, "half");
  EXPECT_TRUE(narrow.arguments[2].written);
  EXPECT_EQ(narrow.arguments[3].kind, KernelArgumentKind::threadgroup);
  EXPECT_EQ(narrow.arguments[3].index, 3U);
  EXPECT_EQ(narrow.arguments[4].lanes, 2U);
  ASSERT_EQ(narrow.arrays.size(), 2U);
  EXPECT_EQ(narrow.arrays[0].bytes, 4U * 5U * 2U);
  EXPECT_EQ(narrow.arrays[1].bytes, 2U);
  EXPECT_EQ(narrow.static_threadgroup_bytes, 48U + 2U);
  EXPECT_EQ(entries[1].arguments[2].element, "float");
  EXPECT_EQ(entries[1].arrays[0].bytes, 8U * 9U * 4U);
}

// Each of these looks one or two tokens ahead; AddressSanitizer detects looking too far.
TEST(Reader, LooksNoFurtherThanTheEnd) {
  for (const char* text : {"using", "using a", "typedef", "namespace", "struct", "enum", "template", "operator",
                           "decltype", "MSLT_INSTANTIATE", "MSLT_INSTANTIATE(a, b, c)", "struct S {}", "kernel"}) {
    diagnostics_of(text);
  }
}

TEST(Reader, SurvivesEveryTruncation) {
  const std::string text =
      "struct A { uint32_t n; };\ntemplate <typename T, uint n>\n[[max_total_threads_per_threadgroup(64)]] kernel void "
      "k(device const vec<T, 4>* x [[buffer(0)]], constant A& a [[buffer(1)]]) { threadgroup T t[n][2]; for (uint i = "
      "0; i < (1 << 2); ++i) { t[i][0] = T(x[i].x); } }\nMSLT_INSTANTIATE(k_f32, k, float, 4)\nenum E { a, b };\n";
  for (std::size_t size = 0; size <= text.size(); ++size) {
    diagnostics_of(std::string_view(text).substr(0, size));
    diagnostics_of(std::string_view(text).substr(size));
  }
}

}  // namespace
}  // namespace mslt::mslc
