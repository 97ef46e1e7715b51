// The test for text, on a stream and on a file.
#include "text/text_check.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <memory>
#include <utility>

#include "base/system_error.h"
#include "text/utf8.h"

namespace mslt {

std::optional<std::string> TextCheck::push(std::string_view bytes) {
  const std::size_t nul = bytes.find('\0');
  if (nul != std::string_view::npos) {
    return fmt::format("is not text: byte {} is NUL. Text in UTF-16 or UTF-32 must be converted to UTF-8 first",
                       seen_ + nul);
  }
  seen_ += bytes.size();
  if (encoding_ == TextEncoding::any || sampled_ >= sample_bytes) return std::nullopt;
  const auto count = static_cast<std::size_t>(std::min<std::uint64_t>(bytes.size(), sample_bytes - sampled_));
  sampled_ += count;
  count_invalid(bytes.substr(0, count));
  return sampled_ >= sample_bytes ? judge() : std::nullopt;
}

std::optional<std::string> TextCheck::finish() {
  if (seen_ == 0) return "is empty; a text file is needed";
  invalid_ += pending_.size();
  pending_.clear();
  return encoding_ != TextEncoding::any && sampled_ < sample_bytes ? judge() : std::nullopt;
}

void TextCheck::count_invalid(std::string_view bytes) {
  const std::string text = std::exchange(pending_, {}).append(bytes);
  std::size_t position = 0;
  while (position < text.size()) {
    if (static_cast<unsigned char>(text[position]) < 0x80) {
      ++position;
      continue;
    }
    const Utf8Result decoded = decode_utf8(text, position);
    if (decoded.status == Utf8Status::incomplete) break;
    if (decoded.status == Utf8Status::invalid) invalid_ += decoded.length;
    position += decoded.length;
  }
  pending_ = text.substr(position);
}

std::optional<std::string> TextCheck::judge() const {
  if (invalid_ * 10 <= sampled_) return std::nullopt;
  return fmt::format(
      "is not text in UTF-8: {} of its first {} bytes are not valid. Convert it first, or name another file", invalid_,
      sampled_);
}

std::optional<std::string> why_not_text(const std::filesystem::path& path, TextEncoding encoding) {
  if (!std::filesystem::is_regular_file(path)) return std::nullopt;
  struct Close {
    void operator()(std::FILE* file) const { static_cast<void>(std::fclose(file)); }
  };
  const std::unique_ptr<std::FILE, Close> file(std::fopen(path.c_str(), "rbe"));
  if (!file) fail_io("open", path, errno);
  TextCheck check(encoding);
  std::string block(std::size_t{1} << 20, '\0');
  while (true) {
    const std::size_t count = std::fread(block.data(), 1, block.size(), file.get());
    if (std::ferror(file.get()) != 0) fail_io("read", path, errno);
    if (count == 0) return check.finish();
    if (auto reason = check.push(std::string_view(block).substr(0, count))) return reason;
  }
}

}  // namespace mslt
