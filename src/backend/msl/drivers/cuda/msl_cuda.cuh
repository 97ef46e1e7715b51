// The part of the MSL standard library that kernels/ uses, in CUDA C++ for NVIDIA GPUs. What mslc writes includes this.
//
// A threadgroup is a block, a simdgroup a warp of 32 consecutive linear thread numbers. Kernels are compiled without
// contraction and without fast math, so that exp, log, sin, cos and the products of fragments are all that can differ
// from the host driver's bits.
#pragma once

#include "backend/msl/drivers/cuda/entry.h"
#include "backend/msl/drivers/cuda/msl_atomics.cuh"
#include "backend/msl/drivers/cuda/msl_begin.cuh"
#include "backend/msl/drivers/cuda/msl_math.cuh"
#include "backend/msl/drivers/cuda/msl_simd.cuh"
#include "backend/msl/drivers/cuda/msl_simdgroup_matrix.cuh"
#include "backend/msl/drivers/cuda/msl_tensor_core.cuh"
#include "backend/msl/drivers/cuda/msl_types.cuh"
#include "backend/msl/drivers/cuda/target_sizes.h"
