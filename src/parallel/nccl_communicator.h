// Collectives of tensors between NVIDIA GPUs by NCCL.
#pragma once

#include <memory>

#include "parallel/communicator.h"

namespace mslt {

// Whether this build can use NCCL.
bool has_nccl();

// A Communicator whose collectives of tensors on NVIDIA GPUs go through NCCL, which is loaded at the first of them; all
// others go through the transport. Every rank then has a GPU of its own. NCCL's sums of 16-bit elements are rounded to
// 16 bits after each addition, in an order of its own, which depends on the number of GPUs and how they are linked: two
// runs on the same GPUs give the same bits, on every rank. When a rank fails or is missed, the work under way is
// aborted: the backend's waits end, what was summed is undefined, and the next call throws. Throws Error(device) where
// NCCL is not installed or fails. In a build without it, or without CUDA, everything goes through the transport.
std::unique_ptr<Communicator> make_device_communicator(std::unique_ptr<Transport> transport);

}  // namespace mslt
