// The base of the double's classes: counts objects, and keeps dead ones as zombies that report every use.
#pragma once

#import <Foundation/Foundation.h>
#import <Metal/Metal.h>

@interface MsltDoubleObject : NSObject {
  NSString* label_;
  unsigned long generation_;
  id<MTLDevice> device_;
}
// Keeps the device alive, as Metal's objects do.
- (instancetype)initWithDevice:(id<MTLDevice>)device;
// Releases the members of the subclass; called once, by dealloc.
- (void)dispose;
// Records a violation that names the class.
- (void)report:(const char*)what;
@property(copy, atomic) NSString* label;
@property(readonly) id<MTLDevice> device;
@end
