# The build's functions: mslt_module, mslt_module_tests and mslt_fuzzer.

# Compile options of all targets of the project.
add_library(mslt_options INTERFACE)
target_compile_features(mslt_options INTERFACE cxx_std_20)
target_compile_options(mslt_options INTERFACE -Wall -Wextra -Wpedantic $<$<BOOL:${MSLT_WERROR}>:-Werror>)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  # GCC 12 reports false overlaps and overruns inside std::string (its bug 105651), depending on the length of literals.
  target_compile_options(mslt_options INTERFACE -Wno-array-bounds -Wno-restrict -Wno-stringop-overflow
                                               -Wno-stringop-overread)
endif()
if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
  # std::stable_sort of libstdc++ 12 calls a function that C++20 deprecates.
  target_compile_options(mslt_options INTERFACE -Wno-deprecated-declarations)
endif()
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # Half a gigabyte before GCC first looks for memory to reuse: a tenth less time for a third more memory.
  target_compile_options(mslt_options INTERFACE --param=ggc-min-heapsize=524288)
endif()
# Contraction is fixed, so devices differ by rounding only.
target_compile_options(mslt_options INTERFACE -ffp-contract=off)
target_include_directories(mslt_options INTERFACE ${PROJECT_SOURCE_DIR}/src)
if(MSLT_SANITIZE)
  target_compile_options(mslt_options INTERFACE -fsanitize=${MSLT_SANITIZE} -fno-omit-frame-pointer
                                                -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${MSLT_SANITIZE})
  # It takes a third of the time of the usual linker.
  find_program(MSLT_LLD NAMES ld.lld-19 DOC "LLVM's linker, for sanitizer builds")
  if(MSLT_LLD AND CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
    add_link_options(--ld-path=${MSLT_LLD})
  endif()
  if(MSLT_SANITIZE MATCHES "undefined" AND CMAKE_CXX_COMPILER_ID MATCHES "Clang")
    target_compile_options(mslt_options INTERFACE -fsanitize-ignorelist=${CMAKE_CURRENT_LIST_DIR}/sanitizers.txt)
    target_compile_definitions(mslt_options INTERFACE _GLIBCXX_ASSERTIONS)
  endif()
endif()
# Also used for parsers of untrusted input, so the fuzzers see which code an input reaches. Kernels, which they do not call,
# would take longer with it.
add_library(mslt_fuzzed INTERFACE)
if(MSLT_BUILD_FUZZ)
  target_compile_options(mslt_fuzzed INTERFACE -fsanitize=fuzzer-no-link)
endif()

# For code that takes longer to compile than it ever runs, such as the command line.
add_library(mslt_compiled_fast INTERFACE)
if(MSLT_SANITIZE)
  target_compile_options(mslt_compiled_fast INTERFACE -O0)
else()
  target_compile_options(mslt_compiled_fast INTERFACE $<$<CONFIG:Release,RelWithDebInfo>:-O1>)
endif()
# The tests' own code, in every build.
add_library(mslt_test_code INTERFACE)
target_compile_options(mslt_test_code INTERFACE -O0)

# mslt_repeated_sources(VARIABLE TARGET): the target's sources that Highway compiles once per instruction set.
function(mslt_repeated_sources variable target)
  get_target_property(sources ${target} SOURCES)
  get_target_property(folder ${target} SOURCE_DIR)
  set(repeated "")
  foreach(source IN LISTS sources)
    cmake_path(ABSOLUTE_PATH source BASE_DIRECTORY ${folder})
    if(source MATCHES "\\.cpp$" AND EXISTS ${source})
      file(STRINGS ${source} found REGEX "hwy/foreach_target\\.h" LIMIT_COUNT 1)
      if(found)
        list(APPEND repeated ${source})
      endif()
    endif()
  endforeach()
  set(${variable} ${repeated} PARENT_SCOPE)
endfunction()

# mslt_compile_together(TARGET BATCH [header ...])
# With MSLT_UNITY, BATCH sources of the target are compiled as one, which reads headers and instantiates templates once for all
# of them; names in their unnamed namespaces must then differ. Sources with their own options, and those that Highway compiles
# once per instruction set, stay separate. BATCH 0 takes all, as sanitizers do, whose builds need not use many cores. Without
# MSLT_UNITY, the named headers are precompiled. With MSLT_ANALYSIS, all sources of the target are one, also Highway's, for the
# baseline alone.
function(mslt_compile_together target batch)
  if(MSLT_ANALYSIS)
    set_target_properties(${target} PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 0)
    target_compile_definitions(${target} PRIVATE HWY_COMPILE_ONLY_STATIC)
    return()
  endif()
  if(NOT MSLT_UNITY)
    if(ARGN)
      target_precompile_headers(${target} PRIVATE ${ARGN})
    endif()
    return()
  endif()
  if(MSLT_SANITIZE)
    set(batch 0)
  endif()
  set_target_properties(${target} PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE ${batch})
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    # GCC treats the sources as headers, in which unnamed namespaces would be wrong.
    target_compile_options(${target} PRIVATE -Wno-subobject-linkage)
  endif()
  mslt_repeated_sources(repeated ${target})
  set_source_files_properties(${repeated} PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)
endfunction()

# mslt_module(NAME [FUZZED] [COMPILED_FAST|CHECKED_FAST] SOURCES ... [DEPENDS module ...] [LIBRARIES target ...] [PRECOMPILE header ...])
# One folder of src/ as the static library mslt_NAME. DEPENDS names the modules that it uses; FUZZED marks modules that a fuzzer
# calls, COMPILED_FAST those that need little optimisation, CHECKED_FAST those that need none under sanitizers. ThreadSanitizer, which
# sees no fuzzer, does without optimisation of both.
function(mslt_module name)
  cmake_parse_arguments(arg "FUZZED;COMPILED_FAST;CHECKED_FAST" "" "SOURCES;DEPENDS;LIBRARIES;PRECOMPILE" ${ARGN})
  add_library(mslt_${name} STATIC ${arg_SOURCES})
  add_library(mslt::${name} ALIAS mslt_${name})
  set_target_properties(mslt_${name} PROPERTIES EXPORT_NAME ${name} POSITION_INDEPENDENT_CODE ON)
  target_include_directories(mslt_${name} PUBLIC $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>
                                                 $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
  target_compile_features(mslt_${name} PUBLIC cxx_std_20)
  target_link_libraries(mslt_${name} PRIVATE $<BUILD_INTERFACE:mslt_options> fmt::fmt Threads::Threads)
  if(arg_FUZZED)
    target_link_libraries(mslt_${name} PRIVATE $<BUILD_INTERFACE:mslt_fuzzed>)
  endif()
  if(arg_COMPILED_FAST OR (arg_CHECKED_FAST AND MSLT_SANITIZE) OR (arg_FUZZED AND MSLT_SANITIZE MATCHES "thread"))
    target_link_libraries(mslt_${name} PRIVATE $<BUILD_INTERFACE:mslt_compiled_fast>)
  endif()
  foreach(dependency IN LISTS arg_DEPENDS)
    target_link_libraries(mslt_${name} PUBLIC mslt_${dependency})
  endforeach()
  target_link_libraries(mslt_${name} PRIVATE ${arg_LIBRARIES})
  mslt_compile_together(mslt_${name} 20 ${arg_PRECOMPILE})
  set_property(GLOBAL APPEND PROPERTY MSLT_MODULES mslt_${name})
endfunction()

# mslt_module_tests(NAME [TOGETHER] SOURCES ... [DEPENDS module ...] [LIBRARIES target ...] [FILTER pattern] [PARTS number]
#                   [SUITES suite ...])
# The *_test.cpp files of one folder as the program NAME_tests, with one ctest entry per test case that matches GoogleTest's
# pattern. TOGETHER: the files use different names, so MSLT_UNITY can compile them as one. Under AddressSanitizer, where a program
# takes a tenth of a second to start and to look for leaks, there are PARTS entries (2) instead, NAME/part_1 and so on, which take turns
# with the cases; the output of one that fails names the case. With SUITES, whose cases share an expensive setup, there is one
# entry per suite, and one for the remaining suites.
function(mslt_module_tests name)
  if(NOT MSLT_BUILD_TESTS)
    return()
  endif()
  cmake_parse_arguments(arg "TOGETHER" "FILTER;PARTS" "SOURCES;DEPENDS;LIBRARIES;SUITES" ${ARGN})
  add_executable(${name}_tests ${arg_SOURCES})
  list(TRANSFORM arg_DEPENDS PREPEND mslt_)
  target_include_directories(${name}_tests PRIVATE ${PROJECT_SOURCE_DIR})
  target_compile_definitions(${name}_tests PRIVATE MSLT_TEST_DATA="${PROJECT_SOURCE_DIR}/tests")
  target_link_libraries(${name}_tests PRIVATE mslt_options mslt_test_code ${arg_DEPENDS} ${arg_LIBRARIES} fmt::fmt
                                              Threads::Threads GTest::gtest_main)
  if(arg_TOGETHER)
    mslt_compile_together(${name}_tests 0)
  endif()
  # Five frames tell who allocated memory. AddressSanitizer's usual thirty take a tenth of the tests' time.
  set(asan_options ASAN_OPTIONS=malloc_context_size=5)
  if(arg_SUITES)
    # These start programs, most of which only begin. The stacks of functions that returned, a fifth of that time, are watched in the
    # modules' own tests.
    string(APPEND asan_options :detect_stack_use_after_return=0)
    set(others "-")
    foreach(suite IN LISTS arg_SUITES)
      add_test(NAME ${name}/${suite} COMMAND ${name}_tests --gtest_filter=${suite}.*)
      # Whole suites first, so that the last one does not run alone.
      set_tests_properties(${name}/${suite} PROPERTIES TIMEOUT 1200 COST 100 ENVIRONMENT ${asan_options})
      string(APPEND others "${suite}.*:")
    endforeach()
    add_test(NAME ${name}/others COMMAND ${name}_tests --gtest_filter=${others})
    set_tests_properties(${name}/others PROPERTIES TIMEOUT 1200 ENVIRONMENT ${asan_options})
    return()
  endif()
  # Scratch files of one build, so that tests of two builds do not disturb each other.
  file(MAKE_DIRECTORY ${PROJECT_BINARY_DIR}/scratch)
  set(environment TMPDIR=${PROJECT_BINARY_DIR}/scratch)
  if(MSLT_SANITIZE MATCHES "address")
    if(NOT arg_PARTS)
      set(arg_PARTS 2)
    endif()
    if(NOT arg_FILTER)
      set(arg_FILTER "*")
    endif()
    foreach(part RANGE 1 ${arg_PARTS})
      math(EXPR index "${part} - 1")
      add_test(NAME ${name}/part_${part} COMMAND ${name}_tests "--gtest_filter=${arg_FILTER}")
      # Programs of many parts take long, so they begin first.
      set_tests_properties(${name}/part_${part} PROPERTIES TIMEOUT 1800 COST ${arg_PARTS}
        ENVIRONMENT "${environment};${asan_options};GTEST_TOTAL_SHARDS=${arg_PARTS};GTEST_SHARD_INDEX=${index}")
    endforeach()
    return()
  endif()
  include(GoogleTest)
  gtest_discover_tests(${name}_tests TEST_PREFIX ${name}/ TEST_FILTER "${arg_FILTER}" DISCOVERY_TIMEOUT 300
                       PROPERTIES TIMEOUT 600 ENVIRONMENT ${environment})
endfunction()

# mslt_fuzzer(NAME SOURCES ... DEPENDS module ...)
# One libFuzzer target; only with MSLT_BUILD_FUZZ. Its seeds are in tests/fuzz/corpus/NAME/.
function(mslt_fuzzer name)
  if(NOT MSLT_BUILD_FUZZ)
    return()
  endif()
  cmake_parse_arguments(arg "" "" "SOURCES;DEPENDS" ${ARGN})
  add_executable(fuzz_${name} ${arg_SOURCES})
  list(TRANSFORM arg_DEPENDS PREPEND mslt_)
  target_link_libraries(fuzz_${name} PRIVATE mslt_options ${arg_DEPENDS} fmt::fmt -fsanitize=fuzzer)
endfunction()
