// Buffers, pipelines and command buffers of the CUDA driver.
#include "backend/msl/drivers/cuda/cuda_device.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "backend/msl/drivers/cuda/cuda_pipeline.h"
#include "backend/msl/drivers/cuda/cuda_queue.h"
#include "backend/msl/drivers/cuda/cuda_status.h"
#include "backend/msl/drivers/cuda/target_sizes.h"
#include "backend/msl/gpu_choice.h"
#include "backend/no_room.h"
#include "base/process_limits.h"

namespace mslt::msl::cuda {
namespace {

// As Metal's, so that what fits here fits there.
constexpr std::uint32_t threadgroup_memory_bytes = 32768;

// A step of decoding is one graph, and that of training a few.
constexpr std::uint32_t batch_dispatches = 256;

// CUDA's limits of a grid.
constexpr std::uint32_t max_groups_x = 0x7fffffffu;
constexpr std::uint32_t max_groups_yz = 65535;

class CudaBuffer final : public Buffer {
 public:
  CudaBuffer(std::size_t bytes, std::byte* data, std::byte* host, std::string_view label, Queue& queue,
             AllocatedBytes& allocated)
      : Buffer(bytes, host, label), data_(data), queue_(queue), allocated_(allocated) {
    if (host != nullptr) return;
    allocated_.now += bytes;
    allocated_.most = std::max(allocated_.most, allocated_.now);
  }
  ~CudaBuffer() override {
    queue_.release(data_);
    if (host() != nullptr) {
      cudaFreeHost(host());
    } else {
      cudaFree(data_);
      allocated_.now -= size();
    }
  }
  // The address for the GPU.
  std::byte* data() const { return data_; }

 private:
  std::byte* data_;
  Queue& queue_;
  AllocatedBytes& allocated_;
};

std::byte* address_of(const Buffer& buffer, std::size_t offset) {
  return static_cast<const CudaBuffer&>(buffer).data() + offset;
}

class CudaCommandBuffer final : public CommandBuffer {
 public:
  explicit CudaCommandBuffer(Queue& queue) : queue_(queue), work_(std::make_shared<Work>()) {}

  void set_pipeline(const Pipeline& pipeline) override {
    pipeline_ = static_cast<const CudaPipeline*>(&pipeline);
    parameters_.assign(pipeline_->parameter_bytes(), std::byte{0});
  }

  void set_buffer(std::uint32_t index, Buffer& buffer, std::size_t offset) override {
    const std::byte* data = accessed(buffer, offset);
    set(ArgumentKind::buffer, index, &data, sizeof(data));
  }

  void set_bytes(std::uint32_t index, std::span<const std::byte> bytes) override {
    set(ArgumentKind::bytes, index, bytes.data(), bytes.size());
  }

  // Until dispatch(), the parameter holds the size in place of the offset.
  void set_threadgroup_memory(std::uint32_t index, std::uint32_t bytes) override {
    set(ArgumentKind::threadgroup, index, &bytes, sizeof(bytes));
  }

  void dispatch(GridSize groups, GridSize threads) override {
    if (groups.x > max_groups_x || groups.y > max_groups_yz || groups.z > max_groups_yz) {
      fail(ErrorKind::device, "cuda: kernel '{}' is dispatched in {} x {} x {} threadgroups; at most {} x {} x {} run.",
           pipeline_->name(), groups.x, groups.y, groups.z, max_groups_x, max_groups_yz, max_groups_yz);
    }
    const std::size_t begin = work_->parameters.size();
    work_->parameters.insert(work_->parameters.end(), parameters_.begin(), parameters_.end());
    std::uint32_t dynamic_bytes = 0;
    for (const CudaPipeline::Parameter& parameter : pipeline_->parameters()) {
      if (parameter.kind != ArgumentKind::threadgroup) continue;
      std::byte* place = work_->parameters.data() + begin + parameter.offset;
      std::uint32_t bytes = 0;
      std::memcpy(&bytes, place, sizeof(bytes));
      std::memcpy(place, &dynamic_bytes, sizeof(dynamic_bytes));
      dynamic_bytes += (bytes + 15) / 16 * 16;
    }
    work_->commands.emplace_back(Launch{pipeline_, groups, threads, dynamic_bytes, begin});
  }

  void copy(Buffer& destination, std::size_t destination_offset, Buffer& source, std::size_t source_offset,
            std::size_t bytes) override {
    work_->commands.emplace_back(
        Copy{accessed(destination, destination_offset), accessed(source, source_offset), bytes});
  }

  void fill(Buffer& destination, std::size_t offset, std::size_t bytes, std::uint8_t value) override {
    work_->commands.emplace_back(Fill{accessed(destination, offset), bytes, value});
  }

  void library_call(std::string_view name, std::span<const BufferAccess> accesses, const LibraryContext& context,
                    LibraryCall call) override {
    for (const BufferAccess& access : accesses) accessed(*access.buffer, access.begin);
    work_->commands.emplace_back(Library{std::string(name), context, std::move(call)});
  }

  void mark() override { work_->commands.emplace_back(Mark{&queue_.marks()}); }

  void on_completed(std::function<void(const CommandTiming&, std::string_view)> handler) override {
    work_->handlers.push_back(std::move(handler));
  }

  void commit() override { queue_.commit(work_); }

  void wait() override {
    std::unique_lock lock(work_->mutex);
    work_->finished.wait(lock, [this] { return work_->done; });
    if (!work_->error.empty()) fail(ErrorKind::device, "{}", work_->error);
  }

 private:
  // The address, whose allocation the commands access.
  std::byte* accessed(const Buffer& buffer, std::size_t offset) {
    work_->allocations.push_back(address_of(buffer, 0));
    return address_of(buffer, offset);
  }

  void set(ArgumentKind kind, std::uint32_t index, const void* value, std::size_t bytes) {
    for (const CudaPipeline::Parameter& parameter : pipeline_->parameters()) {
      if (parameter.kind != kind || parameter.index != index) continue;
      std::memcpy(parameters_.data() + parameter.offset, value, std::min(bytes, parameter.bytes));
      return;
    }
    fail(ErrorKind::device, "cuda: kernel '{}' has no argument {} of this kind.", pipeline_->name(), index);
  }

  Queue& queue_;
  std::shared_ptr<Work> work_;
  const CudaPipeline* pipeline_ = nullptr;
  std::vector<std::byte> parameters_;
};

std::vector<cudaDeviceProp> listed_gpus() {
  int count = 0;
  // Where there is no driver at all, CUDA says that it is too old.
  check(cudaGetDeviceCount(&count), "there is no NVIDIA GPU with a driver for it");
  std::vector<cudaDeviceProp> gpus(static_cast<std::size_t>(count));
  for (int i = 0; i < count; ++i) {
    check(cudaGetDeviceProperties(&gpus[static_cast<std::size_t>(i)], i), "asking for the GPU's properties");
  }
  return gpus;
}

// "driver 13.0, CUDA 13.0": the versions of CUDA that the driver knows and that this program brings.
std::string software() {
  int driver = 0;
  int runtime = 0;
  check(cudaDriverGetVersion(&driver), "asking for the driver's version");
  check(cudaRuntimeGetVersion(&runtime), "asking for CUDA's version");
  return fmt::format("driver {}.{}, CUDA {}.{}", driver / 1000, driver % 1000 / 10, runtime / 1000,
                     runtime % 1000 / 10);
}

DeviceInfo info_of(const cudaDeviceProp& gpu) {
  return {.backend = "cuda",
          .name = gpu.name,
          .memory_bytes = gpu.totalGlobalMem,
          .compute_units = gpu.multiProcessorCount,
          .software = software(),
          .trains_16_bit = true};
}

// Whether the current GPU has code among these kernels.
cudaError_t try_kernels(std::span<const CudaKernel> kernels) {
  if (kernels.empty()) return cudaSuccess;
  cudaFuncAttributes attributes{};
  const cudaError_t status = cudaFuncGetAttributes(&attributes, kernels.front().function);
  if (status != cudaSuccess) cudaGetLastError();
  return status;
}

}  // namespace

std::vector<DeviceInfo> cuda_devices() {
  int current = 0;
  check(cudaGetDevice(&current), "asking for the device");
  std::vector<DeviceInfo> infos;
  const std::vector<cudaDeviceProp> gpus = listed_gpus();
  for (std::size_t i = 0; i < gpus.size(); ++i) {
    if (cudaSetDevice(static_cast<int>(i)) != cudaSuccess || try_kernels(cuda_kernels()) != cudaSuccess) continue;
    infos.push_back(info_of(gpus[i]));
  }
  check(cudaSetDevice(current), "choosing the GPU");
  return infos;
}

CudaDevice::CudaDevice(std::string_view which, Memory memory)
    : CudaDevice(cuda_kernels(), kernel_table(), memory, which) {}

CudaDevice::CudaDevice(std::span<const CudaKernel> kernels, std::span<const KernelInfo> table, Memory memory,
                       std::string_view which)
    : kernels_(kernels), table_(table), memory_(memory) {
  const std::vector<cudaDeviceProp> gpus = listed_gpus();
  if (gpus.empty()) fail(ErrorKind::device, "cuda: there is no NVIDIA GPU.");
  std::vector<std::string> names;
  for (const cudaDeviceProp& gpu : gpus) names.emplace_back(gpu.name);
  const std::size_t number = which.empty() ? 0 : choose_gpu("cuda", which, names);
  const cudaDeviceProp& properties = gpus[number];
  number_ = static_cast<int>(number);
  make_current();
  if (const cudaError_t status = try_kernels(kernels_); status != cudaSuccess) {
    fail(ErrorKind::device, "cuda: this build's kernels do not run on '{}', of compute capability {}.{}: {}.",
         properties.name, properties.major, properties.minor, describe(status));
  }
  info_ = info_of(properties);
  limits_.max_threads_per_threadgroup = static_cast<std::uint32_t>(properties.maxThreadsPerBlock);
  limits_.threadgroup_memory_bytes = threadgroup_memory_bytes;
  limits_.max_buffer_bytes = properties.totalGlobalMem;
  limits_.batch_dispatches = batch_dispatches;
  limits_.tiles = {
      .product_side = product_side, .attention_rows = attention_tile, .attention_head = attention_tile_head};
  queue_ = std::make_unique<Queue>();
}

CudaDevice::~CudaDevice() = default;

void CudaDevice::make_current() const {
  check(cudaSetDevice(number_), "choosing the GPU");
}

std::unique_ptr<Buffer> CudaDevice::allocate(std::size_t bytes, std::string_view label, bool host_visible) {
  make_current();
  const std::size_t size = std::max<std::size_t>(bytes, 1);
  void* data = nullptr;
  const bool possible = size <= limits_.max_buffer_bytes;
  const cudaError_t status = !possible      ? cudaErrorMemoryAllocation
                             : host_visible ? cudaMallocHost(&data, size)
                                            : cudaMalloc(&data, size);
  if (status == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    if (host_visible) fail_no_room(label, bytes, "the host's memory cannot be pinned for it");
    std::size_t free = 0;
    std::size_t total = 0;
    cudaMemGetInfo(&free, &total);
    fail_no_room(label, bytes,
                 fmt::format("on {}, mslt uses {}, and {} of {} are free", info_.name, binary_size(allocated_.now),
                             binary_size(free), binary_size(total)));
  }
  check(status, fmt::format("allocating '{}'", label));
  auto* start = static_cast<std::byte*>(data);
  auto buffer = std::make_unique<CudaBuffer>(bytes, start, host_visible ? start : nullptr, label, *queue_, allocated_);
  if (host_visible) {
    std::memset(data, 0, size);
  } else if (memory_ == Memory::zeroed) {
    check(cudaMemsetAsync(data, 0, size, queue_->stream()), fmt::format("zeroing '{}'", label));
  }
  return buffer;
}

void* CudaDevice::address(const Tensor& tensor) const {
  return tensor ? address_of(tensor.buffer(), tensor.offset()) : nullptr;
}

const Pipeline& CudaDevice::pipeline(std::string_view name) {
  const auto known = pipelines_.find(name);
  if (known != pipelines_.end()) return *known->second;
  const auto by_name = [name](const auto& kernel) {
    return kernel.name == name;
  };
  const auto found = std::find_if(kernels_.begin(), kernels_.end(), by_name);
  const auto info = std::find_if(table_.begin(), table_.end(), by_name);
  if (found == kernels_.end() || info == table_.end()) {
    fail(ErrorKind::device, "cuda: there is no kernel '{}' among its {}.", name, kernels_.size());
  }
  make_current();
  cudaFuncAttributes attributes{};
  check(cudaFuncGetAttributes(&attributes, found->function), fmt::format("loading '{}'", name));
  const auto threads = static_cast<std::uint32_t>(attributes.maxThreadsPerBlock);
  // Compiled for older GPUs, kernels do not wait.
  constexpr int first_that_waits = 90;
  auto pipeline = std::make_unique<CudaPipeline>(*found, *info, threads, attributes.ptxVersion >= first_that_waits);
  return *pipelines_.emplace(std::string(name), std::move(pipeline)).first->second;
}

std::unique_ptr<CommandBuffer> CudaDevice::command_buffer() {
  return std::make_unique<CudaCommandBuffer>(*queue_);
}

std::vector<double> CudaDevice::take_marks() {
  return queue_->take_marks();
}

std::uint64_t CudaDevice::graph_launches() const {
  return queue_->graph_launches();
}

}  // namespace mslt::msl::cuda
