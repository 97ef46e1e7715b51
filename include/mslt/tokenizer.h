// BPE tokenizers, of bytes or, as SentencePiece's, of characters: training, encoding, decoding, and their files.
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

// How text is split into pre-tokens; merges apply within each. A name stands for the regular expression of the model
// family that introduced it; `none` does not split.
enum class SplitPattern { none, gpt2, llama3, qwen2, o200k };

// The name as the command line spells it, and back. Throws Error(usage) listing the valid names.
std::string_view name_of(SplitPattern pattern);
SplitPattern split_pattern_from_name(std::string_view name);

// How to encode the spelling of a special token in a text.
enum class SpecialTokens {
  as_text,  // as ordinary text: plain input never produces a special token by accident (unless the file has
            // the letter of a byte, or the result of merges, as one)
  parse,    // as the special token
};

struct SpecialToken {
  std::string text;
  TokenId id = 0;
};

// A place to cut a long text that is encoded in parts.
struct TextCut {
  std::size_t position = 0;
  // Whether the second part continues the first one; otherwise it is encoded as a text of its own.
  bool continues = false;
};

struct TokenizerTrainOptions {
  std::uint32_t vocab_size = 1776;  // 256 bytes + merges + special tokens
  SplitPattern pattern = SplitPattern::gpt2;
  // They get the first ids, in this order. Each must be valid UTF-8, not empty, unique, and longer than one character.
  std::vector<std::string> special = {"[PAD]", "[BOS]", "[EOS]"};
  std::uint64_t min_frequency = 2;  // pairs rarer than this are never merged
  int threads = 0;                  // 0: one per core
  // Files that are empty or not text are skipped unless all are, and on_skip is told which and why, from any thread but
  // never concurrently. With `strict` the first such file is an Error(input).
  bool strict = false;
  std::function<void(std::string_view message)> on_skip = nullptr;
  // Called from the training thread from time to time; returning false stops training with Error(interrupted).
  std::function<bool(std::string_view stage, std::uint64_t done, std::uint64_t total)> progress = nullptr;
};

// An immutable tokenizer. All const members are safe to call from several threads at once. Copies share the tables.
class Tokenizer {
 public:
  // Reads a Hugging Face tokenizer.json (BPE of bytes or of characters; merges as pairs or as strings); vocab.json with
  // merges.txt from one folder, given either name; a folder with one of these; the tokenizer inside a GGUF file; or a
  // .tiktoken file. The last has neither pattern nor special tokens: `pattern` gives the former; the latter are
  // `special`, plus those of GPT-2, p50k_base, cl100k_base or o200k_base if the file has as many ranks as theirs.
  // Throws Error(input) naming the unsupported or invalid part of the file, Error(usage) if `pattern` is missing,
  // contradicts the tokenizer.json, or `special` is given for one, Error(io).
  static Tokenizer load(const std::filesystem::path& path, std::optional<SplitPattern> pattern = std::nullopt,
                        std::span<const SpecialToken> special = {});
  // The same from a text in memory; `source` names it in errors.
  static Tokenizer from_json(std::string_view text, std::string_view source);

  // Trains on files, streamed in blocks cut between pre-tokens (a file is held whole only if it cannot be cut, as with
  // SplitPattern::none). No pre-token crosses from one file into the next. Ids: the special tokens, the 256 bytes in
  // the order of their characters in tokenizer.json (! to ~, 0xA1 to 0xAC, 0xAE to 0xFF, then the other 68), then one
  // for each merge. A merge joins the most frequent pair of neighbours, each distinct pre-token counted once with its
  // frequency; among equally frequent pairs, the one with the smallest (left id, right id). This is the rule of the
  // tokenizers package's BpeTrainer and gives the same vocabulary. It depends only on the text, not on the number of
  // threads or the size of blocks. Throws Error(input) if the text is too small for the requested vocabulary, naming
  // the largest possible one, or if no file is text (files that are empty or contain a NUL byte are not); Error(usage)
  // naming an invalid option.
  static Tokenizer train(std::span<const std::filesystem::path> files, const TokenizerTrainOptions& options);
  // The same on text in memory.
  static Tokenizer train_on_text(std::string_view text, const TokenizerTrainOptions& options);

  // Writes tokenizer.json as Hugging Face's tokenizers package reads it: merges as pairs, ByteLevel decoder, the
  // special tokens under added_tokens. One of characters keeps its steps as they were read.
  void save(const std::filesystem::path& path) const;
  std::string to_json() const;

  // Encodes any bytes; with a byte-level vocabulary, invalid UTF-8 round-trips too. Linear in the length of the text,
  // or nearly so. Each invalid byte is pre-tokenised as a symbol that is neither letter, digit nor white space. If
  // normalizes(), the text is first converted to Unicode's composed form (NFC). Added tokens that the file does not
  // call special are always recognised; if several match, the leftmost, then the longest. Appending is all or nothing:
  // an exception leaves `ids` unchanged. A byte without a token (possible in vocabularies trained elsewhere) becomes
  // the model's unknown token, or nothing if there is none. `continues`: the text goes on where the previous one was
  // cut (see find_cut).
  std::vector<TokenId> encode(std::string_view text, SpecialTokens special = SpecialTokens::as_text) const;
  void encode_append(std::string_view text, std::vector<TokenId>& ids, SpecialTokens special = SpecialTokens::as_text,
                     bool continues = false) const;

  // A place near the end of `text` where it may be cut: the ids of both parts, joined, are those of the whole, whatever
  // follows. It lies between pre-tokens and not inside an added token. Nothing if there is none: the text must then be
  // kept until there is more of it. `continues` refers to the start of `text`.
  std::optional<TextCut> find_cut(std::string_view text, SpecialTokens special = SpecialTokens::as_text,
                                  bool continues = false) const;

  // The joined bytes of the tokens; special tokens as their text unless skipped. With a vocabulary of characters, the
  // text that the file's decoder makes: a run of bytes that is not valid UTF-8 becomes one U+FFFD for each, and the
  // space put before texts is removed. Ids without a token give nothing;
  // `without_token`, if given, receives their number.
  std::string decode(std::span<const TokenId> ids, bool skip_special = false,
                     std::size_t* without_token = nullptr) const;
  // The bytes of one token inside of a text, empty if no token has this id; the view lives as long as any copy of the
  // tokenizer.
  std::string_view token_bytes(TokenId id) const;
  // Whether a token has this id. Vocabularies may have gaps, and models may have more rows than tokens.
  bool has_token(TokenId id) const;

  // Whether both turn every text into the same ids and every id into the same bytes. The form of the file and the
  // tokens that a post-processor puts around texts do not matter.
  bool encodes_like(const Tokenizer& other) const;

  std::uint32_t vocab_size() const;  // largest id + 1
  // The pattern that splits text; nothing if the file has other pre-tokenizers.
  std::optional<SplitPattern> pattern() const;
  bool normalizes() const;  // whether text is rewritten before encoding, to NFC as for Qwen2 or otherwise
  // The tokens that the file's post-processor puts before each text, such as Llama 3's BOS; often none. encode never
  // adds them.
  std::span<const TokenId> text_prefix() const;
  // The same tokenizer with a post-processor that only puts this before each text. Throws Error(input) if `prefix`
  // holds an id without a token.
  Tokenizer with_text_prefix(std::span<const TokenId> prefix) const;
  std::span<const SpecialToken> special_tokens() const;
  bool is_special(TokenId id) const;
  // The id of a special token by its text, or nothing.
  std::optional<TokenId> special_id(std::string_view text) const;
  // By the usual spellings ([PAD], <s>, <|endoftext|>, <eos> and others of public models; <|bos|> also serves as the
  // end if there is no other). Nothing if the tokenizer has none.
  std::optional<TokenId> pad_id() const;
  std::optional<TokenId> bos_id() const;
  std::optional<TokenId> eos_id() const;

  // What readers of files make inside the library.
  struct Tables;
  explicit Tokenizer(std::shared_ptr<const Tables> tables);

 private:
  friend class StreamDecoder;
  std::shared_ptr<const Tables> tables_;
};

// Turns a stream of tokens into text without ever emitting part of a character. Bytes that may still become a character
// are held back; other bytes are replaced by U+FFFD at once, as in Python's utf-8 decoder with errors="replace"; a
// genuine U+FFFD passes through. What it emits is what Tokenizer::decode gives (with invalid bytes replaced), so with a
// vocabulary of characters a run of byte tokens is held back to its end. One thread at a time; the tokenizer is copied
// (cheaply) and need not outlive it.
class StreamDecoder {
 public:
  // `continues`: the tokens go on a text that is known, so no space is removed from their start.
  explicit StreamDecoder(const Tokenizer& tokenizer, bool skip_special = true, bool continues = false);
  // The text that this token completes; may be empty.
  std::string push(TokenId id);
  // What is still held back; resets the decoder.
  std::string finish();

  // What is held back, and what the next text loses at its start.
  struct State {
    std::string pending;
    std::uint64_t to_strip = 0;
    bool is_first = false;
  };

 private:
  State start() const;

  Tokenizer tokenizer_;
  bool skip_special_;
  bool continues_;
  State state_;
};

}  // namespace mslt
