// Distinguishing text from other data: the test shared by tokenizer training and data preparation.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

namespace mslt {

// Requirements on text in addition to having no NUL byte.
enum class TextEncoding {
  any,
  mostly_utf8,  // at most a tenth of the first mebibyte (or of all, if shorter) is not valid UTF-8
};

// Checks whether bytes are text as they pass by. One thread at a time.
class TextCheck {
 public:
  explicit TextCheck(TextEncoding encoding = TextEncoding::mostly_utf8) : encoding_(encoding) {}

  // Takes the next bytes. Returns why the bytes so far are not text, as the end of a sentence, or nothing.
  std::optional<std::string> push(std::string_view bytes);
  // The same at the end: empty input is not text either.
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

// Why a file is not text, as the end of a sentence that starts with its name, or nothing. Reads all of a regular file;
// does not read other files, which can be read only once. Throws Error(io).
std::optional<std::string> why_not_text(const std::filesystem::path& path,
                                        TextEncoding encoding = TextEncoding::mostly_utf8);

}  // namespace mslt
