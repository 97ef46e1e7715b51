// Telling text from what is none: the one test that training a tokenizer and preparing data share.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

namespace mslt {

// What is asked of text besides that it holds no NUL byte.
enum class TextEncoding {
  any,
  mostly_utf8,  // of the first mebibyte (of all, where there is less) at most a tenth is not valid UTF-8
};

// Finds out whether bytes are text while they pass by. One thread at a time.
class TextCheck {
 public:
  explicit TextCheck(TextEncoding encoding = TextEncoding::mostly_utf8) : encoding_(encoding) {}

  // Takes the next bytes. Returns why what came so far is no text, as the end of a sentence about it, or nothing.
  std::optional<std::string> push(std::string_view bytes);
  // The same when all have come: nothing at all is no text either.
  std::optional<std::string> finish();

  std::uint64_t seen() const { return seen_; }

 private:
  static constexpr std::uint64_t sample_bytes = std::uint64_t{1} << 20;

  void count_invalid(std::string_view bytes);
  std::optional<std::string> judge() const;

  TextEncoding encoding_;
  std::uint64_t seen_ = 0;
  std::uint64_t sampled_ = 0;
  std::uint64_t invalid_ = 0;
  std::string pending_;  // an incomplete character
};

// Why a file is no text, as the end of a sentence that starts with its name, or nothing. Reads the whole of a regular
// file; other files, which can be read but once, are not looked at. Throws Error(io).
std::optional<std::string> why_not_text(const std::filesystem::path& path,
                                        TextEncoding encoding = TextEncoding::mostly_utf8);

}  // namespace mslt
