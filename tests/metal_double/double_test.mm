// Tests of the double itself: it reports everything that Metal does not allow.
#import <Metal/Metal.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>

#include "backend/msl/drivers/metal/retained.h"
#include "backend/msl/kernel_source.h"
#include "backend/msl/test_kernels.h"
#include "backend/registry.h"
#include "base/mapped_file.h"
#include "kernels/layout_args.h"
#include "mslt/error.h"
#include "tests/metal_double/metal_double.h"
#include "tests/metal_double/out_of_bounds.h"

namespace mslt::msl::driver_test {
std::string_view metal_source();
}  // namespace mslt::msl::driver_test

namespace mslt::metal_double {
namespace {

using msl::metal::AutoreleasePool;
using msl::metal::Retained;

class MetalDoubleTest : public testing::Test {
 protected:
  MetalDoubleTest()
      : device_(Retained<id<MTLDevice>>::adopt(MTLCreateSystemDefaultDevice())),
        queue_(Retained<id<MTLCommandQueue>>::adopt([device_.get() newCommandQueue])),
        fence_(Retained<id<MTLFence>>::adopt([device_.get() newFence])),
        a_(buffer(256)),
        b_(buffer(256)) {
    pipeline_ = pipeline(msl::metal_source(), @"add_f32");
  }

  Retained<id<MTLComputePipelineState>> pipeline(std::string_view text, NSString* name) {
    const auto options = Retained<MTLCompileOptions*>::adopt([[MTLCompileOptions alloc] init]);
    options.get().mathMode = MTLMathModeSafe;
    options.get().mathFloatingPointFunctions = MTLMathFloatingPointFunctionsPrecise;
    options.get().languageVersion = MTLLanguageVersion3_1;
    NSString* source = [NSString stringWithUTF8String:std::string(text).c_str()];
    const auto library = Retained<id<MTLLibrary>>::adopt([device_.get() newLibraryWithSource:source
                                                                                     options:options.get()
                                                                                       error:nullptr]);
    const auto function = Retained<id<MTLFunction>>::adopt([library.get() newFunctionWithName:name]);
    return Retained<id<MTLComputePipelineState>>::adopt(
        [device_.get() newComputePipelineStateWithFunction:function.get() error:nullptr]);
  }

  Retained<id<MTLBuffer>> buffer(NSUInteger bytes,
                                 MTLResourceOptions options = MTLResourceHazardTrackingModeUntracked) {
    return Retained<id<MTLBuffer>>::adopt([device_.get() newBufferWithLength:bytes options:options]);
  }

  // The one violation since the last call.
  static std::string violation() {
    const std::vector<std::string> all = take_violations();
    EXPECT_EQ(all.size(), 1u);
    return all.empty() ? "" : all[0];
  }

  static void expect(std::string_view words) {
    const std::string found = violation();
    EXPECT_NE(found.find(words), std::string::npos) << found;
  }

  id<MTLComputeCommandEncoder> encoder(id<MTLCommandBuffer> commands,
                                       MTLDispatchType type = MTLDispatchTypeConcurrent) {
    id<MTLComputeCommandEncoder> made = [commands computeCommandEncoderWithDispatchType:type];
    [made setComputePipelineState:pipeline_.get()];
    return made;
  }

  void bind(id<MTLComputeCommandEncoder> encoder, id<MTLBuffer> out, id<MTLBuffer> in) {
    const SpanArgs args = {.count = 4, .aligned = 0, .reserved = 0};
    [encoder setBuffer:out offset:0 atIndex:0];
    [encoder setBuffer:in offset:0 atIndex:1];
    [encoder setBytes:&args length:sizeof(args) atIndex:2];
  }

  static void dispatch(id<MTLComputeCommandEncoder> encoder, NSUInteger threads = 32) {
    [encoder dispatchThreadgroups:MTLSizeMake(1, 1, 1) threadsPerThreadgroup:MTLSizeMake(threads, 1, 1)];
  }

  AutoreleasePool pool_;
  Retained<id<MTLDevice>> device_;
  Retained<id<MTLCommandQueue>> queue_;
  Retained<id<MTLFence>> fence_;
  Retained<id<MTLBuffer>> a_;
  Retained<id<MTLBuffer>> b_;
  Retained<id<MTLComputePipelineState>> pipeline_;
};

TEST_F(MetalDoubleTest, WantsBuffersThatExist) {
  EXPECT_FALSE(buffer(0));
  expect("0 bytes");
  EXPECT_FALSE(buffer(NSUIntegerMax));
  expect("bytes is asked for");
  int value = 0;
  EXPECT_EQ([device_.get() newBufferWithBytesNoCopy:&value
                                             length:4
                                            options:MTLResourceStorageModeShared
                                        deallocator:nil],
            nil);
  expect("whole pages");
  EXPECT_FALSE(buffer(16, MTLResourceStorageModePrivate));
  expect("shared ones");
}

TEST_F(MetalDoubleTest, WantsBindingsInRange) {
  id<MTLCommandBuffer> commands = [queue_.get() commandBuffer];
  id<MTLComputeCommandEncoder> compute = encoder(commands);
  [compute setBuffer:a_.get() offset:257 atIndex:0];
  expect("offset 257");
  [compute setBuffer:a_.get() offset:256 atIndex:0];
  expect("offset 256");
  [compute setBuffer:a_.get() offset:0 atIndex:31];
  expect("no index 31");
  const std::vector<char> bytes(4097);
  [compute setBytes:bytes.data() length:4097 atIndex:0];
  expect("4097 bytes");
  [compute setThreadgroupMemoryLength:17 atIndex:0];
  expect("multiples of 16");
  [compute setThreadgroupMemoryLength:32784 atIndex:0];
  expect("32784 bytes");
  dispatch(compute);
  expect("argument 'out' is not bound");
  bind(compute, a_.get(), b_.get());
  [compute setBuffer:a_.get() offset:2 atIndex:0];
  dispatch(compute);
  expect("misaligned");
  bind(compute, a_.get(), b_.get());
  [compute setBytes:bytes.data() length:4 atIndex:2];
  dispatch(compute);
  expect("too small");
  const auto small = buffer(3);
  bind(compute, a_.get(), small.get());
  dispatch(compute);
  expect("argument 'in' has no room for one element");
  bind(compute, a_.get(), b_.get());
  dispatch(compute, 1025);
  expect("1025 threads");
  dispatch(compute, 0);
  expect("0 threads");
  [compute dispatchThreadgroups:MTLSizeMake(1, 0, 1) threadsPerThreadgroup:MTLSizeMake(32, 1, 1)];
  expect("0 groups");
  [compute setBytes:bytes.data() length:0 atIndex:0];
  expect("0 bytes");
  [compute endEncoding];
}

TEST_F(MetalDoubleTest, WantsAPipelineFirst) {
  id<MTLComputeCommandEncoder> compute =
      [[queue_.get() commandBuffer] computeCommandEncoderWithDispatchType:MTLDispatchTypeConcurrent];
  dispatch(compute);
  expect("without a pipeline");
  [compute setComputePipelineState:Retained<id<MTLComputePipelineState>>().get()];
  expect("pipeline is nil");
  [compute endEncoding];
}

// scale_rows has its own array and one whose size is given.
TEST_F(MetalDoubleTest, WantsThreadgroupMemoryWithinTheLimit) {
  Settings settings = default_settings();
  settings.kernels = msl::driver_test::kernel_table();
  settings.host_kernels = msl::host::driver_test::host_kernels();
  const auto scale_rows = [&](std::uint32_t limit) {
    settings.threadgroup_bytes = limit;
    reset(settings);
    const AutoreleasePool pool;
    const auto device = Retained<id<MTLDevice>>::adopt(MTLCreateSystemDefaultDevice());
    device_ = device;
    const auto queue = Retained<id<MTLCommandQueue>>::adopt([device.get() newCommandQueue]);
    const auto x = buffer(4096);
    const auto y = buffer(4096);
    const auto state = pipeline(msl::driver_test::metal_source(), @"scale_rows_f32");
    const ScaleRowsArgs args = {};
    id<MTLComputeCommandEncoder> compute =
        [[queue.get() commandBuffer] computeCommandEncoderWithDispatchType:MTLDispatchTypeConcurrent];
    [compute setComputePipelineState:state.get()];
    for (NSUInteger i = 0; i < 3; ++i) [compute setBuffer:i == 0 ? x.get() : y.get() offset:0 atIndex:i];
    [compute setBytes:&args length:sizeof(args) atIndex:4];
    dispatch(compute);
    expect("argument 'factors' has no threadgroup memory");
    [compute setThreadgroupMemoryLength:limit / 32 * 16 atIndex:0];
    dispatch(compute);
    [compute endEncoding];
  };
  const auto info = std::ranges::find(settings.kernels, "scale_rows_f32", &msl::KernelInfo::name);
  ASSERT_NE(info, settings.kernels.end());
  scale_rows(info->static_threadgroup_bytes + 32);
  expect("bytes of threadgroup memory");
  scale_rows(32768);
  EXPECT_TRUE(take_violations().empty());
}

TEST_F(MetalDoubleTest, WantsEncodersEndedOnceAndThenLeftAlone) {
  id<MTLCommandBuffer> commands = [queue_.get() commandBuffer];
  id<MTLComputeCommandEncoder> compute = encoder(commands);
  EXPECT_EQ([commands blitCommandEncoder], nil);
  expect("while another is open");
  [commands commit];
  expect("open encoder");
  [compute endEncoding];
  [compute setBuffer:a_.get() offset:0 atIndex:0];
  expect("after endEncoding");
  [compute updateFence:fence_.get()];
  expect("after endEncoding");
  [compute endEncoding];
  expect("after endEncoding");
  [commands commit];
  EXPECT_EQ([commands blitCommandEncoder], nil);
  expect("after commit");
  [commands commit];
  expect("committed twice");
  [commands addCompletedHandler:^(id<MTLCommandBuffer>){
  }];
  expect("handler is added after commit");
  [commands waitUntilCompleted];
}

TEST_F(MetalDoubleTest, WantsCommitBeforeWaitAndCompletionBeforeTimes) {
  id<MTLCommandBuffer> commands = [queue_.get() commandBuffer];
  EXPECT_EQ([commands status], MTLCommandBufferStatusNotEnqueued);
  [commands waitUntilCompleted];
  expect("before commit");
  EXPECT_EQ([commands GPUStartTime], 0.0);
  expect("before it is done");
  [commands commit];
  [commands waitUntilCompleted];
  EXPECT_EQ([commands status], MTLCommandBufferStatusCompleted);
}

TEST_F(MetalDoubleTest, SeesEncodersThatAreForgotten) {
  {
    const AutoreleasePool pool;
    encoder([queue_.get() commandBuffer]);
  }
  // The pool releases the encoder last, and with it the command buffer that the encoder holds.
  const std::vector<std::string> violations = take_violations();
  ASSERT_FALSE(violations.empty());
  EXPECT_NE(violations[0].find("without endEncoding"), std::string::npos) << violations[0];
}

TEST_F(MetalDoubleTest, SeesTooManyOpenCommandBuffers) {
  for (int i = 0; i < 64; ++i) EXPECT_NE([queue_.get() commandBuffer], nil);
  EXPECT_EQ([queue_.get() commandBuffer], nil);
  expect("wait for ever");
}

TEST_F(MetalDoubleTest, SeesMissingBarriersAndFences) {
  id<MTLCommandBuffer> commands = [queue_.get() commandBuffer];
  id<MTLComputeCommandEncoder> compute = encoder(commands);
  bind(compute, a_.get(), b_.get());
  dispatch(compute);
  bind(compute, b_.get(), a_.get());
  dispatch(compute);
  expect("no barrier between them");
  [compute endEncoding];
  id<MTLBlitCommandEncoder> blit = [commands blitCommandEncoder];
  [blit fillBuffer:a_.get() range:NSMakeRange(0, 16) value:0];
  [blit endEncoding];
  const std::vector<std::string> violations = take_violations();
  ASSERT_EQ(violations.size(), 2u);  // with each of the dispatches
  EXPECT_NE(violations[0].find("no fence between their encoders"), std::string::npos) << violations[0];
  [commands commit];
  [commands waitUntilCompleted];
}

TEST_F(MetalDoubleTest, AcceptsBarriersFencesAndTracking) {
  id<MTLCommandBuffer> commands = [queue_.get() commandBuffer];
  id<MTLComputeCommandEncoder> compute = encoder(commands);
  bind(compute, a_.get(), b_.get());
  dispatch(compute);
  [compute memoryBarrierWithScope:MTLBarrierScopeBuffers];
  bind(compute, b_.get(), a_.get());
  dispatch(compute);
  [compute updateFence:fence_.get()];
  [compute endEncoding];
  id<MTLBlitCommandEncoder> blit = [commands blitCommandEncoder];
  [blit waitForFence:fence_.get()];
  [blit fillBuffer:a_.get() range:NSMakeRange(0, 16) value:0];
  [blit endEncoding];
  // A serial encoder needs no barriers, tracked buffers need no fences.
  const auto c = buffer(256, MTLResourceStorageModeShared);
  for (int i = 0; i < 2; ++i) {
    compute = encoder(commands, MTLDispatchTypeSerial);
    bind(compute, c.get(), c.get());
    dispatch(compute);
    dispatch(compute);
    [compute endEncoding];
  }
  [commands commit];
  [commands waitUntilCompleted];
  EXPECT_TRUE(take_violations().empty());
}

TEST_F(MetalDoubleTest, WantsBlitsOfWholeWords) {
  id<MTLCommandBuffer> commands = [queue_.get() commandBuffer];
  id<MTLBlitCommandEncoder> blit = [commands blitCommandEncoder];
  [blit fillBuffer:a_.get() range:NSMakeRange(0, 3) value:0];
  expect("multiples of 4");
  [blit copyFromBuffer:a_.get() sourceOffset:2 toBuffer:b_.get() destinationOffset:0 size:4];
  expect("multiples of 4");
  [blit copyFromBuffer:a_.get() sourceOffset:0 toBuffer:b_.get() destinationOffset:0 size:260];
  expect("260 bytes");
  [blit fillBuffer:a_.get() range:NSMakeRange(256, 4) value:0];
  expect("4 bytes from byte 256");
  [blit copyFromBuffer:a_.get() sourceOffset:0 toBuffer:a_.get() destinationOffset:4 size:8];
  expect("over itself");
  [blit endEncoding];
}

TEST_F(MetalDoubleTest, SeesUsesOfReleasedObjects) {
  id<MTLBuffer> gone = [device_.get() newBufferWithLength:16 options:MTLResourceHazardTrackingModeUntracked];
  [gone release];
  [gone release];
  expect("MsltDoubleBuffer is sent release after its last release");
  EXPECT_EQ([gone length], 0u);
  expect("MsltDoubleBuffer is sent length after its last release");
  id<MTLCommandBuffer> commands = [queue_.get() commandBuffer];
  id<MTLBlitCommandEncoder> blit = [commands blitCommandEncoder];
  [blit fillBuffer:gone range:NSMakeRange(0, 16) value:0];
  EXPECT_FALSE(take_violations().empty());
  [blit endEncoding];
}

TEST_F(MetalDoubleTest, WantsFilesMappedShared) {
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  const std::string path = testing::TempDir() + "/mslt_double_mapped";
  std::ofstream(path) << std::string(page, 'x');
  for (const int how : {MAP_PRIVATE, MAP_SHARED}) {
    const int descriptor = ::open(path.c_str(), O_RDONLY);
    void* mapped = ::mmap(nullptr, page, PROT_READ, how, descriptor, 0);
    ::close(descriptor);
    ASSERT_NE(mapped, MAP_FAILED);
    const auto made =
        Retained<id<MTLBuffer>>::adopt([device_.get() newBufferWithBytesNoCopy:mapped
                                                                        length:page
                                                                       options:MTLResourceStorageModeShared
                                                                   deallocator:nil]);
    EXPECT_EQ(static_cast<bool>(made), how == MAP_SHARED);
    if (how == MAP_PRIVATE) expect("mapped privately");
    ::munmap(mapped, page);
  }
  // As the library maps its files.
  const MappedFile file(path);
  EXPECT_TRUE(
      Retained<id<MTLBuffer>>::adopt([device_.get() newBufferWithBytesNoCopy:const_cast<std::byte*>(file.bytes().data())
                                                                      length:page
                                                                     options:MTLResourceStorageModeShared
                                                                 deallocator:nil]));
}

// add_f32 with buffers announced as one element shorter than it is told to add.
TEST_F(MetalDoubleTest, SeesAccessesOutsideABinding) {
  if (!sees_out_of_bounds) GTEST_SKIP() << "Only AddressSanitizer sees them.";
  const auto run = [this](std::size_t announced) {
    id<MTLCommandBuffer> commands = [queue_.get() commandBuffer];
    id<MTLComputeCommandEncoder> compute = encoder(commands);
    bind(compute, a_.get(), b_.get());
    announce({{.kernel = "add_f32", .uses = {{0, [a_.get() contents], 16}, {1, [b_.get() contents], announced}}}});
    dispatch(compute);
    [compute endEncoding];
    [commands commit];
    [commands waitUntilCompleted];
  };
  run(16);
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_DEATH(run(12), "use-after-poison");
}

TEST_F(MetalDoubleTest, FlushesSubnormalsWhereToldTo) {
  for (const bool flush : {false, true}) {
    Settings settings = default_settings();
    settings.flush_subnormals = flush;
    reset(settings);
    const std::unique_ptr<Backend> backend = make_backend("metal");
    const auto converted = [&](DType from, DType to, float value) {
      const std::unique_ptr<Buffer> in = backend->allocate(4, "in");
      const std::unique_ptr<Buffer> middle = backend->allocate(4, "middle");
      const std::unique_ptr<Buffer> out = backend->allocate(4, "out");
      backend->upload({*in, 0, DType::f32, {1}}, std::as_bytes(std::span(&value, 1)));
      backend->run(Cast{.out = {*middle, 0, to, {1}}, .in = {*in, 0, DType::f32, {1}}});
      backend->run(Cast{.out = {*out, 0, from, {1}}, .in = {*middle, 0, to, {1}}});
      float result = 0.0f;
      backend->download({*out, 0, DType::f32, {1}}, std::as_writable_bytes(std::span(&result, 1)));
      return result;
    };
    EXPECT_EQ(converted(DType::f32, DType::f16, 0x1p-24f), 0x1p-24f);
    // An unannounced addition.
    const std::unique_ptr<Buffer> sum = backend->allocate(4, "sum");
    const std::unique_ptr<Buffer> part = backend->allocate(4, "part");
    const float small = 1e-40f;
    backend->upload({*part, 0, DType::f32, {1}}, std::as_bytes(std::span(&small, 1)));
    backend->run(Add{.out = {*sum, 0, DType::f32, {1}}, .in = {*part, 0, DType::f32, {1}}});
    float result = 1.0f;
    backend->download({*sum, 0, DType::f32, {1}}, std::as_writable_bytes(std::span(&result, 1)));
    EXPECT_EQ(result, flush ? 0.0f : small);
  }
}

TEST_F(MetalDoubleTest, RunsThreadsInTheOrderAskedFor) {
  EXPECT_EQ(settings_of("flush,reversed").order.kind, msl::host::RunOrder::Kind::reversed);
  EXPECT_EQ(settings_of("random:7").order.seed, 7u);
  EXPECT_EQ(settings_of("threads-768").pipeline_threads, 768u);
  EXPECT_THROW(settings_of("threads-many"), Error);
  EXPECT_THROW(settings_of("m5"), Error);
}

TEST_F(MetalDoubleTest, CountsWhatIsAlive) {
  EXPECT_EQ(live_objects()["MsltDoubleBuffer"], 2);
  {
    const auto third = buffer(16);
    EXPECT_EQ(live_objects()["MsltDoubleBuffer"], 3);
  }
  EXPECT_EQ(live_objects()["MsltDoubleBuffer"], 2);
}

TEST_F(MetalDoubleTest, SeesFastMath) {
  const auto options = Retained<MTLCompileOptions*>::adopt([[MTLCompileOptions alloc] init]);
  options.get().languageVersion = MTLLanguageVersion3_1;
  NSString* source = @"kernel void copy_bytes(";
  const auto library = Retained<id<MTLLibrary>>::adopt([device_.get() newLibraryWithSource:source
                                                                                   options:options.get()
                                                                                     error:nullptr]);
  EXPECT_TRUE(library);
  const std::vector<std::string> violations = take_violations();
  ASSERT_EQ(violations.size(), 2u);
  EXPECT_NE(violations[0].find("fast math"), std::string::npos) << violations[0];
  EXPECT_NE(violations[1].find("contracted"), std::string::npos) << violations[1];
  NSError* error = nil;
  options.get().languageVersion = MTLLanguageVersion3_0;
  EXPECT_EQ([device_.get() newLibraryWithSource:source options:options.get() error:&error], nil);
  EXPECT_EQ([error code], static_cast<NSInteger>(MTLLibraryErrorCompileFailure));
}

}  // namespace
}  // namespace mslt::metal_double
