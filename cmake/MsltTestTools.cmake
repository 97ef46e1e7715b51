# Tools that only the tests need: finds them, checks whether they work, and skips tests without them, with the reason.
#   MSLT_CLANG              clang that checks the kernels as C++ for OpenCL; empty without one
#   MSLT_CLANGXX            clang++ that runs the kernels under its sanitizers; empty without one
#   MSLT_SANITIZER_<name>   whether its programs run under the sanitizer address, undefined, memory or thread
#   MSLT_REPORTS_NAME_LINES whether the sanitizers' reports name files and lines

# mslt_skipped_test(NAME REASON): a test that ctest counts as skipped and that prints the reason.
function(mslt_skipped_test name reason)
  add_test(NAME ${name} COMMAND ${CMAKE_COMMAND} -E echo "skipped: ${reason}")
  set_tests_properties(${name} PROPERTIES SKIP_REGULAR_EXPRESSION "skipped:")
  message(STATUS "Skipped: ${name}: ${reason}")
endfunction()

set(MSLT_CLANG "")
set(MSLT_CLANGXX "")
if(NOT MSLT_BUILD_TESTS)
  return()
endif()
set(probes ${PROJECT_BINARY_DIR}/probes)

# mslt_succeeds(VARIABLE [OUTPUT variable] COMMAND ...): sets VARIABLE to whether the command exits with 0. A success is cached;
# a failure is tried again at the next configuration, in case a package was installed.
function(mslt_succeeds variable)
  cmake_parse_arguments(arg "" "OUTPUT" "COMMAND" ${ARGN})
  if(NOT arg_OUTPUT AND MSLT_PROBED_${variable} STREQUAL "${arg_COMMAND}")
    set(${variable} TRUE PARENT_SCOPE)
    return()
  endif()
  execute_process(COMMAND ${arg_COMMAND} RESULT_VARIABLE status OUTPUT_VARIABLE text ERROR_VARIABLE text TIMEOUT 300)
  if(arg_OUTPUT)
    set(${arg_OUTPUT} "${text}" PARENT_SCOPE)
  endif()
  if(status STREQUAL "0")
    set(MSLT_PROBED_${variable} "${arg_COMMAND}" CACHE INTERNAL "")
    set(${variable} TRUE PARENT_SCOPE)
  else()
    set(${variable} FALSE PARENT_SCOPE)
  endif()
endfunction()

# The compiler that checks address spaces.
set(clang_names clang-19 clang)
if(APPLE)
  # Apple's own clang is built without OpenCL.
  set(clang_names clang-19)
endif()
find_program(MSLT_FOUND_CLANG NAMES ${clang_names} DOC "clang, for checking the kernels as C++ for OpenCL")
if(NOT MSLT_FOUND_CLANG)
  list(JOIN clang_names " or " clang_names)
  set(MSLT_CLANG_MISSING "${clang_names} is not installed")
else()
  file(CONFIGURE OUTPUT ${probes}/opencl.clcpp CONTENT "kernel void probe(global int* out) { out[get_global_id(0)] = 1; }\n")
  mslt_succeeds(MSLT_CLANG_OPENCL COMMAND ${MSLT_FOUND_CLANG} -x clcpp -cl-std=clc++2021 -fsyntax-only
                                          ${probes}/opencl.clcpp)
  if(MSLT_CLANG_OPENCL)
    set(MSLT_CLANG ${MSLT_FOUND_CLANG})
  else()
    set(MSLT_CLANG_MISSING "${MSLT_FOUND_CLANG} does not compile C++ for OpenCL (clang-19 does)")
  endif()
endif()

find_program(MSLT_FOUND_CLANGXX NAMES clang++-19 DOC "clang++, for running the kernels under its sanitizers")
if(NOT MSLT_FOUND_CLANGXX)
  return()
endif()
set(MSLT_CLANGXX ${MSLT_FOUND_CLANGXX})
file(CONFIGURE OUTPUT ${probes}/sanitized.cpp CONTENT "#include <vector>
int main(int count, char**) {
  std::vector<int> values(1);
  return values.data()[count - 1];
}
")
foreach(sanitizer IN ITEMS address undefined memory thread)
  mslt_succeeds(MSLT_SANITIZER_${sanitizer}
                COMMAND sh -c "'${MSLT_CLANGXX}' -std=c++20 -g -fsanitize=${sanitizer} '${probes}/sanitized.cpp' \
-o '${probes}/sanitized_${sanitizer}' && '${probes}/sanitized_${sanitizer}'")
endforeach()
# With an argument the program reads one element too far; without a symbolizer the report names no line.
set(MSLT_REPORTS_NAME_LINES FALSE)
if(MSLT_SANITIZER_address)
  execute_process(COMMAND ${probes}/sanitized_address overrun OUTPUT_VARIABLE report ERROR_VARIABLE report)
  if(report MATCHES "sanitized\\.cpp:4")
    set(MSLT_REPORTS_NAME_LINES TRUE)
  endif()
endif()
