// The members of a Tuning that matter at a model's shapes: their candidates, and the work to time them on.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "backend/msl/msl_backend.h"
#include "backend/msl/tuning.h"
#include "tensor/tensor.h"

namespace mslt::msl {

// The sizes of a training step.
struct TuneShape {
  std::int64_t batch = 0;  // sequences
  std::int64_t steps = 0;  // tokens per sequence
  std::int64_t channels = 0;
  std::int64_t ffn_size = 0;
  std::int64_t vocab_size = 0;
  std::int64_t heads = 0;
  std::int64_t kv_heads = 0;
  std::int64_t head_size = 0;
  std::int64_t parameters = 0;
  DType dtype = DType::f32;  // of activations and parameters
};

// Makes the tensors of one workload and keeps them alive.
class Workbench {
 public:
  explicit Workbench(MslBackend& backend) : backend_(backend) {}
  Workbench(const Workbench&) = delete;
  Workbench& operator=(const Workbench&) = delete;
  // Waits for the device.
  ~Workbench();

  // A function that records the operation once; call it while the workbench lives.
  template <class Op>
  std::function<void()> recording(const Op& op) {
    return [this, op] {
      backend_.run(op);
    };
  }
  // Zeros.
  Tensor zeros(DType dtype, const Shape& shape);
  // Small random numbers, repeating after the first million.
  Tensor values(DType dtype, const Shape& shape);
  // Random ids from 0 to bound - 1.
  Tensor ids(const Shape& shape, std::int64_t bound);
  Tensor floats(const std::vector<float>& numbers);

 private:
  MslBackend& backend_;
  std::vector<std::unique_ptr<Buffer>> buffers_;
};

// One operation at one size.
struct Workload {
  std::string name;
  // Tunings with equal results launch the operation alike; it is then timed once.
  std::function<std::int64_t(const Tuning&)> path;
  // Makes its tensors, and returns a function that records the operation once.
  std::function<std::function<void()>(Workbench&)> prepare;
};

struct Tunable {
  std::int64_t Tuning::* member = nullptr;
  std::vector<std::int64_t> candidates;  // in addition to the tuning's current value
  // Prefixes of the names of the kernels whose group size is the value; each must allow such groups.
  std::vector<std::string_view> kernels = {};
  std::vector<Workload> workloads = {};
  bool without_matvec = false;  // no product uses matvec while this is timed
  bool all_direct = false;      // every product uses the direct design
};

// All of them; members that others depend on come first. `most_elements` bounds the logits.
std::vector<Tunable> tunables(const TuneShape& shape, std::int64_t most_elements);

}  // namespace mslt::msl
