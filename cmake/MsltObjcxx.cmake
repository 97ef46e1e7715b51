# Objective-C++ for the Metal driver: Apple's compiler and frameworks on macOS; on Linux clang, GNUstep and a blocks runtime,
# with tests/metal_double in place of Metal. Sets MSLT_OBJCXX if it can be compiled, else MSLT_OBJCXX_MISSING to what is
# missing. Makes mslt_objcxx with the compile options of its targets.
set(MSLT_OBJCXX OFF)
set(MSLT_OBJCXX_MISSING "")
set(objcxx_options "")

if(APPLE)
  set(MSLT_OBJCXX ON)
elseif(NOT MSLT_BUILD_TESTS)
  set(MSLT_OBJCXX_MISSING "the tests, which alone need it here")
else()
  # GCC cannot compile blocks.
  find_program(MSLT_OBJCXX_COMPILER NAMES clang++-19 clang++ DOC "clang++, for Objective-C++")
  find_path(MSLT_GNUSTEP_INCLUDE Foundation/Foundation.h PATH_SUFFIXES GNUstep DOC "GNUstep's headers")
  find_path(MSLT_BLOCKS_INCLUDE Block.h DOC "The headers of libBlocksRuntime")
  find_library(MSLT_GNUSTEP_LIBRARY gnustep-base)
  find_library(MSLT_BLOCKS_LIBRARY BlocksRuntime)
  foreach(item IN ITEMS "MSLT_OBJCXX_COMPILER:clang-19" "MSLT_GNUSTEP_INCLUDE:libgnustep-base-dev"
                        "MSLT_GNUSTEP_LIBRARY:libgnustep-base-dev" "MSLT_BLOCKS_INCLUDE:libblocksruntime-dev"
                        "MSLT_BLOCKS_LIBRARY:libblocksruntime-dev")
    string(REPLACE ":" ";" item ${item})
    list(GET item 0 variable)
    list(GET item 1 package)
    if(NOT ${variable})
      list(APPEND MSLT_OBJCXX_MISSING ${package})
    endif()
  endforeach()
  if(MSLT_OBJCXX_COMPILER)
    # The runtime's headers and library are in GCC's own folder.
    execute_process(COMMAND ${MSLT_OBJCXX_COMPILER} -print-file-name=libobjc.so
                    OUTPUT_VARIABLE objc_library OUTPUT_STRIP_TRAILING_WHITESPACE)
    get_filename_component(objc_folder "${objc_library}" DIRECTORY)
    if(EXISTS "${objc_library}" AND EXISTS "${objc_folder}/include/objc/runtime.h")
      set(MSLT_OBJC_LIBRARY ${objc_library})
    else()
      list(APPEND MSLT_OBJCXX_MISSING libobjc-12-dev)
    endif()
  endif()
  list(REMOVE_DUPLICATES MSLT_OBJCXX_MISSING)
  if(NOT MSLT_OBJCXX_MISSING)
    set(objcxx_options -fobjc-runtime=gcc -fblocks -fobjc-exceptions -fconstant-string-class=NSConstantString
                       -DGNUSTEP -DGNUSTEP_BASE_LIBRARY=1 -D_NATIVE_OBJC_EXCEPTIONS)
    # After all others: the folder also has GCC's own versions of clang's headers.
    set(objc_include -idirafter ${objc_folder}/include)
    # All parts may exist without fitting together.
    file(CONFIGURE OUTPUT ${PROJECT_BINARY_DIR}/probes/objcxx.mm CONTENT "#include <Block.h>
#import <Foundation/Foundation.h>
int main() {
  int (^block)(void) = ^{ return [@\"\" length] == 0 ? 0 : 1; };
  return block();
}
")
    mslt_succeeds(MSLT_OBJCXX_WORKS
                  COMMAND ${MSLT_OBJCXX_COMPILER} -std=c++20 ${objcxx_options} -isystem ${PROJECT_SOURCE_DIR}/tests/metal_double/include
                          -isystem ${MSLT_GNUSTEP_INCLUDE} -idirafter ${MSLT_BLOCKS_INCLUDE} ${objc_include} ${PROJECT_BINARY_DIR}/probes/objcxx.mm
                          -o ${PROJECT_BINARY_DIR}/probes/objcxx ${MSLT_BLOCKS_LIBRARY} ${MSLT_GNUSTEP_LIBRARY}
                          ${MSLT_OBJC_LIBRARY})
    if(MSLT_OBJCXX_WORKS)
      set(MSLT_OBJCXX ON)
      set(CMAKE_OBJCXX_COMPILER ${MSLT_OBJCXX_COMPILER})
      list(JOIN objc_include " " objc_include)
      list(APPEND objcxx_options "SHELL:${objc_include}")
    else()
      set(MSLT_OBJCXX_MISSING "a clang++ that compiles Objective-C++ for GNUstep (clang-19 does)")
    endif()
  endif()
endif()

if(MSLT_OBJCXX)
  if(CMAKE_CXX_COMPILER_LAUNCHER AND NOT CMAKE_OBJCXX_COMPILER_LAUNCHER)
    set(CMAKE_OBJCXX_COMPILER_LAUNCHER ${CMAKE_CXX_COMPILER_LAUNCHER})
  endif()
  set(CMAKE_OBJCXX_STANDARD 20)
  if(CMAKE_CXX_COMPILER_ID MATCHES "Clang")
    set(CMAKE_OBJCXX_FLAGS_RELWITHDEBINFO "${CMAKE_CXX_FLAGS_RELWITHDEBINFO}")
  endif()
  # clang's way of starting precompiled headers does not suit another C++ compiler.
  set(pch_prologue "${CMAKE_PCH_PROLOGUE}")
  enable_language(OBJCXX)
  set(CMAKE_PCH_PROLOGUE "${pch_prologue}")
  add_library(mslt_objcxx INTERFACE)
  target_include_directories(mslt_objcxx INTERFACE ${PROJECT_SOURCE_DIR} ${PROJECT_SOURCE_DIR}/src
                                                   ${PROJECT_SOURCE_DIR}/include)
  target_compile_options(mslt_objcxx INTERFACE -Wall -Wextra -Wpedantic $<$<BOOL:${MSLT_WERROR}>:-Werror>
                                               -ffp-contract=off ${objcxx_options})
  if(MSLT_SANITIZE)
    target_compile_options(mslt_objcxx INTERFACE -fsanitize=${MSLT_SANITIZE} -fno-omit-frame-pointer
                                                 -fno-sanitize-recover=all)
    if(MSLT_SANITIZE MATCHES "undefined")
      target_compile_options(mslt_objcxx INTERFACE -fsanitize-ignorelist=${CMAKE_CURRENT_LIST_DIR}/sanitizers.txt)
      target_compile_definitions(mslt_objcxx INTERFACE _GLIBCXX_ASSERTIONS)
    endif()
  endif()
  if(APPLE)
    # Programs without CoreGraphics have no default GPU (Apple's page for MTLCreateSystemDefaultDevice).
    set(MSLT_METAL_FRAMEWORKS "-framework Metal" "-framework Foundation" "-framework CoreFoundation"
                              "-framework CoreGraphics" "-framework IOKit")
    target_link_libraries(mslt_objcxx INTERFACE ${MSLT_METAL_FRAMEWORKS})
  else()
    target_include_directories(mslt_objcxx SYSTEM INTERFACE ${MSLT_GNUSTEP_INCLUDE} ${MSLT_BLOCKS_INCLUDE})
  endif()
endif()
