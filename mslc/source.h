// Reading .metal files and splicing in their headers.
#pragma once

#include <algorithm>
#include <deque>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "mslc/diagnostics.h"
#include "mslc/token.h"

namespace mslt::mslc {

// One .metal file as a single run of tokens.
struct Unit {
  std::string_view file;      // as in diagnostics, such as kernels/norm.metal
  std::string name;           // norm
  std::vector<Token> tokens;  // headers spliced in, each once; include directives left out; ends in an end token

  // Returns the end token for any index beyond the end, so lookahead is always safe.
  const Token& token(std::size_t index) const { return tokens[std::min(index, tokens.size() - 1)]; }
};

// Whether the file, as in diagnostics, lies in a folder named target: a header whose definitions a target may replace
// by its own.
inline bool is_target_header(std::string_view file) {
  return std::filesystem::path(file).parent_path().filename() == "target";
}

// Owns the text of every file read. One thread at a time.
class Sources {
 public:
  // Quoted includes are searched next to the including file, then in `kernels`. Names are printed relative to `root`.
  Sources(std::filesystem::path root, std::filesystem::path kernels);

  // The file with its quoted includes spliced in place; drops `<...>` includes (every target has its own standard
  // library). Throws Error(io) if the file itself cannot be read; a missing header is a diagnostic.
  Unit load(const std::filesystem::path& path, Diagnostics& diagnostics);
  // The same from text, under the name `file`; includes are searched in `kernels`.
  Unit load_text(std::string_view text, std::string_view file, Diagnostics& diagnostics);

  // Every file read so far, for the build's dependency file.
  std::vector<std::filesystem::path> files() const;

 private:
  struct File {
    std::string name;
    std::string text;
    std::vector<Token> tokens;
  };
  const File& read(const std::filesystem::path& path, Diagnostics& diagnostics);
  void splice(const File& file, const std::filesystem::path& folder, std::vector<std::filesystem::path>& seen,
              std::vector<Token>& tokens, Diagnostics& diagnostics);
  Unit finish(const File& file, const std::filesystem::path& folder, std::vector<std::filesystem::path> seen,
              Diagnostics& diagnostics);

  std::filesystem::path root_;
  std::filesystem::path kernels_;
  std::map<std::filesystem::path, File> files_;
  std::deque<File> texts_;
};

}  // namespace mslt::mslc
