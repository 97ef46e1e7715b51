// The table of a model's parameters and their initial values.
#include "model/parameters.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>
#include <utility>
#include <vector>

#include "base/fail.h"
#include "base/parallel.h"
#include "base/philox.h"

namespace mslt {
namespace {

constexpr float initial_deviation = 0.02f;

bool ends_with_any(std::string_view name, std::initializer_list<std::string_view> endings) {
  return std::any_of(endings.begin(), endings.end(), [&](std::string_view ending) { return name.ends_with(ending); });
}

// FNV-1a: the stream of a segment, so that it does not depend on the other segments.
std::uint64_t hash_of(std::string_view name) {
  std::uint64_t hash = 14695981039346656037u;
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211u;
  return hash;
}

// Four standard normal numbers from one Philox block, by Box–Muller.
std::array<float, 4> normals(const PhiloxBlock& words) {
  std::array<float, 4> result;
  for (std::size_t i = 0; i < 4; i += 2) {
    // In (0, 1], so that the logarithm is finite.
    const float u = 1.0f - uniform_from_word(words[i]);
    const float angle = 2.0f * std::numbers::pi_v<float> * uniform_from_word(words[i + 1]);
    const float radius = std::sqrt(-2.0f * std::log(u));
    result[i] = radius * std::cos(angle);
    result[i + 1] = radius * std::sin(angle);
  }
  return result;
}

std::span<const std::byte> as_stored(std::span<const float> values, DType dtype, std::vector<std::uint16_t>& halves) {
  if (dtype == DType::f32) return std::as_bytes(values);
  halves.resize(values.size());
  for (std::size_t i = 0; i < values.size(); ++i) {
    halves[i] = dtype == DType::bf16 ? to_bfloat16(values[i]).bits : to_float16(values[i]).bits;
  }
  return std::as_bytes(std::span<const std::uint16_t>(halves));
}

// Writes value(block, 4 floats) over a tensor, in pieces that keep the host's copy small.
template <class Block>
void write_blocks(Backend& backend, const Tensor& tensor, Block&& block) {
  constexpr std::int64_t piece = std::int64_t{1} << 20;
  const Tensor flat = tensor.reshape({tensor.elements()});
  std::vector<float> values;
  std::vector<std::uint16_t> halves;
  for (std::int64_t begin = 0; begin < flat.elements(); begin += piece) {
    const std::int64_t count = std::min(piece, flat.elements() - begin);
    const std::int64_t blocks = (count + 3) / 4;
    values.resize(static_cast<std::size_t>(blocks * 4));
    parallel_for(blocks, {.flops = 200}, [&](std::int64_t i) {
      const std::array<float, 4> four = block(begin / 4 + i);
      std::copy(four.begin(), four.end(), values.begin() + i * 4);
    });
    backend.upload(flat.slice(begin, count),
                   as_stored(std::span(values).first(static_cast<std::size_t>(count)), tensor.dtype(), halves));
  }
}

// Rows behind the vocabulary's that make products' rows of logits begin at multiples of 128 elements, as fast products
// want them. Small vocabularies gain less by it than more columns cost.
std::int64_t spare_vocabulary(std::int64_t vocab_size) {
  constexpr std::int64_t multiple = 128;
  constexpr std::int64_t least = 1024;
  return vocab_size < least ? 0 : (multiple - vocab_size % multiple) % multiple;
}

}  // namespace

ParameterLayout parameter_layout(const Config& config, DType dtype) {
  if (!is_floating(dtype)) fail(ErrorKind::usage, "Parameters are f32, bf16 or f16, not {}.", name_of(dtype));
  ParameterLayout layout;
  const auto add = [&](const std::string& name, const Shape& shape, std::int64_t spare_rows = 0) {
    layout.arena.add(name, dtype, shape, spare_rows);
  };
  const std::int64_t spare = spare_vocabulary(config.vocab_size);
  std::vector<Stage> stages = stages_of(config);
  for (const Stage& stage : stages) {
    for (const auto& [name, shape] : parameters_of(stage, config)) {
      if (shape.rank() == 2) add(name, shape);
    }
  }
  if (!config.tied_embeddings) add("lm_head.weight", {config.vocab_size, config.channels}, spare);
  layout.decayed = layout.arena.segments().size();

  add("token_embedding.weight", {config.vocab_size, config.channels}, config.tied_embeddings ? spare : 0);
  if (config.position == PositionType::learned) {
    add("position_embedding.weight", {config.max_positions, config.channels});
  }
  // A branch's norms come before its biases, wherever they stand.
  std::stable_sort(stages.begin(), stages.end(), [](const Stage& a, const Stage& b) {
    return std::pair(a.branch, a.as<Linear>() != nullptr) < std::pair(b.branch, b.as<Linear>() != nullptr);
  });
  for (const Stage& stage : stages) {
    for (const auto& [name, shape] : parameters_of(stage, config)) {
      if (shape.rank() == 1) add(name, shape);
    }
  }
  return layout;
}

void initialize_parameters(Backend& backend, const Config& config, const Arena& parameters, std::uint64_t seed) {
  const float closing_deviation = initial_deviation / std::sqrt(2.0f * static_cast<float>(config.layers));
  for (const Segment& segment : parameters.layout().segments()) {
    const Tensor tensor = parameters.tensor(segment);
    if (ends_with_any(segment.name, {".bias", "norm.weight"})) {
      const float value = segment.name.ends_with(".bias") ? 0.0f : 1.0f - config.norm_weight_offset;
      write_blocks(backend, tensor, [&](std::int64_t) { return std::array<float, 4>{value, value, value, value}; });
      continue;
    }
    const bool closing = ends_with_any(segment.name, {"attention_out.weight", "ffn_down.weight"});
    const float deviation = closing ? closing_deviation : initial_deviation;
    const std::uint64_t stream = hash_of(segment.name);
    write_blocks(backend, tensor, [&](std::int64_t block) {
      std::array<float, 4> values =
          normals(philox_block(seed, static_cast<std::uint32_t>(stream >> 32), static_cast<std::uint32_t>(stream),
                               static_cast<std::uint64_t>(block)));
      for (float& value : values) value *= deviation;
      return values;
    });
  }
}

}  // namespace mslt
