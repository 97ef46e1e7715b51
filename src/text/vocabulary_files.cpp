// Combining the files into the text of one tokenizer.json.
#include "text/vocabulary_files.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string_view>

#include "base/fail.h"
#include "base/file.h"
#include "base/json.h"
#include "base/paths.h"
#include "text/gguf_tokenizer.h"
#include "text/pipeline_json.h"
#include "text/tokenizer_json.h"

namespace mslt {
namespace {

using nlohmann::json;

std::optional<json> read_optional(const std::filesystem::path& path) {
  if (!path_exists(path)) return std::nullopt;
  constexpr std::uint64_t max_small_file_bytes = std::uint64_t{1} << 24;
  json value = parse_json(read_file(path, max_small_file_bytes), path.string());
  if (!value.is_object()) fail(ErrorKind::input, "{} is not a JSON object.", path.string());
  return value;
}

// Added tokens by their text, as tokenizer.json's entries.
class AddedTokenEntries {
 public:
  explicit AddedTokenEntries(const json& vocabulary) : vocabulary_(vocabulary) {}

  // A special token, given by name or as {"content": ...}, with its id from the vocabulary.
  void add_special(const json& value) {
    const json& name = value.is_object() && value.contains("content") ? value.at("content") : value;
    if (name.is_array()) {
      for (const json& item : name) add_special(item);
    }
    if (!name.is_string()) return;
    const auto text = name.get<std::string>();
    special_.insert(text);
    if (const auto found = vocabulary_.find(text); found != vocabulary_.end()) put(text, *found, value);
  }

  void add(const std::string& text, const json& id, const json& flags) { put(text, id, flags); }

  bool empty() const { return entries_.empty(); }

  json list() const {
    json list = json::array();
    for (const auto& [text, entry] : entries_) {
      list.push_back(entry);
      if (special_.contains(text)) list.back()["special"] = true;
      if (!list.back().contains("normalized")) list.back()["normalized"] = false;
    }
    return list;
  }

 private:
  void put(const std::string& text, const json& id, const json& flags) {
    json& entry = entries_[text];
    entry["content"] = text;
    entry["id"] = id;
    for (const char* name : {"single_word", "lstrip", "rstrip", "normalized", "special"}) {
      if (flags.is_object() && flags.contains(name) && flags.at(name).is_boolean()) entry[name] = flags.at(name);
    }
  }

  const json& vocabulary_;
  std::map<std::string, json> entries_;
  std::set<std::string> special_;
};

// The lines of merges.txt except its heading and empty ones.
json merges_of(std::string_view text) {
  json merges = json::array();
  for (bool first = true; !text.empty(); first = false) {
    const std::size_t end = text.find('\n');
    std::string_view line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    if (line.ends_with('\r')) line.remove_suffix(1);
    const bool is_heading = first && line.starts_with("#version");
    if (!line.empty() && !is_heading) merges.push_back(line);
  }
  return merges;
}

// A tokenizer's class and the file that names it.
struct ClassName {
  std::string name;
  std::string source;
};

// From tokenizer_config.json, else the one that config.json names or implies by its model type.
ClassName class_of(const std::filesystem::path& folder, const json& config) {
  const auto text_in = [](const json& object, const char* name) {
    const auto found = object.find(name);
    return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
  };
  if (const std::string name = text_in(config, "tokenizer_class"); !name.empty()) {
    return {name, (folder / "tokenizer_config.json").string()};
  }
  const json model = read_optional(folder / "config.json").value_or(json::object());
  const std::string source = (folder / "config.json").string();
  if (const std::string name = text_in(model, "tokenizer_class"); !name.empty()) return {name, source};
  return {text_in(model, "model_type").starts_with("qwen") ? "Qwen2Tokenizer" : "GPT2Tokenizer", source};
}

// Fills in how a tokenizer of that class treats text.
void set_class(json& document, const json& config, const ClassName& given) {
  std::string name = given.name;
  if (name.ends_with("Fast")) name.resize(name.size() - 4);
  if (name == "GPT2Tokenizer" || name == "CodeGenTokenizer") {
    const auto space = config.find("add_prefix_space");
    document["pre_tokenizer"] = byte_level_json(space != config.end() && *space == true, true);
  } else if (name == "Qwen2Tokenizer") {
    document["normalizer"] = {{"type", "NFC"}};
    document["pre_tokenizer"] = pattern_json(SplitPattern::qwen2);
  } else {
    fail(ErrorKind::input,
         "{}: tokenizer_class is \"{}\"; with vocab.json and merges.txt alone, GPT2Tokenizer, CodeGenTokenizer and "
         "Qwen2Tokenizer are supported. Others need a tokenizer.json.",
         given.source, given.name);
  }
}

}  // namespace

std::optional<std::filesystem::path> tokenizer_file_in(const std::filesystem::path& folder) {
  if (is_gguf_file(folder)) return has_tokenizer(GgufFile(folder).contents()) ? std::optional(folder) : std::nullopt;
  if (path_exists(folder / "tokenizer.json")) return folder / "tokenizer.json";
  if (path_exists(folder / "vocab.json") && path_exists(folder / "merges.txt")) return folder / "vocab.json";
  return std::nullopt;
}

std::filesystem::path tokenizer_file(const std::filesystem::path& path) {
  if (!is_folder(path)) return path;
  if (const auto file = tokenizer_file_in(path)) return *file;
  fail(ErrorKind::input, "{} has no tokenizer: neither tokenizer.json nor both vocab.json and merges.txt.",
       path.string());
}

bool is_vocabulary_file(const std::filesystem::path& path) {
  return path.filename() == "vocab.json" || path.filename() == "merges.txt";
}

std::string json_from_vocabulary_files(const std::filesystem::path& folder) {
  const std::filesystem::path vocabulary_path = folder / "vocab.json";
  const json vocabulary = parse_json(read_file(vocabulary_path, max_tokenizer_file_bytes), vocabulary_path.string());
  if (!vocabulary.is_object()) {
    fail(ErrorKind::input, "{} is not a JSON object of tokens and ids.", vocabulary_path.string());
  }
  const json merges = merges_of(read_file(folder / "merges.txt", max_tokenizer_file_bytes));
  const json config = read_optional(folder / "tokenizer_config.json").value_or(json::object());
  AddedTokenEntries added(vocabulary);
  if (const auto tokens = read_optional(folder / "added_tokens.json")) {
    for (const auto& [text, id] : tokens->items()) added.add(text, id, json::object());
  }
  if (const auto decoder = config.find("added_tokens_decoder"); decoder != config.end() && decoder->is_object()) {
    for (const auto& [name, entry] : decoder->items()) {
      TokenId id = 0;
      const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), id);
      const bool is_id = error == std::errc() && end == name.data() + name.size();
      if (!is_id || !entry.is_object() || !entry.contains("content") || !entry.at("content").is_string()) {
        fail(ErrorKind::input, "{}: the entry \"{}\" of added_tokens_decoder is not an id with a token's content.",
             (folder / "tokenizer_config.json").string(), name);
      }
      added.add(entry.at("content").get<std::string>(), id, entry);
    }
  }
  if (const auto special = read_optional(folder / "special_tokens_map.json")) {
    for (const auto& [name, value] : special->items()) added.add_special(value);
  }
  for (const char* name : {"bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token",
                           "additional_special_tokens"}) {
    if (config.contains(name)) added.add_special(config.at(name));
  }
  if (added.empty()) added.add_special("<|endoftext|>");

  json document = {{"version", "1.0"},
                   {"added_tokens", added.list()},
                   {"normalizer", nullptr},
                   {"decoder", byte_level_json(true, true)},
                   {"model", {{"type", "BPE"}, {"vocab", vocabulary}, {"merges", merges}}}};
  set_class(document, config, class_of(folder, config));
  return document.dump();
}

}  // namespace mslt
