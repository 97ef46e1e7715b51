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

# NVIDIA's libraries, each of which may be missing: MSLT_HAS_CUBLASLT, MSLT_HAS_CUDNN and MSLT_HAS_NCCL say which are there.
set(MSLT_CUDNN_ROOT "" CACHE PATH "A folder with include/cudnn.h and lib/libcudnn.so, where they are not beside CUDA's")
set(MSLT_CUDNN_FRONTEND "" CACHE PATH "The folder of cudnn_frontend.h: include/ of the unpacked package nvidia-cudnn-frontend")
set(MSLT_HAS_CUBLASLT OFF)
set(MSLT_HAS_CUDNN OFF)
if(MSLT_CUDA_LIBRARIES)
  if(TARGET CUDA::cublasLt)
    set(MSLT_HAS_CUBLASLT ON)
  else()
    message(STATUS "cuBLASLt is not found beside CUDA: products are left to mslt's own kernels")
  endif()
  find_path(MSLT_CUDNN_INCLUDE_DIR cudnn.h HINTS ${MSLT_CUDNN_ROOT} ${CUDAToolkit_INCLUDE_DIRS} PATH_SUFFIXES include
            DOC "The folder of cudnn.h")
  find_library(MSLT_CUDNN_LIBRARY NAMES cudnn libcudnn.so.9 NAMES_PER_DIR HINTS ${MSLT_CUDNN_ROOT} ${CUDAToolkit_LIBRARY_DIR}
               PATH_SUFFIXES lib lib64 DOC "The library of cuDNN")
  find_path(MSLT_CUDNN_FRONTEND_INCLUDE_DIR cudnn_frontend.h HINTS ${MSLT_CUDNN_FRONTEND} PATH_SUFFIXES include
            DOC "The folder of cudnn_frontend.h")
  if(TARGET CUDA::nvrtc AND MSLT_CUDNN_INCLUDE_DIR AND MSLT_CUDNN_LIBRARY AND MSLT_CUDNN_FRONTEND_INCLUDE_DIR)
    set(MSLT_HAS_CUDNN ON)
  else()
    message(STATUS "cuDNN or its frontend is not found (MSLT_CUDNN_ROOT and MSLT_CUDNN_FRONTEND say where they are): \
attention is left to mslt's own kernels")
  endif()
endif()

# NCCL is loaded when several GPUs train together; the build needs its header only.
set(MSLT_NCCL_ROOT "" CACHE PATH "A folder with include/nccl.h, where it is not beside CUDA's")
set(MSLT_HAS_NCCL OFF)
find_path(MSLT_NCCL_INCLUDE_DIR nccl.h HINTS ${MSLT_NCCL_ROOT} ${CUDAToolkit_INCLUDE_DIRS} PATH_SUFFIXES include
          DOC "The folder of nccl.h")
if(MSLT_NCCL_INCLUDE_DIR)
  set(MSLT_HAS_NCCL ON)
else()
  message(STATUS "NCCL's nccl.h is not found (MSLT_NCCL_ROOT says where it is): several GPUs exchange gradients through the host")
endif()

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
