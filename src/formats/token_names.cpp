// Resolving named tokens.
#include "formats/token_names.h"

#include <fmt/ranges.h>

#include <nlohmann/json.hpp>

#include "base/fail.h"
#include "base/file.h"
#include "base/gguf.h"
#include "base/json.h"
#include "base/paths.h"

namespace mslt {
namespace {

using Notes = std::vector<std::string>;

// The token named by the member `name`: "text" or {"content": "text"}.
std::optional<TokenId> named_token(const JsonMembers& json, const nlohmann::json& object, std::string_view name,
                                   const Tokenizer& tokenizer, Notes& notes) {
  if (!json.has(name)) return std::nullopt;
  const nlohmann::json& member = object[std::string(name)];
  const auto content = member.is_object() ? member.find("content") : member.end();
  const nlohmann::json& value = content != member.end() ? *content : member;
  if (!value.is_string()) {
    notes.push_back(json.ignored(name, "valid is the text of a token, or an object that has it as its content"));
    return std::nullopt;
  }
  const auto id = find_token(tokenizer, value.get<std::string>());
  if (!id) notes.push_back(json.ignored(name, "the tokenizer has no such token"));
  return id;
}

// The tokens named in one file; none if it does not exist.
ModelTokenIds names_in(const std::filesystem::path& path, const Tokenizer& tokenizer, Notes& notes) {
  try {
    if (!path_exists(path)) return {};
    const nlohmann::json object = read_json_file(path, max_config_bytes);
    const JsonMembers json(object, path.string());
    ModelTokenIds ids{named_token(json, object, "bos_token", tokenizer, notes),
                      named_token(json, object, "pad_token", tokenizer, notes),
                      {}};
    if (const auto eos = named_token(json, object, "eos_token", tokenizer, notes)) ids.eos.push_back(*eos);
    return ids;
  } catch (const Error& error) {
    notes.push_back(fmt::format("{} The tokens that it may name are not used.", error.what()));
    return {};
  }
}

ModelTokenIds files_ids(const std::filesystem::path& folder, const Tokenizer& tokenizer, Notes& notes) {
  ModelTokenIds ids = names_in(folder / "tokenizer_config.json", tokenizer, notes);
  fill_token_ids(ids, names_in(folder / "special_tokens_map.json", tokenizer, notes));
  return ids;
}

}  // namespace

std::optional<TokenId> find_token(const Tokenizer& tokenizer, std::string_view text) {
  if (const auto id = tokenizer.special_id(text)) return id;
  for (TokenId id = 0; id < tokenizer.vocab_size(); ++id) {
    try {
      if (!text.empty() && tokenizer.token_bytes(id) == text) return id;
    } catch (const Error&) {
      continue;  // an id without a token
    }
  }
  return std::nullopt;
}

TokenId require_token(const Tokenizer& tokenizer, std::string_view text, std::string_view option) {
  if (const auto id = find_token(tokenizer, text)) return *id;
  std::vector<std::string> some;
  for (const SpecialToken& token : tokenizer.special_tokens()) {
    constexpr std::size_t most = 8;
    if (some.size() == most) break;
    some.push_back(token.text);
  }
  fail(ErrorKind::usage, "{} is '{}', which is not a token of the tokenizer; {}.", option, text,
       some.empty() ? std::string("it has no special tokens")
                    : fmt::format("its special tokens are {}", fmt::join(some, ", ")));
}

ModelTokenIds customary_token_ids(const Tokenizer& tokenizer) {
  ModelTokenIds ids{tokenizer.bos_id(), tokenizer.pad_id(), {}};
  if (const auto eos = tokenizer.eos_id()) ids.eos.push_back(*eos);
  return ids;
}

ModelTokenIds named_token_ids(const std::filesystem::path& folder, const Tokenizer& tokenizer, Notes& notes) {
  ModelTokenIds ids = files_ids(folder, tokenizer, notes);
  fill_token_ids(ids, customary_token_ids(tokenizer));
  return ids;
}

std::filesystem::path tokenizer_folder(const std::filesystem::path& tokenizer) {
  return is_folder(tokenizer) ? tokenizer : tokenizer.parent_path();
}

std::optional<TokenId> eos_beside(const std::filesystem::path& path, const Tokenizer& tokenizer, Notes& notes) {
  if (is_gguf_file(path)) {
    const auto id = GgufFile(path).contents().unsigned_number("tokenizer.ggml.eos_token_id");
    return id && *id < tokenizer.vocab_size() ? std::optional(static_cast<TokenId>(*id)) : tokenizer.eos_id();
  }
  const std::filesystem::path folder = tokenizer_folder(path);
  ModelTokenIds ids = files_ids(folder, tokenizer, notes);
  for (const char* name : {"config.json", "generation_config.json"}) {
    const std::filesystem::path file = folder / name;
    try {
      if (!ids.eos.empty() || !path_exists(file)) continue;
      const nlohmann::json object = read_json_file(file, max_config_bytes);
      ids.eos = JsonMembers(object, file.string()).token_ids("eos_token_id", notes);
      std::erase_if(ids.eos, [&](TokenId id) { return id >= tokenizer.vocab_size(); });
    } catch (const Error& error) {
      notes.push_back(fmt::format("{} The tokens that it may name are not used.", error.what()));
    }
  }
  return ids.eos.empty() ? tokenizer.eos_id() : ids.eos.front();
}

std::vector<TokenId> text_prefix_beside(const std::filesystem::path& folder, const Tokenizer& tokenizer) {
  const auto own = tokenizer.text_prefix();
  if (!own.empty()) return {own.begin(), own.end()};
  const std::filesystem::path path = folder / "tokenizer_config.json";
  try {
    if (!path_exists(path)) return {};
    const nlohmann::json object = read_json_file(path, max_config_bytes);
    if (!object.is_object() || object.value("add_bos_token", nlohmann::json()) != true) return {};
  } catch (const Error&) {
    return {};  // reported by named_token_ids
  }
  Notes ignored;
  const auto bos = named_token_ids(folder, tokenizer, ignored).bos;
  return bos ? std::vector<TokenId>{*bos} : std::vector<TokenId>{};
}

void fill_token_ids(ModelTokenIds& tokens, const ModelTokenIds& other) {
  if (!tokens.bos) tokens.bos = other.bos;
  if (!tokens.pad) tokens.pad = other.pad;
  if (tokens.eos.empty()) tokens.eos = other.eos;
}

}  // namespace mslt
