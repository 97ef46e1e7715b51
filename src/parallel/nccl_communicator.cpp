// Which NCCL function does what, and the order of its work among the backend's.
#include "parallel/nccl_communicator.h"

#include <cuda_runtime_api.h>

#include <array>
#include <cstring>
#include <string>
#include <utility>

#include "backend/msl/drivers/cuda/cuda_status.h"
#include "backend/msl/msl_backend.h"
#include "backend/timed_backend.h"
#include "base/fail.h"
#include "parallel/nccl_session.h"

namespace mslt {
namespace {

ncclDataType_t nccl_type(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return ncclFloat32;
    case DType::bf16:
      return ncclBfloat16;
    case DType::f16:
      return ncclFloat16;
    default:
      fail(ErrorKind::input, "Values of type {} cannot be summed over ranks; f32, bf16 and f16 can.", name_of(dtype));
  }
}

// The backend of a GPU that NCCL reaches; null for others.
MslBackend* nvidia_backend(Backend& backend) {
  Backend* inner = &backend;
  if (auto* const timed = dynamic_cast<TimedBackend*>(inner)) inner = &timed->inner();
  if (inner->device().backend != "cuda") return nullptr;
  return dynamic_cast<MslBackend*>(inner);
}

// Tells one GPU from another, wherever it is.
std::string identity_of_current_gpu() {
  int number = 0;
  msl::cuda::check(cudaGetDevice(&number), "asking for the device");
  cudaDeviceProp properties{};
  msl::cuda::check(cudaGetDeviceProperties(&properties, number), "asking for the device");
  return std::string(std::begin(properties.uuid.bytes), std::end(properties.uuid.bytes));
}

// NCCL scatters and gathers pieces of one length.
bool has_one_length(std::size_t count, int ranks) {
  return count % static_cast<std::size_t>(ranks) == 0;
}

// Pieces of two lengths: calls work(piece, owner) for each of them, as one operation of NCCL's. Its result tells of
// theirs.
template <class Work>
ncclResult_t in_pieces(const NcclLibrary& nccl, std::size_t count, int ranks, const Work& work) {
  nccl.group_start();
  for (int owner = 0; owner < ranks; ++owner) {
    const Piece piece = piece_of(count, owner, ranks);
    if (piece.count > 0) work(piece, owner);
  }
  return nccl.group_end();
}

class NcclCommunicator final : public Communicator {
 public:
  using Communicator::all_gather;
  using Communicator::broadcast;
  using Communicator::Communicator;
  using Communicator::reduce_scatter;
  using Communicator::sum;

  NcclCommunicator(const NcclCommunicator&) = delete;
  NcclCommunicator& operator=(const NcclCommunicator&) = delete;
  // Waits for the other ranks: they may still read this GPU's memory.
  ~NcclCommunicator() override {
    if (!session_ || has_told_ || failure()) return;
    try {
      session_->wait();
      barrier();
    } catch (const std::exception&) {
      return;  // the others have ended
    }
  }

  void tell_failure(const std::exception& error) noexcept override {
    Communicator::tell_failure(error);
    has_told_ = true;
    if (session_) session_->abort("ended by an error.");
  }

  void sum(Backend& backend, const Tensor& values) override {
    begin_sum(backend, values);
    finish(backend);
  }

  void broadcast(Backend& backend, const Tensor& values) override {
    MslBackend* const gpu = nvidia_backend(backend);
    if (gpu == nullptr) return Communicator::broadcast(backend, values);
    const std::size_t bytes = values.bytes();
    begin(*gpu, "nccl_broadcast", values,
          [bytes, at = gpu->recorder().device().address(values)](const NcclLibrary& nccl, ncclComm_t all,
                                                                 cudaStream_t stream) {
            return nccl.broadcast(at, at, bytes, ncclUint8, 0, all, stream);
          });
    finish(backend);
  }

  void reduce_scatter(Backend& backend, const Tensor& values) override {
    begin_reduce_scatter(backend, values);
    finish(backend);
  }

  void all_gather(Backend& backend, const Tensor& values) override {
    begin_all_gather(backend, values);
    finish(backend);
  }

  void begin_sum(Backend& backend, const Tensor& values) override {
    MslBackend* const gpu = nvidia_backend(backend);
    if (gpu == nullptr) return Communicator::begin_sum(backend, values);
    const auto count = static_cast<std::size_t>(values.elements());
    begin(*gpu, "nccl_sum", values,
          [count, type = nccl_type(values.dtype()), at = gpu->recorder().device().address(values)](
              const NcclLibrary& nccl, ncclComm_t all, cudaStream_t stream) {
            return nccl.all_reduce(at, at, count, type, ncclSum, all, stream);
          });
  }

  void begin_reduce_scatter(Backend& backend, const Tensor& values) override {
    MslBackend* const gpu = nvidia_backend(backend);
    if (gpu == nullptr) return Communicator::begin_reduce_scatter(backend, values);
    const auto count = static_cast<std::size_t>(values.elements());
    begin(*gpu, "nccl_reduce_scatter", values,
          [count, width = size_of(values.dtype()), type = nccl_type(values.dtype()), ranks = size(), own = rank(),
           at = static_cast<std::byte*>(gpu->recorder().device().address(values))](
              const NcclLibrary& nccl, ncclComm_t all, cudaStream_t stream) {
            const Piece mine = piece_of(count, own, ranks);
            if (has_one_length(count, ranks)) {
              return nccl.reduce_scatter(at, at + mine.first * width, mine.count, type, ncclSum, all, stream);
            }
            return in_pieces(nccl, count, ranks, [&](Piece piece, int other) {
              std::byte* const begin = at + piece.first * width;
              nccl.reduce(begin, begin, piece.count, type, ncclSum, other, all, stream);
            });
          });
  }

  void begin_all_gather(Backend& backend, const Tensor& values) override {
    MslBackend* const gpu = nvidia_backend(backend);
    if (gpu == nullptr) return Communicator::begin_all_gather(backend, values);
    const auto count = static_cast<std::size_t>(values.elements());
    begin(*gpu, "nccl_all_gather", values,
          [count, width = size_of(values.dtype()), ranks = size(), own = rank(),
           at = static_cast<std::byte*>(gpu->recorder().device().address(values))](
              const NcclLibrary& nccl, ncclComm_t all, cudaStream_t stream) {
            const Piece mine = piece_of(count, own, ranks);
            if (has_one_length(count, ranks)) {
              return nccl.all_gather(at + mine.first * width, at, mine.count * width, ncclUint8, all, stream);
            }
            return in_pieces(nccl, count, ranks, [&](Piece piece, int other) {
              std::byte* const begin = at + piece.first * width;
              nccl.broadcast(begin, begin, piece.count * width, ncclUint8, other, all, stream);
            });
          });
  }

  void finish(Backend& backend) override {
    MslBackend* const gpu = nvidia_backend(backend);
    if (gpu == nullptr) return Communicator::finish(backend);
    if (!session_) return;
    require_sound();
    gpu->recorder().library_call("nccl_finish", {}, {}, 0, {[session = session_](const msl::LibraryContext& context) {
                                   session->finish(static_cast<cudaStream_t>(context.stream));
                                 }});
  }

 private:
  void begin(MslBackend& gpu, std::string_view name, const Tensor& values, NcclWork work) {
    start();
    require_sound();
    const Argument arguments[] = {updates("values", values, Elements::any)};
    gpu.recorder().library_call(name, arguments, {.bytes = 2.0 * static_cast<double>(values.bytes())}, 0,
                                {[session = session_, work = std::move(work)](const msl::LibraryContext& context) {
                                  session->begin(static_cast<cudaStream_t>(context.stream), work);
                                }});
  }

  // A rank's failure says more than what NCCL makes of it.
  void require_sound() {
    if (failure()) barrier();
    session_->require_sound();
  }

  // Connects the GPUs, at the first collective.
  void start() {
    if (session_) return;
    require_own_gpus();
    const NcclLibrary nccl = NcclLibrary::load();
    ncclUniqueId id{};
    if (leads()) {
      if (const ncclResult_t result = nccl.get_unique_id(&id); result != ncclSuccess) {
        fail(ErrorKind::device, "NCCL cannot start: {} ({}).", nccl.error_text(result), nccl.last_error(nullptr));
      }
    }
    broadcast(std::as_writable_bytes(std::span(&id, 1)));
    try {
      session_ = std::make_shared<NcclSession>(nccl, id, rank(), size(), [this] { return failure().has_value(); });
    } catch (const Error&) {
      if (failure()) barrier();
      throw;
    }
  }

  void require_own_gpus() {
    const std::vector<std::string> gpus = gather(identity_of_current_gpu());
    for (std::size_t i = 0; i < gpus.size(); ++i) {
      for (std::size_t j = i + 1; j < gpus.size(); ++j) {
        if (gpus[i] != gpus[j]) continue;
        fail(ErrorKind::usage,
             "{} and {} have the same GPU; each process needs one of its own. --devices 2 starts processes on two GPUs "
             "of this machine.",
             name_of(static_cast<int>(i)), name_of(static_cast<int>(j)));
      }
    }
  }

  bool has_told_ = false;
  std::shared_ptr<NcclSession> session_;  // shared with work that is recorded
};

}  // namespace

bool has_nccl() {
  return true;
}

std::unique_ptr<Communicator> make_device_communicator(std::unique_ptr<Transport> transport) {
  return std::make_unique<NcclCommunicator>(std::move(transport));
}

}  // namespace mslt
