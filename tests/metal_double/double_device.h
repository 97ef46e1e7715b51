// The device and its buffers, and the fence.
#pragma once

#include <cstddef>

#include "tests/metal_double/double_object.h"

@interface MsltDoubleFence : MsltDoubleObject <MTLFence>
@end

@interface MsltDoubleBuffer : MsltDoubleObject <MTLBuffer> {
  void* contents_;
  NSUInteger length_;
  MTLResourceOptions options_;
  BOOL owned_;
  void (^deallocator_)(void* pointer, NSUInteger length);
}
// Nil if there is no memory.
- (instancetype)initWithDevice:(id<MTLDevice>)device length:(NSUInteger)length options:(MTLResourceOptions)options;
- (instancetype)initWithDevice:(id<MTLDevice>)device
                       pointer:(void*)pointer
                        length:(NSUInteger)length
                       options:(MTLResourceOptions)options
                   deallocator:(void (^)(void* pointer, NSUInteger length))deallocator;
- (BOOL)isTracked;
@end

@interface MsltDoubleDevice : MsltDoubleObject <MTLDevice> {
  NSString* name_;
}
- (instancetype)initWithName:(NSString*)name;
@end
