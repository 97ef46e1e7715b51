// Byte-level BPE tokenizers: training, encoding, decoding, and the files they live in.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace mslt {

using TokenId = std::uint32_t;

// How text is cut into pre-tokens before merges apply within each. Each name is the regular expression of the model
// family that introduced it; `none` cuts nowhere.
enum class SplitPattern { none, gpt2, llama3, qwen2, o200k };

// The name as the command line spells it, and back. Throws Error(usage) listing the valid names.
std::string_view name_of(SplitPattern pattern);
SplitPattern split_pattern_from_name(std::string_view name);

// What to do where the text to encode contains the spelling of a special token.
enum class SpecialTokens {
  as_text,  // encode it as ordinary text: plain input never produces a special token by accident
  parse,    // produce the special token
};

struct SpecialToken {
  std::string text;
  TokenId id = 0;
};

struct TokenizerTrainOptions {
  std::uint32_t vocab_size = 1776;  // 256 bytes + merges + special tokens
  SplitPattern pattern = SplitPattern::gpt2;
  // Get the first ids, in this order. Each must be valid UTF-8, not empty, named once, and more than one character.
  std::vector<std::string> special = {"[PAD]", "[BOS]", "[EOS]"};
  std::uint64_t min_frequency = 2;  // pairs rarer than this are never merged
  int threads = 0;                  // 0: one a core
  // Called from the training thread, now and then; returning false stops training with Error(interrupted).
  std::function<bool(std::string_view stage, std::uint64_t done, std::uint64_t total)> progress = nullptr;
};

// An immutable tokenizer. All const members are safe to call from several threads at once. Copies share the tables.
class Tokenizer {
 public:
  // Reads a Hugging Face tokenizer.json (byte-level BPE; merges as pairs or as strings) or a .tiktoken file (which
  // names neither its pattern nor its special tokens: `pattern` says the former, the latter are then those of GPT-2,
  // cl100k_base or o200k_base where the file has as many ranks as theirs, or none). Throws Error(input) naming what in
  // the file is not supported or not valid, Error(usage) where `pattern` is missing or is not that of the
  // tokenizer.json, Error(io).
  static Tokenizer load(const std::filesystem::path& path, std::optional<SplitPattern> pattern = std::nullopt);
  // The same from a text in memory; `source` names it in errors.
  static Tokenizer from_json(std::string_view text, std::string_view source);

  // Trains on files read in a stream, in blocks cut between pre-tokens (a file is held whole only where it cannot be
  // cut, as with SplitPattern::none). No pre-token crosses from one file into the next. Ids: the special tokens, the
  // 256 bytes in the order of the characters that stand for them in tokenizer.json (! to ~, 0xA1 to 0xAC, 0xAE to 0xFF,
  // then the other 68), then one for each merge. A merge joins the most frequent pair of neighbours, each distinct
  // pre-token counted once with its frequency; of equally frequent pairs the one with the smaller (left id, right id).
  // That is the rule of the tokenizers package's BpeTrainer, whose vocabulary results, and it depends on the text
  // alone: not on the number of threads nor the size of blocks. Throws Error(input) where the text is too small for the
  // vocabulary asked for, naming the largest that it allows, or where a file is empty of text or starts like a binary
  // file (a NUL byte in its first 64 KiB); Error(usage) naming the option that is not valid.
  static Tokenizer train(std::span<const std::filesystem::path> files, const TokenizerTrainOptions& options);
  // The same on text in memory.
  static Tokenizer train_on_text(std::string_view text, const TokenizerTrainOptions& options);

  // Writes tokenizer.json as Hugging Face's tokenizers package reads it: merges as pairs, ByteLevel decoder, the
  // special tokens under added_tokens.
  void save(const std::filesystem::path& path) const;
  std::string to_json() const;

  // Any bytes, also invalid UTF-8, which round-trip. Linear in the length of the text. Invalid UTF-8 is pre-tokenised
  // byte by byte as if each invalid byte were a symbol that is neither letter, digit nor white space. Where
  // normalizes() says so, the text is put into Unicode's composed form (NFC) first. Added tokens that the file does not
  // call special are always recognised; where several match, the leftmost, then the longest. Appending is all or
  // nothing: an exception leaves `ids` as it was.
  std::vector<TokenId> encode(std::string_view text, SpecialTokens special = SpecialTokens::as_text) const;
  void encode_append(std::string_view text, std::vector<TokenId>& ids,
                     SpecialTokens special = SpecialTokens::as_text) const;

  // The bytes of the tokens joined; special tokens come out as their text unless skipped. Throws Error(input) on an id
  // that is not in the vocabulary.
  std::string decode(std::span<const TokenId> ids, bool skip_special = false) const;
  // The bytes of one token; the view lives as long as any copy of the tokenizer.
  std::string_view token_bytes(TokenId id) const;

  // Whether both turn every text into the same ids and every id into the same bytes. How the file is written, and what
  // it puts around texts, as a post-processor does, makes no difference.
  bool encodes_like(const Tokenizer& other) const;

  std::uint32_t vocab_size() const;  // one more than the largest id
  SplitPattern pattern() const;
  bool normalizes() const;  // to NFC before encoding, as Qwen2 does
  // Whether the file asks for the BOS token before each text, as Llama 3's does; encode never adds it by itself.
  bool adds_bos() const;
  std::span<const SpecialToken> special_tokens() const;
  bool is_special(TokenId id) const;
  // The id of a special token by its text, or nothing.
  std::optional<TokenId> special_id(std::string_view text) const;
  // By the customary spellings ([PAD], <s>, <|endoftext|>, <eos> and others of public models; <|bos|> is taken for the end
  // as well, where there is no other). Nothing where the tokenizer has none.
  std::optional<TokenId> pad_id() const;
  std::optional<TokenId> bos_id() const;
  std::optional<TokenId> eos_id() const;

  struct Tables;

 private:
  explicit Tokenizer(std::shared_ptr<const Tables> tables);
  std::shared_ptr<const Tables> tables_;
};

// Turns a stream of tokens into text without ever emitting part of a character: bytes that may still become one are
// held back, bytes that cannot are replaced by U+FFFD at once, as Python's utf-8 decoder with errors="replace" would,
// and a genuine U+FFFD passes through. One thread at a time; the tokenizer is copied (cheaply) and need not outlive it.
class StreamDecoder {
 public:
  explicit StreamDecoder(const Tokenizer& tokenizer, bool skip_special = true);
  // The text that this token completes; may be empty.
  std::string push(TokenId id);
  // What is still held back, as U+FFFD; the decoder is then as new.
  std::string finish();

 private:
  Tokenizer tokenizer_;
  std::string pending_;
  bool skip_special_;
};

}  // namespace mslt
