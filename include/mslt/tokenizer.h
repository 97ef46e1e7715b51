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
  as_text,  // encode it as ordinary text: plain input never produces a special token by accident (unless the file has
            // the letter of a byte, or what merges make, as one)
  parse,    // produce the special token
};

struct SpecialToken {
  std::string text;
  TokenId id = 0;
};

// Where a long text is cut to be encoded in parts.
struct TextCut {
  std::size_t position = 0;
  // The part after it goes on where the one before was cut; otherwise it is encoded as a text of its own.
  bool continues = false;
};

struct TokenizerTrainOptions {
  std::uint32_t vocab_size = 1776;  // 256 bytes + merges + special tokens
  SplitPattern pattern = SplitPattern::gpt2;
  // Get the first ids, in this order. Each must be valid UTF-8, not empty, named once, and more than one character.
  std::vector<std::string> special = {"[PAD]", "[BOS]", "[EOS]"};
  std::uint64_t min_frequency = 2;  // pairs rarer than this are never merged
  int threads = 0;                  // 0: one a core
  // Files that are empty or no text are passed over, unless they are all there is, and on_skip is told which and why,
  // from any thread but one at a time. With `strict` the first such file is an Error(input).
  bool strict = false;
  std::function<void(std::string_view message)> on_skip = nullptr;
  // Called from the training thread, now and then; returning false stops training with Error(interrupted).
  std::function<bool(std::string_view stage, std::uint64_t done, std::uint64_t total)> progress = nullptr;
};

// An immutable tokenizer. All const members are safe to call from several threads at once. Copies share the tables.
class Tokenizer {
 public:
  // Reads a Hugging Face tokenizer.json (byte-level BPE; merges as pairs or as strings); vocab.json and merges.txt of a
  // folder, whichever of the two is named; a folder with either; or a .tiktoken file. The last names neither its
  // pattern nor its special tokens: `pattern` says the former, the latter are `special` and those of GPT-2, p50k_base,
  // cl100k_base or o200k_base where the file has as many ranks as theirs. Throws Error(input) naming what in the file
  // is not supported or not valid, Error(usage) where `pattern` is missing or is not that of the tokenizer.json or
  // `special` is given for one, Error(io).
  static Tokenizer load(const std::filesystem::path& path, std::optional<SplitPattern> pattern = std::nullopt,
                        std::span<const SpecialToken> special = {});
  // The same from a text in memory; `source` names it in errors.
  static Tokenizer from_json(std::string_view text, std::string_view source);

  // Trains on files read in a stream, in blocks cut between pre-tokens (a file is held whole only where it cannot be
  // cut, as with SplitPattern::none). No pre-token crosses from one file into the next. Ids: the special tokens, the
  // 256 bytes in the order of the characters that stand for them in tokenizer.json (! to ~, 0xA1 to 0xAC, 0xAE to 0xFF,
  // then the other 68), then one for each merge. A merge joins the most frequent pair of neighbours, each distinct
  // pre-token counted once with its frequency; of equally frequent pairs the one with the smaller (left id, right id).
  // That is the rule of the tokenizers package's BpeTrainer, whose vocabulary results, and it depends on the text
  // alone: not on the number of threads nor the size of blocks. Throws Error(input) where the text is too small for the
  // vocabulary asked for, naming the largest that it allows, or where no file is text (an empty
  // one, or one with a NUL byte, is none); Error(usage) naming the option that is not valid.
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
  // A byte without a token, which vocabularies trained elsewhere may have, becomes the model's unknown token or, where
  // there is none, nothing. `continues`: the text goes on where the one before it was cut (see find_cut).
  std::vector<TokenId> encode(std::string_view text, SpecialTokens special = SpecialTokens::as_text) const;
  void encode_append(std::string_view text, std::vector<TokenId>& ids, SpecialTokens special = SpecialTokens::as_text,
                     bool continues = false) const;

  // A place towards the end of `text` where it may be cut so that the ids of both parts, joined, are those of the
  // whole, whatever follows it: between pre-tokens, and not inside an added token. Nothing where there is none: the
  // text must then be kept whole until there is more of it. `continues` is about the start of `text`.
  std::optional<TextCut> find_cut(std::string_view text, SpecialTokens special = SpecialTokens::as_text,
                                  bool continues = false) const;

  // The bytes of the tokens joined; special tokens come out as their text unless skipped. Ids without a token come to
  // nothing; `without_token`, where given, becomes how many those are.
  std::string decode(std::span<const TokenId> ids, bool skip_special = false,
                     std::size_t* without_token = nullptr) const;
  // The bytes of one token, empty where no token has this id; the view lives as long as any copy of the tokenizer.
  std::string_view token_bytes(TokenId id) const;
  // Whether a token has this id. Vocabularies may have gaps, and models more rows than there are tokens.
  bool has_token(TokenId id) const;

  // Whether both turn every text into the same ids and every id into the same bytes. How the file is written, and what
  // it puts around texts, as a post-processor does, makes no difference.
  bool encodes_like(const Tokenizer& other) const;

  std::uint32_t vocab_size() const;  // one more than the largest id
  // The pattern that text is cut by; nothing where the file has other pre-tokenizers.
  std::optional<SplitPattern> pattern() const;
  bool normalizes() const;  // whether text is rewritten before encoding, to NFC as Qwen2 does or otherwise
  // The tokens that the file's post-processor puts before each text, as Llama 3's does its BOS; often none. encode
  // never adds them by itself.
  std::span<const TokenId> text_prefix() const;
  // The same tokenizer with a post-processor that puts this before each text, and nothing else anywhere. Throws
  // Error(input) where `prefix` holds an id without a token.
  Tokenizer with_text_prefix(std::span<const TokenId> prefix) const;
  std::span<const SpecialToken> special_tokens() const;
  bool is_special(TokenId id) const;
  // The id of a special token by its text, or nothing.
  std::optional<TokenId> special_id(std::string_view text) const;
  // By the customary spellings ([PAD], <s>, <|endoftext|>, <eos> and others of public models; <|bos|> is taken for the
  // end as well, where there is no other). Nothing where the tokenizer has none.
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
