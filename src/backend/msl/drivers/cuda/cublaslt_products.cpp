// Matrix products by cuBLASLt: descriptors, the choice of plans, and calls.
#include "backend/msl/drivers/cuda/cublaslt_products.h"

#include <cublasLt.h>

#include <algorithm>
#include <bit>
#include <limits>
#include <map>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "backend/msl/drivers/cuda/device_memory.h"
#include "backend/msl/drivers/cuda/product_scratch.h"

namespace mslt::msl::cuda {
namespace {

// TMA and vector loads ask for no more.
constexpr int most_alignment = 16;
// cuBLASLt takes a kept pre-activation whose rows have a multiple of so many elements.
constexpr std::int64_t kept_columns = 8;

void check(cublasStatus_t status, std::string_view what) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  fail(ErrorKind::device, "cuda: {}: {} ({}).", what, cublasLtGetStatusString(status), cublasLtGetStatusName(status));
}

template <auto destroy>
struct Destroy {
  template <class T>
  void operator()(T* object) const {
    destroy(object);
  }
};
using Handle = std::unique_ptr<cublasLtContext, Destroy<cublasLtDestroy>>;
using Operation = std::unique_ptr<cublasLtMatmulDescOpaque_t, Destroy<cublasLtMatmulDescDestroy>>;
using Layout = std::unique_ptr<cublasLtMatrixLayoutOpaque_t, Destroy<cublasLtMatrixLayoutDestroy>>;
using Preference = std::unique_ptr<cublasLtMatmulPreferenceOpaque_t, Destroy<cublasLtMatmulPreferenceDestroy>>;

cudaDataType_t data_type(DType dtype) {
  if (dtype == DType::bf16) return CUDA_R_16BF;
  return dtype == DType::f16 ? CUDA_R_16F : CUDA_R_32F;
}

cublasLtEpilogue_t epilogue(const Product& product) {
  if (product.kind == ProductKind::input_gradient) {
    return product.gelu ? CUBLASLT_EPILOGUE_DGELU : CUBLASLT_EPILOGUE_DEFAULT;
  }
  // cuBLASLt's second matrix is dout.
  if (product.kind == ProductKind::weight_gradient) {
    return product.bias_gradient ? CUBLASLT_EPILOGUE_BGRADB : CUBLASLT_EPILOGUE_DEFAULT;
  }
  if (!product.gelu) return product.bias ? CUBLASLT_EPILOGUE_BIAS : CUBLASLT_EPILOGUE_DEFAULT;
  if (!product.keeps) return product.bias ? CUBLASLT_EPILOGUE_GELU_BIAS : CUBLASLT_EPILOGUE_GELU;
  return product.bias ? CUBLASLT_EPILOGUE_GELU_AUX_BIAS : CUBLASLT_EPILOGUE_GELU_AUX;
}

bool has_pre_activation(const Product& product) {
  return product.gelu && (product.keeps || product.kind == ProductKind::input_gradient);
}

// Why no cuBLASLt would serve it.
std::string shape_refusal(const Product& p) {
  if (!is_floating(p.activations) || !is_floating(p.result)) {
    return fmt::format("cuBLASLt serves products of f32, bf16 and f16, not of {} into {}.", name_of(p.activations),
                       name_of(p.result));
  }
  if (p.kind != ProductKind::weight_gradient && p.weights != p.activations) {
    return fmt::format("cuBLASLt serves no products of {} with {} weights.", name_of(p.activations),
                       name_of(p.weights));
  }
  if (p.rows < 1 || p.outputs < 1 || p.inputs < 1) return "cuBLASLt serves no empty products.";
  const bool forward = p.kind == ProductKind::forward;
  const bool weight = p.kind == ProductKind::weight_gradient;
  if ((p.bias && !forward) || (p.gelu && weight) || (p.keeps && !(forward && p.gelu)) || (p.accumulate && forward) ||
      (p.bias_gradient && !weight)) {
    return "The product asks for what its kind does not have.";
  }
  if (p.gelu && p.activations == DType::f32) return "cuBLASLt's tanh errs by up to 5e-5, which is too rough for f32.";
  if (p.gelu && p.accumulate) return "cuBLASLt would multiply what it adds to by the activation's derivative, too.";
  if (p.result != p.activations && (p.result != DType::f32 || p.gelu)) {
    return fmt::format("cuBLASLt serves no such product of {} into {}.", name_of(p.activations), name_of(p.result));
  }
  const std::int64_t columns = forward ? p.outputs : p.inputs;
  if (has_pre_activation(p) && (columns % kept_columns != 0 || p.alignment < most_alignment)) {
    return fmt::format(
        "cuBLASLt takes pre-activations with a multiple of {} columns that start at a multiple of {} "
        "bytes, and these have {} columns.",
        kept_columns, most_alignment, columns);
  }
  return {};
}

Layout layout(DType dtype, std::int64_t rows, std::int64_t columns) {
  cublasLtMatrixLayout_t made = nullptr;
  check(cublasLtMatrixLayoutCreate(&made, data_type(dtype), static_cast<std::uint64_t>(rows),
                                   static_cast<std::uint64_t>(columns), rows),
        "describing a matrix");
  return Layout(made);
}

// What a product is for cuBLASLt, whose matrices are column-major: each of ours is the transpose of one of them.
struct Call {
  Operation operation;
  Layout a, b, result;
  float beta = 0.0f;
};

template <class T>
void set(const Operation& operation, cublasLtMatmulDescAttributes_t attribute, const T& value) {
  check(cublasLtMatmulDescSetAttribute(operation.get(), attribute, &value, sizeof(value)), "describing a product");
}

// The addresses that belong to the epilogue.
void set_addresses(const Product& p, const Call& call, const void* bias, const void* pre_activation) {
  if (p.bias || p.bias_gradient) set(call.operation, CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias);
  if (has_pre_activation(p)) set(call.operation, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, pre_activation);
}

Call describe(const Product& p) {
  Call call;
  cublasLtMatmulDesc_t made = nullptr;
  check(cublasLtMatmulDescCreate(&made, CUBLAS_COMPUTE_32F, CUDA_R_32F), "describing a product");
  call.operation.reset(made);
  const std::int32_t transposed = CUBLAS_OP_T;
  switch (p.kind) {
    case ProductKind::forward:
      set(call.operation, CUBLASLT_MATMUL_DESC_TRANSA, transposed);
      call.a = layout(p.weights, p.inputs, p.outputs);
      call.b = layout(p.activations, p.inputs, p.rows);
      call.result = layout(p.result, p.outputs, p.rows);
      break;
    case ProductKind::input_gradient:
      call.a = layout(p.weights, p.inputs, p.outputs);
      call.b = layout(p.activations, p.outputs, p.rows);
      call.result = layout(p.result, p.inputs, p.rows);
      break;
    case ProductKind::weight_gradient:
      set(call.operation, CUBLASLT_MATMUL_DESC_TRANSB, transposed);
      call.a = layout(p.activations, p.inputs, p.rows);
      call.b = layout(p.activations, p.outputs, p.rows);
      call.result = layout(p.result, p.inputs, p.outputs);
      break;
  }
  call.beta = p.accumulate ? 1.0f : 0.0f;
  set(call.operation, CUBLASLT_MATMUL_DESC_EPILOGUE, static_cast<std::uint32_t>(epilogue(p)));
  if (p.bias) set(call.operation, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, static_cast<std::int32_t>(data_type(p.weights)));
  if (has_pre_activation(p)) {
    set(call.operation, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, p.kind == ProductKind::forward ? p.outputs : p.inputs);
  }
  // The search reads how these are aligned and nothing else.
  const auto* aligned = reinterpret_cast<const void*>(static_cast<std::uintptr_t>(p.alignment));
  set_addresses(p, call, aligned, aligned);
  return call;
}

struct Candidate {
  cublasLtMatmulAlgo_t algorithm;
  std::size_t workspace_bytes = 0;
};

std::int32_t configured(const cublasLtMatmulAlgo_t& algorithm, cublasLtMatmulAlgoConfigAttributes_t attribute) {
  std::uint64_t value = 0;  // some are 16 bits wide and some 32
  std::size_t written = 0;
  if (cublasLtMatmulAlgoConfigGetAttribute(&algorithm, attribute, &value, sizeof(std::int32_t), &written) ==
      CUBLAS_STATUS_SUCCESS) {
    return static_cast<std::int32_t>(value);
  }
  cublasLtMatmulAlgoConfigGetAttribute(&algorithm, attribute, &value, sizeof(std::int16_t), &written);
  return static_cast<std::int32_t>(value);
}

std::string algorithm_text(const cublasLtMatmulAlgo_t& algorithm) {
  return fmt::format("algorithm {}, tile {}, stages {}, cluster {}, split {}, reduction {}",
                     configured(algorithm, CUBLASLT_ALGO_CONFIG_ID),
                     configured(algorithm, CUBLASLT_ALGO_CONFIG_TILE_ID),
                     configured(algorithm, CUBLASLT_ALGO_CONFIG_STAGES_ID),
                     configured(algorithm, CUBLASLT_ALGO_CONFIG_CLUSTER_SHAPE_ID),
                     configured(algorithm, CUBLASLT_ALGO_CONFIG_SPLITK_NUM),
                     configured(algorithm, CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME));
}

// Addresses in cuBLASLt's order.
struct Matrices {
  const void* a = nullptr;
  const void* b = nullptr;
  const void* bias = nullptr;
};

Matrices matrices(const Product& p, const ProductOperands& operands) {
  switch (p.kind) {
    case ProductKind::forward:
      return {operands.weight, operands.in, operands.bias};
    case ProductKind::input_gradient:
      return {operands.weight, operands.dout, nullptr};
    case ProductKind::weight_gradient:
      break;
  }
  return {operands.in, operands.dout, operands.bias_gradient};
}

cublasStatus_t multiply(cublasLtHandle_t handle, const Product& p, const Call& call, const Candidate& candidate,
                        const ProductOperands& operands, void* workspace, cudaStream_t stream) {
  const Matrices m = matrices(p, operands);
  set_addresses(p, call, m.bias, operands.pre_activation);
  const float alpha = 1.0f;
  return cublasLtMatmul(handle, call.operation.get(), &alpha, m.a, call.a.get(), m.b, call.b.get(), &call.beta,
                        operands.result, call.result.get(), operands.result, call.result.get(), &candidate.algorithm,
                        workspace, candidate.workspace_bytes, stream);
}

}  // namespace

struct CublasLtProducts::State {
  struct Plan {
    std::string refusal;
    Call call;
    Candidate candidate{};
    ProductPlan info;
  };

  ProductOptions options;
  Handle handle;
  std::map<Product, Plan> plans;

  const Plan& plan(const Product& product);
  const Plan& served(const Product& product);
  Plan choose(const Product& product) const;
  std::vector<Candidate> candidates(const Product& product, const Call& call) const;
  void time(const Product& product, const std::vector<Candidate>& all, Plan& plan) const;
};

std::vector<Candidate> CublasLtProducts::State::candidates(const Product& product, const Call& call) const {
  cublasLtMatmulPreference_t made = nullptr;
  check(cublasLtMatmulPreferenceCreate(&made), "describing a search");
  const Preference preference(made);
  const auto prefer = [&](cublasLtMatmulPreferenceAttributes_t attribute, const auto& value) {
    check(cublasLtMatmulPreferenceSetAttribute(preference.get(), attribute, &value, sizeof(value)),
          "describing a search");
  };
  prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, static_cast<std::uint64_t>(options.workspace_bytes));
  // Partial sums stay f32 and are added up in a fixed order by a kernel of their own.
  const std::uint32_t reductions = CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
  prefer(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, reductions);
  for (const auto attribute :
       {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES}) {
    prefer(attribute, static_cast<std::uint32_t>(product.alignment));
  }
  std::vector<cublasLtMatmulHeuristicResult_t> found(static_cast<std::size_t>(std::max(options.candidates, 1)));
  int count = 0;
  const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(
      handle.get(), call.operation.get(), call.a.get(), call.b.get(), call.result.get(), call.result.get(),
      preference.get(), static_cast<int>(found.size()), found.data(), &count);
  if (status == CUBLAS_STATUS_NOT_SUPPORTED || status == CUBLAS_STATUS_INVALID_VALUE) return {};
  check(status, "searching for ways to multiply");
  std::vector<Candidate> result;
  for (const cublasLtMatmulHeuristicResult_t& each : std::span(found).first(static_cast<std::size_t>(count))) {
    const std::int32_t reduction = configured(each.algo, CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME);
    if (each.state != CUBLAS_STATUS_SUCCESS || each.workspaceSize > options.workspace_bytes ||
        (reduction != CUBLASLT_REDUCTION_SCHEME_NONE && reduction != CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE)) {
      continue;
    }
    result.push_back({each.algo, each.workspaceSize});
  }
  return result;
}

void CublasLtProducts::State::time(const Product& product, const std::vector<Candidate>& all, Plan& plan) const {
  std::optional<ProductScratch> scratch = ProductScratch::make(product, options.workspace_bytes);
  if (!scratch) return;
  std::vector<std::byte> first;
  double best = std::numeric_limits<double>::infinity();
  double fastest = best;
  for (const Candidate& candidate : all) {
    const auto run = [&] {
      return multiply(handle.get(), product, plan.call, candidate, scratch->operands(), scratch->workspace(),
                      scratch->stream()) == CUBLAS_STATUS_SUCCESS;
    };
    scratch->reset();
    if (!run()) continue;
    const std::vector<std::byte> bits = scratch->sample();
    const bool is_first = first.empty();
    if (is_first) first = bits;
    const bool alike = bits == first;
    const double microseconds = scratch->microseconds(run, fastest);
    ++plan.info.candidates;
    plan.info.alike += alike ? 1 : 0;
    if (is_first) plan.info.first_microseconds = microseconds;
    fastest = std::min(fastest, microseconds);
    if ((alike || !options.same_bits) && microseconds < best) {
      best = microseconds;
      plan.candidate = candidate;
    }
  }
  if (plan.info.candidates == 0) return;
  plan.info.microseconds = best;
  plan.info.fastest_microseconds = fastest;
}

CublasLtProducts::State::Plan CublasLtProducts::State::choose(const Product& product) const {
  Plan plan;
  plan.refusal = shape_refusal(product);
  if (!plan.refusal.empty()) return plan;
  plan.call = describe(product);
  const std::vector<Candidate> all = candidates(product, plan.call);
  if (all.empty()) {
    plan.refusal = fmt::format("cuBLASLt has no way to multiply {} rows by {} x {} in {} with such an epilogue.",
                               product.rows, product.outputs, product.inputs, name_of(product.activations));
    return plan;
  }
  plan.candidate = all.front();
  const bool pays = product.rows >= options.timed_rows && product_flops(product) >= options.timed_flops;
  if (all.size() > 1 && product.timed && pays) time(product, all, plan);
  plan.info.algorithm = algorithm_text(plan.candidate.algorithm);
  plan.info.workspace_bytes = plan.candidate.workspace_bytes;
  return plan;
}

const CublasLtProducts::State::Plan& CublasLtProducts::State::plan(const Product& product) {
  Product key = product;
  key.alignment = std::clamp(key.alignment, 1, most_alignment);
  const auto known = plans.find(key);
  if (known != plans.end()) return known->second;
  // What was timed serves those as well that are not worth the time. A product keeps the plan that it had first, whose
  // workspace its callers have.
  if (!key.timed && options.same_bits) {
    Product timed = key;
    timed.timed = true;
    if (const auto better = plans.find(timed); better != plans.end()) return better->second;
  }
  return plans.emplace(key, choose(key)).first->second;
}

const CublasLtProducts::State::Plan& CublasLtProducts::State::served(const Product& product) {
  const Plan& found = plan(product);
  if (!found.refusal.empty()) fail(ErrorKind::device, "cuda: {}", found.refusal);
  return found;
}

int alignment_of(const ProductOperands& operands) {
  std::uintptr_t all = most_alignment;
  for (const void* each :
       {operands.in, operands.weight, operands.dout, operands.bias, static_cast<const void*>(operands.pre_activation),
        static_cast<const void*>(operands.bias_gradient), static_cast<const void*>(operands.result)}) {
    all |= reinterpret_cast<std::uintptr_t>(each);
  }
  return 1 << std::countr_zero(all);
}

bool CublasLtProducts::available() {
  return true;
}

std::string CublasLtProducts::version() {
  const std::size_t version = cublasLtGetVersion();
  return fmt::format("cuBLASLt {}.{}.{}", version / 10000, version / 100 % 100, version % 100);
}

CublasLtProducts::CublasLtProducts(const ProductOptions& options) : state_(std::make_unique<State>()) {
  state_->options = options;
  cublasLtHandle_t handle = nullptr;
  check(cublasLtCreate(&handle), "starting cuBLASLt");
  state_->handle.reset(handle);
}

CublasLtProducts::~CublasLtProducts() = default;

std::string CublasLtProducts::refusal(const Product& product) {
  return state_->plan(product).refusal;
}

ProductPlan CublasLtProducts::plan(const Product& product) {
  return state_->served(product).info;
}

void CublasLtProducts::run(const Product& product, const ProductOperands& operands, void* workspace,
                           cudaStream_t stream) {
  const State::Plan& plan = state_->served(product);
  const Matrices m = matrices(product, operands);
  if (m.a == nullptr || m.b == nullptr || operands.result == nullptr ||
      ((product.bias || product.bias_gradient) && m.bias == nullptr) ||
      (has_pre_activation(product) && operands.pre_activation == nullptr)) {
    fail(ErrorKind::device, "cuda: a product lacks the address of an operand.");
  }
  if (alignment_of(operands) < std::min(product.alignment, most_alignment)) {
    fail(ErrorKind::device, "cuda: a product's operands start at multiples of {} bytes, not of {} as it says.",
         alignment_of(operands), product.alignment);
  }
  check(multiply(state_->handle.get(), product, plan.call, plan.candidate, operands, workspace, stream),
        "multiplying matrices");
}

}  // namespace mslt::msl::cuda
