// Owners of Objective-C objects under manual retain and release. Objective-C++ only.
#pragma once

#import <Foundation/Foundation.h>

#include <utility>

namespace mslt::msl::metal {

// Holds one reference to an object and releases it in its destructor, even during an exception. Object is a pointer
// type such as id<MTLBuffer>.
template <class Object>
class Retained {
 public:
  Retained() = default;
  // Takes over the reference returned by a method named new..., alloc, copy... or a function named ...Create or
  // ...Copy.
  static Retained adopt(Object object) { return Retained(object); }
  // Adds a reference to an object held elsewhere, such as an autoreleased one.
  static Retained retain(Object object) { return Retained([object retain]); }

  Retained(Retained&& other) noexcept : object_(std::exchange(other.object_, nil)) {}
  Retained(const Retained& other) : object_([other.object_ retain]) {}
  Retained& operator=(Retained other) noexcept {
    std::swap(object_, other.object_);
    return *this;
  }
  ~Retained() { [object_ release]; }

  Object get() const { return object_; }
  explicit operator bool() const { return object_ != nil; }

 private:
  explicit Retained(Object object) : object_(object) {}

  Object object_ = nil;
};

// Releases objects autoreleased on this thread during its life. Unlike @autoreleasepool, it also does so during an
// exception. Pools end in the reverse order of their beginnings.
class AutoreleasePool {
 public:
  AutoreleasePool() : pool_([[NSAutoreleasePool alloc] init]) {}
  AutoreleasePool(const AutoreleasePool&) = delete;
  AutoreleasePool& operator=(const AutoreleasePool&) = delete;
  ~AutoreleasePool() { [pool_ drain]; }

 private:
  NSAutoreleasePool* pool_;
};

}  // namespace mslt::msl::metal
