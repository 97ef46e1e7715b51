// MslBackend: the backend interface as Metal Shading Language kernels over a driver.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "backend/backend.h"
#include "backend/msl/driver.h"
#include "backend/msl/encoder.h"
#include "backend/msl/kernel_info.h"
#include "backend/msl/recorder.h"
#include "backend/msl/tuning_store.h"

namespace mslt {

// Records every operation as dispatches of kernels/ and hands them over in batches. Trains in f32, bf16 and f16. One
// file per operation group, named as in every backend; it encodes each operation:
//
//   const CastArgs args = {.count = static_cast<std::uint64_t>(op.in.elements())};
//   encode(msl::kernel_name("cast", op.in.dtype(), op.out.dtype()))
//       .buffer(0, op.in).buffer(1, op.out).bytes(2, args)
//       .dispatch({msl::group_count(op.in.elements(), 256)}, {256});
//
// A backend for a device whose libraries do some operations better derives from it and overrides those:
//
//   void CudaBackend::execute(const MatmulForward& op) {
//     if (op.weight.scales || op.activation == Activation::relu) return MslBackend::execute(op);
//     library_call("cublas", op, workspace_bytes, {[=, a = address(op.in), ...](const msl::LibraryContext& context) {
//       cublasLtMatmul(..., context.workspace, context.workspace_bytes, cudaStream_t(context.stream));
//     }});
//   }
//
// with `using MslBackend::execute;` in its class.
class MslBackend : public Backend {
 public:
  // Uses the table's row for the device.
  explicit MslBackend(std::unique_ptr<msl::Device> device);
  // Throws Error(input) if the device does not allow the tuning's groups.
  MslBackend(std::unique_ptr<msl::Device> device, msl::ChosenTuning tuning);
  // Uses other kernels than those of kernels/; the table must outlive the backend.
  MslBackend(std::unique_ptr<msl::Device> device, std::span<const msl::KernelInfo> kernels);
  ~MslBackend() override;

  // Where operations are recorded, and the counts of dispatches, commits and waits.
  msl::Recorder& recorder() { return *recorder_; }

  // The launch parameters. set_tuning applies to operations recorded afterwards and throws as the constructor does.
  const msl::Tuning& tuning() const { return tuning_; }
  void set_tuning(const msl::Tuning& tuning);

  const DeviceInfo& device() const override;
  std::unique_ptr<Buffer> allocate(std::size_t bytes, std::string_view label) override;
  std::unique_ptr<Buffer> wrap(std::span<const std::byte> memory, std::string_view label,
                               std::shared_ptr<const void> owner) override;
  void upload(const Tensor& destination, std::span<const std::byte> source) override;
  std::unique_ptr<UploadSlot> upload_slot(const Tensor& destination, std::size_t under_way,
                                          std::string_view label) override;
  void download(const Tensor& source, std::span<std::byte> destination) override;
  void read_back(const Tensor& source, std::function<void(std::span<const std::byte>)> receive) override;
  void submit() override;
  void wait() override;
  void throttle(std::size_t in_flight) override;
  std::unique_ptr<Recording> record(const std::function<void()>& work) override;
  void replay(const Recording& recording) override;
  double device_seconds() const override { return recorder_->counters().device_seconds; }
  bool has_device_times() const override { return true; }
  void begin_times() override { recorder_->begin_times(); }
  std::vector<KernelTime> end_times() override { return recorder_->end_times(); }
  void as_operation(const std::function<void()>& run) override { recorder_->as_operation(run); }
  std::int64_t fused_rows(const Weight& /*weight*/, DType /*activations*/, bool /*has_norm*/) const override {
    return tuning_.few_rows;
  }
  std::size_t peak_device_bytes() const override { return recorder_->device().peak_bytes(); }
  WorkingMemory working_memory() const override { return recorder_->working_memory(); }
  WorkingMemory rehearse(const std::function<void(Backend&)>& work) const override;
  void execute(const EmbeddingForward& op) override;
  void execute(const EmbeddingBackward& op) override;
  void execute(const Rope& op) override;
  void execute(const ResidualNormForward& op) override;
  void execute(const ResidualNormBackward& op) override;
  void execute(const MatmulForward& op) override;
  void execute(const FusedProduct& op) override;
  void execute(const MatmulBackwardInput& op) override;
  void execute(const MatmulBackwardWeight& op) override;
  void execute(const AttentionForward& op) override;
  void execute(const AttentionBackward& op) override;
  void execute(const KvCacheAppend& op) override;
  void execute(const AttentionDecode& op) override;
  void execute(const ActivationForward& op) override;
  void execute(const ActivationBackward& op) override;
  void execute(const DropElements& op) override;
  void execute(const SoftCap& op) override;
  void execute(const CrossEntropy& op) override;
  void execute(const Sum& op) override;
  void execute(const GlobalNorm& op) override;
  void execute(const AdamWUpdate& op) override;
  void execute(const Argmax& op) override;
  void execute(const TopK& op) override;
  void execute(const DrawTokens& op) override;
  void execute(const Cast& op) override;
  void execute(const Fill& op) override;
  void execute(const Copy& op) override;
  void execute(const Add& op) override;
  void execute(const GatherRows& op) override;

 protected:
  // A backend that does on `device` what this one does. One that overrides operations overrides it, too.
  virtual std::unique_ptr<MslBackend> same_on(std::unique_ptr<msl::Device> device) const;
  // Records a library's work for `op`, in the order of the dispatches and counted as one. call.run is called once,
  // later and possibly by another thread, and once for each replay of a recording. It puts work into the given stream,
  // waits for nothing, and throws Error if the library fails.
  template <class Op>
  void library_call(std::string_view library, const Op& op, std::size_t workspace_bytes, msl::LibraryCall call) {
    const auto arguments = op.arguments();
    recorder_->library_call(fmt::format("{}_{}", library, Op::name), arguments, work_of(op), workspace_bytes,
                            std::move(call));
  }
  // Whether record() runs, so that the operation comes again and again: choosing how to do it may take long.
  bool is_recording() const { return recorder_->is_recording(); }
  // The tensor's address on the device, for a library; null for an absent tensor.
  void* address(const Tensor& tensor) const { return tensor ? device_->address(tensor) : nullptr; }
  // Memory for partial results of one operation, undefined at first; see recorder.h.
  msl::Scratch scratch(DType dtype, const Shape& shape) { return recorder_->scratch(dtype, shape); }
  // sums [N] += column sums of in [M, N], for the operation of that name.
  void add_column_sums(std::string_view operation, const Tensor& sums, const Tensor& in);
  // The product with a quantised weight, which is made plain in memory of its own first.
  void multiply_unpacked(const MatmulForward& op);
  // The norm, the product and the addition as operations of their own.
  void multiply_unfused(const FusedProduct& op);

 private:
  // The next dispatch of a kernel; see encoder.h.
  msl::Encoder encode(std::string_view kernel) { return msl::Encoder(*recorder_, kernel); }
  const msl::DeviceLimits& limits() const { return device_->limits(); }

  MslBackend(std::unique_ptr<msl::Device> device, std::span<const msl::KernelInfo> kernels, msl::ChosenTuning tuning);

  std::unique_ptr<msl::Device> device_;
  msl::Tuning tuning_;
  std::unique_ptr<msl::Recorder> recorder_;
};

// The MSL backend on the device, its tuning chosen by what make_backend takes.
std::unique_ptr<Backend> make_tuned_backend(std::unique_ptr<msl::Device> device, std::string_view tuning);

}  // namespace mslt
