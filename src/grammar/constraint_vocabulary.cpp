// Making the trie of a vocabulary.
#include <algorithm>

#include "grammar/vocabulary_trie.h"

namespace mslt {
namespace {

std::unique_ptr<const ConstraintVocabulary::Trie> make_trie(const Tokenizer& tokenizer, std::int64_t vocab_size) {
  ConstraintVocabulary::Trie trie{.nodes = {}, .tokens = {}, .bytes = {}, .tokenizer = tokenizer};
  trie.bytes.resize(static_cast<std::size_t>(std::max<std::int64_t>(vocab_size, 0)));
  std::vector<std::pair<std::string_view, TokenId>> sorted;
  const auto known = static_cast<TokenId>(std::min<std::size_t>(trie.bytes.size(), tokenizer.vocab_size()));
  for (TokenId id = 0; id < known; ++id) {
    if (!trie.tokenizer.has_token(id) || trie.tokenizer.is_special(id)) continue;
    trie.bytes[id] = trie.tokenizer.token_bytes(id);
    if (!trie.bytes[id].empty()) sorted.emplace_back(trie.bytes[id], id);
  }
  std::sort(sorted.begin(), sorted.end());
  std::vector<std::uint32_t> path;  // the nodes of the last token
  std::string_view last;
  const auto end_path = [&](std::size_t size) {
    for (std::size_t i = size; i < path.size(); ++i)
      trie.nodes[path[i]].end = static_cast<std::uint32_t>(trie.nodes.size());
    path.resize(size);
  };
  for (const auto& [bytes, id] : sorted) {
    const auto [differs, unused] = std::mismatch(last.begin(), last.end(), bytes.begin(), bytes.end());
    const auto shared = static_cast<std::size_t>(differs - last.begin());
    end_path(shared);
    for (std::size_t i = shared; i < bytes.size(); ++i) {
      path.push_back(static_cast<std::uint32_t>(trie.nodes.size()));
      trie.nodes.push_back({.byte = static_cast<std::uint8_t>(bytes[i]),
                            .depth = static_cast<std::uint32_t>(i),
                            .first_token = static_cast<std::uint32_t>(trie.tokens.size())});
    }
    trie.max_depth = std::max(trie.max_depth, static_cast<std::uint32_t>(bytes.size()));
    trie.tokens.push_back(id);
    last = bytes;
  }
  end_path(0);
  trie.nodes.push_back({.first_token = static_cast<std::uint32_t>(trie.tokens.size())});
  return std::make_unique<const ConstraintVocabulary::Trie>(std::move(trie));
}

}  // namespace

ConstraintVocabulary::ConstraintVocabulary(const Tokenizer& tokenizer, std::int64_t vocab_size)
    : trie_(make_trie(tokenizer, vocab_size)) {}
ConstraintVocabulary::~ConstraintVocabulary() = default;

}  // namespace mslt
