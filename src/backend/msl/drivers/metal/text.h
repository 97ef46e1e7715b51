// Conversion between NSString, NSError and std::string. Objective-C++ only; call with an AutoreleasePool in scope.
#pragma once

#import <Foundation/Foundation.h>

#include <string>
#include <string_view>

#include "backend/msl/drivers/metal/retained.h"

namespace mslt::msl::metal {

inline std::string to_string(NSString* text) {
  const char* utf8 = [text UTF8String];
  return utf8 == nullptr ? std::string() : std::string(utf8);
}

// Empty if `text` is not UTF-8.
inline Retained<NSString*> to_nsstring(std::string_view text) {
  return Retained<NSString*>::adopt([[NSString alloc] initWithBytes:text.data()
                                                             length:text.size()
                                                           encoding:NSUTF8StringEncoding]);
}

// The description of an error.
inline std::string describe(NSError* error) {
  if (error == nil) return "Metal gave no reason";
  return to_string([error localizedDescription]);
}

}  // namespace mslt::msl::metal
