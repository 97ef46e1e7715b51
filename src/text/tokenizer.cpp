// Tokenizer: training, encoding and decoding with its tables.
#include "mslt/tokenizer.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <string_view>
#include <thread>
#include <unordered_set>
#include <vector>

#include "base/fail.h"
#include "base/file.h"
#include "base/suggest.h"
#include "text/bpe_train.h"
#include "text/byte_characters.h"
#include "text/gguf_tokenizer.h"
#include "text/pipeline_json.h"
#include "text/tables.h"
#include "text/tiktoken_file.h"
#include "text/tokenizer_json.h"
#include "text/utf8.h"
#include "text/vocabulary_files.h"

namespace mslt {
namespace {

constexpr std::array<std::pair<SplitPattern, std::string_view>, 5> pattern_names = {{
    {SplitPattern::none, "none"},
    {SplitPattern::gpt2, "gpt2"},
    {SplitPattern::llama3, "llama3"},
    {SplitPattern::qwen2, "qwen2"},
    {SplitPattern::o200k, "o200k"},
}};

void check_special(const std::vector<std::string>& special) {
  std::unordered_set<std::string_view> seen;
  for (const std::string& text : special) {
    if (text.empty()) fail(ErrorKind::usage, "A special token is empty; each needs a text, such as [EOS].");
    if (!is_utf8(text)) fail(ErrorKind::usage, "The special token of {} bytes is not valid UTF-8.", text.size());
    if (!seen.insert(text).second) fail(ErrorKind::usage, "The special token \"{}\" is named twice.", text);
    if (const auto bytes = from_byte_characters(text); bytes && bytes->size() == 1) {
      fail(ErrorKind::usage,
           "The special token \"{}\" is a single character that stands for a byte; choose a longer one.", text);
    }
  }
}

// Training requirements beyond the counts; throws Error(usage) naming an invalid option.
std::size_t check_options(const TokenizerTrainOptions& options) {
  check_special(options.special);
  const std::uint64_t least = 256 + std::uint64_t{options.special.size()};
  if (options.vocab_size < least || options.vocab_size > max_vocab_size) {
    fail(ErrorKind::usage,
         "vocab_size is {}; with {} special tokens and 256 bytes it must be at least {}, and at most {}.",
         options.vocab_size, options.special.size(), least, max_vocab_size);
  }
  if (options.threads < 0)
    fail(ErrorKind::usage, "threads is {}; it must be 0 (one per core) or more.", options.threads);
  return options.vocab_size - least;
}

CountOptions count_options(const TokenizerTrainOptions& options) {
  constexpr int max_threads = 256;
  const int cores = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  return {.pattern = options.pattern,
          .threads = std::min(options.threads > 0 ? options.threads : cores, max_threads),
          .strict = options.strict,
          .on_skip = options.on_skip,
          .progress = options.progress};
}

TokenizerParts train_parts(const PretokenCounts& counts, std::size_t merges, const TokenizerTrainOptions& options) {
  TokenizerParts parts;
  parts.pre_tokenizer = PreTokenizer({split_by_pattern(options.pattern)});
  for (const std::string& text : options.special) {
    parts.added.push_back({.text = text, .id = static_cast<TokenId>(parts.tokens.size())});
    parts.tokens.push_back(text);
  }
  MergeOptions merge_options{.merges = merges, .min_frequency = options.min_frequency, .progress = options.progress};
  for (const unsigned char byte : bytes_in_character_order()) {
    merge_options.byte_tokens[byte] = static_cast<TokenId>(parts.tokens.size());
    parts.tokens.emplace_back(1, static_cast<char>(byte));
  }
  merge_options.first_id = static_cast<TokenId>(parts.tokens.size());
  // Two entries of the file's vocabulary must not have the same spelling.
  const std::unordered_set<std::string_view> taken(options.special.begin(), options.special.end());
  merge_options.allowed = [&](std::string_view bytes) {
    return !taken.contains(to_byte_characters(bytes));
  };
  parts.merges = learn_merges(counts, merge_options);
  if (parts.merges.size() < merges) {
    fail(ErrorKind::input,
         "The text is too small for a vocabulary of {} tokens: at most {} can be made of pairs that occur {} times or "
         "more. Ask for no more than that, or train on more text.",
         options.vocab_size, parts.tokens.size() + parts.merges.size(), options.min_frequency);
  }
  for (const MergeRule& rule : parts.merges) parts.tokens.push_back(parts.tokens[rule.left] + parts.tokens[rule.right]);
  return parts;
}

// Where a part of a text is: at its start, where a previous part was cut, or after an added token.
enum class Place : std::uint8_t { starts, continues, after_token };

std::optional<TokenId> first_special(const Tokenizer& tokenizer, std::initializer_list<std::string_view> spellings) {
  for (const std::string_view spelling : spellings) {
    if (const auto id = tokenizer.special_id(spelling)) return id;
  }
  return std::nullopt;
}

}  // namespace

std::string_view name_of(SplitPattern pattern) {
  for (const auto& [value, name] : pattern_names) {
    if (value == pattern) return name;
  }
  fail(ErrorKind::usage, "{} is not the number of a split pattern.", static_cast<int>(pattern));
}

SplitPattern split_pattern_from_name(std::string_view name) {
  std::vector<std::string_view> names;
  for (const auto& [value, valid] : pattern_names) {
    if (valid == name) return value;
    names.push_back(valid);
  }
  fail(ErrorKind::usage, "'{}' is not a split pattern; valid are {}.{}", name, fmt::join(names, ", "),
       near_name_hint(name, names));
}

Tokenizer::Tokenizer(std::shared_ptr<const Tables> tables) : tables_(std::move(tables)) {}

Tokenizer Tokenizer::load(const std::filesystem::path& path, std::optional<SplitPattern> pattern,
                          std::span<const SpecialToken> special) {
  const std::filesystem::path file = tokenizer_file(path);
  const std::string source = file.string();
  const bool is_gguf = is_gguf_file(file);
  std::string text = is_gguf                    ? std::string()
                     : is_vocabulary_file(file) ? json_from_vocabulary_files(file.parent_path())
                                                : read_file(file, max_tokenizer_file_bytes);
  if (looks_like_tiktoken(text)) {
    if (!pattern) {
      fail(ErrorKind::usage,
           "{} is a .tiktoken file, which does not name its pattern; say which: none, gpt2, llama3, qwen2 or o200k.",
           source);
    }
    return Tokenizer(make_tables(parts_from_tiktoken(text, *pattern, source, special), source));
  }
  if (!special.empty()) {
    fail(ErrorKind::usage, "{} contains its special tokens; they can only be given for a .tiktoken file.", source);
  }
  TokenizerParts parts = is_gguf ? parts_from_gguf_file(file) : parts_from_json(text, source);
  text = std::string();  // freed before the tables are built
  Tokenizer tokenizer(make_tables(std::move(parts), source));
  if (pattern && tokenizer.pattern() != pattern) {
    fail(ErrorKind::usage, "{} splits text by {}, not by the requested pattern {}; omit the pattern.", source,
         tokenizer.pattern() ? fmt::format("the pattern {}", name_of(*tokenizer.pattern())) : "steps of its own",
         name_of(*pattern));
  }
  return tokenizer;
}

Tokenizer Tokenizer::from_json(std::string_view text, std::string_view source) {
  return Tokenizer(make_tables(parts_from_json(text, source), source));
}

Tokenizer Tokenizer::train(std::span<const std::filesystem::path> files, const TokenizerTrainOptions& options) {
  const std::size_t merges = check_options(options);
  const PretokenCounts counts = count_pretokens(files, count_options(options));
  return Tokenizer(make_tables(train_parts(counts, merges, options), "The trained tokenizer"));
}

Tokenizer Tokenizer::train_on_text(std::string_view text, const TokenizerTrainOptions& options) {
  const std::size_t merges = check_options(options);
  const PretokenCounts counts = count_pretokens(text, count_options(options));
  return Tokenizer(make_tables(train_parts(counts, merges, options), "The trained tokenizer"));
}

void Tokenizer::save(const std::filesystem::path& path) const {
  write_file(path, to_json());
}

std::string Tokenizer::to_json() const {
  return json_from_parts(tables_->parts);
}

std::vector<TokenId> Tokenizer::encode(std::string_view text, SpecialTokens special) const {
  std::vector<TokenId> ids;
  encode_append(text, ids, special);
  return ids;
}

void Tokenizer::encode_append(std::string_view text, std::vector<TokenId>& ids, SpecialTokens special,
                              bool continues) const {
  const Tables& tables = *tables_;
  // Calls `between` for each part of `whole` without any of the matcher's tokens; the part at its start is where
  // `whole` is.
  const auto split = [&](const AddedTokenMatcher& matcher, std::string_view whole, Place place, const auto& between) {
    std::size_t at = 0;
    const auto stretch = [&](std::size_t end) {
      if (end > at) between(whole.substr(at, end - at), at == 0 ? place : Place::after_token);
    };
    if (!matcher.empty()) {
      matcher.for_each(whole, special, [&](const AddedTokenMatcher::Match& match) {
        stretch(match.begin);
        ids.push_back(match.id);
        at = match.end;
      });
    }
    stretch(whole.size());
  };
  Pieces pieces;
  const auto encode_plain = [&](std::string_view plain, Place place) {
    const PreTokenizer& pre_tokenizer = tables.parts.pre_tokenizer;
    const bool adds_no_space =
        place == Place::continues || (place == Place::after_token && pre_tokenizer.prefixes_only_texts());
    if (tables.words != nullptr) {
      pre_tokenizer.split(plain, adds_no_space, pieces);
      for (const std::string_view piece : pieces.views) tables.encoder.encode(piece, tables.words, ids);
    } else if (tables.next_pretokens == nullptr) {
      pre_tokenizer.split(plain, adds_no_space, pieces);
      tables.encoder.encode(pieces.views, ids);
    } else if (pre_tokenizer.starts_with_space() && !adds_no_space && plain.front() != ' ') {
      std::string prefixed(1, ' ');
      prefixed += plain;
      tables.encoder.encode(prefixed, tables.next_pretokens, ids);
    } else {
      tables.encoder.encode(plain, tables.next_pretokens, ids);
    }
  };
  const auto encode_raw = [&](std::string_view raw, Place place) {
    if (tables.parts.normalizer.empty()) {
      split(tables.late_added, raw, place, encode_plain);
    } else {
      split(tables.late_added, tables.parts.normalizer.apply(raw, place == Place::continues), place, encode_plain);
    }
  };
  const std::size_t size = ids.size();
  try {
    split(tables.raw_added, text, continues ? Place::continues : Place::starts, encode_raw);
  } catch (...) {
    ids.resize(size);
    throw;
  }
}

std::string Tokenizer::decode(std::span<const TokenId> ids, bool skip_special, std::size_t* without_token) const {
  std::string text;
  std::size_t missing = 0;
  const auto& pieces = tables_->pieces;
  StreamDecoder::State state = pieces ? pieces->start(false) : StreamDecoder::State();
  for (const TokenId id : ids) {
    if (!has_token(id)) ++missing;
    if (skip_special && is_special(id)) continue;
    if (pieces) {
      pieces->push(id, state, text);
    } else {
      text += token_bytes(id);
    }
  }
  if (pieces) pieces->finish(state, text);
  if (without_token != nullptr) *without_token = missing;
  return text;
}

std::string_view Tokenizer::token_bytes(TokenId id) const {
  if (!has_token(id)) return {};
  return tables_->pieces ? tables_->pieces->bytes(id) : tables_->parts.tokens[id];
}

bool Tokenizer::has_token(TokenId id) const {
  return id < tables_->parts.tokens.size() && !tables_->parts.tokens[id].empty();
}

bool Tokenizer::encodes_like(const Tokenizer& other) const {
  const TokenizerParts& a = tables_->parts;
  const TokenizerParts& b = other.tables_->parts;
  return tables_ == other.tables_ ||
         (normalizer_json(a) == normalizer_json(b) && pre_tokenizer_json(a) == pre_tokenizer_json(b) &&
          a.decoder_json == b.decoder_json && a.byte_level == b.byte_level && a.byte_fallback == b.byte_fallback &&
          a.unknown == b.unknown && a.fuse_unknown == b.fuse_unknown && a.whole_tokens_first == b.whole_tokens_first &&
          a.tokens == b.tokens && a.merges == b.merges && a.added == b.added);
}

std::uint32_t Tokenizer::vocab_size() const {
  return static_cast<std::uint32_t>(tables_->parts.tokens.size());
}

std::optional<SplitPattern> Tokenizer::pattern() const {
  return tables_->parts.pre_tokenizer.single_pattern();
}

bool Tokenizer::normalizes() const {
  return !tables_->parts.normalizer.empty();
}

std::span<const TokenId> Tokenizer::text_prefix() const {
  return tables_->parts.text_prefix;
}

Tokenizer Tokenizer::with_text_prefix(std::span<const TokenId> prefix) const {
  for (const TokenId id : prefix) {
    if (!has_token(id)) fail(ErrorKind::input, "{} is to be put before texts, but is no token's id.", id);
  }
  TokenizerParts parts = tables_->parts;
  parts.text_prefix.assign(prefix.begin(), prefix.end());
  parts.post_processor = prefix.empty() ? std::string() : template_processor_json(parts).dump();
  return Tokenizer(make_tables(std::move(parts), "The tokenizer"));
}

std::span<const SpecialToken> Tokenizer::special_tokens() const {
  return tables_->special;
}

bool Tokenizer::is_special(TokenId id) const {
  return id < tables_->is_special.size() && tables_->is_special[id];
}

std::optional<TokenId> Tokenizer::special_id(std::string_view text) const {
  for (const SpecialToken& token : tables_->special) {
    if (token.text == text) return token.id;
  }
  return std::nullopt;
}

std::optional<TokenId> Tokenizer::pad_id() const {
  return first_special(*this, {"[PAD]", "<pad>", "<|padding|>", "<|pad|>", "<｜▁pad▁｜>"});
}

std::optional<TokenId> Tokenizer::bos_id() const {
  return first_special(
      *this, {"[BOS]", "<s>", "<|begin_of_text|>", "<|startoftext|>", "<bos>", "<|bos|>", "<｜begin▁of▁sentence｜>"});
}

std::optional<TokenId> Tokenizer::eos_id() const {
  return first_special(*this, {"[EOS]", "</s>", "<|endoftext|>", "<|end_of_text|>", "<|im_end|>", "<eos>", "<|eos|>",
                               "<｜end▁of▁sentence｜>", "<|bos|>"});
}

}  // namespace mslt
