// Reading text files of any size in a stream, document by document.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace mslt {

struct CorpusOptions {
  // Empty: each file is one document. Otherwise documents end at each line that is exactly this text (CR LF counts as a
  // line end) and at the end of each file; the line itself belongs to no document.
  std::string document_separator = {};
  // Every line is a document instead (CR LF counts as a line end); in files named *.jsonl or *.ndjson it is the string
  // `text` of the JSON object that a line holds. Not together with a separator.
  bool line_documents = false;
  // Files that are empty or not text are an error; otherwise they are passed over where others are left.
  bool strict = false;
  std::size_t piece_bytes = std::size_t{1} << 20;  // how much is read at once; at least 1
};

// Part of a document. The pieces of a document come in order, the last one (which may be empty) with ends_document.
struct CorpusPiece {
  std::string text;
  bool ends_document = false;
};

// Reads files one after another, in pieces cut anywhere, also inside a character. A UTF-8 byte order mark at the start
// of a file is dropped. Documents without a byte of text are skipped. One thread at a time. Memory: a few times
// piece_bytes, or of a line of JSON.
class CorpusReader {
 public:
  // Opens every file once, so a wrong name shows before hours of work. Throws Error(io) if a file cannot be read;
  // Error(input) for a folder, and for an empty file if strict; Error(usage) if there are no files, the separator holds
  // a line end, or both a separator and line_documents are set.
  CorpusReader(std::span<const std::filesystem::path> files, const CorpusOptions& options);
  CorpusReader(const CorpusReader&) = delete;
  CorpusReader& operator=(const CorpusReader&) = delete;
  ~CorpusReader();

  // The next piece; false at the end of the last file. A file is checked as a whole before its first piece is returned,
  // and skipped if it is empty or not text (see TextCheck). A pipe is checked while it is read. Throws Error(input) for
  // such a file if strict, if no file is left, and for a line that holds no object with a string `text` or more than
  // 64 MiB of one; the error names the file or line. Throws Error(io) if reading fails or a file has become shorter.
  bool next(CorpusPiece& piece);

  // A sentence on each skipped file.
  const std::vector<std::string>& skipped() const;

  std::uint64_t bytes_read() const;
  std::uint64_t bytes_total()
      const;  // by the sizes of the files when they were opened; 0 for what has none, like pipes

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace mslt
