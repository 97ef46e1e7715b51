// Replaces NCCL in builds without it.
#include <utility>

#include "parallel/nccl_communicator.h"

namespace mslt {

bool has_nccl() {
  return false;
}

std::unique_ptr<Communicator> make_device_communicator(std::unique_ptr<Transport> transport) {
  return std::make_unique<Communicator>(std::move(transport));
}

}  // namespace mslt
