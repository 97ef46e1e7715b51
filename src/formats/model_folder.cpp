// Loading and saving of model folders.
#include "formats/model_folder.h"

#include <algorithm>
#include <deque>
#include <string>
#include <utility>

#include "base/fail.h"
#include "base/file.h"
#include "base/paths.h"
#include "formats/finite_weights.h"
#include "formats/hf_weights.h"
#include "formats/mapped_weights.h"
#include "formats/safetensors.h"
#include "text/tokenizer_json.h"

namespace mslt {
namespace {

constexpr std::uint64_t max_config_bytes = std::uint64_t{1} << 24;

void check_vocabulary(const Tokenizer& tokenizer, const Config& config, std::string_view source) {
  if (static_cast<std::int64_t>(tokenizer.vocab_size()) > config.vocab_size) {
    fail(ErrorKind::input,
         "{}: the tokenizer has {} tokens, but the model's vocabulary only {}. They do not belong together.", source,
         tokenizer.vocab_size(), config.vocab_size);
  }
}

// Takes from `other` what `tokens` lacks.
void fill_token_ids(ModelTokenIds& tokens, const ModelTokenIds& other) {
  if (!tokens.bos) tokens.bos = other.bos;
  if (!tokens.pad) tokens.pad = other.pad;
  if (tokens.eos.empty()) tokens.eos = other.eos;
}

ModelTokenIds token_ids_of(const Tokenizer& tokenizer) {
  ModelTokenIds ids{tokenizer.bos_id(), tokenizer.pad_id(), {}};
  if (const auto eos = tokenizer.eos_id()) ids.eos.push_back(*eos);
  return ids;
}

// Configurations made by default carry GPT-2's ids even for small vocabularies, where no such token can occur.
void drop_impossible_ids(ModelTokenIds& tokens, std::int64_t vocab_size) {
  const auto impossible = [&](std::uint32_t id) {
    return id >= vocab_size;
  };
  if (tokens.bos && impossible(*tokens.bos)) tokens.bos.reset();
  if (tokens.pad && impossible(*tokens.pad)) tokens.pad.reset();
  std::erase_if(tokens.eos, impossible);
}

}  // namespace

LoadedModel load_model_folder(Backend& backend, const std::filesystem::path& folder, std::optional<DType> dtype,
                              WeightMemory memory) {
  if (!is_folder(folder)) {
    fail(ErrorKind::io, "{} is not a folder; a model is a folder with config.json and model.safetensors.",
         folder.string());
  }
  const std::filesystem::path config_path = folder / "config.json";
  const HfConfig hf = parse_hf_config(read_file(config_path, max_config_bytes), config_path.string());
  LoadedModel result;
  result.family = hf.family;

  std::filesystem::path tokenizer_path = folder / "tokenizer.json";
  const bool has_old_files = path_exists(folder / "vocab.json") && path_exists(folder / "merges.txt");
  if (!path_exists(tokenizer_path) && has_old_files) tokenizer_path = folder / "vocab.json";
  if (path_exists(tokenizer_path)) {
    result.tokenizer = Tokenizer::load(tokenizer_path);
    check_vocabulary(*result.tokenizer, hf.config, tokenizer_path.string());
  }
  const std::filesystem::path generation_path = folder / "generation_config.json";
  if (path_exists(generation_path)) {
    result.generation = parse_generation_config(read_file(generation_path, max_config_bytes), generation_path.string());
  }
  ModelTokenIds& tokens = result.generation.tokens;
  drop_impossible_ids(tokens, hf.config.vocab_size);
  fill_token_ids(tokens, hf.tokens);
  drop_impossible_ids(tokens, hf.config.vocab_size);
  if (result.tokenizer) fill_token_ids(tokens, token_ids_of(*result.tokenizer));

  const auto weights = std::make_shared<const SafetensorsModel>(folder);
  const ArenaLayout layout = parameter_layout(hf.config, DType::f32).arena;
  const auto pieces = weight_pieces(hf.config, layout, hf.family);
  const auto tensors = match_weights(pieces, layout, weights->tensors(), weights->source());
  const DType file_dtype = dtype_from_safetensors(tensors.front()->dtype).value_or(DType::f32);
  const DType used = dtype.value_or(file_dtype);
  require_finite(tensors, weights->source());
  MappedSegments mapped;
  if (memory == WeightMemory::mapped) mapped = map_weights(backend, layout.with_dtype(used), pieces, tensors, weights);
  result.transformer = std::make_unique<Transformer>(backend, hf.config, used, std::move(mapped));
  load_weights(backend, result.transformer->parameters(), pieces, tensors);
  weights->require_intact();
  return result;
}

void save_model_folder(const std::filesystem::path& folder, const Transformer& transformer, const Tokenizer* tokenizer,
                       const SaveModelOptions& options) {
  const Config& config = transformer.config();
  const DType dtype = options.dtype.value_or(transformer.dtype());
  GenerationSettings generation = options.generation;
  if (tokenizer != nullptr) {
    check_vocabulary(*tokenizer, config, folder.string());
    fill_token_ids(generation.tokens, token_ids_of(*tokenizer));
  }
  make_folders(folder);

  std::deque<AtomicFile> files;
  const auto pieces = weight_pieces(config, transformer.layout().arena, family_of(config));
  save_weights(files.emplace_back(folder / "model.safetensors"), transformer.backend(), transformer.parameters(),
               pieces, dtype);
  if (tokenizer != nullptr) {
    files.emplace_back(folder / "tokenizer.json").write(tokenizer->to_json());
    files.emplace_back(folder / "tokenizer_config.json")
        .write(tokenizer_config_json(*tokenizer, static_cast<std::uint64_t>(config.max_positions)));
  }
  transformer.parameters().require_intact();
  files.emplace_back(folder / "generation_config.json").write(format_generation_config(generation));
  // config.json last: a new folder is a model only once it has one.
  files.emplace_back(folder / "config.json").write(format_hf_config(config, dtype, generation.tokens));
  for (AtomicFile& file : files) file.commit();
}

}  // namespace mslt
