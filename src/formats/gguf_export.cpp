// Keys and tensors of a GGUF file, from a configuration and parameters.
#include "formats/gguf_export.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "base/fail.h"
#include "base/parallel.h"
#include "formats/convert_elements.h"
#include "formats/finite_weights.h"
#include "formats/gguf_architectures.h"
#include "formats/gguf_quantise.h"
#include "formats/gguf_rope.h"
#include "formats/gguf_weights.h"
#include "formats/hf_families.h"
#include "formats/model_chat.h"
#include "formats/safetensors.h"
#include "model/parameter_rows.h"
#include "model/parameters.h"
#include "text/gguf_tokenizer.h"

namespace mslt {
namespace {

using nlohmann::ordered_json;

// The numbers of general.file_type.
constexpr std::array<std::pair<std::string_view, std::uint32_t>, 8> file_types = {
    {{"F32", 0}, {"F16", 1}, {"Q4_0", 2}, {"Q4_1", 3}, {"Q8_0", 7}, {"Q5_0", 8}, {"Q5_1", 9}, {"BF16", 32}}};

// A window that no sequence exceeds is none.
Config without_wide_window(Config config) {
  const bool is_gemma = config.norm_weight_offset != 0;
  if (!is_gemma && config.window >= config.max_positions) {
    config.window = 0;
    config = without_idle_settings(config);
  }
  return config;
}

bool slides_every(const Config& config, std::int64_t n) {
  for (std::int64_t i = 0; i < config.layers; ++i) {
    if ((config.layer(i).attention.window > 0) != ((i + 1) % n != 0)) return false;
  }
  return true;
}

// What the architecture of llama.cpp computes otherwise than `config` says; empty if nothing.
std::string_view gemma_difference(const Config& config, ModelFamily family) {
  const bool is_second = family == ModelFamily::gemma2;
  const std::int64_t scalar = gemma_scalar(family, config.layers, config.channels, config.heads, config.head_size);
  if (pre_attention_scalar(config) != scalar) return "its query_pre_attn_scalar";
  if (config.qkv_bias || config.attention_out_bias) return "its biases";
  if (!config.tied_embeddings) return "an output head of its own";
  // write_family gives it a window that no sequence exceeds.
  const bool never_slides = is_second && config.window == 0;
  if (!never_slides && !slides_every(config, is_second ? 2 : 6)) return "windows in other layers";
  if (is_second) return config.attention_softcap > 0 && config.logit_softcap > 0 ? "" : "no soft caps";
  if (config.attention_softcap > 0) return "a soft cap of attention";
  return config.local_rope_theta == 10000.0 ? "" : "a rope_local_base_freq other than 10000";
}

std::string_view difference(const Config& config, ModelFamily family) {
  const RopeScalingType scaling = config.rope_scaling.type;
  switch (family) {
    case ModelFamily::gpt2:
      return config.activation == ActivationType::gelu ? "" : "an activation other than gelu_new";
    case ModelFamily::gemma2:
    case ModelFamily::gemma3:
      if (scaling == RopeScalingType::none || scaling == RopeScalingType::linear) {
        return gemma_difference(config, family);
      }
      return "its scaling of RoPE";
    default:
      break;
  }
  // llama.cpp has none of these windows either, but its converter writes such files.
  if (config.window > 0 && family != ModelFamily::mistral && family != ModelFamily::phi3) return "windows";
  const bool is_known =
      (scaling != RopeScalingType::llama3 || family == ModelFamily::llama || family == ModelFamily::mistral) &&
      (scaling != RopeScalingType::longrope || family == ModelFamily::phi3);
  if (!is_known) return "its scaling of RoPE";
  if (family == ModelFamily::smollm3 && config.no_rope_every != 4) return "layers without RoPE other than every fourth";
  if (family != ModelFamily::llama && (config.attention_out_bias || config.ffn_bias)) return "its biases";
  if (family != ModelFamily::llama && family != ModelFamily::qwen2 && config.qkv_bias) return "its biases";
  return "";
}

const GgufArchitecture& require_architecture(const Config& config, ModelFamily family) {
  const GgufArchitecture* const architecture = written_architecture(family);
  const std::string_view differs = architecture == nullptr ? "" : difference(config, family);
  if (architecture != nullptr && differs.empty()) return *architecture;
  const std::string why = architecture != nullptr
                              ? fmt::format("llama.cpp's {} does not have {}", architecture->name, differs)
                              : fmt::format("no architecture of llama.cpp is that of the family {}", name_of(family));
  fail(ErrorKind::input, "The model cannot be written as a GGUF file: {}. A Hugging Face folder (hf) can hold it.",
       why);
}

// What the rows of a piece become in the file: `scratch` reads them back.
class PieceRows {
 public:
  PieceRows(const WeightPiece& piece, const Transformer& transformer) : piece_(piece), transformer_(transformer) {
    const Shape& shape = transformer.layout().arena.segment(piece.parameter).shape;
    columns_ = shape.rank() == 1 ? 1 : shape[1];
  }

  std::int64_t columns() const { return columns_; }

  // Elements of rows [row, row + count); both are multiples of a head's where its rows alternate.
  std::vector<float> read(std::int64_t row, std::int64_t count) const {
    std::vector<std::byte> bytes;
    const DType dtype = download_rows(transformer_, piece_.parameter, piece_.first_row + row, count, bytes);
    std::vector<float> values(static_cast<std::size_t>(count * columns_));
    convert_elements(bytes, file_float(dtype), std::as_writable_bytes(std::span(values)), DType::f32);
    if (piece_.offset != 0) {
      for (float& value : values) value += piece_.offset;
    }
    if (piece_.alternating == 0) return values;
    std::vector<float> ordered(values.size());
    for (std::int64_t to = 0; to < count; ++to) {
      std::copy_n(values.begin() + piece_.row_of(to) * columns_, columns_, ordered.begin() + to * columns_);
    }
    return ordered;
  }

 private:
  const WeightPiece& piece_;
  const Transformer& transformer_;
  std::int64_t columns_ = 0;
};

// Appends the elements to `out` as `block` has them. Returns whether all are within its range.
bool pack(std::span<const float> values, const GgufBlock& block, std::vector<std::byte>& out) {
  out.resize(values.size() / block.elements * block.bytes);
  if (const auto dtype = dtype_from_safetensors(block.name)) {
    convert_elements(std::as_bytes(values), FileFloat::f32, out, *dtype);
    return all_finite(out, *dtype);
  }
  constexpr std::size_t at_once = 1 << 14;
  const std::size_t parts = (values.size() + at_once - 1) / at_once;
  std::vector<char> are_finite(parts);
  parallel_for(static_cast<std::int64_t>(parts), Cost{.flops = 8, .bytes = 5} * at_once, [&](std::int64_t i) {
    const std::size_t begin = static_cast<std::size_t>(i) * at_once;
    const std::size_t size = std::min(at_once, values.size() - begin);
    are_finite[static_cast<std::size_t>(i)] =
        quantise(values.subspan(begin, size), block,
                 std::span(out).subspan(begin / block.elements * block.bytes, size / block.elements * block.bytes));
  });
  return std::ranges::find(are_finite, 0) == are_finite.end();
}

}  // namespace

GgufExport::GgufExport(const Config& given, const LoadedModel& model, const GgufBlock& type) {
  const Config config = without_wide_window(given);
  const ModelFamily family = family_of(config);
  head_.set_text("general.architecture", require_architecture(config, family).name);
  head_.set_text("general.type", "model");
  head_.set("general.quantization_version", 2);
  const auto* const number =
      std::ranges::find(file_types, type.name, &std::pair<std::string_view, std::uint32_t>::first);
  if (number != file_types.end()) head_.set("general.file_type", number->second);
  add_config(config, family);
  add_tokens(model, config);
  add_tensors(config, family, type);
}

void GgufExport::add_config(const Config& config, ModelFamily family) {
  const GgufArchitecture& architecture = *written_architecture(family);
  const auto key = [&](std::string_view name) {
    return fmt::format("{}.{}", architecture.name, name);
  };
  ordered_json members = write_family(family, config);
  members["n_inner"] = config.ffn_size;
  members["rope_theta"] = config.rope_theta;
  for (const GgufKey& entry : architecture.keys) {
    const ordered_json& value = members[std::string(entry.member)];
    if (value.is_null()) continue;
    if (entry.kind == GgufKey::Kind::size) {
      head_.set(key(entry.key), value.get<std::uint32_t>());
    } else {
      head_.set_real(key(entry.key), value.get<float>());
    }
  }
  head_.set(key("vocab_size"), static_cast<std::uint32_t>(config.vocab_size));
  if (family == ModelFamily::gpt2) return;
  if (config.window > 0 && (family == ModelFamily::mistral || family == ModelFamily::phi3)) {
    if (family == ModelFamily::mistral) {
      head_.set(key("attention.sliding_window"), static_cast<std::uint32_t>(config.window));
    }
    notes_.push_back(fmt::format(
        "llama.cpp lets tokens of this architecture see all before them, not {} as this model: its results differ for "
        "longer texts.",
        config.window));
  }
  const std::int64_t rotated = config.rotary_size > 0 ? config.rotary_size : config.head_size;
  head_.set(key("rope.dimension_count"), static_cast<std::uint32_t>(rotated));
  head_.set(key("attention.value_length"), static_cast<std::uint32_t>(config.head_size));
  add_rope_scaling(config, fmt::format("{}.rope.scaling.", architecture.name));
}

void GgufExport::add_rope_scaling(const Config& config, const std::string& prefix) {
  const RopeScaling& scaling = config.rope_scaling;
  const auto set_real = [&](std::string_view name, double value, double usual) {
    if (value != usual) head_.set_real(prefix + std::string(name), static_cast<float>(value));
  };
  const auto floats = [](const std::vector<double>& values) {
    return std::vector<float>(values.begin(), values.end());
  };
  switch (scaling.type) {
    case RopeScalingType::none:
      return;
    case RopeScalingType::llama3:
      factors_.push_back({"rope_freqs.weight", divisors_of(scaling, config.rope_theta, config.head_size)});
      return;
    case RopeScalingType::linear:
      set_real("factor", scaling.factor, 0.0);
      break;
    case RopeScalingType::yarn:
      set_real("factor", scaling.factor, 0.0);
      set_real("attn_factor", scaling.attention_factor / usual_yarn_factor(scaling.factor), 1.0);
      set_real("yarn_beta_fast", scaling.beta_fast, 32.0);
      set_real("yarn_beta_slow", scaling.beta_slow, 1.0);
      if (scaling.beta_fast != 32.0 || scaling.beta_slow != 1.0) {
        notes_.push_back(fmt::format(
            "llama.cpp takes 32 and 1 for yarn's beta_fast and beta_slow, not {} and {} as this model: its results "
            "differ.",
            scaling.beta_fast, scaling.beta_slow));
      }
      break;
    case RopeScalingType::longrope:
      set_real("attn_factor", scaling.attention_factor, 1.0);
      factors_.push_back({std::string(long_factors_tensor), floats(scaling.long_factors)});
      factors_.push_back({std::string(short_factors_tensor), floats(scaling.short_factors)});
      break;
  }
  head_.set_text(prefix + "type", name_of(scaling.type));
  if (scaling.type != RopeScalingType::linear) {
    head_.set(prefix + "original_context_length", static_cast<std::uint32_t>(scaling.original_max_positions));
  }
}

void GgufExport::add_tokens(const LoadedModel& model, const Config& config) {
  ModelTokenIds tokens = model.generation.tokens;
  if (model.text_prefix.size() == 1) tokens.bos = model.text_prefix.front();
  if (model.text_prefix.size() > 1) {
    notes_.push_back(fmt::format("The tokenizer puts {} tokens before each text; a GGUF file has only the first.",
                                 model.text_prefix.size()));
    tokens.bos = model.text_prefix.front();
  }
  const auto set = [&](std::string_view name, std::optional<std::uint32_t> id) {
    if (id) head_.set(fmt::format("tokenizer.ggml.{}_token_id", name), *id);
  };
  set("bos", tokens.bos);
  constexpr std::array<std::string_view, 3> ends = {"eos", "eot", "eom"};
  for (std::size_t i = 0; i < std::min(ends.size(), tokens.eos.size()); ++i) set(ends[i], tokens.eos[i]);
  if (tokens.eos.size() > ends.size()) {
    notes_.push_back(fmt::format("The model has {} tokens that end a text; a GGUF file names the first {}.",
                                 tokens.eos.size(), ends.size()));
  }
  set("padding", tokens.pad);
  if (!model.tokenizer) {
    head_.set_text("tokenizer.ggml.model", "no_vocab");
    notes_.emplace_back("The model has no tokenizer, so the file has none: llama.cpp takes only token ids for it.");
    return;
  }
  for (std::string& note : write_gguf_tokenizer(head_, *model.tokenizer, config.vocab_size)) {
    notes_.push_back(std::move(note));
  }
  if (tokens.eos.empty()) {
    notes_.emplace_back(
        "The model's files name no token that ends texts, so the GGUF file does not either; llama.cpp then takes one "
        "by "
        "its id, which may be any other token.");
  }
  head_.set_boolean("tokenizer.ggml.add_bos_token", !model.text_prefix.empty());
  const auto templates = chat_template_sources(model.files);
  std::vector<std::string> names;
  for (const auto& [name, text] : templates) {
    if (name == default_chat_template) {
      head_.set_text("tokenizer.chat_template", text);
    } else {
      head_.set_text("tokenizer.chat_template." + name, text);
      names.push_back(name);
    }
  }
  if (!names.empty()) head_.set_texts("tokenizer.chat_templates", names);
}

void GgufExport::add_tensors(const Config& config, ModelFamily family, const GgufBlock& type) {
  const ArenaLayout layout = parameter_layout(config, DType::f32).arena;
  pieces_ = gguf_pieces({.config = config, .family = family, .tokens = {}, .notes = {}}, layout);
  // llama.cpp asks for a head of its own.
  if (family == ModelFamily::olmo2 && config.tied_embeddings) {
    pieces_.push_back({.file_name = "output.weight", .parameter = "token_embedding.weight", .rows = config.vocab_size});
  }
  const GgufBlock f32 = *gguf_block("F32");
  for (const auto& [name, divisors] : factors_) head_.add_tensor(name, f32, {divisors.size()});
  std::int64_t whole = 0;
  for (const WeightPiece& piece : pieces_) {
    std::vector<std::uint64_t> shape = file_shape(piece, layout);
    GgufBlock block = type;
    if (shape.size() == 1 || piece.file_name == "position_embd.weight") {
      block = f32;
    } else if (type.elements > 1 && shape.back() % type.elements != 0) {
      block = *gguf_block("F16");
      ++whole;
    } else if (type.elements > 1 && (piece.file_name == "token_embd.weight" || piece.file_name == "output.weight")) {
      block = *gguf_block("Q8_0");
    }
    head_.add_tensor(piece.file_name, block, std::move(shape));
  }
  if (whole == 0) return;
  notes_.push_back(fmt::format("{} matrices are F16: their rows are no multiple of the {} elements of a block of {}.",
                               whole, type.elements, type.name));
}

void GgufExport::carry_over(const Gguf& from) {
  constexpr std::array<std::string_view, 12> keys = {"name",     "author",       "version",      "organization",
                                                     "finetune", "basename",     "description",  "size_label",
                                                     "license",  "license.name", "license.link", "url"};
  for (const std::string_view key : keys) {
    const std::string whole = fmt::format("general.{}", key);
    if (!from.has(whole)) continue;
    try {
      head_.set_text(whole, from.text(whole));
    } catch (const Error&) {
      notes_.push_back(fmt::format("The key '{}' is no text and is left out.", whole));
    }
  }
}

void GgufExport::write(const Transformer& transformer, const std::filesystem::path& path,
                       const WriteProgress& progress) const {
  AtomicFile file(path);
  head_.write_head(file);
  auto tensor = head_.tensors().begin();
  for (const auto& [name, divisors] : factors_) {
    file.write(std::as_bytes(std::span(divisors)));
    GgufWriter::write_padding(file, tensor++->bytes);
  }
  // About this many elements at a time, in whole heads.
  constexpr std::int64_t at_once = std::int64_t{1} << 20;
  std::vector<std::byte> packed;
  for (const WeightPiece& piece : pieces_) {
    const PieceRows rows(piece, transformer);
    const std::int64_t unit = std::max<std::int64_t>(piece.alternating, 1);
    const std::int64_t step = std::max<std::int64_t>(at_once / (rows.columns() * unit), 1) * unit;
    for (std::int64_t row = 0; row < piece.rows; row += step) {
      if (!pack(rows.read(row, std::min(step, piece.rows - row)), tensor->block, packed)) {
        fail(ErrorKind::numeric, "The tensor '{}' holds numbers beyond the range of {}; use {}.", piece.file_name,
             tensor->block.name, wider_types(dtype_from_safetensors(tensor->block.name).value_or(DType::f16)));
      }
      file.write(packed);
      if (progress) progress(packed.size());
    }
    GgufWriter::write_padding(file, tensor++->bytes);
  }
  transformer.parameters().require_intact();
  file.commit();
}

}  // namespace mslt
