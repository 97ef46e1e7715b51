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
//   whitespace  Removes control characters (U+0000 to U+001F except TAB, LF and CR; U+007F to U+009F). Then CR LF and
//               CR alone become LF. Each run of spaces (U+0020) and tabs becomes one space, or nothing at the end of a
//               line. Of consecutive blank lines the first stays. Other Unicode white space (U+00A0, U+3000, ...)
//               stays.
//   lowercase   Replaces each code point by its simple lowercase mapping (Unicode 17.0): one by one, without regard to
//               language or neighbours.
//   nfc         Unicode normalisation form C.
//
// One thread at a time; movable. Each step holds a few bytes; `nfc` holds the text since the last ASCII character.
class Cleaner {
 public:
  // Throws Error(usage) for an unknown name, listing the valid ones, and for a name given twice.
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
