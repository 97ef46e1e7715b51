// Cleaning steps for text, by name, each a transformation of a stream.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace mslt {

// Applies cleaning steps, in the order given, to one document after another. The result does not depend on how a
// document is cut into pieces. Bytes that are not valid UTF-8 pass through every step unchanged. The steps:
//
//   whitespace  Control characters are removed first (U+0000 to U+001F but for TAB, LF and CR; U+007F to U+009F). Then
//   CR LF
//               and CR alone become LF; each run of spaces (U+0020) and tabs becomes one space, or nothing at the end
//               of a line; and of blank lines that follow one another the first stays. Other white space of Unicode
//               (U+00A0, U+3000, ...) is left alone.
//   lowercase   Each code point becomes its simple lowercase mapping (Unicode 17.0): one code point for one, in no
//               language's own way, and without looking at its neighbours.
//   nfc         Unicode normalisation form C.
//
// One thread at a time; movable. Memory: a few bytes, but for `nfc`, which holds text back from the last ASCII
// character on.
class Cleaner {
 public:
  // Throws Error(usage) listing the valid names where one is unknown, or naming one that is given twice.
  explicit Cleaner(std::span<const std::string> steps);
  Cleaner(Cleaner&&) noexcept;
  Cleaner& operator=(Cleaner&&) noexcept;
  ~Cleaner();

  // Appends to `output` what is certain of the cleaned text after this piece.
  void push(std::string_view piece, std::string& output);
  // Appends the rest of the document; the next push starts another one.
  void finish(std::string& output);

  // One step; see clean.cpp.
  class Step;

 private:
  void run_from(std::size_t first, std::string_view piece, bool last, std::string& output);
  std::vector<std::unique_ptr<Step>> steps_;
};

}  // namespace mslt
