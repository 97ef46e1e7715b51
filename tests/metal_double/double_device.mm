// The objects made by a device.
#include "tests/metal_double/double_device.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <fstream>
#include <new>

#include "tests/metal_double/double_commands.h"
#include "tests/metal_double/double_library.h"
#include "tests/metal_double/world.h"

using namespace mslt::metal_double;

namespace {

// Exactly as large as requested, so AddressSanitizer detects every access outside.
constexpr std::align_val_t alignment{256};

constexpr MTLResourceOptions storage_mask = 0xF << MTLResourceStorageModeShift;
constexpr MTLResourceOptions tracking_mask = 0x3 << MTLResourceHazardTrackingModeShift;

void account(std::uint64_t bytes, bool more) {
  const std::lock_guard lock(world().mutex);
  if (more) {
    world().allocated_bytes += bytes;
  } else {
    world().allocated_bytes -= std::min<std::uint64_t>(world().allocated_bytes, bytes);
  }
}

// Whether these bytes are a privately mapped file: Metal may not make a buffer of them.
bool is_private_file_mapping(const void* pointer) {
  const auto address = reinterpret_cast<std::uintptr_t>(pointer);
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    unsigned long begin = 0;
    unsigned long end = 0;
    char permissions[5] = {};
    unsigned long inode = 0;
    if (std::sscanf(line.c_str(), "%lx-%lx %4s %*s %*s %lu", &begin, &end, permissions, &inode) != 4) continue;
    if (begin <= address && address < end) return permissions[3] == 'p' && inode != 0;
  }
  return false;
}

bool allocation_fails() {
  const std::lock_guard lock(world().mutex);
  std::optional<std::uint64_t>& fault = world().allocation_fault;
  if (!fault) return false;
  if (*fault > 0) {
    --*fault;
    return false;
  }
  fault.reset();
  return true;
}

}  // namespace

@implementation MsltDoubleFence
@end

@implementation MsltDoubleBuffer

- (instancetype)initWithDevice:(id<MTLDevice>)device length:(NSUInteger)length options:(MTLResourceOptions)options {
  self = [super initWithDevice:device];
  contents_ = ::operator new(length, alignment, std::nothrow);
  if (contents_ == nullptr) {
    [self release];
    return nil;
  }
  std::memset(contents_, 0, length);
  length_ = length;
  options_ = options;
  owned_ = YES;
  account(length_, true);
  return self;
}

- (instancetype)initWithDevice:(id<MTLDevice>)device
                       pointer:(void*)pointer
                        length:(NSUInteger)length
                       options:(MTLResourceOptions)options
                   deallocator:(void (^)(void* pointer, NSUInteger length))deallocator {
  self = [super initWithDevice:device];
  contents_ = pointer;
  length_ = length;
  options_ = options;
  if (deallocator != nil) deallocator_ = Block_copy(deallocator);
  account(length_, true);
  return self;
}

- (void)dispose {
  if (contents_ != nullptr) account(length_, false);
  if (owned_) ::operator delete(contents_, alignment);
  if (deallocator_ != nil) {
    deallocator_(contents_, length_);
    Block_release(deallocator_);
  }
}

- (NSUInteger)length {
  return length_;
}

- (void*)contents {
  return contents_;
}

- (MTLResourceOptions)resourceOptions {
  return options_;
}

- (MTLHazardTrackingMode)hazardTrackingMode {
  return [self isTracked] ? MTLHazardTrackingModeTracked : MTLHazardTrackingModeUntracked;
}

// Tracking is the default for buffers of a device.
- (BOOL)isTracked {
  return (options_ & tracking_mask) != MTLResourceHazardTrackingModeUntracked;
}

@end

@implementation MsltDoubleDevice

- (instancetype)initWithName:(NSString*)name {
  self = [super initWithDevice:nil];
  name_ = [name retain];
  return self;
}

- (void)dispose {
  [name_ release];
}

- (NSString*)name {
  return name_;
}

- (MTLSize)maxThreadsPerThreadgroup {
  const NSUInteger most = world().settings.max_threads;
  return MTLSizeMake(most, most, most);
}

- (uint64_t)recommendedMaxWorkingSetSize {
  return world().settings.working_set_bytes;
}

- (NSUInteger)currentAllocatedSize {
  const std::lock_guard lock(world().mutex);
  return world().allocated_bytes;
}

- (NSUInteger)maxThreadgroupMemoryLength {
  return world().settings.threadgroup_bytes;
}

- (NSUInteger)maxBufferLength {
  return world().settings.max_buffer_bytes;
}

- (BOOL)supportsFamily:(MTLGPUFamily)gpuFamily {
  return gpuFamily <= world().settings.family;
}

- (id<MTLCommandQueue>)newCommandQueue {
  return [[MsltDoubleQueue alloc] initWithDevice:self];
}

- (id<MTLFence>)newFence {
  return [[MsltDoubleFence alloc] initWithDevice:self];
}

- (BOOL)mayMakeBufferOfLength:(NSUInteger)length options:(MTLResourceOptions)options {
  if (length == 0 || length > world().settings.max_buffer_bytes) {
    [self report:fmt::format("a buffer of {} bytes is asked for.", length).c_str()];
    return NO;
  }
  if ((options & storage_mask) != MTLResourceStorageModeShared) {
    [self report:"the double's buffers are shared ones."];
    return NO;
  }
  return !allocation_fails();
}

- (id<MTLBuffer>)newBufferWithLength:(NSUInteger)length options:(MTLResourceOptions)options {
  if (![self mayMakeBufferOfLength:length options:options]) return nil;
  return [[MsltDoubleBuffer alloc] initWithDevice:self length:length options:options];
}

- (id<MTLBuffer>)newBufferWithBytesNoCopy:(void*)pointer
                                   length:(NSUInteger)length
                                  options:(MTLResourceOptions)options
                              deallocator:(void (^)(void* pointer, NSUInteger length))deallocator {
  const auto page = static_cast<NSUInteger>(::sysconf(_SC_PAGESIZE));
  if (reinterpret_cast<std::uintptr_t>(pointer) % page != 0 || length % page != 0) {
    [self report:"newBufferWithBytesNoCopy takes whole pages."];
    return nil;
  }
  if (is_private_file_mapping(pointer)) {
    [self report:"newBufferWithBytesNoCopy is given a file that is mapped privately."];
    return nil;
  }
  if (![self mayMakeBufferOfLength:length options:options]) return nil;
  return [[MsltDoubleBuffer alloc] initWithDevice:self
                                          pointer:pointer
                                           length:length
                                          options:options
                                      deallocator:deallocator];
}

- (id<MTLLibrary>)newLibraryWithURL:(NSURL*)url error:(NSError**)error {
  return load(self, url, error);
}

- (id<MTLLibrary>)newLibraryWithSource:(NSString*)source options:(MTLCompileOptions*)options error:(NSError**)error {
  return compile(self, source, options, error);
}

- (id<MTLComputePipelineState>)newComputePipelineStateWithFunction:(id<MTLFunction>)computeFunction
                                                             error:(NSError**)error {
  return [[MsltDoublePipeline alloc] initWithDevice:self function:computeFunction error:error];
}

@end

id<MTLDevice> MTLCreateSystemDefaultDevice(void) {
  const std::vector<std::string>& names = world().settings.devices;
  if (names.empty() || !world().settings.has_default) return nil;
  return [[MsltDoubleDevice alloc] initWithName:[NSString stringWithUTF8String:names[0].c_str()]];
}

NSArray<id<MTLDevice>>* MTLCopyAllDevices(void) {
  NSMutableArray<id<MTLDevice>>* all = [[NSMutableArray alloc] init];
  for (const std::string& name : world().settings.devices) {
    MsltDoubleDevice* device = [[MsltDoubleDevice alloc] initWithName:[NSString stringWithUTF8String:name.c_str()]];
    [all addObject:device];
    [device release];
  }
  return all;
}
