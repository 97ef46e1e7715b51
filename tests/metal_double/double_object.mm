// Counting and zombies.
#include "tests/metal_double/double_object.h"

#include <fmt/format.h>
#import <objc/runtime.h>

#include <unordered_map>
#include <vector>

#include "tests/metal_double/world.h"

using namespace mslt::metal_double;

namespace {

// The former class of a zombie. Guarded by World::mutex.
std::unordered_map<const void*, Class>& former_classes() {
  static auto& classes = *new std::unordered_map<const void*, Class>;
  return classes;
}

Class former_class(id zombie) {
  const std::lock_guard lock(world().mutex);
  const auto found = former_classes().find(zombie);
  return found == former_classes().end() ? Nil : found->second;
}

void report_use(id zombie, const char* selector) {
  const Class former = former_class(zombie);
  violation(
      fmt::format("{} is sent {} after its last release.", former == Nil ? "?" : class_getName(former), selector));
}

}  // namespace

@interface MsltZombie : NSObject
@end

@implementation MsltZombie

- (id)retain {
  report_use(self, "retain");
  return self;
}

- (oneway void)release {
  report_use(self, "release");
}

- (id)autorelease {
  report_use(self, "autorelease");
  return self;
}

- (NSMethodSignature*)methodSignatureForSelector:(SEL)selector {
  NSMethodSignature* signature = [former_class(self) instanceMethodSignatureForSelector:selector];
  return signature != nil ? signature : [super methodSignatureForSelector:selector];
}

// Does nothing and returns zero.
- (void)forwardInvocation:(NSInvocation*)invocation {
  report_use(self, sel_getName([invocation selector]));
  std::vector<char> zero([[invocation methodSignature] methodReturnLength] + 1);
  [invocation setReturnValue:zero.data()];
}

#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Wobjc-missing-super-calls"
- (void)dealloc {
}
#pragma clang diagnostic pop

@end

@implementation MsltDoubleObject

@synthesize label = label_;
@synthesize device = device_;

- (instancetype)init {
  return [self initWithDevice:nil];
}

- (instancetype)initWithDevice:(id<MTLDevice>)device {
  self = [super init];
  if (self == nil) return nil;
  device_ = [device retain];
  World& w = world();
  const std::lock_guard lock(w.mutex);
  generation_ = w.generation;
  ++w.live[class_getName([self class])];
  return self;
}

- (void)dispose {
}

- (void)report:(const char*)what {
  violation(fmt::format("{}: {}", class_getName([self class]), what));
}

// The memory stays until the double is reset, so no other object gets the address.
#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Wobjc-missing-super-calls"
- (void)dealloc {
  [self dispose];
  [label_ release];
  [device_ release];
  World& w = world();
  const std::lock_guard lock(w.mutex);
  const Class former = object_getClass(self);
  if (generation_ == w.generation) --w.live[class_getName(former)];
  former_classes()[self] = former;
  object_setClass(self, [MsltZombie class]);
  id object = self;
  w.graves.push_back([object, former] {
    {
      const std::lock_guard again(world().mutex);
      former_classes().erase(object);
    }
    object_setClass(object, former);
    NSDeallocateObject(object);
  });
}
#pragma clang diagnostic pop

@end
