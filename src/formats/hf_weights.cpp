// Lists of weight pieces for each family, and moving them between files and parameters.
#include "formats/hf_weights.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "base/fail.h"
#include "base/parallel.h"
#include "formats/convert_elements.h"
#include "formats/finite_weights.h"
#include "formats/gguf_blocks.h"
#include "formats/safetensors.h"
#include "model/parameter_rows.h"

namespace mslt {
namespace {

// Elements moved at once: the size of the host's copy in addition to the file and the parameters.
constexpr std::int64_t block_elements = std::int64_t{1} << 20;

struct NamePair {
  std::string_view ours;
  std::string_view theirs;
};

class PieceList {
 public:
  explicit PieceList(const ArenaLayout& parameters) : parameters_(parameters) {}

  // Adds the whole parameter; does nothing if the model has no parameter of that name.
  void add(std::string file_name, const std::string& parameter, bool transposed = false) {
    if (!parameters_.contains(parameter)) return;
    const std::int64_t rows = parameters_.segment(parameter).shape[0];
    add_rows(std::move(file_name), parameter, 0, rows, transposed);
  }

  void add_rows(std::string file_name, const std::string& parameter, std::int64_t first_row, std::int64_t rows,
                bool transposed = false) {
    if (!parameters_.contains(parameter)) return;
    pieces_.push_back({std::move(file_name), parameter, first_row, rows, transposed});
  }

  std::vector<WeightPiece> take() { return std::move(pieces_); }

 private:
  const ArenaLayout& parameters_;
  std::vector<WeightPiece> pieces_;
};

std::vector<WeightPiece> gpt2_pieces(const Config& config, const ArenaLayout& parameters) {
  PieceList list(parameters);
  for (std::int64_t i = 0; i < config.layers; ++i) {
    const std::string ours = fmt::format("layers.{}.", i);
    const std::string theirs = fmt::format("transformer.h.{}.", i);
    for (const NamePair& pair : {NamePair{"qkv", "attn.c_attn"}, NamePair{"attention_out", "attn.c_proj"},
                                 NamePair{"ffn_up", "mlp.c_fc"}, NamePair{"ffn_down", "mlp.c_proj"}}) {
      list.add(fmt::format("{}{}.weight", theirs, pair.theirs), fmt::format("{}{}.weight", ours, pair.ours), true);
      list.add(fmt::format("{}{}.bias", theirs, pair.theirs), fmt::format("{}{}.bias", ours, pair.ours));
    }
    for (const NamePair& pair : {NamePair{"attention_norm", "ln_1"}, NamePair{"ffn_norm", "ln_2"}}) {
      list.add(fmt::format("{}{}.weight", theirs, pair.theirs), fmt::format("{}{}.weight", ours, pair.ours));
      list.add(fmt::format("{}{}.bias", theirs, pair.theirs), fmt::format("{}{}.bias", ours, pair.ours));
    }
  }
  list.add("lm_head.weight", "lm_head.weight");
  list.add("transformer.wte.weight", "token_embedding.weight");
  list.add("transformer.wpe.weight", "position_embedding.weight");
  list.add("transformer.ln_f.weight", "final_norm.weight");
  list.add("transformer.ln_f.bias", "final_norm.bias");
  return list.take();
}

// All families but GPT-2. Norms are called by the order in which they stand, so a name means another place where
// branches end in norms. Phi-3's matrices of queries, keys and values, and of gate and up, are one each, as ours are.
std::vector<WeightPiece> llama_pieces(const Config& config, const ArenaLayout& parameters, bool fused) {
  PieceList list(parameters);
  const bool behind_branches = config.norm_position != NormPosition::pre;
  const std::int64_t query_rows = config.heads * config.head_size;
  const std::int64_t kv_rows = config.kv_heads * config.head_size;
  for (std::int64_t i = 0; i < config.layers; ++i) {
    const std::string ours = fmt::format("layers.{}.", i);
    const std::string theirs = fmt::format("model.layers.{}.", i);
    for (const std::string_view kind : {"weight", "bias"}) {
      const std::string qkv = fmt::format("{}qkv.{}", ours, kind);
      const std::string up = fmt::format("{}ffn_up.{}", ours, kind);
      list.add(fmt::format("{}self_attn.o_proj.{}", theirs, kind), fmt::format("{}attention_out.{}", ours, kind));
      list.add(fmt::format("{}mlp.down_proj.{}", theirs, kind), fmt::format("{}ffn_down.{}", ours, kind));
      if (fused) {
        list.add(fmt::format("{}self_attn.qkv_proj.{}", theirs, kind), qkv);
        list.add(fmt::format("{}mlp.gate_up_proj.{}", theirs, kind), up);
        continue;
      }
      list.add_rows(fmt::format("{}self_attn.q_proj.{}", theirs, kind), qkv, 0, query_rows);
      list.add_rows(fmt::format("{}self_attn.k_proj.{}", theirs, kind), qkv, query_rows, kv_rows);
      list.add_rows(fmt::format("{}self_attn.v_proj.{}", theirs, kind), qkv, query_rows + kv_rows, kv_rows);
      list.add_rows(fmt::format("{}mlp.gate_proj.{}", theirs, kind), up, 0, config.ffn_size);
      list.add_rows(fmt::format("{}mlp.up_proj.{}", theirs, kind), up, config.ffn_size, config.ffn_size);
    }
    list.add(theirs + "input_layernorm.weight", ours + "attention_norm.weight");
    list.add(theirs + "self_attn.q_norm.weight", ours + "q_norm.weight");
    list.add(theirs + "self_attn.k_norm.weight", ours + "k_norm.weight");
    list.add(theirs + "post_attention_layernorm.weight",
             ours + (behind_branches ? "attention_out_norm.weight" : "ffn_norm.weight"));
    if (!behind_branches) continue;
    list.add(theirs + "pre_feedforward_layernorm.weight", ours + "ffn_norm.weight");
    list.add(theirs + "post_feedforward_layernorm.weight", ours + "ffn_out_norm.weight");
  }
  list.add("lm_head.weight", "lm_head.weight");
  list.add("model.embed_tokens.weight", "token_embedding.weight");
  list.add("model.norm.weight", "final_norm.weight");
  return list.take();
}

// The shape of a piece in the parameter: [rows] or [rows, columns].
Shape piece_shape(const WeightPiece& piece, const Shape& parameter) {
  if (parameter.rank() == 1) return Shape{piece.rows};
  return Shape{piece.rows, parameter[1]};
}

constexpr std::string_view optional_prefixes[] = {"transformer.", "model."};

std::string_view optional_prefix(std::string_view name) {
  for (const std::string_view prefix : optional_prefixes) {
    if (name.starts_with(prefix)) return prefix;
  }
  return {};
}

// Parts that PyTorch's wrappers insert into tensor names, with the wrapper.
constexpr NamePair wrappers[] = {{"_orig_mod.", "torch.compile"}, {"module.", "DataParallel"}};

bool holds_no_parameter(std::string_view name, const ArenaLayout& parameters) {
  return name.ends_with(".attn.bias") || name.ends_with(".attn.masked_bias") || name.ends_with("rotary_emb.inv_freq") ||
         (name == "lm_head.weight" && !parameters.contains(name));
}

// The tensors of a file by name, without wrapper parts.
class NamedTensors {
 public:
  // Throws Error(input) if two tensors then have the same name.
  NamedTensors(std::span<const FileTensor> tensors, std::string_view source, std::vector<std::string>& notes) {
    std::array<std::size_t, std::size(wrappers)> counts{};
    for (const FileTensor& tensor : tensors) {
      std::string name = tensor.name;
      for (std::size_t i = 0; i < std::size(wrappers); ++i) {
        if (remove_parts(name, wrappers[i].ours)) ++counts[i];
      }
      const auto [place, fresh] = by_name_.emplace(std::move(name), &tensor);
      if (!fresh) {
        fail(ErrorKind::input, "{}: the tensors {} and {} are both {} without the prefixes of wrappers.", source,
             place->second->name, tensor.name, place->first);
      }
    }
    for (std::size_t i = 0; i < std::size(wrappers); ++i) {
      if (counts[i] == 0) continue;
      notes.push_back(fmt::format("{}: the prefix '{}' of {}, in the names of {} of {} tensors, is removed.", source,
                                  wrappers[i].ours, wrappers[i].theirs, counts[i], tensors.size()));
    }
  }

  const FileTensor* find(std::string_view name) const {
    const auto found = by_name_.find(name);
    return found == by_name_.end() ? nullptr : found->second;
  }
  // Also finds the tensor without the prefix.
  const FileTensor* find_prefixed(std::string_view name) const {
    const FileTensor* tensor = find(name);
    if (tensor == nullptr) tensor = find(name.substr(optional_prefix(name).size()));
    return tensor;
  }
  auto begin() const { return by_name_.begin(); }
  auto end() const { return by_name_.end(); }

 private:
  // Removes `part` wherever a component of the name begins with it; returns whether there was one.
  static bool remove_parts(std::string& name, std::string_view part) {
    bool found = false;
    for (std::size_t at = 0; (at = name.find(part, at)) != std::string::npos;) {
      if (at > 0 && name[at - 1] != '.') {
        at += part.size();
        continue;
      }
      name.erase(at, part.size());
      found = true;
    }
    return found;
  }

  std::map<std::string, const FileTensor*, std::less<>> by_name_;
};

// Lists the first ten problems and counts the rest.
class Problems {
 public:
  template <class... Args>
  void add(fmt::format_string<Args...> format, Args&&... args) {
    constexpr int listed = 10;
    if (count_++ < listed) text_ += "\n  " + fmt::format(format, std::forward<Args>(args)...);
    if (count_ == listed + 1) text_ += "\n  ...";
  }
  void raise(std::string_view source) const {
    if (count_ == 0) return;
    fail(ErrorKind::input, "The tensors of {} do not match {}; {} {}:{}", source,
         source.ends_with(".gguf") ? "its keys" : "config.json", count_, count_ == 1 ? "differs" : "differ", text_);
  }

 private:
  int count_ = 0;
  std::string text_;
};

// Programs differ in their treatment of a tied head that has its own values.
void note_other_head(const FileTensor& embedding, const FileTensor& head, std::string_view source,
                     std::vector<std::string>& notes) {
  if (embedding.shape == head.shape && embedding.dtype != head.dtype) return;
  if (embedding.shape == head.shape && std::ranges::equal(embedding.data, head.data)) return;
  notes.push_back(
      fmt::format("{}: {} has other values than {}, to which config.json ties it, and is not used, although some "
                  "programs use it. Set 'tie_word_embeddings' to false to use it.",
                  source, head.name, embedding.name));
}

// After a conversion of finite numbers to `dtype`; `from` is absent for quantised blocks.
void require_in_range(std::span<const std::byte> elements, DType dtype, std::optional<FileFloat> from,
                      std::string_view tensor) {
  if (dtype == DType::f32 || from == file_float(dtype) || all_finite(elements, dtype)) return;
  fail(ErrorKind::numeric, "The tensor '{}' holds numbers beyond the range of {}; use {}.", tensor,
       dtype == DType::f16 ? "f16 (65504)" : "bf16 (3.39e38)", wider_types(dtype));
}

FileFloat require_float(const FileTensor& tensor) {
  const auto type = file_float(tensor.dtype);
  if (!type) fail(ErrorKind::input, "{} has the dtype {}, which is not supported.", tensor.name, tensor.dtype);
  return *type;
}

// Elements [first, first + count) of a tensor as `dtype`; `first` is a multiple of a quantised block. `floats` is
// scratch memory.
void read_elements(const FileTensor& tensor, std::int64_t first, std::int64_t count, DType dtype,
                   std::vector<float>& floats, std::span<std::byte> out) {
  const auto& quantised = tensor.block;
  if (!quantised) {
    const FileFloat type = require_float(tensor);
    convert_elements(tensor.data.subspan(static_cast<std::size_t>(first) * size_of(type)), type, out, dtype);
    return;
  }
  // A multiple of every block.
  constexpr std::int64_t at_once = 1 << 14;
  floats.resize(static_cast<std::size_t>(count));
  const auto bytes_of = [&](std::int64_t elements) {
    return static_cast<std::size_t>(elements) / quantised->elements * quantised->bytes;
  };
  parallel_for((count + at_once - 1) / at_once, Cost{.flops = 4, .bytes = 5} * at_once, [&](std::int64_t i) {
    const std::int64_t begin = i * at_once;
    const std::int64_t size = std::min(at_once, count - begin);
    dequantise(tensor.data.subspan(bytes_of(first + begin), bytes_of(size)), *quantised,
               std::span(floats).subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(size)));
  });
  convert_elements(std::as_bytes(std::span(floats)), FileFloat::f32, out, dtype);
}

// read_elements less `offset`.
void read_less(const FileTensor& tensor, std::int64_t first, std::int64_t count, float offset, DType dtype,
               std::vector<float>& floats, std::span<std::byte> out) {
  std::vector<float> values(static_cast<std::size_t>(count));
  read_elements(tensor, first, count, DType::f32, floats, std::as_writable_bytes(std::span(values)));
  for (float& value : values) value -= offset;
  convert_elements(std::as_bytes(std::span(values)), FileFloat::f32, out, dtype);
}

// Reorders the rows of each head from those of both halves in turn to the first half, then the second. `ordered` is
// scratch memory.
void separate_halves(std::vector<std::byte>& rows, const WeightPiece& piece, std::int64_t count,
                     std::vector<std::byte>& ordered) {
  ordered.resize(rows.size());
  const std::size_t row_bytes = rows.size() / static_cast<std::size_t>(count);
  for (std::int64_t row = 0; row < count; ++row) {
    std::memcpy(ordered.data() + static_cast<std::size_t>(piece.row_of(row)) * row_bytes,
                rows.data() + static_cast<std::size_t>(row) * row_bytes, row_bytes);
  }
  rows.swap(ordered);
}

}  // namespace

std::vector<WeightPiece> weight_pieces(const Config& config, const ArenaLayout& parameters, ModelFamily family) {
  switch (family) {
    case ModelFamily::gpt2:
      return gpt2_pieces(config, parameters);
    case ModelFamily::llama:
    case ModelFamily::qwen2:
    case ModelFamily::mistral:
    case ModelFamily::qwen3:
    case ModelFamily::smollm3:
    case ModelFamily::olmo2:
    case ModelFamily::gemma2:
    case ModelFamily::gemma3:
      return llama_pieces(config, parameters, false);
    case ModelFamily::phi3:
      return llama_pieces(config, parameters, true);
    case ModelFamily::mslt:
      break;
  }
  PieceList list(parameters);
  for (const Segment& segment : parameters.segments()) list.add(segment.name, segment.name);
  return list.take();
}

std::vector<std::uint64_t> file_shape(const WeightPiece& piece, const ArenaLayout& parameters) {
  const Shape shape = piece_shape(piece, parameters.segment(piece.parameter).shape);
  std::vector<std::uint64_t> result;
  result.reserve(Shape::max_rank);
  for (int i = 0; i < shape.rank(); ++i) result.push_back(static_cast<std::uint64_t>(shape[i]));
  if (piece.transposed) std::swap(result[0], result[1]);
  return result;
}

std::vector<const FileTensor*> match_weights(std::span<const WeightPiece> pieces, const ArenaLayout& parameters,
                                             std::span<const FileTensor> tensors, std::string_view source,
                                             std::vector<std::string>& notes) {
  const NamedTensors named(tensors, source, notes);
  const bool prefixed =
      std::any_of(named.begin(), named.end(), [](const auto& entry) { return !optional_prefix(entry.first).empty(); });
  const bool tied = !parameters.contains("lm_head.weight");
  Problems problems;
  std::vector<const FileTensor*> result;
  std::set<const FileTensor*> used;
  std::size_t doubles = 0;
  for (const WeightPiece& piece : pieces) {
    std::string_view name = piece.file_name;
    if (!prefixed) name.remove_prefix(optional_prefix(name).size());
    const FileTensor* tensor = named.find_prefixed(piece.file_name);
    // Of tensors that share memory, safetensors' save_model keeps one: here the output head.
    if (tensor == nullptr && tied && piece.parameter == "token_embedding.weight") tensor = named.find("lm_head.weight");
    const auto expected = file_shape(piece, parameters);
    result.push_back(tensor);
    if (tensor == nullptr) {
      problems.add("{} {} is missing", name, shape_text(expected));
      continue;
    }
    used.insert(tensor);
    if (tensor->shape != expected) {
      problems.add("{} has the shape {}, expected is {}", tensor->name, shape_text(tensor->shape),
                   shape_text(expected));
    }
    const auto type = file_float(tensor->dtype);
    if (type == FileFloat::f64) ++doubles;
    if (!type && !tensor->block) {
      problems.add("{} has the dtype {}, supported are F32, BF16, F16 and F64, and in GGUF files {}", tensor->name,
                   tensor->dtype, quantised_block_names());
    }
  }
  for (const auto& [name, tensor] : named) {
    if (used.contains(tensor) || holds_no_parameter(name, parameters)) continue;
    problems.add("{} {} is not expected", tensor->name, shape_text(tensor->shape));
  }
  problems.raise(source);
  if (const FileTensor* head = tied ? named.find("lm_head.weight") : nullptr; head != nullptr) {
    for (std::size_t i = 0; i < pieces.size(); ++i) {
      if (pieces[i].parameter == "token_embedding.weight") note_other_head(*result[i], *head, source, notes);
    }
  }
  if (doubles > 0) {
    notes.push_back(
        fmt::format("{}: {} of {} tensors are F64; their values are rounded to F32.", source, doubles, tensors.size()));
  }
  return result;
}

void load_weights(Backend& backend, const Arena& parameters, std::span<const WeightPiece> pieces,
                  std::span<const FileTensor* const> tensors) {
  std::vector<std::byte> block;
  std::vector<std::byte> ordered;
  std::vector<float> floats;
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    const WeightPiece& piece = pieces[i];
    if (!parameters.layout().contains(piece.parameter) || parameters.is_mapped(piece.parameter)) continue;
    const FileTensor& tensor = *tensors[i];
    const Tensor destination = parameters.tensor(piece.parameter).slice(piece.first_row, piece.rows);
    const std::int64_t columns = destination.elements() / std::max<std::int64_t>(piece.rows, 1);
    const std::int64_t heads_of = std::max<std::int64_t>(piece.alternating, 1);
    const std::int64_t rows_at_once =
        std::max<std::int64_t>(block_elements / std::max<std::int64_t>(columns * heads_of, 1), 1) * heads_of;
    for (std::int64_t row = 0; row < piece.rows; row += rows_at_once) {
      const std::int64_t count = std::min(rows_at_once, piece.rows - row);
      const Tensor rows = destination.slice(row, count);
      block.resize(rows.bytes());
      if (piece.transposed) {
        transpose_elements(tensor.data, require_float(tensor), columns, piece.rows, row, count, block, rows.dtype());
      } else if (piece.offset != 0) {
        read_less(tensor, row * columns, count * columns, piece.offset, rows.dtype(), floats, block);
      } else {
        read_elements(tensor, row * columns, count * columns, rows.dtype(), floats, block);
      }
      require_in_range(block, rows.dtype(), file_float(tensor.dtype), tensor.name);
      if (piece.alternating > 0) separate_halves(block, piece, count, ordered);
      backend.upload(rows, block);
    }
  }
}

void save_weights(AtomicFile& file, const Transformer& model, std::span<const WeightPiece> pieces, DType dtype,
                  const WriteProgress& progress) {
  const ArenaLayout& parameters = model.layout().arena;
  std::vector<SafetensorsWriter::Declaration> declarations;
  for (const WeightPiece& piece : pieces) {
    declarations.push_back({piece.file_name, std::string(safetensors_dtype(dtype)), file_shape(piece, parameters)});
  }
  SafetensorsWriter writer(file, declarations);
  std::vector<std::byte> block;
  std::vector<std::byte> converted;
  const auto write = [&](const WeightPiece& piece, DType from) {
    require_in_range(converted, dtype, file_float(from), piece.file_name);
    writer.write(converted);
    if (progress) progress(converted.size());
  };
  for (const WeightPiece& piece : pieces) {
    const std::int64_t columns = piece_shape(piece, parameters.segment(piece.parameter).shape).elements() /
                                 std::max<std::int64_t>(piece.rows, 1);
    if (piece.transposed) {
      const DType from = download_rows(model, piece.parameter, piece.first_row, piece.rows, block);
      const std::int64_t at_once = std::max<std::int64_t>(block_elements / std::max<std::int64_t>(piece.rows, 1), 1);
      for (std::int64_t row = 0; row < columns; row += at_once) {
        const std::int64_t count = std::min(at_once, columns - row);
        converted.resize(static_cast<std::size_t>(count * piece.rows) * size_of(dtype));
        transpose_elements(block, file_float(from), piece.rows, columns, row, count, converted, dtype);
        write(piece, from);
      }
      continue;
    }
    const std::int64_t at_once = std::max<std::int64_t>(block_elements / std::max<std::int64_t>(columns, 1), 1);
    for (std::int64_t row = 0; row < piece.rows; row += at_once) {
      const std::int64_t count = std::min(at_once, piece.rows - row);
      const DType from = download_rows(model, piece.parameter, piece.first_row + row, count, block);
      converted.resize(static_cast<std::size_t>(count * columns) * size_of(dtype));
      convert_elements(block, file_float(from), converted, dtype);
      write(piece, from);
    }
  }
  writer.finish();
}

}  // namespace mslt
