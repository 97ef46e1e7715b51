// Parsing ranks, and turning them into merge rules.
#include "text/tiktoken_file.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>
#include <utility>

#include "base/fail.h"

namespace mslt {
namespace {

constexpr std::uint8_t no_value = 64;

constexpr std::array<std::uint8_t, 256> make_base64_values() {
  std::array<std::uint8_t, 256> values{};
  values.fill(no_value);
  constexpr std::string_view alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  for (std::size_t i = 0; i < alphabet.size(); ++i) {
    values[static_cast<unsigned char>(alphabet[i])] = static_cast<std::uint8_t>(i);
  }
  return values;
}

constexpr std::array<std::uint8_t, 256> base64_values = make_base64_values();

// Finding a token's rules takes time quadratic in its length; the longest in use has 128 bytes.
constexpr std::size_t max_token_bytes = 1024;

// The most missing ranks.
constexpr std::size_t max_gaps = std::size_t{1} << 16;

// RFC 4648 with padding; nothing for invalid input.
std::optional<std::string> decode_base64(std::string_view text) {
  if (text.empty() || text.size() % 4 != 0) return std::nullopt;
  const std::size_t padding = text.ends_with("==") ? 2 : text.ends_with('=') ? 1 : 0;
  std::string bytes;
  std::uint32_t bits = 0;
  for (std::size_t i = 0; i < text.size() - padding; ++i) {
    const std::uint32_t value = base64_values[static_cast<unsigned char>(text[i])];
    if (value == no_value) return std::nullopt;
    bits = (bits << 6) | value;
    // Four characters make three bytes; the first of the four completes none.
    constexpr std::array<unsigned, 4> unread_bits = {0, 4, 2, 0};
    if (i % 4 != 0) bytes.push_back(static_cast<char>((bits >> unread_bits[i % 4]) & 0xFF));
  }
  return bytes;
}

struct Line {
  std::string bytes;
  TokenId rank = 0;
};

std::optional<Line> parse_line(std::string_view line) {
  const std::size_t space = line.find(' ');
  if (space == std::string_view::npos) return std::nullopt;
  auto bytes = decode_base64(line.substr(0, space));
  if (!bytes) return std::nullopt;
  const std::string_view digits = line.substr(space + 1);
  Line result{.bytes = std::move(*bytes)};
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), result.rank);
  if (error != std::errc() || end != digits.data() + digits.size()) return std::nullopt;
  return result;
}

// Removes the next line from `text` and returns it without its line end.
std::string_view take_line(std::string_view& text) {
  const std::size_t end = text.find('\n');
  std::string_view line = text.substr(0, end);
  text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  if (line.ends_with('\r')) line.remove_suffix(1);
  return line;
}

std::vector<SpecialToken> special_tokens_by_count(std::size_t ranks) {
  switch (ranks) {
    case 50256:
    case 50280:
      return {{"<|endoftext|>", 50256}};
    case 100256:
      return {{"<|endoftext|>", 100257},
              {"<|fim_prefix|>", 100258},
              {"<|fim_middle|>", 100259},
              {"<|fim_suffix|>", 100260},
              {"<|endofprompt|>", 100276}};
    case 199998:
      return {{"<|endoftext|>", 199999}, {"<|endofprompt|>", 200018}};
    default:
      return {};
  }
}

// The known special tokens of a file with so many ranks, and the given ones, by id.
std::vector<SpecialToken> special_tokens(std::size_t ranks, std::span<const SpecialToken> given) {
  std::vector<SpecialToken> tokens(given.begin(), given.end());
  for (SpecialToken& known : special_tokens_by_count(ranks)) {
    const auto replaces = [&](const SpecialToken& token) {
      return token.id == known.id || token.text == known.text;
    };
    if (std::none_of(given.begin(), given.end(), replaces)) tokens.push_back(std::move(known));
  }
  std::sort(tokens.begin(), tokens.end(), [](const auto& a, const auto& b) { return a.id < b.id; });
  return tokens;
}

}  // namespace

bool looks_like_tiktoken(std::string_view text) {
  const std::string_view line = take_line(text);
  return line.size() < 4096 && parse_line(line).has_value();
}

TokenizerParts parts_from_tiktoken(std::string_view text, SplitPattern pattern, std::string_view source,
                                   std::span<const SpecialToken> given) {
  TokenizerParts parts;
  parts.whole_tokens_first = true;
  std::vector<Line> lines;
  for (std::size_t number = 1; !text.empty(); ++number) {
    const std::string_view line = take_line(text);
    if (line.empty()) continue;
    auto parsed = parse_line(line);
    if (!parsed) {
      fail(ErrorKind::input, "{}: line {} is not a token in base64, a space and its rank.", source, number);
    }
    if (parsed->bytes.size() > max_token_bytes) {
      fail(ErrorKind::input, "{}: the token in line {} has {} bytes; at most {} are possible.", source, number,
           parsed->bytes.size(), max_token_bytes);
    }
    lines.push_back(std::move(*parsed));
  }
  const std::size_t count = lines.size();
  if (count > max_vocab_size) {
    fail(ErrorKind::input, "{} has {} tokens; at most {} are possible.", source, count, max_vocab_size);
  }
  // Ranks may be missing, but not so many that a short file could request a large table.
  const std::size_t limit = std::min<std::size_t>(count + max_gaps, max_vocab_size);
  for (Line& line : lines) {
    if (line.rank >= limit) {
      fail(ErrorKind::input, "{}: the rank {} is out of range; {} tokens may have ranks from 0 to {}.", source,
           line.rank, count, limit - 1);
    }
    if (line.rank >= parts.tokens.size()) parts.tokens.resize(std::size_t{line.rank} + 1);
    if (!parts.tokens[line.rank].empty()) fail(ErrorKind::input, "{}: the rank {} is given twice.", source, line.rank);
    parts.tokens[line.rank] = std::move(line.bytes);
  }
  std::vector<TokenId> ids;
  for (TokenId id = 0; id < parts.tokens.size(); ++id) {
    if (!parts.tokens[id].empty()) ids.push_back(id);
  }
  const std::size_t ranks = parts.tokens.size();
  {
    const TokenIndex index(parts.tokens, ids);
    for (const TokenId id : ids) {
      if (const TokenId first = index.find(parts.tokens[id]); first != id) {
        fail(ErrorKind::input, "{}: the ranks {} and {} are the same token.", source, first, id);
      }
    }
    for (unsigned byte = 0; byte < 256; ++byte) {
      if (index.find(std::string(1, static_cast<char>(byte))) == TokenIndex::no_token) {
        fail(ErrorKind::input, "{}: no token is the single byte 0x{:02X}; each of the 256 bytes must be a token.",
             source, byte);
      }
    }
  }
  parts.merges = merges_from_ranks(std::span(parts.tokens).first(ranks));
  for (const SpecialToken& token : special_tokens(count, given)) {
    if (token.id >= max_vocab_size) {
      fail(ErrorKind::usage, "The special token \"{}\" has the id {}; ids up to {} are possible.", token.text, token.id,
           max_vocab_size - 1);
    }
    if (token.id >= parts.tokens.size()) parts.tokens.resize(std::size_t{token.id} + 1);
    if (!parts.tokens[token.id].empty()) {
      fail(ErrorKind::usage, "{}: the id {} of the special token \"{}\" is another token's; name an id without one.",
           source, token.id, token.text);
    }
    parts.tokens[token.id] = token.text;
    parts.added.push_back({.text = token.text, .id = token.id});
  }
  parts.pre_tokenizer = PreTokenizer({split_by_pattern(pattern)});
  return parts;
}

std::vector<MergeRule> merges_from_ranks(std::span<const std::string> tokens) {
  std::vector<TokenId> ids;
  for (TokenId id = 0; id < tokens.size(); ++id) {
    if (!tokens[id].empty()) ids.push_back(id);
  }
  const TokenIndex index(tokens, ids);
  std::vector<MergeRule> all;
  std::vector<MergeRule> single;
  bool all_reachable = true;
  std::vector<TokenId> parts;
  for (const TokenId id : ids) {
    const std::string_view bytes = tokens[id];
    if (bytes.size() < 2) continue;
    for (std::size_t cut = 1; cut < bytes.size(); ++cut) {
      const TokenId left = index.find(bytes.substr(0, cut));
      if (left == TokenIndex::no_token) continue;
      const TokenId right = index.find(bytes.substr(cut));
      if (right != TokenIndex::no_token) all.push_back({.left = left, .right = right, .result = id, .rank = id});
    }
    if (!all_reachable) continue;
    // Merges the token's own bytes by the ranks below its own: two parts must remain.
    parts.clear();
    for (std::size_t i = 0; i < bytes.size(); ++i) parts.push_back(index.find(bytes.substr(i, 1)));
    while (parts.size() > 2) {
      TokenId lowest = id;
      std::size_t at = 0;
      std::size_t offset = 0;
      for (std::size_t i = 0; i + 1 < parts.size(); ++i) {
        if (parts[i] == TokenIndex::no_token || parts[i + 1] == TokenIndex::no_token) break;
        const std::size_t size = tokens[parts[i]].size() + tokens[parts[i + 1]].size();
        const TokenId joined = index.find(bytes.substr(offset, size));
        if (joined < lowest) {
          lowest = joined;
          at = i;
        }
        offset += tokens[parts[i]].size();
      }
      if (lowest == id) break;
      parts[at] = lowest;
      parts.erase(parts.begin() + static_cast<std::ptrdiff_t>(at) + 1);
    }
    all_reachable = parts.size() == 2 && parts[0] < id && parts[1] < id;
    if (all_reachable) single.push_back({.left = parts[0], .right = parts[1], .result = id, .rank = id});
  }
  return all_reachable ? single : all;
}

}  // namespace mslt
