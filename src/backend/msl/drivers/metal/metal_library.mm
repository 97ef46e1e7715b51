// Compiling kernels, or loading them compiled.
#include "backend/msl/drivers/metal/metal_library.h"

#include "backend/msl/drivers/metal/compile_log.h"
#include "backend/msl/drivers/metal/text.h"
#include "backend/msl/kernel_source.h"
#include "base/fail.h"

namespace mslt::msl::metal {
namespace {

constexpr NSUInteger simdgroup_width = 32;

// Values of MTLMathMode and MTLMathFloatingPointFunctions, which only SDKs from macOS 15 on declare.
constexpr NSInteger safe_math = 0;
constexpr NSInteger precise_functions = 1;

// Null if the file does not exist, Metal does not accept it, or it was made from another source.
Retained<id<MTLLibrary>> load_compiled(id<MTLDevice> device, std::string_view source,
                                       const std::filesystem::path& compiled) {
  std::error_code error;
  if (compiled.empty() || !std::filesystem::is_regular_file(compiled, error)) return {};
  const Retained<NSString*> path = to_nsstring(compiled.string());
  auto library = Retained<id<MTLLibrary>>::adopt([device newLibraryWithURL:[NSURL fileURLWithPath:path.get()]
                                                                     error:nullptr]);
  const Retained<NSString*> stamp = to_nsstring(source_stamp(source));
  if (!library || ![[library.get() functionNames] containsObject:stamp.get()]) return {};
  return library;
}

// Set by name: macOS 15 replaced one property by two, which earlier SDKs do not declare.
void forbid_fast_math(MTLCompileOptions* options) {
  if ([options respondsToSelector:NSSelectorFromString(@"setMathMode:")]) {
    [options setValue:[NSNumber numberWithInteger:safe_math] forKey:@"mathMode"];
    [options setValue:[NSNumber numberWithInteger:precise_functions] forKey:@"mathFloatingPointFunctions"];
  } else {
    [options setValue:[NSNumber numberWithBool:NO] forKey:@"fastMathEnabled"];
  }
}

}  // namespace

Retained<id<MTLLibrary>> load_library(id<MTLDevice> device, std::string_view source,
                                      const std::filesystem::path& compiled) {
  const AutoreleasePool pool;
  if (Retained<id<MTLLibrary>> library = load_compiled(device, source, compiled)) return library;
  const Retained<NSString*> text = to_nsstring(source);
  if (!text) fail(ErrorKind::device, "metal: the source of the kernels is not UTF-8.");
  const auto options = Retained<MTLCompileOptions*>::adopt([[MTLCompileOptions alloc] init]);
  forbid_fast_math(options.get());
  [options.get() setLanguageVersion:MTLLanguageVersion3_1];  // the first with bfloat
  NSError* error = nil;
  auto library = Retained<id<MTLLibrary>>::adopt([device newLibraryWithSource:text.get()
                                                                      options:options.get()
                                                                        error:&error]);
  if (!library) {
    fail(ErrorKind::device, "metal: the kernels do not compile on {}:\n{}", to_string([device name]),
         compile_errors(describe(error), source));
  }
  return library;
}

MetalPipeline::MetalPipeline(id<MTLDevice> device, id<MTLLibrary> library, std::string_view name) : name_(name) {
  const AutoreleasePool pool;
  const Retained<NSString*> wanted = to_nsstring(name);
  const auto function = Retained<id<MTLFunction>>::adopt([library newFunctionWithName:wanted.get()]);
  if (!function) {
    fail(ErrorKind::device, "metal: there is no kernel '{}' among the {} of the library.", name,
         [[library functionNames] count]);
  }
  NSError* error = nil;
  state_ = Retained<id<MTLComputePipelineState>>::adopt([device newComputePipelineStateWithFunction:function.get()
                                                                                              error:&error]);
  if (!state_) {
    fail(ErrorKind::device, "metal: {} cannot run kernel '{}': {}.", to_string([device name]), name, describe(error));
  }
  const NSUInteger width = [state_.get() threadExecutionWidth];
  if (width != simdgroup_width) {
    fail(ErrorKind::device, "metal: {} runs kernel '{}' in simdgroups of {}; the kernels are written for {}.",
         to_string([device name]), name, width, simdgroup_width);
  }
  max_threads_ = static_cast<std::uint32_t>([state_.get() maxTotalThreadsPerThreadgroup]);
  static_threadgroup_bytes_ = static_cast<std::uint32_t>([state_.get() staticThreadgroupMemoryLength]);
}

}  // namespace mslt::msl::metal
