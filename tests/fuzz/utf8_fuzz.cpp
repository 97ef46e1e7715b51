// Fuzzes the readers of raw bytes as text: the UTF-8 decoder, the pre-tokenizers, safe_cut and NFC.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "text/normalize.h"
#include "text/split.h"
#include "text/utf8.h"

namespace {

void require(bool condition) {
  if (!condition) {
    std::abort();
  }
}

std::vector<std::size_t> ends_of(mslt::NextPretokens next, std::string_view text, std::size_t offset) {
  std::vector<std::size_t> ends;
  mslt::for_each_pretoken(text, next, [&](std::size_t begin, std::size_t end) {
    require(end > begin && end <= text.size());
    ends.push_back(offset + end);
  });
  return ends;
}

void check_decoding(std::string_view text) {
  std::string output;
  for (std::size_t position = 0; position < text.size();) {
    const mslt::Utf8Result result = mslt::decode_utf8(text, position);
    require(result.length >= 1 && result.length <= 4 && result.length <= text.size() - position);
    if (result.status == mslt::Utf8Status::valid) {
      std::string encoded;
      mslt::append_utf8(encoded, result.code_point);
      require(encoded == text.substr(position, result.length));
    } else {
      require(result.length <= 3 && result.code_point == mslt::replacement_character);
      require(result.status != mslt::Utf8Status::incomplete || position + result.length == text.size());
    }
    position += result.length;
  }
  const std::size_t used = mslt::append_replacing_invalid(text, output);
  require(used <= text.size() && text.size() - used <= 3);
  std::string again;
  require(mslt::append_replacing_invalid(output, again) == output.size() && again == output);
}

void check_splitting(std::string_view text) {
  using mslt::SplitPattern;
  const std::size_t cut = mslt::safe_cut(text);
  require(cut < text.size() || text.empty());
  for (const SplitPattern pattern :
       {SplitPattern::gpt2, SplitPattern::llama3, SplitPattern::qwen2, SplitPattern::o200k}) {
    const mslt::NextPretokens next = mslt::next_pretokens(pattern);
    std::vector<std::size_t> parts = ends_of(next, text.substr(0, cut), 0);
    const std::vector<std::size_t> rest = ends_of(next, text.substr(cut), cut);
    parts.insert(parts.end(), rest.begin(), rest.end());
    require(parts == ends_of(next, text, 0));
  }
}

}  // namespace

// NOLINTNEXTLINE(readability-identifier-naming): the name is libFuzzer's
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  check_decoding(text);
  check_splitting(text);
  // Bytes that are not UTF-8 stay so, which makes NFC idempotent on any text.
  const std::string normal = mslt::normalize_nfc(text);
  require(mslt::normalize_nfc(normal) == normal);
  return 0;
}
