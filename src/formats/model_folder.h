// Model folders: config.json, model.safetensors, tokenizer.json, tokenizer_config.json and generation_config.json, as
// transformers reads and writes them (docs/file-formats.md). Loading also takes GGUF files.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "backend/backend.h"
#include "formats/generation_config.h"
#include "formats/hf_config.h"
#include "formats/hf_weights.h"
#include "model/transformer.h"
#include "mslt/tokenizer.h"

namespace mslt {

struct LoadedModel {
  std::unique_ptr<Transformer> transformer;
  std::optional<Tokenizer> tokenizer;  // absent if the folder has no tokenizer.json
  // Special tokens: generation_config.json's, else config.json's, else those named in tokenizer_config.json or
  // special_tokens_map.json, else the tokenizer's by their spelling.
  GenerationSettings generation;
  std::vector<TokenId> text_prefix;  // ids before each text (text_prefix_beside)
  ModelFamily family = ModelFamily::mslt;
  // The small text files that training does not change, by name: settings, chat templates, names of tokens.
  std::map<std::string, std::string> files;
  std::vector<std::string> notes;  // a sentence for each converted or ignored part of the folder
};

// Where a model folder keeps chat templates besides chat_template.jinja, each as NAME.jinja; the names in
// LoadedModel::files, also for a GGUF file's tokenizer.chat_template.NAME. Names that are no plain file names are not
// saved.
inline constexpr std::string_view additional_templates_folder = "additional_chat_templates";

// Whether all parameters are copied into the device's memory, or those that the file stores in the needed form are read
// in the mapped file. Mapping starts sooner and takes less memory, but such parameters are read-only, and the file must
// not change. `packed` is the same, and matrices that a file holds in 8 or 4 bits or transposed stay so where the
// operations can read them (formats/packed_weights.h, formats/mapped_weights.h), which changes none of their values.
enum class WeightMemory { copied, mapped, packed };

// Opens a folder written by transformers, train or save_model_folder, or a GGUF file (load_gguf_model). Parameters get
// `dtype`, or the file's if none is given. Everything is checked before memory for the parameters is allocated. The
// tokenizer may have more tokens than the model; only using one of them is an error. Throws Error(io) if config.json or
// the weights are missing; Error(input) naming the file and the member or tensor that cannot be accepted;
// Error(numeric) naming a tensor that contains NaN or infinity; Error(memory) if the model does not fit.
LoadedModel load_model_folder(Backend& backend, const std::filesystem::path& folder,
                              std::optional<DType> dtype = std::nullopt, WeightMemory memory = WeightMemory::copied);

// The parts of a folder besides its weights: all but the transformer, and what its config.json says. Throws as
// load_model_folder does.
LoadedModel describe_folder(const std::filesystem::path& folder, HfConfig& hf);

// The configuration of what load_model_folder opens.
Config load_model_config(const std::filesystem::path& model);

struct SaveModelOptions {
  std::optional<DType> dtype = std::nullopt;  // of the file; absent: the parameters'
  GenerationSettings generation = {};         // special tokens absent here are the tokenizer's
  // Further text files for the folder, as in LoadedModel::files. From config.json and generation_config.json, only
  // members that are not written otherwise are used.
  std::map<std::string, std::string> files = {};
  // Weights beyond this size are split over files of about it, with an index; 0 for one file.
  std::uint64_t shard_bytes = 0;
  WriteProgress progress = {};
};

// The parts that stay unchanged when a trained `model` is saved with `tokenizer`. If that is not the model's own
// tokenizer, the model's special tokens, their names and chat templates are dropped.
SaveModelOptions carried_over(const LoadedModel& model, const Tokenizer* tokenizer);

// Makes the folder's texts begin as `tokenizer` says: if it puts nothing before them, "add_bos_token" of the
// carried-over tokenizer_config.json becomes false.
void begin_texts_as(const Tokenizer& tokenizer, SaveModelOptions& options);

// The names of all files of a model folder, but for additional chat templates: the weights first; last config.json,
// which makes it a model.
std::span<const std::string_view> model_folder_files();
// Those that `folder` has, relative to it: additional chat templates, then the others in that order.
std::vector<std::string> model_files_in(const std::filesystem::path& folder);

// Writes the folder, creating it if needed; without a tokenizer, writes none of its files. Every file is written under
// a temporary name before the first is flushed and renamed, so a full disk leaves the folder unchanged, or none where
// there was none. Throws
// Error(io); as save_weights.
void save_model_folder(const std::filesystem::path& folder, const Transformer& transformer, const Tokenizer* tokenizer,
                       const SaveModelOptions& options = {});

}  // namespace mslt
