# Kernels in MSL: mslt_kernels runs mslc on a set of .metal files, mslt_target_kernels adds its output to a target.

# mslt_kernels(PREFIX KERNELS folder FILES file ... [SET name])
# Runs mslc on the files whenever one of them, one of their headers or mslc changes; a broken rule fails the build. Makes
#   PREFIX_table    a static library: kernel_table(), kernel_info() and metal_source(), in the set's namespace if named
#   PREFIX_sources  the target that writes the files, including kernels.metal, which contains all of them
# and one test per file, PREFIX/address_spaces/NAME, and one of all files together, the form that Apple's compiler gets.
# KERNELS is the folder in which quoted includes are searched.
function(mslt_kernels prefix)
  cmake_parse_arguments(arg "" "KERNELS;SET" "FILES" ${ARGN})
  set(out ${CMAKE_CURRENT_BINARY_DIR}/${prefix})
  set(host ${out}/host_kernels.cpp)
  set(cuda ${out}/cuda_kernels.cpp)
  set(opencl "")
  foreach(file IN LISTS arg_FILES)
    get_filename_component(name ${file} NAME_WE)
    list(APPEND host ${out}/host_${name}.cpp)
    list(APPEND cuda ${out}/cuda_${name}.cu)
    list(APPEND opencl ${out}/clcpp_${name}.clcpp)
  endforeach()
  set(set_option "")
  if(arg_SET)
    set(set_option --set ${arg_SET})
  endif()
  # The table comes first, since the dependency file names it.
  add_custom_command(
    OUTPUT ${out}/kernel_table.cpp ${out}/embed.cpp ${out}/kernels.metal ${host} ${cuda} ${opencl}
    COMMAND mslc --root ${PROJECT_SOURCE_DIR} --kernels ${arg_KERNELS} --out ${out} ${set_option} --depfile
            ${out}/kernels.d ${arg_FILES}
    DEPENDS mslc ${arg_FILES}
    DEPFILE ${out}/kernels.d
    COMMENT "Reading the kernels of ${prefix}"
    VERBATIM)
  add_custom_target(${prefix}_sources ALL DEPENDS ${out}/kernel_table.cpp ${out}/embed.cpp ${out}/kernels.metal ${host}
                                                ${cuda} ${opencl})
  set_property(GLOBAL PROPERTY ${prefix}_host_files ${host})
  set_property(GLOBAL PROPERTY ${prefix}_cuda_files ${cuda})

  set(lookup "")
  if(NOT arg_SET)
    set(lookup ${PROJECT_SOURCE_DIR}/src/backend/msl/kernel_info.cpp)
  endif()
  add_library(${prefix}_table STATIC ${out}/kernel_table.cpp ${out}/embed.cpp ${lookup})
  add_dependencies(${prefix}_table ${prefix}_sources)
  set_target_properties(${prefix}_table PROPERTIES POSITION_INDEPENDENT_CODE ON)
  target_link_libraries(${prefix}_table PRIVATE $<BUILD_INTERFACE:mslt_options> fmt::fmt PUBLIC mslt_base)

  if(NOT MSLT_BUILD_TESTS)
    return()
  endif()
  foreach(file IN LISTS arg_FILES)
    get_filename_component(name ${file} NAME_WE)
    set(test ${prefix}/address_spaces/${name})
    if(MSLT_CLANG)
      add_test(NAME ${test} COMMAND ${MSLT_CLANG} -x clcpp -cl-std=clc++2021 -fsyntax-only -Werror
                                    -I${PROJECT_SOURCE_DIR} ${out}/clcpp_${name}.clcpp)
    else()
      mslt_skipped_test(${test} "${MSLT_CLANG_MISSING}")
    endif()
  endforeach()
  list(LENGTH arg_FILES count)
  if(MSLT_CLANG AND count GREATER 1)
    set(together "// All kernels of ${prefix}.\n#include <metal_stdlib>\n\n")
    foreach(file IN LISTS arg_FILES)
      file(RELATIVE_PATH include ${arg_KERNELS} ${file})
      string(APPEND together "#include \"${include}\"\n")
    endforeach()
    file(CONFIGURE OUTPUT ${out}/together.metal CONTENT "${together}\nusing namespace metal;\n" @ONLY)
    set(test ${prefix}/address_spaces/together)
    add_test(NAME ${test}/written COMMAND mslc --root ${PROJECT_SOURCE_DIR} --kernels ${arg_KERNELS} --out ${out}/together
                                          --emit clcpp ${out}/together.metal)
    add_test(NAME ${test}/accepted COMMAND ${MSLT_CLANG} -x clcpp -cl-std=clc++2021 -fsyntax-only -Werror
                                           -I${PROJECT_SOURCE_DIR} ${out}/together/clcpp_together.clcpp)
    set_tests_properties(${test}/written PROPERTIES FIXTURES_SETUP ${test})
    set_tests_properties(${test}/accepted PROPERTIES FIXTURES_REQUIRED ${test})
  endif()
endfunction()

# mslt_metal_library(PREFIX FILE)
# Compiles all kernels of a set with Apple's tools into FILE, if they are installed; the Metal driver then loads it instead of
# compiling the source at every start. The tools come with Xcode, not with the command line tools alone.
function(mslt_metal_library prefix file)
  execute_process(COMMAND xcrun -sdk macosx metal --version RESULT_VARIABLE missing OUTPUT_QUIET ERROR_QUIET)
  if(missing)
    message(STATUS "Xcode's metal compiler is not installed: the kernels are compiled when mslt starts")
    return()
  endif()
  set(source ${CMAKE_CURRENT_BINARY_DIR}/${prefix}/kernels.metal)
  add_custom_command(
    OUTPUT ${file}
    COMMAND xcrun -sdk macosx metal -std=metal3.1 -mmacosx-version-min=14.0 -fno-fast-math -O2 -o ${file} ${source}
    DEPENDS ${source}
    COMMENT "Compiling the kernels of ${prefix} for Metal"
    VERBATIM)
  add_custom_target(${prefix}_library ALL DEPENDS ${file})
  add_dependencies(${prefix}_library ${prefix}_sources)
  install(FILES ${file} DESTINATION ${CMAKE_INSTALL_BINDIR})
endfunction()

# mslt_target_kernels(TARGET PREFIX host|cuda)
# Compiles a set's C++ or CUDA files into a target of any folder.
function(mslt_target_kernels target prefix driver)
  get_property(files GLOBAL PROPERTY ${prefix}_${driver}_files)
  set_source_files_properties(${files} PROPERTIES GENERATED TRUE)
  if(driver STREQUAL "host")
    # MSL allows a kernel to read floats as the 16 bytes that hold them. A source need not use all constants of a header.
    set_property(SOURCE ${files} APPEND PROPERTY COMPILE_OPTIONS -fno-strict-aliasing -Wno-unused-const-variable)
    if(MSLT_SANITIZE MATCHES "address" AND CMAKE_CXX_COMPILER_ID MATCHES "Clang")
      # A second stack for each thread of a kernel would take longer than the kernel.
      set_property(SOURCE ${files} APPEND PROPERTY COMPILE_OPTIONS -fsanitize-address-use-after-return=never)
    endif()
  endif()
  target_sources(${target} PRIVATE ${files})
  add_dependencies(${target} ${prefix}_sources)
endfunction()
