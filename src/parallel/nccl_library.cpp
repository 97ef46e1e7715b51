// Loading NCCL.
#include "parallel/nccl_library.h"

#include <dlfcn.h>

#include "base/fail.h"

namespace mslt {
namespace {

constexpr const char* library_name = "libnccl.so.2";

template <class Function>
void find(void* library, const char* name, Function& function) {
  function = reinterpret_cast<Function>(::dlsym(library, name));
  if (function == nullptr) {
    fail(ErrorKind::device, "{} has no function {}; install NCCL {}.{} or later.", library_name, name, NCCL_MAJOR,
         NCCL_MINOR);
  }
}

}  // namespace

NcclLibrary NcclLibrary::load() {
  void* const library = ::dlopen(library_name, RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    fail(ErrorKind::device,
         "Training on several GPUs needs NCCL, which cannot be loaded: {}. Install libnccl2 of NVIDIA's repository, or "
         "nvidia-nccl-cu13 by pip, and name the folder of {} in LD_LIBRARY_PATH.",
         ::dlerror(), library_name);
  }
  NcclLibrary nccl;
  find(library, "ncclGetVersion", nccl.get_version);
  find(library, "ncclGetUniqueId", nccl.get_unique_id);
  find(library, "ncclCommInitRankConfig", nccl.init_rank);
  find(library, "ncclCommGetAsyncError", nccl.get_async_error);
  find(library, "ncclCommDestroy", nccl.destroy);
  find(library, "ncclCommAbort", nccl.abort);
  find(library, "ncclGetErrorString", nccl.error_text);
  find(library, "ncclGetLastError", nccl.last_error);
  find(library, "ncclAllReduce", nccl.all_reduce);
  find(library, "ncclReduceScatter", nccl.reduce_scatter);
  find(library, "ncclAllGather", nccl.all_gather);
  find(library, "ncclReduce", nccl.reduce);
  find(library, "ncclBroadcast", nccl.broadcast);
  find(library, "ncclGroupStart", nccl.group_start);
  find(library, "ncclGroupEnd", nccl.group_end);
  return nccl;
}

}  // namespace mslt
