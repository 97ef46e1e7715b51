# Chooses the library of the CPU backend's matrix products by MSLT_CPU_GEMM. Sets
#   MSLT_GEMM          onednn or blas, which names its source file
#   MSLT_GEMM_LIBRARY  the library to link
#   MSLT_BLAS_LIBRARY  a library with the CBLAS interface, if there is one
#   MSLT_BLAS_OPTIONS  compile options of gemm_blas.cpp for it
if(NOT MSLT_CPU_GEMM MATCHES "^(auto|onednn|blas)$")
  message(FATAL_ERROR "MSLT_CPU_GEMM is '${MSLT_CPU_GEMM}'; valid are auto, onednn and blas.")
endif()

if(APPLE)
  set(MSLT_BLAS_LIBRARY "-framework Accelerate")
  # The interface of macOS since 13.3; the previous one is deprecated.
  set(MSLT_BLAS_OPTIONS "-DMSLT_CBLAS_HEADER=<Accelerate/Accelerate.h>" -DACCELERATE_NEW_LAPACK)
else()
  find_path(MSLT_CBLAS_INCLUDE cblas.h PATH_SUFFIXES openblas DOC "The folder of cblas.h")
  find_library(MSLT_CBLAS_LIBRARY NAMES openblas cblas blas DOC "A library with the CBLAS interface")
  if(MSLT_CBLAS_INCLUDE AND MSLT_CBLAS_LIBRARY)
    if(NOT MSLT_CBLAS_WORKS)
      unset(MSLT_CBLAS_WORKS CACHE)
    endif()
    # A libblas may have only Fortran's interface.
    include(CheckSourceCompiles)
    set(CMAKE_REQUIRED_INCLUDES ${MSLT_CBLAS_INCLUDE})
    set(CMAKE_REQUIRED_LIBRARIES ${MSLT_CBLAS_LIBRARY})
    check_source_compiles(CXX "#include <cblas.h>
int main() {
  float x = 1;
  return cblas_sdot(1, &x, 1, &x, 1) == 1 ? 0 : 1;
}" MSLT_CBLAS_WORKS)
    unset(CMAKE_REQUIRED_INCLUDES)
    unset(CMAKE_REQUIRED_LIBRARIES)
  endif()
  if(MSLT_CBLAS_WORKS)
    set(MSLT_BLAS_LIBRARY ${MSLT_CBLAS_LIBRARY})
    set(MSLT_BLAS_OPTIONS "-DMSLT_CBLAS_HEADER=<cblas.h>" -isystem ${MSLT_CBLAS_INCLUDE})
  endif()
endif()

set(MSLT_GEMM onednn)
if(MSLT_CPU_GEMM STREQUAL "blas")
  set(MSLT_GEMM blas)
elseif(MSLT_CPU_GEMM STREQUAL "auto" AND APPLE)
  find_package(dnnl QUIET MODULE)
  if(NOT dnnl_FOUND)
    set(MSLT_GEMM blas)
  endif()
endif()
if(MSLT_GEMM STREQUAL "onednn")
  mslt_require(dnnl libdnnl-dev onednn MODULE)
  set(MSLT_GEMM_LIBRARY dnnl::dnnl)
elseif(MSLT_BLAS_LIBRARY)
  set(MSLT_GEMM_LIBRARY ${MSLT_BLAS_LIBRARY})
else()
  message(FATAL_ERROR "MSLT_CPU_GEMM=blas needs a BLAS: apt-get install libopenblas-dev")
endif()
message(STATUS "Matrix products of the CPU backend: ${MSLT_GEMM_LIBRARY}")
