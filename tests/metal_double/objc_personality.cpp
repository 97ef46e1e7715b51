// Lets C++ exceptions pass through Objective-C++ code on Linux.
//
// For GCC's Objective-C runtime, clang unwinds every function of an Objective-C++ file by this routine, and the one in
// libobjc does not know C++ handlers. The files here have no Objective-C handlers, so C++'s own routine serves them.
// Hidden, so that libraries keep libobjc's.
#include <unwind.h>

extern "C" {

_Unwind_Reason_Code __gxx_personality_v0(int version, _Unwind_Action actions, _Unwind_Exception_Class exception_class,
                                         _Unwind_Exception* exception, _Unwind_Context* context);

__attribute__((visibility("hidden"))) _Unwind_Reason_Code
__gnu_objc_personality_v0(int version, _Unwind_Action actions, _Unwind_Exception_Class exception_class,
                          _Unwind_Exception* exception, _Unwind_Context* context);

_Unwind_Reason_Code __gnu_objc_personality_v0(int version, _Unwind_Action actions,
                                              _Unwind_Exception_Class exception_class, _Unwind_Exception* exception,
                                              _Unwind_Context* context) {
  return __gxx_personality_v0(version, actions, exception_class, exception, context);
}

}  // extern "C"
