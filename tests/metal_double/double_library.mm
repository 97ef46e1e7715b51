// Compiling: searching the source for the kernels' names.
#include "tests/metal_double/double_library.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "tests/metal_double/world.h"

using namespace mslt::metal_double;

NSErrorDomain const MTLLibraryErrorDomain = @"MTLLibraryErrorDomain";

@implementation MTLCompileOptions

@synthesize fastMathEnabled;
@synthesize mathMode;
@synthesize mathFloatingPointFunctions;
@synthesize languageVersion;

- (instancetype)init {
  self = [super init];
  fastMathEnabled = YES;
  mathMode = MTLMathModeFast;
  languageVersion = MTLLanguageVersion3_0;
  return self;
}

- (id)copyWithZone:(NSZone*)zone {
  MTLCompileOptions* copy = [[MTLCompileOptions allocWithZone:zone] init];
  copy.fastMathEnabled = fastMathEnabled;
  copy.mathMode = mathMode;
  copy.mathFloatingPointFunctions = mathFloatingPointFunctions;
  copy.languageVersion = languageVersion;
  return copy;
}

// Before macOS 15 there is only fastMathEnabled.
- (BOOL)respondsToSelector:(SEL)selector {
  const bool newer = selector == @selector(setMathMode:) || selector == @selector(setMathFloatingPointFunctions:);
  if (newer && world().settings.macos < 15) return NO;
  return [super respondsToSelector:selector];
}

@end

@implementation MsltDoubleLibrary

- (instancetype)initWithDevice:(id<MTLDevice>)device names:(NSArray<NSString*>*)names {
  self = [super initWithDevice:device];
  names_ = [names retain];
  return self;
}

- (void)dispose {
  [names_ release];
}

- (NSArray<NSString*>*)functionNames {
  return names_;
}

- (id<MTLFunction>)newFunctionWithName:(NSString*)functionName {
  if (![names_ containsObject:functionName]) return nil;
  return [[MsltDoubleFunction alloc] initWithDevice:device_ name:functionName];
}

@end

@implementation MsltDoubleFunction

- (instancetype)initWithDevice:(id<MTLDevice>)device name:(NSString*)name {
  self = [super initWithDevice:device];
  name_ = [name copy];
  return self;
}

- (void)dispose {
  [name_ release];
}

- (NSString*)name {
  return name_;
}

@end

@implementation MsltDoublePipeline

- (instancetype)initWithDevice:(id<MTLDevice>)device function:(id<MTLFunction>)function error:(NSError**)error {
  self = [super initWithDevice:device];
  World& w = world();
  const std::string name = [[function name] UTF8String];
  const auto named = [&name](const auto& entry) {
    return entry.name == name;
  };
  const auto info = std::find_if(w.settings.kernels.begin(), w.settings.kernels.end(), named);
  const auto kernel = std::find_if(w.settings.host_kernels.begin(), w.settings.host_kernels.end(), named);
  std::string fault;
  {
    const std::lock_guard lock(w.mutex);
    if (w.pipeline_fault) fault = *w.pipeline_fault;
    w.pipeline_fault.reset();
  }
  if (info == w.settings.kernels.end() || kernel == w.settings.host_kernels.end()) {
    fault = "the double has no code for this function";
  }
  if (!fault.empty()) {
    set_error(error, MTLLibraryErrorDomain, MTLLibraryErrorInternal, fault);
    [self release];
    return nil;
  }
  info_ = &*info;
  kernel_ = &*kernel;
  if ([self staticThreadgroupMemoryLength] > w.settings.threadgroup_bytes) {
    set_error(error, MTLLibraryErrorDomain, MTLLibraryErrorInternal,
              fmt::format("Threadgroup memory size ({}) exceeds the maximum threadgroup memory allowed ({})",
                          [self staticThreadgroupMemoryLength], w.settings.threadgroup_bytes));
    [self release];
    return nil;
  }
  return self;
}

- (const mslt::msl::KernelInfo*)info {
  return info_;
}

- (const mslt::msl::host::HostKernel*)kernel {
  return kernel_;
}

- (NSUInteger)maxTotalThreadsPerThreadgroup {
  const Settings& settings = world().settings;
  const std::uint32_t said = info_->max_threads_per_threadgroup;
  return std::min<NSUInteger>(settings.max_threads, said == 0 ? settings.pipeline_threads : said);
}

- (NSUInteger)threadExecutionWidth {
  return world().settings.simdgroup_width;
}

- (NSUInteger)staticThreadgroupMemoryLength {
  return NSUInteger{world().settings.threadgroup_factor} * info_->static_threadgroup_bytes;
}

@end

namespace mslt::metal_double {
namespace {

// The kernels of the double that the source defines as functions.
NSMutableArray<NSString*>* names_in(std::string_view source) {
  NSMutableArray<NSString*>* names = [NSMutableArray array];
  for (const msl::KernelInfo& kernel : world().settings.kernels) {
    const bool templated = source.find(fmt::format("[[host_name(\"{}\")]]", kernel.name)) != std::string_view::npos;
    const bool plain = source.find(fmt::format("kernel void {}(", kernel.name)) != std::string_view::npos;
    if (templated || plain) [names addObject:[NSString stringWithUTF8String:std::string(kernel.name).c_str()]];
  }
  return names;
}

std::string compile_mistake(NSString* source, MTLCompileOptions* options) {
  World& w = world();
  {
    const std::lock_guard lock(w.mutex);
    ++w.counts.libraries_compiled;
    if (w.compile_fault) return *std::exchange(w.compile_fault, std::nullopt);
  }
  if ([source length] == 0) return "program_source:1:1: error: the source is empty";
  if ([options languageVersion] < MTLLanguageVersion3_1) return "program_source:1:1: error: unknown type name 'bfloat'";
  const bool fast = w.settings.macos < 15
                        ? [options fastMathEnabled]
                        : [options mathMode] != MTLMathModeSafe ||
                              [options mathFloatingPointFunctions] != MTLMathFloatingPointFunctionsPrecise;
  if (fast) violation("The kernels are compiled with fast math.");
  if ([source rangeOfString:@"#pragma METAL fp contract(off)"].location == NSNotFound) {
    violation("The kernels are compiled with products and sums contracted.");
  }
  return {};
}

}  // namespace

void set_error(NSError** error, NSString* domain, NSInteger code, const std::string& text) {
  if (error == nullptr) return;
  NSDictionary* details = [NSDictionary dictionaryWithObject:[NSString stringWithUTF8String:text.c_str()]
                                                      forKey:NSLocalizedDescriptionKey];
  *error = [NSError errorWithDomain:domain code:code userInfo:details];
}

id<MTLLibrary> compile(id<MTLDevice> device, NSString* source, MTLCompileOptions* options, NSError** error) {
  std::string mistake = compile_mistake(source, options);
  NSArray<NSString*>* names = mistake.empty() ? names_in([source UTF8String]) : nil;
  if (mistake.empty() && [names count] == 0) mistake = "program_source:1:1: error: there are no kernels";
  if (!mistake.empty()) {
    set_error(error, MTLLibraryErrorDomain, MTLLibraryErrorCompileFailure, mistake);
    return nil;
  }
  return [[MsltDoubleLibrary alloc] initWithDevice:device names:names];
}

id<MTLLibrary> load(id<MTLDevice> device, NSURL* url, NSError** error) {
  NSString* text = [NSString stringWithContentsOfFile:[url path] encoding:NSUTF8StringEncoding error:nullptr];
  if (![text hasPrefix:@"MTLB"]) {
    set_error(error, MTLLibraryErrorDomain, MTLLibraryErrorInternal, "Invalid library file");
    return nil;
  }
  NSMutableArray<NSString*>* names = [NSMutableArray array];
  [names addObjectsFromArray:[text componentsSeparatedByString:@"\n"]];
  [names removeObjectAtIndex:0];
  {
    const std::lock_guard lock(world().mutex);
    ++world().counts.libraries_loaded;
  }
  return [[MsltDoubleLibrary alloc] initWithDevice:device names:names];
}

}  // namespace mslt::metal_double
