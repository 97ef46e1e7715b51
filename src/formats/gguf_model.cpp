// Loading a GGUF file's tokenizer, settings and weights.
#include "formats/gguf_model.h"

#include <string>
#include <utility>
#include <vector>

#include "base/fail.h"
#include "formats/finite_weights.h"
#include "formats/gguf_config.h"
#include "formats/gguf_weights.h"
#include "formats/packed_weights.h"
#include "formats/safetensors.h"
#include "formats/token_names.h"
#include "text/gguf_tokenizer.h"
#include "text/tables.h"

namespace mslt {
namespace {

void load_tokenizer(const Gguf& file, LoadedModel& result) {
  if (!has_tokenizer(file)) return;
  const Tokenizer& tokenizer = result.tokenizer.emplace(make_tables(parts_from_gguf(file), file.source()));
  result.text_prefix.assign(tokenizer.text_prefix().begin(), tokenizer.text_prefix().end());
  fill_token_ids(result.generation.tokens, customary_token_ids(tokenizer));
  constexpr std::string_view template_key = "tokenizer.chat_template";
  if (file.has(template_key)) result.files.emplace("chat_template.jinja", file.text(template_key));
  const std::string prefix = std::string(template_key) + ".";
  for (const std::string_view key : file.keys()) {
    if (!key.starts_with(prefix)) continue;
    const std::string name = fmt::format("{}/{}.jinja", additional_templates_folder, key.substr(prefix.size()));
    result.files.emplace(name, file.text(key));
  }
}

}  // namespace

LoadedModel describe_gguf(const Gguf& file, HfConfig& hf) {
  hf = config_from_gguf(file);
  LoadedModel result;
  result.family = hf.family;
  result.notes = hf.notes;
  result.generation.tokens = hf.tokens;
  load_tokenizer(file, result);
  return result;
}

LoadedModel load_gguf_model(Backend& backend, const std::filesystem::path& path, std::optional<DType> dtype,
                            WeightMemory memory) {
  const GgufFile mapped(path);
  const Gguf& file = mapped.contents();
  HfConfig hf;
  LoadedModel result = describe_gguf(file, hf);
  const std::vector<FileTensor> weights = gguf_weights(file, hf.config.tied_embeddings);
  const ArenaLayout layout = parameter_layout(hf.config, DType::f32).arena;
  const auto pieces = gguf_pieces(hf, layout);
  const auto tensors = match_weights(pieces, layout, weights, file.source(), result.notes);
  require_finite(tensors, file.source());
  const DType used = dtype.value_or(dtype_from_safetensors(tensors.front()->dtype).value_or(DType::f32));
  std::vector<PackedMatrix> packed;
  if (memory == WeightMemory::packed) {
    packed = packed_matrices(layout, pieces, tensors);
    const std::string note = unpacked_note(packed, pieces, tensors, file.source());
    if (!note.empty()) result.notes.push_back(note);
  }
  result.transformer = std::make_unique<Transformer>(backend, hf.config, used, MappedSegments(), packed);
  load_packed(*result.transformer, pieces, tensors);
  load_weights(backend, result.transformer->parameters(), pieces, tensors);
  mapped.require_intact();
  return result;
}

}  // namespace mslt
