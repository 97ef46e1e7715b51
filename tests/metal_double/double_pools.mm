// Counts autorelease pools: Metal uses Foundation's, whose method is wrapped by one that counts.
#import <Foundation/Foundation.h>
#import <objc/runtime.h>

#include "tests/metal_double/metal_double.h"

namespace mslt::metal_double {
namespace {

std::uint64_t& begun() {
  thread_local std::uint64_t count = 0;
  return count;
}

using Init = id (*)(id, SEL);

Init& original() {
  static Init init = nullptr;
  return init;
}

id counting_init(id self, SEL selector) {
  ++begun();
  return original()(self, selector);
}

bool install() {
  const Method method = class_getInstanceMethod([NSAutoreleasePool class], @selector(init));
  original() = reinterpret_cast<Init>(method_getImplementation(method));
  method_setImplementation(method, reinterpret_cast<IMP>(&counting_init));
  return true;
}

}  // namespace

std::uint64_t pools_begun() {
  // Not before main: the runtime may not know its classes yet.
  static const bool installed = install();
  static_cast<void>(installed);
  return begun();
}

}  // namespace mslt::metal_double
