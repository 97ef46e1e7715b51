// Attention by cuDNN: graphs of the two passes, the parts they run in, and calls. The one file that reads cuDNN's
// frontend.
#include "backend/msl/drivers/cuda/cudnn_attention.h"

#include <cudnn_frontend.h>

#include <algorithm>
#include <map>
#include <tuple>
#include <unordered_map>
#include <utility>
#include <vector>

#include "backend/msl/drivers/cuda/cuda_status.h"

namespace mslt::msl::cuda {
namespace {

namespace fe = cudnn_frontend;
using TensorOf = std::shared_ptr<fe::graph::Tensor_attributes>;

// Elements of a part, so that offsets in it fit into 32 bits.
constexpr std::int64_t most_elements = (std::int64_t{1} << 31) - 1;
// Rows of 16 bytes.
constexpr std::int64_t head_multiple = 8;
constexpr std::int64_t most_head_size = 256;

void check(cudnnStatus_t status, std::string_view what) {
  if (status == CUDNN_STATUS_SUCCESS) return;
  fail(ErrorKind::device, "cuda: {}: {}.", what, cudnnGetErrorString(status));
}

void check(fe::error_t status, std::string_view what) {
  if (status.is_good()) return;
  fail(ErrorKind::device, "cuda: {}: {}.", what, status.get_message());
}

struct DestroyHandle {
  void operator()(cudnnContext* handle) const { cudnnDestroy(handle); }
};
using Handle = std::unique_ptr<cudnnContext, DestroyHandle>;

enum Name : std::int64_t { query = 1, key, value, out, statistics, dout, dquery, dkey, dvalue };

// A pass over some sequences, or some heads of one sequence, of a problem.
struct Part {
  AttentionProblem problem;
  bool backward = false;
  std::int64_t batch = 0;
  std::int64_t kv_heads = 0;

  auto operator<=>(const Part&) const = default;

  std::int64_t group() const { return problem.heads / problem.kv_heads; }
  std::int64_t heads() const { return kv_heads * group(); }
  std::int64_t columns() const { return (problem.heads + 2 * problem.kv_heads) * problem.head_size; }
  std::int64_t out_columns() const { return problem.heads * problem.head_size; }
};

// Heads of a tensor [batch, length, columns], as cuDNN counts dimensions: batch, heads, length, head size.
void describe(fe::graph::Tensor_attributes& tensor, const Part& part, Name name, std::int64_t heads,
              std::int64_t columns) {
  const AttentionProblem& p = part.problem;
  tensor.set_uid(name)
      .set_dim({part.batch, heads, p.length, p.head_size})
      .set_stride({p.length * columns, p.head_size, columns, 1});
}

void describe_statistics(fe::graph::Tensor_attributes& tensor, const Part& part) {
  const std::int64_t length = part.problem.length;
  tensor.set_uid(statistics)
      .set_dim({part.batch, part.heads(), length, 1})
      .set_stride({part.heads() * length, length, 1, 1})
      .set_data_type(fe::DataType_t::FLOAT);
}

TensorOf input(fe::graph::Graph& graph, const Part& part, Name name, std::int64_t heads, std::int64_t columns) {
  fe::graph::Tensor_attributes tensor;
  describe(tensor, part, name, heads, columns);
  return graph.tensor(tensor);
}

template <class Attributes>
void set_common(Attributes& attributes, const AttentionProblem& problem) {
  attributes.set_attn_scale(problem.scale);
  if (!problem.causal) return;
  attributes.set_diagonal_alignment(fe::DiagonalAlignment_t::TOP_LEFT);
  attributes.set_diagonal_band_right_bound(0);
}

void add_forward(fe::graph::Graph& graph, const Part& part) {
  fe::graph::SDPA_attributes attributes;
  attributes.set_name("attention_forward").set_generate_stats(part.problem.statistics);
  set_common(attributes, part.problem);
  const auto [result, sums] = graph.sdpa(input(graph, part, query, part.heads(), part.columns()),
                                         input(graph, part, key, part.kv_heads, part.columns()),
                                         input(graph, part, value, part.kv_heads, part.columns()), attributes);
  describe(result->set_output(true), part, out, part.heads(), part.out_columns());
  if (part.problem.statistics) describe_statistics(sums->set_output(true), part);
}

void add_backward(fe::graph::Graph& graph, const Part& part, bool deterministic) {
  fe::graph::SDPA_backward_attributes attributes;
  attributes.set_name("attention_backward").set_deterministic_algorithm(deterministic);
  set_common(attributes, part.problem);
  fe::graph::Tensor_attributes sums;
  describe_statistics(sums, part);
  const auto [dq, dk, dv] = graph.sdpa_backward(
      input(graph, part, query, part.heads(), part.columns()), input(graph, part, key, part.kv_heads, part.columns()),
      input(graph, part, value, part.kv_heads, part.columns()),
      input(graph, part, out, part.heads(), part.out_columns()),
      input(graph, part, dout, part.heads(), part.out_columns()), graph.tensor(sums), attributes);
  describe(dq->set_output(true), part, dquery, part.heads(), part.columns());
  describe(dk->set_output(true), part, dkey, part.kv_heads, part.columns());
  describe(dv->set_output(true), part, dvalue, part.kv_heads, part.columns());
}

// Why no cuDNN would serve it.
std::string shape_refusal(const AttentionProblem& p) {
  if (p.dtype != DType::bf16 && p.dtype != DType::f16) {
    return fmt::format("cuDNN serves attention in bf16 and f16, not in {}.", name_of(p.dtype));
  }
  if (p.dropout != 0.0f) return "cuDNN's dropout is not that of mslt.";
  if (p.batch < 1 || p.length < 1) return "cuDNN serves no empty attention.";
  if (p.kv_heads < 1 || p.heads < p.kv_heads || p.heads % p.kv_heads != 0) {
    return fmt::format("{} query heads cannot share {} key/value heads.", p.heads, p.kv_heads);
  }
  if (p.head_size < 1 || p.head_size % head_multiple != 0 || p.head_size > most_head_size) {
    return fmt::format("cuDNN serves heads of a multiple of {} up to {}, and these are of {}.", head_multiple,
                       most_head_size, p.head_size);
  }
  return {};
}

// The size of equal parts of `total` of which none is larger than `most`: a divisor where one is nearly as large as it
// could be, so that all parts are alike.
std::int64_t part_size(std::int64_t total, std::int64_t most) {
  const std::int64_t parts = (total + most - 1) / most;
  const std::int64_t even = (total + parts - 1) / parts;
  for (std::int64_t size = std::min(most, total); 4 * size >= 3 * even; --size) {
    if (total % size == 0) return size;
  }
  return even;
}

// Where a part begins in the tensors, in elements.
struct Origin {
  Origin(const Part& part, std::int64_t sequence, std::int64_t kv_head) {
    const AttentionProblem& p = part.problem;
    const std::int64_t row = sequence * p.length;
    const std::int64_t head = kv_head * part.group();
    query = row * part.columns() + head * p.head_size;
    key = row * part.columns() + (p.heads + kv_head) * p.head_size;
    value = key + p.kv_heads * p.head_size;
    out = row * part.out_columns() + head * p.head_size;
    statistics = (sequence * p.heads + head) * p.length;
  }

  std::int64_t query, key, value, out, statistics;
};

// Moves an address by elements.
void* at(const void* address, std::int64_t elements, DType dtype) {
  auto* bytes = static_cast<std::byte*>(const_cast<void*>(address));
  return bytes + elements * static_cast<std::int64_t>(size_of(dtype));
}

}  // namespace

struct CudnnAttention::State {
  struct Graph {
    std::string refusal;
    fe::graph::Graph graph;
    std::size_t workspace_bytes = 0;
  };
  struct Piece {
    const Graph* graph = nullptr;
    Part part;
    std::int64_t first_sequence = 0;
    std::int64_t first_kv_head = 0;
  };
  struct Plan {
    std::string refusal;
    std::vector<Piece> pieces;
    AttentionPlan info;
  };

  AttentionOptions options;
  Handle handle;
  std::map<Part, std::unique_ptr<Graph>> graphs;
  std::map<std::pair<AttentionProblem, bool>, Plan> plans;

  const Graph& graph(const Part& part);
  std::size_t guessed_bytes(const Part& part) const;
  Plan choose(const AttentionProblem& problem, bool backward);
  const Plan& plan(const AttentionProblem& problem, bool backward);
  const Plan& served(const AttentionProblem& problem, bool backward);
  void run(const Piece& piece, std::unordered_map<std::int64_t, void*>& addresses, void* workspace,
           cudaStream_t stream);
};

const CudnnAttention::State::Graph& CudnnAttention::State::graph(const Part& part) {
  std::unique_ptr<Graph>& made = graphs[part];
  if (made) return *made;
  made = std::make_unique<Graph>();
  made->graph.set_io_data_type(part.problem.dtype == DType::bf16 ? fe::DataType_t::BFLOAT16 : fe::DataType_t::HALF)
      .set_intermediate_data_type(fe::DataType_t::FLOAT)
      .set_compute_data_type(fe::DataType_t::FLOAT);
  if (part.backward) {
    add_backward(made->graph, part, options.deterministic);
  } else {
    add_forward(made->graph, part);
  }
  fe::error_t status = made->graph.build(handle.get(), {fe::HeurMode_t::A});
  std::int64_t bytes = 0;
  if (status.is_bad() || made->graph.get_workspace_size(bytes).is_bad()) {
    made->refusal = fmt::format("cuDNN does not serve the attention of {} of size {} over {} positions: {}",
                                part.backward ? "gradients of heads" : "heads", part.problem.head_size,
                                part.problem.length, status.get_message());
  }
  made->workspace_bytes = static_cast<std::size_t>(std::max<std::int64_t>(bytes, 0));
  return *made;
}

// What the backward pass keeps at least.
std::size_t CudnnAttention::State::guessed_bytes(const Part& part) const {
  if (!part.backward) return 0;
  const std::int64_t length = part.problem.length;
  const std::int64_t rows = (length + 63) / 64 * 64;
  const std::int64_t columns = (length + 127) / 128 * 128;
  std::int64_t head = 4 * length;
  head += options.deterministic ? 2 * rows * columns : 4 * length * part.problem.head_size;
  return static_cast<std::size_t>(part.batch * part.heads() * head);
}

CudnnAttention::State::Plan CudnnAttention::State::choose(const AttentionProblem& problem, bool backward) {
  Plan plan;
  plan.refusal = shape_refusal(problem);
  if (!plan.refusal.empty()) return plan;
  const auto limit = static_cast<std::int64_t>(options.workspace_bytes);
  // As many sequences as there is memory for; where there is none for one, as many of its heads.
  Part part = {problem, backward, 1, problem.kv_heads};
  part.problem.batch = 0;  // graphs do not depend on it
  const auto bytes_of_one = static_cast<std::int64_t>(guessed_bytes(part));
  std::int64_t most = std::max<std::int64_t>(most_elements / (problem.length * part.columns()), 1);
  if (bytes_of_one > 0) most = std::min(most, limit / bytes_of_one);
  if (most >= 1) {
    part.batch = part_size(problem.batch, std::min(most, problem.batch));
  } else {
    part.kv_heads = 1;
    most = std::clamp<std::int64_t>(limit / static_cast<std::int64_t>(guessed_bytes(part)), 1, problem.kv_heads);
    part.kv_heads = part_size(problem.kv_heads, most);
  }
  // The guess may have been too low.
  const Graph* whole = &graph(part);
  while (whole->refusal.empty() && whole->workspace_bytes > options.workspace_bytes &&
         (part.batch > 1 || part.kv_heads > 1)) {
    if (part.batch > 1) {
      part.batch = part_size(problem.batch, part.batch - 1);
    } else {
      part.kv_heads = part_size(problem.kv_heads, part.kv_heads - 1);
    }
    whole = &graph(part);
  }
  plan.refusal = whole->refusal;
  if (plan.refusal.empty() && whole->workspace_bytes > options.workspace_bytes) {
    plan.refusal = fmt::format(
        "cuDNN needs a workspace of {} bytes for one head over {} positions, and {} are meant "
        "for it.",
        whole->workspace_bytes, problem.length, options.workspace_bytes);
  }
  if (!plan.refusal.empty()) return plan;
  for (std::int64_t sequence = 0; sequence < problem.batch; sequence += part.batch) {
    for (std::int64_t head = 0; head < problem.kv_heads; head += part.kv_heads) {
      Part piece = part;
      piece.batch = std::min(part.batch, problem.batch - sequence);
      piece.kv_heads = std::min(part.kv_heads, problem.kv_heads - head);
      const Graph& made = graph(piece);
      plan.info.workspace_bytes = std::max(plan.info.workspace_bytes, made.workspace_bytes);
      if (plan.refusal.empty()) plan.refusal = made.refusal;
      plan.pieces.push_back({&made, piece, sequence, head});
    }
  }
  plan.info.parts = static_cast<int>(plan.pieces.size());
  static_cast<void>(whole->graph.get_plan_name(plan.info.engine));
  return plan;
}

const CudnnAttention::State::Plan& CudnnAttention::State::plan(const AttentionProblem& problem, bool backward) {
  AttentionProblem key_problem = problem;
  if (backward) key_problem.statistics = true;
  const auto known = plans.find({key_problem, backward});
  if (known != plans.end()) return known->second;
  return plans.emplace(std::pair(key_problem, backward), choose(key_problem, backward)).first->second;
}

const CudnnAttention::State::Plan& CudnnAttention::State::served(const AttentionProblem& problem, bool backward) {
  const Plan& found = plan(problem, backward);
  if (!found.refusal.empty()) fail(ErrorKind::device, "cuda: {}", found.refusal);
  return found;
}

void CudnnAttention::State::run(const Piece& piece, std::unordered_map<std::int64_t, void*>& addresses, void* workspace,
                                cudaStream_t stream) {
  check(cudnnSetStream(handle.get(), stream), "choosing cuDNN's stream");
  check(piece.graph->graph.execute(handle.get(), addresses, workspace), "running attention");
}

bool CudnnAttention::available() {
  return true;
}

std::string CudnnAttention::version() {
  const std::size_t version = cudnnGetVersion();
  return fmt::format("cuDNN {}.{}.{}", version / 10000, version / 100 % 100, version % 100);
}

CudnnAttention::CudnnAttention(const AttentionOptions& options) : state_(std::make_unique<State>()) {
  state_->options = options;
  cudnnHandle_t handle = nullptr;
  check(cudnnCreate(&handle), "starting cuDNN");
  state_->handle.reset(handle);
}

CudnnAttention::~CudnnAttention() = default;

std::string CudnnAttention::forward_refusal(const AttentionProblem& problem) {
  return state_->plan(problem, false).refusal;
}

std::string CudnnAttention::backward_refusal(const AttentionProblem& problem) {
  return state_->plan(problem, true).refusal;
}

AttentionPlan CudnnAttention::forward_plan(const AttentionProblem& problem) {
  return state_->served(problem, false).info;
}

AttentionPlan CudnnAttention::backward_plan(const AttentionProblem& problem) {
  return state_->served(problem, true).info;
}

void CudnnAttention::forward(const AttentionProblem& problem, const AttentionForward& tensors, void* workspace,
                             cudaStream_t stream) {
  for (const State::Piece& piece : state_->served(problem, false).pieces) {
    const Origin from(piece.part, piece.first_sequence, piece.first_kv_head);
    std::unordered_map<std::int64_t, void*> addresses = {{query, at(tensors.qkv, from.query, problem.dtype)},
                                                         {key, at(tensors.qkv, from.key, problem.dtype)},
                                                         {value, at(tensors.qkv, from.value, problem.dtype)},
                                                         {out, at(tensors.out, from.out, problem.dtype)}};
    if (problem.statistics) addresses[statistics] = at(tensors.log_sum_exp, from.statistics, DType::f32);
    state_->run(piece, addresses, workspace, stream);
  }
}

void CudnnAttention::backward(const AttentionProblem& problem, const AttentionBackward& tensors, void* workspace,
                              cudaStream_t stream) {
  for (const State::Piece& piece : state_->served(problem, true).pieces) {
    const Origin from(piece.part, piece.first_sequence, piece.first_kv_head);
    std::unordered_map<std::int64_t, void*> addresses = {
        {query, at(tensors.qkv, from.query, problem.dtype)},
        {key, at(tensors.qkv, from.key, problem.dtype)},
        {value, at(tensors.qkv, from.value, problem.dtype)},
        {out, at(tensors.out, from.out, problem.dtype)},
        {statistics, at(tensors.log_sum_exp, from.statistics, DType::f32)},
        {dout, at(tensors.dout, from.out, problem.dtype)},
        {dquery, at(tensors.dqkv, from.query, problem.dtype)},
        {dkey, at(tensors.dqkv, from.key, problem.dtype)},
        {dvalue, at(tensors.dqkv, from.value, problem.dtype)}};
    state_->run(piece, addresses, workspace, stream);
  }
}

}  // namespace mslt::msl::cuda
