// Encoding one dispatch of a kernel; every binding is checked against the kernel's signature as read by mslc.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "backend/msl/driver.h"
#include "backend/msl/kernel_info.h"
#include "backend/msl/recorder.h"
#include "tensor/tensor.h"

namespace mslt::msl {

// The host name of a kernel's instantiation: "norm_forward_bf16" for one dtype, "cast_f32_bf16" for two.
std::string kernel_name(std::string_view kernel, DType dtype);
std::string kernel_name(std::string_view kernel, DType first, DType second);

// ceil(items / per_group): the groups that cover `items`. Throws Error(input) if items is negative or the count does
// not fit 32 bits.
std::uint32_t group_count(std::int64_t items, std::int64_t per_group);

// One dispatch, built in one expression and recorded by dispatch(); finish it before the next one starts:
//
//   encode("norm_forward_f32").buffer(0, tensor).bytes(1, args).threadgroup(0, bytes).dispatch(groups, threads);
//
// Every function throws Error(device) naming the kernel with its file and line, the argument and the numbers: for an
// index that the kernel lacks or that is of another kind; for a tensor of the wrong element type, absent, too small or
// misaligned; for a struct of another size. dispatch() also throws if an argument was never bound, if a buffer that the
// kernel writes overlaps another one, or if the shape or threadgroup memory exceeds the device's limits. Nothing has
// run then.
class [[nodiscard]] Encoder {
 public:
  // Throws Error(device) if there is no such kernel.
  Encoder(Recorder& recorder, std::string_view kernel);
  Encoder(const Encoder&) = delete;
  Encoder& operator=(const Encoder&) = delete;

  // Binds a tensor to [[buffer(index)]]. Its dtype must be the pointer's element type, or the scalar of a vector type
  // such as float4; a pointer to a struct takes any.
  Encoder& buffer(std::uint32_t index, const Tensor& tensor);
  // The same if the kernel will access `needed` elements of the tensor's dtype: fewer are an error.
  Encoder& buffer(std::uint32_t index, const Tensor& tensor, std::int64_t needed);
  // The same without a check of the element type, for kernels that reinterpret the bits.
  Encoder& untyped(std::uint32_t index, const Tensor& tensor);
  // Binds the tensor, or 16 bytes of zeros if it is absent; the kernel learns from its arguments not to access them.
  Encoder& optional(std::uint32_t index, const Tensor& tensor);
  // Binds a value to [[buffer(index)]], for `constant Args& args`.
  template <class Args>
  Encoder& bytes(std::uint32_t index, const Args& args) {
    static_assert(std::is_trivially_copyable_v<Args> && !std::is_pointer_v<Args>);
    return raw_bytes(index, std::as_bytes(std::span(&args, 1)));
  }
  // The size in bytes of the memory of [[threadgroup(index)]].
  Encoder& threadgroup(std::uint32_t index, std::uint64_t bytes);
  // Allows these two buffers to overlap: each thread reads its element before it writes that very element.
  Encoder& in_place(std::uint32_t first, std::uint32_t second);

  // The FLOPs of the dispatch, and the bytes that it reads of tensors it also writes: for counters only.
  Encoder& work(double flops, std::uint64_t read_again = 0);
  // Bytes of the bound tensors that the kernel does not access: for counters only.
  Encoder& skips(std::uint64_t bytes);
  // Replaces the counted bytes, for a kernel that does not access all of its buffers.
  Encoder& moves(std::uint64_t bytes);

  // Records groups.x · groups.y · groups.z threadgroups of threads.x · threads.y · threads.z threads. Throws
  // Error(device) for a group larger than a simdgroup if the kernel does not declare max_total_threads_per_threadgroup.
  void dispatch(GridSize groups, GridSize threads);
  // The same in the launch shapes of launch.h: a thread for each span of `count` elements; a thread for each span of
  // each row; a simdgroup for each row. Groups have `threads` threads or `group_rows` rows, or fewer if the device
  // allows the kernel fewer; that changes no result.
  void dispatch_spans(std::int64_t count, std::int64_t threads);
  void dispatch_tiles(std::int64_t rows, std::int64_t columns, std::int64_t threads);
  void dispatch_rows(std::int64_t rows, std::int64_t group_rows);

 private:
  struct Binding {
    const ArgumentInfo* argument = nullptr;
    const Buffer* buffer = nullptr;
    std::size_t begin = 0;
    std::size_t end = 0;
  };

  Encoder(Recorder& recorder, const Recorder::Kernel& kernel);
  Encoder& raw_bytes(std::uint32_t index, std::span<const std::byte> bytes);
  const ArgumentInfo& argument(std::uint32_t index, ArgumentKind kind) const;
  void check_tensor(const ArgumentInfo& argument, const Tensor& tensor) const;
  void check_element(const ArgumentInfo& argument, const Tensor& tensor) const;
  void bind(const ArgumentInfo& argument, Buffer& buffer, std::size_t offset, std::size_t bytes);
  void mark(const ArgumentInfo& argument);
  bool may_overlap(std::uint32_t first, std::uint32_t second) const;
  void check_bound() const;
  void check_overlaps() const;
  void check_fixed(GridSize threads) const;
  void check_launch(GridSize groups, GridSize threads) const;
  void launch(GridSize groups, GridSize threads, bool fixed);
  // Per group, limited by the device, the kernel's registers and its attribute.
  std::uint32_t most_threads() const;
  // "kernel 'scale_f32' (kernels/scale.metal:12)"
  std::string where() const;

  Recorder& recorder_;
  const KernelInfo& info_;
  const Pipeline& pipeline_;
  Commands& commands_;
  std::array<Binding, 31> buffers_;
  std::uint32_t buffer_count_ = 0;
  std::uint64_t bound_ = 0;  // bit i: info_.arguments[i] is bound
  std::uint64_t threadgroup_bytes_ = 0;
  std::uint64_t bound_bytes_ = 0;
  double flops_ = 0.0;
  std::uint64_t read_again_ = 0;
  std::uint64_t skipped_bytes_ = 0;
  std::optional<std::uint64_t> moved_bytes_;
  std::array<std::pair<std::uint32_t, std::uint32_t>, 8> in_place_{};
  std::uint32_t in_place_count_ = 0;
};

}  // namespace mslt::msl
