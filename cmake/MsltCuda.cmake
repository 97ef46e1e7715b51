# CUDA: finds the compiler and sets the options for kernels.
if(NOT CMAKE_CUDA_COMPILER)
  find_program(MSLT_NVCC nvcc HINTS ENV CUDACXX ENV CUDA_PATH PATHS /usr/local/cuda PATH_SUFFIXES bin DOC "CUDA's compiler")
  if(NOT MSLT_NVCC)
    message(FATAL_ERROR "MSLT_CUDA needs CUDA's compiler, nvcc: put it on the PATH or set CMAKE_CUDA_COMPILER.")
  endif()
  set(CMAKE_CUDA_COMPILER ${MSLT_NVCC})
endif()
# Machine code for Hopper, and code that later GPUs translate when a program starts. 8.0 is the lowest with the instructions
# used by the runtime.
if(NOT CMAKE_CUDA_ARCHITECTURES)
  set(CMAKE_CUDA_ARCHITECTURES 90)
endif()
enable_language(CUDA)
find_package(CUDAToolkit REQUIRED)

# mslt_cuda_kernels(TARGET PREFIX)
# A static library of the set's kernels as CUDA, and their table cuda_kernels(). Products and sums are rounded separately, as on
# the host; fast math stays off.
function(mslt_cuda_kernels target prefix)
  add_library(${target} STATIC)
  mslt_target_kernels(${target} ${prefix} cuda)
  target_include_directories(${target} PRIVATE ${PROJECT_SOURCE_DIR} ${PROJECT_SOURCE_DIR}/src)
  target_compile_features(${target} PRIVATE cxx_std_20)
  target_compile_options(${target} PRIVATE
    # CMake 3.25 does not know that nvcc has C++20.
    $<$<COMPILE_LANGUAGE:CUDA>:-std=c++20>
    $<$<COMPILE_LANGUAGE:CUDA>:--fmad=false>
    # Constants and helpers of a header that a source does not use.
    $<$<COMPILE_LANGUAGE:CUDA>:--diag-suppress=177>
    $<$<AND:$<COMPILE_LANGUAGE:CUDA>,$<BOOL:${MSLT_WERROR}>>:--Werror=all-warnings>)
  set_target_properties(${target} PROPERTIES POSITION_INDEPENDENT_CODE ON)
endfunction()
