// The part of the MSL standard library that kernels/ uses, in C++ for the host. The output of mslc includes this.
#pragma once

#include "backend/msl/drivers/host/entry.h"
#include "backend/msl/drivers/host/msl_atomics.h"
#include "backend/msl/drivers/host/msl_barriers.h"
#include "backend/msl/drivers/host/msl_math.h"
#include "backend/msl/drivers/host/msl_simd.h"
#include "backend/msl/drivers/host/msl_simdgroup_matrix.h"
#include "backend/msl/drivers/host/msl_types.h"
