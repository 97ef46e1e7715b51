// Matrix products of linear layers by cuBLASLt: which it serves, with which plan, and running them.
#pragma once

#include <cuda_runtime_api.h>

#include <compare>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "tensor/dtype.h"

namespace mslt::msl::cuda {

// Matrices are row-major and packed: in [rows, inputs], weight [outputs, inputs], dout [rows, outputs].
enum class ProductKind {
  forward,          // result [rows, outputs] = gelu(in · weightᵀ + bias)
  input_gradient,   // result [rows, inputs] (+)= (dout · weight) · gelu'(pre_activation)
  weight_gradient,  // result [outputs, inputs] (+)= doutᵀ · in
};

// One kind of call; the rest of the formula is there where the flags say so. gelu is the tanh form, which is served for
// 16-bit operands: the library's tanh is too rough for f32.
struct Product {
  ProductKind kind = ProductKind::forward;
  DType activations = DType::f32;  // of in and dout
  DType weights = DType::f32;      // of weight and bias; of no meaning for weight_gradient
  DType result = DType::f32;
  std::int64_t rows = 0;
  std::int64_t outputs = 0;
  std::int64_t inputs = 0;
  bool bias = false;           // forward
  bool gelu = false;           // forward and input_gradient
  bool keeps = false;          // forward with gelu: its argument is kept in pre_activation
  bool accumulate = false;     // of the gradients: adds to the result
  bool bias_gradient = false;  // weight_gradient: also overwrites bias_gradient with the column sums of dout
  int alignment = 16;          // bytes that the addresses of all operands are multiples of; more than 16 count as 16
  bool timed = true;           // whether its plan may be chosen by timing, which pays where it comes again and again

  auto operator<=>(const Product&) const = default;
};

// Results of an input_gradient with gelu from which on cuBLASLt falls back to kernels of less than half the speed. Rows
// are independent: several products of fewer rows give the same.
inline constexpr std::int64_t slow_gelu_gradients = std::int64_t{1} << 27;

// Addresses on the GPU; those that the product has no use for are null. Nothing that is written may overlap anything.
struct ProductOperands {
  const void* in = nullptr;
  const void* weight = nullptr;
  const void* dout = nullptr;
  const void* bias = nullptr;      // [outputs]
  void* pre_activation = nullptr;  // as the result; written by forward, read by input_gradient
  void* bias_gradient = nullptr;   // [outputs], of the result's dtype
  void* result = nullptr;
};

// What Product::alignment is for these addresses.
int alignment_of(const ProductOperands& operands);

struct ProductOptions {
  std::size_t workspace_bytes = std::size_t{32} << 20;  // that a plan may use
  // Products of so many FLOPs are timed where they may; others take the first choice of cuBLASLt.
  double timed_flops = 2e9;
  // Those of fewer rows are not: they are of decoding, which is over before the time has paid.
  std::int64_t timed_rows = 512;
  int candidates = 12;
  // Whether only such plans are candidates that give the bits of cuBLASLt's first choice, so that results do not depend
  // on what was measured. Else the fastest plan is taken.
  bool same_bits = true;
};

// What is known of a plan.
struct ProductPlan {
  std::string algorithm;            // "algorithm 66, tile 20, ...": as cuBLASLt numbers them
  std::size_t workspace_bytes = 0;  // that it uses
  int candidates = 0;               // that ran
  int alike = 0;                    // of which so many give the same bits as the first
  double first_microseconds = 0;    // of cuBLASLt's first choice; 0 where nothing was timed
  double microseconds = 0;          // of the plan
  double fastest_microseconds = 0;  // of the fastest candidate, whatever its bits
};

// The products on the GPU that is current when it is made. Plans are chosen at the first mention of a product, by
// timing on memory of their own, and kept: this waits for the GPU, so that it must not happen while a stream is being
// captured. Where there is no room for it, cuBLASLt's first choice is taken. All plans are deterministic: the same
// operands give the same bits. Used by one thread at a time.
class CublasLtProducts {
 public:
  // Whether this build has cuBLASLt.
  static bool available();
  // "cuBLASLt 13.1.0"; empty where this build has none.
  static std::string version();

  // Throws Error(device) where cuBLASLt cannot be used.
  explicit CublasLtProducts(const ProductOptions& options = ProductOptions());
  ~CublasLtProducts();
  CublasLtProducts(const CublasLtProducts&) = delete;
  CublasLtProducts& operator=(const CublasLtProducts&) = delete;

  // Empty where the product is served; else a sentence that says why it is not.
  std::string refusal(const Product& product);
  // The plan of a product that is served. Throws Error(device) for others.
  ProductPlan plan(const Product& product);
  // Puts the product into the stream. `workspace` has the plan's bytes, begins at a multiple of 256 and is used by
  // nothing else until then. Throws Error(device) for a product that is not served, for operands that are not as it
  // says, and where cuBLASLt fails.
  void run(const Product& product, const ProductOperands& operands, void* workspace, cudaStream_t stream);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Multiplications and additions of the product itself.
inline double product_flops(const Product& product) {
  return 2.0 * static_cast<double>(product.rows) * static_cast<double>(product.outputs) *
         static_cast<double>(product.inputs);
}

}  // namespace mslt::msl::cuda
