// Model folders: config.json, model.safetensors, tokenizer.json, tokenizer_config.json and generation_config.json, as
// transformers reads and writes them (docs/file-formats.md).
#pragma once

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
#include "model/transformer.h"
#include "mslt/tokenizer.h"

namespace mslt {

struct LoadedModel {
  std::unique_ptr<Transformer> transformer;
  std::optional<Tokenizer> tokenizer;  // absent where the folder has no tokenizer.json
  // Special tokens: generation_config.json's, else config.json's, else those that tokenizer_config.json or
  // special_tokens_map.json name, else the tokenizer's by their spelling.
  GenerationSettings generation;
  std::vector<TokenId> text_prefix;  // what stands before each text (text_prefix_beside)
  ModelFamily family = ModelFamily::mslt;
  // The texts of small files that training does not change, by name: settings, chat templates, names of tokens.
  std::map<std::string, std::string> files;
  std::vector<std::string> notes;  // a sentence for each thing in the folder that was converted or ignored
};

// Whether parameters are copied into the device's memory, or those that the file holds just as the device needs them
// are read where the file is mapped: that starts sooner and takes less memory, but such parameters can only be read,
// and the file must stay as it is.
enum class WeightMemory { copied, mapped };

// Opens a folder that transformers, train or save_model_folder wrote. Parameters get `dtype`, or the file's where none
// is given. Everything is checked before memory for the parameters is taken. The tokenizer may have more tokens than
// the model: using one of those is an error, having them is not. Throws Error(io) where config.json or the weights are
// missing; Error(input) naming file and member or tensor where they cannot be accepted; Error(numeric) naming a tensor
// that holds NaN or an infinity; Error(memory) where the model does not fit.
LoadedModel load_model_folder(Backend& backend, const std::filesystem::path& folder,
                              std::optional<DType> dtype = std::nullopt, WeightMemory memory = WeightMemory::copied);

struct SaveModelOptions {
  std::optional<DType> dtype = std::nullopt;  // of the file; the parameters' where absent
  GenerationSettings generation = {};         // special tokens not given here are the tokenizer's
  // Texts that the folder gets as well, as LoadedModel::files has them. Of config.json and generation_config.json only
  // the members that are not written otherwise are taken.
  std::map<std::string, std::string> files = {};
};

// What stays as it was when a trained `model` is saved beside `tokenizer`. Where that is not the tokenizer that the
// model came with, its special tokens, their names and chat templates do not stay.
SaveModelOptions carried_over(const LoadedModel& model, const Tokenizer* tokenizer);

// Makes the folder's texts begin as `tokenizer` says: where that puts nothing before them, "add_bos_token" of the
// tokenizer_config.json that is carried over becomes false.
void begin_texts_as(const Tokenizer& tokenizer, SaveModelOptions& options);

// The names of all files that a model folder may have, the weights first, config.json, which makes it a model, last.
std::span<const std::string_view> model_folder_files();

// Writes the folder, creating it where needed; without a tokenizer, none of its files are written. Every file is
// written under a temporary name before the first is flushed and renamed, so that a full disk leaves the folder as it
// was. Throws Error(io).
void save_model_folder(const std::filesystem::path& folder, const Transformer& transformer, const Tokenizer* tokenizer,
                       const SaveModelOptions& options = {});

}  // namespace mslt
