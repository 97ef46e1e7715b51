// The outputs for the example kernels of testdata/.
#include "mslc/emit.h"

#include "backend/msl/kernel_source.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <string>

#include "mslc/front_end.h"

namespace mslt::mslc {
namespace {

class Emit : public testing::Test {
 protected:
  Emit() {
    for (const char* name : {"vector_add.metal", "row_sum.metal", "scale_rows.metal"}) {
      front_end_.add_file(std::filesystem::path(MSLT_MSLC_TEST_DATA) / name);
    }
    front_end_.finish();
    EXPECT_EQ(front_end_.diagnostics().text(), "");
  }

  const CheckedUnit& unit(std::size_t index) const { return *front_end_.units()[index]; }
  std::string host(std::size_t index) const { return emit_host(unit(index).syntax, unit(index).entries, {}); }
  std::string cuda(std::size_t index) const { return emit_cuda(unit(index).syntax, unit(index).entries, {}); }
  std::string opencl(std::size_t index) const { return emit_clcpp(unit(index).syntax, unit(index).entries, {}); }

  FrontEnd front_end_{std::filesystem::path(MSLT_MSLC_TEST_DATA).parent_path(), MSLT_MSLC_TEST_DATA};
};

void expect_holds(const std::string& text, const std::string& part) {
  EXPECT_NE(text.find(part), std::string::npos) << "no " << part << " in\n" << text;
}
void expect_lacks(const std::string& text, const std::string& part) {
  EXPECT_EQ(text.find(part), std::string::npos) << part << " in\n" << text;
}

TEST_F(Emit, MetadataIsSortedAndComplete) {
  const std::string text = emit_metadata(front_end_.entries(), {});
  expect_holds(text, "{\"args\", ArgumentKind::bytes, ArgumentAccess::read, 3, \"VectorAddArgs\", 16}");
  expect_holds(text, "{\"x\", ArgumentKind::buffer, ArgumentAccess::read, 0, \"bfloat\", 2}");
  expect_holds(text, "{\"factors\", ArgumentKind::threadgroup, ArgumentAccess::write, 0, \"float\", 4}");
  expect_holds(text, "{\"row_sum\", \"testdata/row_sum.metal\", 9, arguments_row_sum, 128, 1024}");
  expect_holds(text, "{\"scale_rows_f16\", \"testdata/scale_rows.metal\", 28, arguments_scale_rows_f16, 528, 256}");
  EXPECT_LT(text.find("{\"scale_rows_bf16\""), text.find("{\"scale_rows_f16\""));
  EXPECT_LT(text.find("{\"scale_rows_f32\""), text.find("{\"vector_add\""));
}

TEST_F(Emit, HostBodiesHaveNoAddressSpaces) {
  const std::string text = host(2);
  expect_holds(text,
               "T (&tile)[rows][padded] = ::mslt::msl::host::threadgroup_array<T[rows][padded]>(mslt_context, 0);");
  expect_holds(text, "static const constexpr uint columns = 32;");
  expect_holds(text, "#line 9 \"testdata/scale_rows.metal\"");
  expect_holds(text, "scale_rows<half, 4 * 2>(context");
  expect_holds(text, "static_cast<const half*>(bindings.buffers[0])");
  expect_holds(text, "{\"tile\", 264, 2, 33}");
  expect_holds(text, "static_assert(sizeof(ScaleRowsArgs) == 12);");
  for (const char* word : {"device ", "threadgroup ", "constant ", " thread ", "[[buffer", "kernel ", "MSLT_INST"}) {
    const std::string body = text.substr(text.find("#line"), text.rfind("#line") - text.find("#line"));
    expect_lacks(body, word);
  }
}

TEST_F(Emit, HostLinesAreThoseOfTheSource) {
  const std::string text = host(1);
  const std::size_t directive = text.find("#line 9 \"testdata/row_sum.metal\"\n");
  ASSERT_NE(directive, std::string::npos);
  const std::size_t body = text.find('\n', directive) + 1;
  const std::size_t statement = text.find("total = threadgroup_sum", body);
  ASSERT_NE(statement, std::string::npos);
  EXPECT_EQ(9 + std::count(text.begin() + static_cast<std::ptrdiff_t>(body),
                           text.begin() + static_cast<std::ptrdiff_t>(statement), '\n'),
            21);
}

TEST_F(Emit, CudaEntriesTakeArgumentsThenOffsets) {
  const std::string text = cuda(2);
  expect_holds(text, "__shared__ T tile[rows][padded];");
  expect_holds(
      text,
      "extern \"C\" __global__ void mslt_scale_rows_bf16(\n    const bfloat* mslt_argument_0,\n    const float* "
      "mslt_argument_1,\n    bfloat* mslt_argument_2,\n    const ScaleRowsArgs mslt_argument_3,\n    unsigned "
      "int mslt_argument_4) {\n  mslt_begin();\n");
  expect_holds(text, "reinterpret_cast<float*>(mslt_dynamic + mslt_argument_4)");
  expect_holds(cuda(1), "__launch_bounds__(1024) mslt_row_sum(");
  expect_holds(cuda(0), "static __device__ const constexpr uint lanes_per_thread = 4;");
  expect_lacks(cuda(0), "mslt_dynamic");
}

// Such a kernel may look ahead before it waits: its entry only lets the next one start.
TEST_F(Emit, CudaEntriesOfKernelsThatWaitThemselvesDoNotWait) {
  FrontEnd front_end(std::filesystem::path(MSLT_MSLC_TEST_DATA).parent_path(), MSLT_MSLC_TEST_DATA);
  front_end.add_text(
      "inline void wait_for_earlier_kernels() {}\nkernel void a() { wait_for_earlier_kernels(); }\nkernel void b() "
      "{}\n",
      "a.metal");
  front_end.finish();
  ASSERT_EQ(front_end.diagnostics().text(), "");
  const CheckedUnit& unit = *front_end.units()[0];
  const std::string text = emit_cuda(unit.syntax, unit.entries, {});
  expect_holds(text, "mslt_a(\n    ) {\n  mslt_let_next_start();\n");
  expect_holds(text, "mslt_b(\n    ) {\n  mslt_begin();\n");
}

TEST_F(Emit, CudaKeepsUnrolling) {
  FrontEnd front_end(std::filesystem::path(MSLT_MSLC_TEST_DATA).parent_path(), MSLT_MSLC_TEST_DATA);
  front_end.add_text("kernel void a() {\n#pragma unroll\n  for (uint i = 0; i < 4; ++i) {}\n}\n", "a.metal");
  front_end.finish();
  ASSERT_EQ(front_end.diagnostics().text(), "");
  const CheckedUnit& unit = *front_end.units()[0];
  expect_holds(emit_cuda(unit.syntax, unit.entries, {}), "_Pragma(\"unroll\")\n  for (uint i = 0;");
  expect_holds(emit_clcpp(unit.syntax, unit.entries, {}), "_Pragma(\"unroll\")\n  for (uint i = 0;");
  expect_holds(emit_metal({&unit.syntax}), "#pragma clang loop unroll(full)\n  for (uint i = 0;");
  expect_lacks(emit_host(unit.syntax, unit.entries, {}), "unroll");
}

TEST_F(Emit, CudaHasItsOwnTargetHeaders) {
  FrontEnd front_end(std::filesystem::path(MSLT_MSLC_TEST_DATA).parent_path(), MSLT_MSLC_TEST_DATA);
  front_end.add_text(
      "#include \"target/twice.h\"\nkernel void a(device float* x [[buffer(0)]]) { x[0] = twice(x[1]); }\n", "a.metal");
  front_end.finish();
  ASSERT_EQ(front_end.diagnostics().text(), "");
  const CheckedUnit& unit = *front_end.units()[0];
  const std::string cuda = emit_cuda(unit.syntax, unit.entries, {});
  const std::string include = "\n#include \"backend/msl/drivers/cuda/target/twice.cuh\"\n";
  expect_holds(cuda, include);
  EXPECT_EQ(cuda.find(include), cuda.rfind(include));
  // What the header includes comes before it, and the text behind it goes on where it was.
  EXPECT_LT(cuda.find("threadgroup_sum("), cuda.find(include));
  expect_holds(cuda, include + "\n#line 2 \"a.metal\"\n");
  expect_lacks(cuda, "_Pragma");
  for (const char* part : {"twice_step", "float twice"}) {
    expect_lacks(cuda, part);
    expect_holds(emit_host(unit.syntax, unit.entries, {}), part);
    expect_holds(emit_clcpp(unit.syntax, unit.entries, {}), part);
    expect_holds(metal_text({&unit.syntax}), part);
  }
}

TEST_F(Emit, CudaAndHostTablesHaveDifferentNames) {
  expect_holds(cuda(0), " cuda_unit_kernels() {");
  expect_holds(host(0), " unit_kernels() {");
}

TEST_F(Emit, OpenclKeepsAddressSpaces) {
  const std::string text = opencl(2);
  expect_holds(text, "__global const T* x");
  expect_holds(text, "__local float* factors");
  expect_holds(text, "__private T& value");
  expect_holds(text, "__local T (&tile)[rows][padded] = mslt_threadgroup_array<T[rows][padded]>();");
  expect_holds(text, "template decltype(scale_rows<bfloat, 4>) scale_rows<bfloat, 4>;");
  expect_holds(opencl(0), "make_float4(a[first]");
}

TEST_F(Emit, MetalTextHasHeadersOnceAndHostNames) {
  FrontEnd twice(std::filesystem::path(MSLT_MSLC_TEST_DATA).parent_path(), MSLT_MSLC_TEST_DATA);
  twice.add_text("#include \"lib/reduce.h\"\nkernel void a() {}\n", "a.metal");
  twice.add_text("#include \"lib/reduce.h\"\nkernel void b() {}\n", "b.metal");
  twice.finish();
  const std::string shared = metal_text(twice.syntaxes());
  EXPECT_EQ(shared.find("threadgroup_sum("), shared.rfind("threadgroup_sum("));
  expect_holds(shared, "kernel void b()");
  const std::string text = metal_text(front_end_.syntaxes());
  expect_holds(
      text,
      "template [[host_name(\"scale_rows_f16\")]] kernel decltype(scale_rows<half, 4 * 2>) scale_rows<half, 4 * 2>;");
  expect_holds(text, "device const float* a [[buffer(0)]]");
  expect_lacks(text, "#pragma once");
  expect_lacks(text, "#define");
  expect_lacks(text, "MSLT_INSTANTIATE");
}

TEST_F(Emit, TheTextCompiledAheadOfTimeBearsTheStampOfTheEmbeddedOne) {
  const std::string text = metal_text(front_end_.syntaxes());
  const std::string compiled = emit_metal(front_end_.syntaxes());
  EXPECT_TRUE(compiled.starts_with(text));
  expect_holds(compiled, "kernel void " + msl::source_stamp(text) + "() {}");
  EXPECT_NE(msl::source_stamp(text), msl::source_stamp(text + " "));
}

TEST_F(Emit, SetsHaveNamespacesOfTheirOwn) {
  const EmitOptions planted{"planted"};
  expect_holds(emit_metadata(front_end_.entries(), planted), "namespace mslt::msl::planted {");
  expect_holds(emit_host(unit(0).syntax, unit(0).entries, planted), "namespace metal::msl_planted_vector_add {");
  expect_holds(emit_host_table({&unit(0).syntax.unit}, planted), "namespace mslt::msl::host::planted {");
}

}  // namespace
}  // namespace mslt::mslc
