// Turning text files into a data folder: cleaned, encoded, split and written as shards.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "data/data_folder.h"
#include "mslt/tokenizer.h"

namespace mslt {

struct PrepareOptions {
  std::vector<std::filesystem::path> inputs;
  std::filesystem::path tokenizer;  // what Tokenizer::load takes; it must have an [EOS]
  // For a .tiktoken file, as Tokenizer::load takes them.
  std::optional<SplitPattern> pattern;
  std::vector<SpecialToken> special;
  std::filesystem::path output;  // the data folder, created where it does not exist
  double val_fraction = 0.1;     // in [0, 1); see SplitWriter
  std::uint64_t seed = 0;        // of the choice of validation documents
  std::vector<std::string> cleaning;
  std::string document_separator;  // see CorpusOptions
  bool strict = false;             // see CorpusOptions
  // Each line, or the `text` of each record of *.jsonl and *.ndjson, is an example, which training pads.
  bool examples = false;
  // The token that ends documents, or nothing. If absent, Tokenizer::eos_id.
  std::function<std::optional<TokenId>(const Tokenizer&)> eos = nullptr;
  // The tokens before each document. A token that both ends documents and begins texts is written once between two
  // documents. If absent, Tokenizer::text_prefix. The tokenizer.json in `output` puts the prefix before texts.
  std::function<std::vector<TokenId>(const Tokenizer&)> prefix = nullptr;
  std::uint64_t shard_tokens = 100'000'000;
};

struct PrepareResult {
  DataInfo info;
  std::uint64_t bytes_read = 0;      // of the text files
  std::vector<std::string> skipped;  // a sentence on each file that was passed over as it is not text
};

// Called now and then from the calling thread with the bytes of text read so far and in all (0 if unknown). Returning
// false stops with Error(interrupted).
using PrepareProgress = std::function<bool(std::uint64_t done, std::uint64_t total)>;

// Writes `output`/train_000000.bin, ..., val_000000.bin, ..., tokenizer.json and, last, data.json; for examples also
// train_examples.bin and val_examples.bin. Shards are written to a subfolder and moved when all are complete. So an
// error leaves the folder as it was, and a crash leaves either no data.json or a complete data set. An earlier data set
// in the folder is replaced.
//
// Documents are encoded in parts of about a mebibyte, on all cores, with the result of encoding them whole. A document
// without a place to cut (see Tokenizer::find_cut; the pattern `none` cuts only at added tokens) is held in memory
// whole. Special tokens spelled out in the text are text.
//
// Throws Error(usage) on options that are out of range, Error(input) on files that are not text or a tokenizer without
// [EOS], Error(io) if another process writes the folder or the disk is full.
PrepareResult prepare_data(const PrepareOptions& options, const PrepareProgress& progress = {});

}  // namespace mslt
