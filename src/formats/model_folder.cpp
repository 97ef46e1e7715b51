// Loading and saving of model folders.
#include "formats/model_folder.h"

#include <algorithm>
#include <array>
#include <deque>
#include <nlohmann/json.hpp>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "base/fail.h"
#include "base/file.h"
#include "base/paths.h"
#include "formats/finite_weights.h"
#include "formats/gguf_config.h"
#include "formats/gguf_model.h"
#include "formats/hf_weights.h"
#include "formats/mapped_weights.h"
#include "formats/model_place.h"
#include "formats/safetensors.h"
#include "formats/token_names.h"
#include "text/tokenizer_json.h"
#include "text/vocabulary_files.h"

namespace mslt {
namespace {

// The weights first, config.json last: a new folder is a model only once it has one.
constexpr std::array<std::string_view, 8> folder_files = {
    "model.safetensors",   "tokenizer.json",     "tokenizer_config.json",  "special_tokens_map.json",
    "chat_template.jinja", "chat_template.json", "generation_config.json", "config.json"};
// Those that are only kept as text and refer to a tokenizer's tokens.
constexpr std::array<std::string_view, 4> tokenizer_files = {"tokenizer_config.json", "special_tokens_map.json",
                                                             "chat_template.jinja", "chat_template.json"};
constexpr std::string_view template_suffix = ".jinja";

// Default configurations have GPT-2's ids even for small vocabularies, where no such token can occur.
void drop_impossible_ids(ModelTokenIds& tokens, std::int64_t vocab_size) {
  const auto impossible = [&](std::uint32_t id) {
    return id >= vocab_size;
  };
  if (tokens.bos && impossible(*tokens.bos)) tokens.bos.reset();
  if (tokens.pad && impossible(*tokens.pad)) tokens.pad.reset();
  std::erase_if(tokens.eos, impossible);
}

// The settings of a folder; skips a file that is not a JSON object, as transformers does.
GenerationSettings load_generation(const std::filesystem::path& folder, LoadedModel& result) {
  const std::filesystem::path path = folder / "generation_config.json";
  if (!path_exists(path)) return {};
  std::string text = read_file(path, max_config_bytes);
  try {
    GenerationSettings settings = parse_generation_config(text, path.string(), result.notes);
    result.files.emplace(path.filename().string(), std::move(text));
    return settings;
  } catch (const Error& error) {
    result.notes.push_back(fmt::format("{} Its settings are not used.", error.what()));
    return {};
  }
}

// Whether a file of this name, as in LoadedModel::files, is an additional chat template. Names from GGUF files may be
// anything, also paths to elsewhere.
bool is_additional_template(std::string_view name) {
  const std::string folder = std::string(additional_templates_folder) + "/";
  if (!name.starts_with(folder) || !name.ends_with(template_suffix)) return false;
  name.remove_prefix(folder.size());
  return name.size() > template_suffix.size() && name.front() != '.' &&
         name.find_first_of(std::string_view("/\\\0", 3)) == std::string_view::npos;
}

std::vector<std::string> additional_templates_in(const std::filesystem::path& folder, std::error_code& unreadable) {
  const std::filesystem::path templates = folder / additional_templates_folder;
  std::vector<std::string> names;
  if (!is_folder(templates)) return names;
  for (const auto& entry : std::filesystem::directory_iterator(templates, unreadable)) {
    std::string name = std::string(additional_templates_folder) + "/" + entry.path().filename().string();
    if (is_additional_template(name)) names.push_back(std::move(name));
  }
  std::ranges::sort(names);
  return names;
}

void load_additional_templates(const std::filesystem::path& folder, LoadedModel& result) {
  std::error_code unreadable;
  for (const std::string& name : additional_templates_in(folder, unreadable)) {
    result.files.emplace(name, read_file(folder / name, max_config_bytes));
  }
  if (unreadable)
    result.notes.push_back(
        fmt::format("{} cannot be read: {}.", (folder / additional_templates_folder).string(), unreadable.message()));
}

void load_tokenizer(const std::filesystem::path& folder, LoadedModel& result) {
  const auto file = tokenizer_file_in(folder);
  if (!file) return;
  result.tokenizer = Tokenizer::load(*file);
  for (const std::string_view name : tokenizer_files) {
    const std::filesystem::path path = folder / name;
    if (path_exists(path)) result.files.emplace(name, read_file(path, max_config_bytes));
  }
  load_additional_templates(folder, result);
}

nlohmann::ordered_json object_in(const std::map<std::string, std::string>& files, const std::string& name) {
  const auto found = files.find(name);
  if (found == files.end()) return nlohmann::ordered_json::object();
  // ordered_json keeps the order of members; the text was parsed with bounds when it was read.
  auto json = nlohmann::ordered_json::parse(found->second, nullptr, false);
  return json.is_object() ? json : nlohmann::ordered_json::object();
}

// With the model's tokens for beginning, end and padding, which may not have usual spellings.
std::string tokenizer_config(const Tokenizer& tokenizer, const Config& config, const ModelTokenIds& tokens) {
  auto json =
      nlohmann::ordered_json::parse(tokenizer_config_json(tokenizer, static_cast<std::uint64_t>(config.max_positions)));
  const auto name = [&](const char* member, std::optional<std::uint32_t> id) {
    if (id && *id < tokenizer.vocab_size()) json[member] = std::string(tokenizer.token_bytes(*id));
  };
  name("bos_token", tokens.bos);
  name("eos_token", tokens.eos.empty() ? std::nullopt : std::optional(tokens.eos.front()));
  name("pad_token", tokens.pad);
  return json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

// A folder and its missing parents, which are removed again if they are empty in the end.
class MadeFolders {
 public:
  explicit MadeFolders(const std::filesystem::path& folder) {
    for (std::filesystem::path at = folder; !at.empty() && !path_exists(at); at = at.parent_path()) made_.push_back(at);
    make_folders(folder);
  }
  MadeFolders(const MadeFolders&) = delete;
  MadeFolders& operator=(const MadeFolders&) = delete;
  ~MadeFolders() {
    std::error_code not_empty;
    for (const std::filesystem::path& folder : made_) std::filesystem::remove(folder, not_empty);
  }

 private:
  std::vector<std::filesystem::path> made_;  // the innermost first
};

// Writes the weights as one file, or as several with an index behind them.
void save_shards(const std::filesystem::path& folder, const Transformer& transformer, DType dtype,
                 const SaveModelOptions& options, std::deque<AtomicFile>& files) {
  const Config& config = transformer.config();
  const ArenaLayout& layout = transformer.layout().arena;
  const auto pieces = weight_pieces(config, layout, family_of(config));
  std::vector<std::size_t> ends;  // of the pieces of each file
  std::uint64_t total = 0;
  std::uint64_t in_file = 0;
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    std::uint64_t bytes = size_of(dtype);
    for (const std::uint64_t size : file_shape(pieces[i], layout)) bytes *= size;
    if (options.shard_bytes > 0 && in_file > 0 && in_file + bytes > options.shard_bytes) {
      ends.push_back(i);
      in_file = 0;
    }
    in_file += bytes;
    total += bytes;
  }
  ends.push_back(pieces.size());
  auto index = nlohmann::ordered_json::object({{"metadata", {{"total_size", total}}}});
  std::size_t begin = 0;
  for (std::size_t i = 0; i < ends.size(); ++i) {
    const std::string name =
        ends.size() == 1 ? "model.safetensors" : fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, ends.size());
    const auto own = std::span(pieces).subspan(begin, ends[i] - begin);
    save_weights(files.emplace_back(folder / name), transformer, own, dtype, options.progress);
    for (const WeightPiece& piece : own) index["weight_map"][piece.file_name] = name;
    begin = ends[i];
  }
  if (ends.size() > 1) files.emplace_back(folder / "model.safetensors.index.json").write(index.dump(2) + "\n");
}

}  // namespace

LoadedModel describe_folder(const std::filesystem::path& folder, HfConfig& hf) {
  require_model_folder(folder);
  const std::filesystem::path config_path = folder / "config.json";
  std::string config_text = read_file(config_path, max_config_bytes);
  hf = parse_hf_config(config_text, config_path.string());
  LoadedModel result;
  result.family = hf.family;
  result.notes = hf.notes;
  result.files.emplace(config_path.filename().string(), std::move(config_text));

  load_tokenizer(folder, result);
  result.generation = load_generation(folder, result);
  ModelTokenIds& tokens = result.generation.tokens;
  drop_impossible_ids(tokens, hf.config.vocab_size);
  fill_token_ids(tokens, hf.tokens);
  drop_impossible_ids(tokens, hf.config.vocab_size);
  if (result.tokenizer) {
    fill_token_ids(tokens, named_token_ids(folder, *result.tokenizer, result.notes));
    result.text_prefix = text_prefix_beside(folder, *result.tokenizer);
  }
  drop_impossible_ids(tokens, hf.config.vocab_size);
  return result;
}

LoadedModel load_model_folder(Backend& backend, const std::filesystem::path& folder, std::optional<DType> dtype,
                              WeightMemory memory) {
  if (is_gguf_file(folder)) return load_gguf_model(backend, folder, dtype, memory);
  HfConfig hf;
  LoadedModel result = describe_folder(folder, hf);
  const auto weights = std::make_shared<const SafetensorsModel>(folder);
  const ArenaLayout layout = parameter_layout(hf.config, DType::f32).arena;
  const auto pieces = weight_pieces(hf.config, layout, hf.family);
  const auto tensors = match_weights(pieces, layout, weights->tensors(), weights->source(), result.notes);
  const DType file_dtype = dtype_from_safetensors(tensors.front()->dtype).value_or(DType::f32);
  const DType used = dtype.value_or(file_dtype);
  require_finite(tensors, weights->source());
  MappedSegments mapped;
  if (memory != WeightMemory::copied) {
    mapped = map_weights(backend, layout.with_dtype(used), pieces, tensors, weights, memory == WeightMemory::packed);
  }
  result.transformer = std::make_unique<Transformer>(backend, hf.config, used, std::move(mapped));
  load_weights(backend, result.transformer->parameters(), pieces, tensors);
  weights->require_intact();
  return result;
}

Config load_model_config(const std::filesystem::path& model) {
  if (is_gguf_file(model)) return config_from_gguf(GgufFile(model).contents()).config;
  require_model_folder(model);
  const std::filesystem::path path = model / "config.json";
  return parse_hf_config(read_file(path, max_config_bytes), path.string()).config;
}

SaveModelOptions carried_over(const LoadedModel& model, const Tokenizer* tokenizer) {
  SaveModelOptions options{.generation = model.generation, .files = model.files};
  const bool same = tokenizer != nullptr && model.tokenizer && tokenizer->encodes_like(*model.tokenizer);
  if (same || tokenizer == nullptr || !model.tokenizer) return options;
  options.generation.tokens = {};
  for (const std::string_view name : tokenizer_files) options.files.erase(std::string(name));
  std::erase_if(options.files, [](const auto& file) { return is_additional_template(file.first); });
  return options;
}

void begin_texts_as(const Tokenizer& tokenizer, SaveModelOptions& options) {
  if (!tokenizer.text_prefix().empty()) return;
  auto json = object_in(options.files, "tokenizer_config.json");
  if (json.value("add_bos_token", nlohmann::ordered_json()) != true) return;
  json["add_bos_token"] = false;
  options.files["tokenizer_config.json"] =
      json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

std::span<const std::string_view> model_folder_files() {
  return folder_files;
}

std::vector<std::string> model_files_in(const std::filesystem::path& folder) {
  std::error_code ignored;
  std::vector<std::string> names = additional_templates_in(folder, ignored);
  for (const std::string_view name : folder_files) {
    if (path_exists(folder / name)) names.emplace_back(name);
  }
  return names;
}

void save_model_folder(const std::filesystem::path& folder, const Transformer& transformer, const Tokenizer* tokenizer,
                       const SaveModelOptions& options) {
  const Config& config = transformer.config();
  const DType dtype = options.dtype.value_or(transformer.dtype());
  GenerationSettings generation = options.generation;
  if (tokenizer != nullptr) fill_token_ids(generation.tokens, customary_token_ids(*tokenizer));
  drop_impossible_ids(generation.tokens, config.vocab_size);
  std::vector<std::string> templates;
  for (const auto& [name, text] : options.files) {
    if (tokenizer != nullptr && is_additional_template(name)) templates.push_back(name);
  }
  const MadeFolders made(templates.empty() ? folder : folder / additional_templates_folder);

  // In the order of folder_files, in which they are renamed.
  std::deque<AtomicFile> files;
  save_shards(folder, transformer, dtype, options, files);
  if (tokenizer != nullptr) {
    files.emplace_back(folder / "tokenizer.json").write(tokenizer->to_json());
    for (const std::string_view name : tokenizer_files) {
      const auto found = options.files.find(std::string(name));
      if (found != options.files.end()) {
        files.emplace_back(folder / name).write(found->second);
      } else if (name == "tokenizer_config.json") {
        files.emplace_back(folder / name).write(tokenizer_config(*tokenizer, config, generation.tokens));
      }
    }
  }
  for (const std::string& name : templates) files.emplace_back(folder / name).write(options.files.at(name));
  transformer.parameters().require_intact();
  files.emplace_back(folder / "generation_config.json")
      .write(format_generation_config(generation, object_in(options.files, "generation_config.json")));
  files.emplace_back(folder / "config.json")
      .write(format_hf_config(config, dtype, generation.tokens, object_in(options.files, "config.json")));
  for (AtomicFile& file : files) file.commit();
}

}  // namespace mslt
