// The CPU backend's memory and order: operations run when they are called, so nothing ever waits.
#include "backend/cpu/cpu_backend.h"

#include <hwy/targets.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <new>
#include <utility>

#include "backend/cpu/gemm.h"
#include "backend/cpu/gemm_bf16.h"
#include "backend/cpu/host_info.h"
#include "backend/cpu/scratch.h"
#include "backend/cpu/views.h"
#include "backend/no_room.h"
#include "base/fail.h"
#include "base/parallel.h"
#include "base/process_limits.h"

namespace mslt {
namespace {

// Pages straight from the system: zeroed, and occupying memory only once they are written.
class HostBuffer final : public Buffer {
 public:
  HostBuffer(std::size_t size, void* pages, std::size_t mapped, std::string_view label)
      : Buffer(size, static_cast<std::byte*>(pages), label), mapped_(mapped) {}
  ~HostBuffer() override { munmap(host(), mapped_); }

 private:
  std::size_t mapped_;
};

// Read-only memory owned by somebody else.
class WrappedBuffer final : public Buffer {
 public:
  WrappedBuffer(std::span<const std::byte> memory, std::string_view label, std::shared_ptr<const void> owner)
      : Buffer(memory.size(), const_cast<std::byte*>(memory.data()), label), owner_(std::move(owner)) {}

 private:
  std::shared_ptr<const void> owner_;
};

// Matrix products have large strides and fewer TLB misses on huge pages. Only a hint, and only on Linux.
#ifdef MADV_HUGEPAGE
constexpr std::size_t huge_page = std::size_t{2} << 20;

void ask_for_huge_pages(void* pages, std::size_t bytes) {
  if (bytes >= 2 * huge_page) madvise(pages, bytes, MADV_HUGEPAGE);
}
#else
void ask_for_huge_pages(void* /*pages*/, std::size_t /*bytes*/) {}
#endif

// The best instructions of this processor that operations are compiled for. Highway calls AVX-512 AVX3.
std::string vector_instructions() {
  const std::int64_t usable = hwy::SupportedTargets() & HWY_TARGETS;
  const std::string name = hwy::TargetName(usable & -usable);
  return name.starts_with("AVX3") ? "AVX-512" + name.substr(4) : name;
}

void check_transfer(std::string_view operation, const Tensor& tensor, std::size_t bytes) {
  if (!tensor) fail(ErrorKind::input, "{}: the tensor is absent, but required.", operation);
  if (tensor.bytes() != bytes) {
    fail(ErrorKind::input, "{}: the tensor is {}, {} bytes, but the host's memory has {}; both must be the same.",
         operation, tensor.describe(), tensor.bytes(), bytes);
  }
}

}  // namespace

CpuBackend::CpuBackend() : scratch_(std::make_unique<Scratch>()) {
  device_.backend = "cpu";
  device_.name = host_processor_name();
  device_.memory_bytes = host_memory_bytes();
  device_.compute_units = parallel_threads();
  device_.instructions = vector_instructions();
  device_.software = gemm_library();
  device_.trains_16_bit = false;
  device_.multiplies_bf16 = Bf16Gemm::available();
  device_.reads_transposed = true;
}

CpuBackend::~CpuBackend() = default;

const DeviceInfo& CpuBackend::device() const {
  return device_;
}

std::unique_ptr<Buffer> CpuBackend::allocate(std::size_t bytes, std::string_view label) {
  const std::uint64_t free = host_free_bytes();
  if (bytes > free) fail_no_room(label, bytes, explain_memory(bytes, free));
  const std::size_t mapped = bytes == 0 ? 1 : bytes;
  void* pages = mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (pages == MAP_FAILED) fail_no_room(label, bytes, explain_memory(bytes, free));
  ask_for_huge_pages(pages, mapped);
  return std::make_unique<HostBuffer>(bytes, pages, mapped, label);
}

std::unique_ptr<Buffer> CpuBackend::wrap(std::span<const std::byte> memory, std::string_view label,
                                         std::shared_ptr<const void> owner) {
  return std::make_unique<WrappedBuffer>(memory, label, std::move(owner));
}

void CpuBackend::upload(const Tensor& destination, std::span<const std::byte> source) {
  require_not_recording("upload");
  check_transfer("upload", destination, source.size());
  // The first to write to a page also waits for the system to clear it, which takes longer than the copy.
  constexpr std::size_t at_once = std::size_t{256} << 10;
  std::byte* const to = bytes_of(destination);
  const std::size_t parts = (source.size() + at_once - 1) / at_once;
  parallel_for(static_cast<std::int64_t>(parts), Cost{.bytes = 2.0 * at_once}, [&](std::int64_t part) {
    const std::size_t begin = static_cast<std::size_t>(part) * at_once;
    std::memcpy(to + begin, source.data() + begin, std::min(at_once, source.size() - begin));
  });
}

void CpuBackend::download(const Tensor& source, std::span<std::byte> destination) {
  require_not_recording("download");
  check_transfer("download", source, destination.size());
  if (!destination.empty()) std::memcpy(destination.data(), bytes_of(source), destination.size());
}

void CpuBackend::read_back(const Tensor& source, std::function<void(std::span<const std::byte>)> receive) {
  require_not_recording("read_back");
  if (!source) fail(ErrorKind::input, "read_back: the tensor is absent, but required.");
  receive({bytes_of(source), source.bytes()});
}

void CpuBackend::submit() {
  require_not_recording("submit");
}

void CpuBackend::wait() {
  require_not_recording("wait");
}

void CpuBackend::throttle(std::size_t /*in_flight*/) {
  require_not_recording("throttle");
}

void CpuBackend::multiply_in_bf16(bool rounds) {
  if (rounds == (bf16_ != nullptr)) return;
  bf16_ = rounds ? std::make_unique<Bf16Gemm>() : nullptr;
}

WorkingMemory CpuBackend::working_memory() const {
  return {.scratch = scratch_->capacity * sizeof(float) + (bf16_ ? bf16_->bytes() : 0)};
}

}  // namespace mslt
