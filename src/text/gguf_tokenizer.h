// The tokenizer inside a GGUF file.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "base/gguf.h"
#include "base/gguf_writer.h"
#include "text/tables.h"

namespace mslt {

// Whether the file says that it has one: the key tokenizer.ggml.model, with another value than "no_vocab".
bool has_tokenizer(const Gguf& file);

// The parts of a BPE tokenizer: of bytes (tokenizer.ggml.model "gpt2") or of characters ("llama", SentencePiece's,
// whose scores order the merges; of equal ones the leftmost comes first). For the former, tokenizer.ggml.pre chooses
// how text is split, as the original tokenizers of those models do it; without it, text is split as llama.cpp does by
// default. Control tokens become special tokens, user-defined ones added tokens that are always found; unused ones have
// no text. text_prefix is the token for the beginning of texts where tokenizer.ggml.add_bos_token, or the kind of
// tokenizer, asks for it. Throws Error(input) naming the file and the key, and the token or merge, that is missing,
// invalid, unsupported or occurs twice.
TokenizerParts parts_from_gguf(const Gguf& file);
// The same from a path. Throws Error(io), too.
TokenizerParts parts_from_gguf_file(const std::filesystem::path& path);

// Whether merges into different tokens have the same rank, as those of equal scores: then the leftmost comes first, but
// a tokenizer.json gives each merge a rank of its own, so what it writes may encode some texts otherwise.
bool has_tied_merges(const TokenizerParts& parts);

// The inverse: the keys of `tokenizer` for a model of `vocab_size` rows, the ids of special tokens apart. Ids without a
// token become unused ones. The value of tokenizer.ggml.pre is the first one known that splits a text of all kinds of
// characters in the same way. Merges of characters become scores. Throws Error(input) if no value splits so or no
// scores order the merges so, or for more tokens than rows. Returns sentences about what the file cannot say.
std::vector<std::string> write_gguf_tokenizer(GgufWriter& file, const Tokenizer& tokenizer, std::int64_t vocab_size);

}  // namespace mslt
