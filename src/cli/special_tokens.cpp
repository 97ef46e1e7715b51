// Parsing NAME=ID.
#include "cli/special_tokens.h"

#include <charconv>

#include "base/fail.h"

namespace mslt::cli {

std::vector<SpecialToken> parse_special_tokens(const std::vector<std::string>& texts) {
  std::vector<SpecialToken> tokens;
  for (const std::string& text : texts) {
    const std::size_t equals = text.rfind('=');
    TokenId id = 0;
    bool valid = equals != std::string::npos && equals > 0;
    if (valid) {
      const char* end = text.data() + text.size();
      const auto [stop, error] = std::from_chars(text.data() + equals + 1, end, id);
      valid = error == std::errc() && stop == end;
    }
    if (!valid) {
      fail(ErrorKind::usage, "--special '{}' is not a token with its id; write it as '<|endoftext|>=50256'.", text);
    }
    tokens.push_back({.text = text.substr(0, equals), .id = id});
  }
  return tokens;
}

}  // namespace mslt::cli
