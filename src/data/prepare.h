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
  // Each line, or the `text` of each record of *.jsonl and *.ndjson, is an example of its own, which training reads by
  // itself and pads.
  bool examples = false;
  // The token that ends documents; nothing where there is none. Where absent, Tokenizer::eos_id.
  std::function<std::optional<TokenId>(const Tokenizer&)> eos = nullptr;
  // What stands before each document, but for the token that ends documents: where that is also what begins texts, it
  // stands between them once. Where absent, Tokenizer::text_prefix. The tokenizer.json in `output` puts it before
  // texts.
  std::function<std::vector<TokenId>(const Tokenizer&)> prefix = nullptr;
  std::uint64_t shard_tokens = 100'000'000;
};

struct PrepareResult {
  DataInfo info;
  std::uint64_t bytes_read = 0;      // of the text files
  std::vector<std::string> skipped;  // a sentence on each file that was passed over as it is no text
};

// Called now and then from the calling thread with how many bytes of text are read, of how many (0 where it is not
// known); returning false stops with Error(interrupted).
using PrepareProgress = std::function<bool(std::uint64_t done, std::uint64_t total)>;

// Writes `output`/train_000000.bin, ..., val_000000.bin, ..., of examples train_examples.bin and val_examples.bin,
// tokenizer.json and, last, data.json. The shards are
// written in a subfolder and moved when all are complete, so that an error leaves the folder as it was, and a crash
// leaves either no data.json or a complete data set. An earlier data set in the folder is replaced.
//
// Documents are encoded in parts of about a mebibyte, on all cores, with the same result as when encoded whole; only a
// document without a place to cut (see Tokenizer::find_cut; with the pattern `none` there is none but at added tokens)
// is held in memory whole. Special tokens spelled out in the text are text.
//
// Throws Error(usage) on options that are out of range, Error(input) on files that are no text or a tokenizer without
// [EOS], Error(io) where another process writes the folder or the disk is full.
PrepareResult prepare_data(const PrepareOptions& options, const PrepareProgress& progress = {});

}  // namespace mslt
