// Tests of encoding: the three merge algorithms against a plain one, the cache, concurrent use.
#include "text/bpe_encode.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <set>
#include <utility>

#include "base/joining_thread.h"
#include "base/philox.h"
#include "text/character_links.h"

namespace mslt {
namespace {

// A vocabulary over the letters a to c, or over other bytes, with random merges.
struct RandomVocabulary {
  // Rules that make `first` whole come before random ones.
  RandomVocabulary(std::uint64_t seed, std::size_t merges, bool rising, std::vector<TokenId> usable = {'a', 'b', 'c'},
                   const std::vector<std::string>& first = {})
      : random(seed, 0, 0) {
    for (unsigned byte = 0; byte < 256; ++byte) {
      tokens.emplace_back(1, static_cast<char>(byte));
      byte_tokens[byte] = byte;
    }
    for (const std::string& text : first) {
      TokenId left = static_cast<unsigned char>(text.front());
      for (const char byte : text.substr(1)) {
        const auto same = std::ranges::find(tokens, tokens[left] + byte);
        const bool is_new = same == tokens.end();
        left = is_new ? add_rule(left, static_cast<unsigned char>(byte)) : static_cast<TokenId>(same - tokens.begin());
        if (is_new) usable.push_back(left);
      }
    }
    add_random_rules(merges, usable);
    if (!rising) shuffle_ranks();
  }

  TokenId add_rule(TokenId left, TokenId right) {
    const auto id = static_cast<TokenId>(tokens.size());
    rules.push_back({.left = left, .right = right, .result = id, .rank = static_cast<std::uint32_t>(rules.size())});
    tokens.push_back(tokens[left] + tokens[right]);
    known.insert(tokens.back());
    return id;
  }

  // Rules that join tokens of `usable` and those that they make.
  void add_random_rules(std::size_t count, std::vector<TokenId> usable) {
    count += rules.size();
    while (rules.size() < count) {
      const TokenId left = usable[random.below(usable.size())];
      const TokenId right = usable[random.below(usable.size())];
      const std::string bytes = tokens[left] + tokens[right];
      if (bytes.size() <= 12 && !known.contains(bytes)) usable.push_back(add_rule(left, right));
    }
  }

  // For each token, rules of the same rank for other pairs that make it.
  void add_other_pairs() {
    std::vector<MergeRule> all;
    for (const MergeRule& rule : rules) {
      all.push_back(rule);
      for (TokenId left = 0; left < tokens.size(); ++left) {
        if (left == rule.left || !tokens[rule.result].starts_with(tokens[left])) continue;
        const auto right = std::ranges::find(tokens, tokens[rule.result].substr(tokens[left].size()));
        if (right == tokens.end()) continue;
        all.push_back(rule);
        all.back().left = left;
        all.back().right = static_cast<TokenId>(right - tokens.begin());
      }
    }
    rules = all;
  }

  void shuffle_ranks() {
    for (std::size_t i = rules.size(); i > 1; --i) std::swap(rules[i - 1].rank, rules[random.below(i)].rank);
  }

  BpeEncoder encoder() const { return BpeEncoder({.byte_tokens = byte_tokens}, rules, tokens, {}); }

  std::string text(std::size_t size) {
    std::string result;
    // Occasional long runs, in which the order of merging matters.
    while (result.size() < size) result.append(random.below(4) == 0 ? random.below(9) + 1 : 1, "abcd"[random.below(4)]);
    result.resize(size);
    return result;
  }

  std::array<TokenId, 256> byte_tokens{};
  std::vector<std::string> tokens;
  std::vector<MergeRule> rules;
  std::set<std::string> known;  // that rules make
  PhiloxStream random;
};

// The definition: repeatedly merge the leftmost pair of the lowest rank.
std::vector<TokenId> merge_plainly(const RandomVocabulary& vocabulary, std::string_view piece) {
  std::vector<TokenId> ids;
  for (const char byte : piece) ids.push_back(static_cast<unsigned char>(byte));
  while (true) {
    const MergeRule* best = nullptr;
    std::size_t at = 0;
    for (std::size_t i = 0; i + 1 < ids.size(); ++i) {
      for (const MergeRule& rule : vocabulary.rules) {
        if (rule.left == ids[i] && rule.right == ids[i + 1] && (best == nullptr || rule.rank < best->rank)) {
          best = &rule;
          at = i;
        }
      }
    }
    if (best == nullptr) return ids;
    ids[at] = best->result;
    ids.erase(ids.begin() + static_cast<std::ptrdiff_t>(at) + 1);
  }
}

TEST(BpeEncode, AllAlgorithmsFollowTheDefinition) {
  for (std::uint64_t seed = 0; seed < 60; ++seed) {
    const bool rising = seed % 2 == 0;
    RandomVocabulary vocabulary(seed, 5 + seed, rising);
    const BpeEncoder encoder = vocabulary.encoder();
    EXPECT_TRUE(encoder.ranks_rise() || !rising);
    for (std::size_t size = 1; size < 200; size += size == 63 ? 1 : 1 + size / 3) {
      const std::string text = vocabulary.text(size);
      const std::vector<TokenId> expected = merge_plainly(vocabulary, text);
      std::vector<TokenId> ids;
      if (text.size() <= BpeEncoder::max_few) {
        encoder.merge_by_scanning(encoder.symbols_of(text), ids);
        EXPECT_EQ(ids, expected) << "scanning, seed " << seed << ", " << text;
      }
      ids.clear();
      encoder.merge_by_heap(encoder.symbols_of(text), ids);
      EXPECT_EQ(ids, expected) << "heap, seed " << seed << ", " << text;
      if (!encoder.ranks_rise()) continue;
      ids.clear();
      encoder.merge_by_buckets(encoder.symbols_of(text), ids);
      EXPECT_EQ(ids, expected) << "buckets, seed " << seed << ", " << text;
    }
  }
}

// Tables of all sizes, of both kinds of slots: they find each pair's first rule and nothing else, also among pairs that
// share one side with a rule, and for the highest ids.
TEST(MergeTable, FindsTheFirstRuleOfAPairAndNoOther) {
  PhiloxStream random(5, 0, 0);
  for (const TokenId highest : {20400u, 0xFFFFFEu, 0xFFFFFFu, 0xFFFFFFFEu}) {
    for (std::size_t count = 1; count < 20000; count = count * 5 / 3 + 1) {
      const auto any_id = [&] {
        return static_cast<TokenId>(random.below(2) == 0 ? random.below(200) : highest - random.below(200));
      };
      std::vector<MergeRule> rules;
      std::map<std::pair<TokenId, TokenId>, std::uint32_t> first;
      for (std::uint32_t i = 0; i < count; ++i) {
        const TokenId result = i + 1 == count ? highest : i;
        rules.push_back({.left = any_id(), .right = any_id(), .result = result, .rank = 3 * i});
        first.try_emplace({rules.back().left, rules.back().right}, result);
      }
      rules = ranked_by_result(rules);
      ASSERT_EQ(rules.back().rank, highest);
      const MergeTable table(rules);
      for (int i = 0; i < 20000; ++i) {
        const std::pair pair(any_id(), any_id());
        const auto rule = first.find(pair);
        const MergeTable::Merge merge = table.find(pair.first, pair.second);
        ASSERT_EQ(merge.rank, rule == first.end() ? MergeTable::no_rank : rule->second) << highest << ' ' << count;
        if (rule != first.end()) {
          ASSERT_EQ(merge.result, rule->second);
        }
        ASSERT_EQ(table.find_rare(pair.first, pair.second).rank, merge.rank);
      }
    }
  }
}

TEST(MergeTable, RanksBecomeResultsOnlyIfTheOrderStays) {
  const std::vector<MergeRule> rising = {{1, 2, 9, 0}, {3, 4, 9, 0}, {5, 6, 11, 4}};
  EXPECT_EQ(ranked_by_result(rising), (std::vector<MergeRule>{{1, 2, 9, 9}, {3, 4, 9, 9}, {5, 6, 11, 11}}));
  for (const std::vector<MergeRule>& others : {std::vector<MergeRule>{{1, 2, 9, 0}, {3, 4, 8, 1}},
                                               {{1, 2, 9, 0}, {3, 4, 9, 1}},
                                               {{1, 2, 9, 0}, {3, 4, 10, 0}},
                                               {{1, 2, 9, 1}, {3, 4, 8, 0}}}) {
    EXPECT_EQ(ranked_by_result(others), others);
  }
}

// Over the bytes of U+4E2D, U+4E38 and U+0438, with merges inside characters, across their ends and of later rank:
// where merging starts from a whole character, it ends as if it had started from bytes. Also in invalid
// UTF-8, such as a form of U+0438 that is too long.
TEST(BpeEncode, MergingFromCharactersFollowsTheDefinition) {
  constexpr std::string_view bytes = "\xE4\xB8\xAD\xD0 ";
  const std::array<std::string_view, 7> words = {"\u4E2D", "\u4E38", "\u0438", " ", "\xB8", "\xE4\xB8", "\xE0\x90\xB8"};
  std::size_t saved = 0;
  std::size_t left = 0;
  for (std::uint64_t seed = 0; seed < 150; ++seed) {
    std::vector<TokenId> usable;
    for (const char byte : bytes) usable.push_back(static_cast<unsigned char>(byte));
    RandomVocabulary vocabulary(seed, 3 + seed / 3, seed % 2 == 0, usable);
    const BpeEncoder encoder = vocabulary.encoder();
    for (int i = 0; i < 20; ++i) {
      std::string text;
      for (int word = 0; word < 10; ++word) text += words[vocabulary.random.below(words.size())];
      const std::vector<TokenId> symbols = encoder.symbols_of(text);
      saved += text.size() - symbols.size();
      left += symbols.size();
      std::vector<TokenId> ids;
      encoder.merge_by_scanning(symbols, ids);
      ASSERT_EQ(ids, merge_plainly(vocabulary, text)) << "seed " << seed << ", " << testing::PrintToString(text);
    }
  }
  EXPECT_GT(saved, 200u);
  EXPECT_GT(left, 1000u);
}

// Pieces of many parts that no rule joins, in characters of one to four bytes, some of them cut off, and of all lengths
// around those of a block of symbols and of a part. Merging each part by itself gives what merging the whole does.
TEST(BpeEncode, MergingPartsFollowsTheDefinition) {
  constexpr std::string_view bytes = "\xE4\xB8\xAD\xD0\xD1\xBE\x81 ab";
  const std::array<std::string_view, 12> words = {"\u4E2D", "\u4E38", "\u4E3E", "\u043E",   "\u0438", "\u0441",
                                                  " ",      "a",      "b",      "\xE4\xB8", "\xBE",   "\U0001F600"};
  const NextPretokens all = [](std::string_view text, std::size_t, PretokenEnds& ends) {
    ends[0] = text.size();
    return std::size_t{1};
  };
  std::size_t starts = 0;
  for (std::uint64_t seed = 0; seed < 120; ++seed) {
    std::vector<TokenId> usable;
    for (const char byte : bytes) usable.push_back(static_cast<unsigned char>(byte));
    const std::vector<std::string> first = {"\u4E2D", "\u0438", "\u4E3E", "\u043E"};
    RandomVocabulary vocabulary(seed, 3 + seed, seed % 3 != 0, usable,
                                seed % 2 == 0 ? first : std::vector<std::string>());
    const BpeEncoder encoder = vocabulary.encoder();
    for (std::size_t size = 1; size < 150; size += 1 + size / 4) {
      std::string text;
      for (std::size_t word = 0; word < size; ++word) text += words[vocabulary.random.below(words.size())];
      std::vector<TokenId> ids;
      encoder.encode(text, all, ids);
      ASSERT_EQ(ids, merge_plainly(vocabulary, text)) << "seed " << seed << ", " << testing::PrintToString(text);
      starts += encoder.parts_of(text);
    }
  }
  EXPECT_GT(starts, 10000u);
}

// Characters that are whole before any rule joins them, and rules over up to four of them. Runs of them are cut into
// pieces of up to 30 bytes, with short pieces between, many of which are merged together; others are longer than a
// block of symbols. Also with ranks in any order, and with a whole token.
TEST(BpeEncode, MergingPairsOfCharactersFollowsTheDefinition) {
  const std::vector<std::string> characters = {"\u4E2D", "\u4E38", "\u4E3E", "\u4E2E", "\u4E2F", "\u0438"};
  const NextPretokens next = [](std::string_view text, std::size_t begin, PretokenEnds& ends) {
    std::size_t count = 0;
    while (count < ends.size() && begin < text.size()) {
      begin = text[begin] == ',' ? begin + 1 : std::min({text.find(',', begin), begin + 30, text.size()});
      ends[count++] = begin;
    }
    return count;
  };
  const NextPretokens all = [](std::string_view text, std::size_t, PretokenEnds& ends) {
    ends[0] = text.size();
    return std::size_t{1};
  };
  const std::string whole = "\u4E2D\u4E2D\u4E38\u4E2D\u4E2D";
  for (std::uint64_t seed = 0; seed < 120; ++seed) {
    RandomVocabulary vocabulary(seed, 0, true, {}, characters);
    std::vector<TokenId> usable;
    for (const std::string& character : characters) {
      usable.push_back(
          static_cast<TokenId>(std::ranges::find(vocabulary.tokens, character) - vocabulary.tokens.begin()));
    }
    vocabulary.add_random_rules(5 + seed, usable);
    if (seed % 4 == 2) vocabulary.add_other_pairs();
    if (seed % 4 == 3) vocabulary.shuffle_ranks();
    const bool has_whole = seed % 5 == 4;
    std::vector<std::string> tokens = vocabulary.tokens;
    tokens.push_back(whole);
    const std::array<TokenId, 1> whole_id = {static_cast<TokenId>(tokens.size() - 1)};
    const BpeEncoder encoder({.byte_tokens = vocabulary.byte_tokens}, vocabulary.rules, tokens,
                             std::span(whole_id).first(has_whole ? 1 : 0));
    const auto text_of = [&](std::size_t count) {
      std::string text;
      for (std::size_t i = 0; i < count; ++i) {
        // Runs of the same character, in which the order of merging matters.
        const std::string& character = characters[vocabulary.random.below(vocabulary.random.below(9) == 0 ? 6 : 5)];
        for (int times = vocabulary.random.below(8) == 0 ? 3 : 1; times > 0; --times) text += character;
        if (vocabulary.random.below(9) == 0) text += vocabulary.random.below(2) == 0 ? "," : "," + whole + ",";
      }
      return text;
    };
    for (const std::size_t count : {1, 2, 3, 4, 7, 20, 50, 500}) {
      const std::string text = text_of(count);
      std::vector<TokenId> expected;
      for_each_pretoken(text, next, [&](std::size_t begin, std::size_t end) {
        const std::string piece = text.substr(begin, end - begin);
        const auto merged =
            has_whole && piece == whole ? std::vector<TokenId>(1, whole_id[0]) : merge_plainly(vocabulary, piece);
        expected.insert(expected.end(), merged.begin(), merged.end());
      });
      std::vector<TokenId> ids;
      encoder.encode(text, next, ids);
      ASSERT_EQ(ids, expected) << "seed " << seed << ", " << text;
    }
    for (const std::size_t count : {169, 170, 171, 172, 510, 511, 512, 513, 514, 1200}) {
      std::string piece;
      while (piece.size() < 3 * count) piece += characters[vocabulary.random.below(5)];
      std::vector<TokenId> expected;
      encoder.merge_by_heap(encoder.symbols_of(piece), expected);
      std::vector<TokenId> ids;
      encoder.encode(piece, all, ids);
      ASSERT_EQ(ids, expected) << "seed " << seed << ", " << piece;
    }
  }
}

TEST(CharacterLinks, FindsEachPairAndNoOther) {
  PhiloxStream random(7, 0, 0);
  for (std::size_t count = 0; count < 60000; count = count * 2 + 1) {
    std::map<std::uint32_t, CharacterLinks::Link> links;
    const auto any_pair = [&] {
      return CharacterLinks::pair_of(static_cast<std::uint32_t>(0x4E00 + random.below(400)),
                                     static_cast<std::uint32_t>(random.below(400)));
    };
    while (links.size() < count)
      links.try_emplace(any_pair(), static_cast<CharacterLinks::Link>(random.below(1 << 30)));
    std::vector<CharacterLinks::Entry> entries;
    for (const auto& [pair, link] : links) entries.push_back({.pair = pair, .link = link});
    const CharacterLinks table(entries);
    const auto expect_right = [&](std::uint32_t pair) {
      const auto link = links.find(pair);
      ASSERT_EQ(table.find(pair >> 16, pair & 0xFFFF), link == links.end() ? CharacterLinks::none : link->second)
          << count << ' ' << pair;
    };
    for (const auto& [pair, link] : links) expect_right(pair);
    for (int i = 0; i < 20000; ++i) expect_right(any_pair());
  }
}

TEST(CharacterLinks, AreUnknownIfPairsCannotBePlaced) {
  const std::uint32_t pair = CharacterLinks::pair_of(0x4E2D, 0x4E38);
  const CharacterLinks table(std::vector<CharacterLinks::Entry>{{pair, 4}, {pair, 6}});
  EXPECT_EQ(table.find(0x4E2D, 0x4E38), CharacterLinks::unknown);
  EXPECT_EQ(table.find(0x4E38, 0x4E2D), CharacterLinks::unknown);
  EXPECT_EQ(table.find(1, 0), CharacterLinks::unknown);
}

TEST(BpeEncode, BucketsAndHeapAgreeOnLongPieces) {
  RandomVocabulary vocabulary(3, 300, true);
  const BpeEncoder encoder = vocabulary.encoder();
  for (const std::string& text : {vocabulary.text(50000), std::string(100000, 'a'), std::string(99999, 'b')}) {
    std::vector<TokenId> by_buckets;
    std::vector<TokenId> by_heap;
    encoder.merge_by_buckets(encoder.symbols_of(text), by_buckets);
    encoder.merge_by_heap(encoder.symbols_of(text), by_heap);
    EXPECT_EQ(by_buckets, by_heap);
  }
}

TEST(BpeEncode, RanksRiseOnlyWhereNoTokenIsMadeOfALaterOne) {
  const RandomVocabulary vocabulary(1, 10, true);
  auto rules = vocabulary.rules;
  // After the swap of ranks, the last merge that uses an earlier one's result comes before it.
  const auto child = std::find_if(rules.begin(), rules.end(), [](const auto& rule) { return rule.left >= 256; });
  ASSERT_NE(child, rules.end());
  std::swap(child->rank, rules[child->left - 256].rank);
  EXPECT_FALSE(BpeEncoder({.byte_tokens = vocabulary.byte_tokens}, rules, vocabulary.tokens, {}).ranks_rise());
}

// Every length around the cache's limits and the switch of algorithms. Each pre-token occurs twice, so the second one
// comes from the cache; also at the very end of the text, where a key cannot be read at once.
TEST(BpeEncode, CachedPretokensComeOutAsUncachedOnes) {
  RandomVocabulary vocabulary(5, 40, true);
  const BpeEncoder encoder = vocabulary.encoder();
  const NextPretokens next = [](std::string_view text, std::size_t begin, PretokenEnds& ends) {
    ends[0] = std::min(text.find('d', begin), text.size() - 1) + 1;
    return std::size_t{1};
  };
  for (std::size_t size = 1; size < 130; ++size) {
    std::string piece = vocabulary.text(size);
    std::replace(piece.begin(), piece.end(), 'd', 'a');
    piece.back() = 'd';
    const std::string text = piece + piece + piece;
    std::vector<TokenId> once;
    encoder.merge_by_heap(encoder.symbols_of(piece), once);
    std::vector<TokenId> expected;
    for (int i = 0; i < 3; ++i) expected.insert(expected.end(), once.begin(), once.end());
    for (int i = 0; i < 2; ++i) {
      std::vector<TokenId> ids;
      encoder.encode(text, next, ids);
      EXPECT_EQ(ids, expected) << size;
    }
  }
}

TEST(BpeEncode, WholeTokensComeFirst) {
  const RandomVocabulary vocabulary(5, 3, true);
  auto tokens = vocabulary.tokens;
  tokens.emplace_back("abcabcabcabcabcabc");
  const std::array<TokenId, 1> whole = {static_cast<TokenId>(tokens.size() - 1)};
  const NextPretokens all = [](std::string_view text, std::size_t, PretokenEnds& ends) {
    ends[0] = text.size();
    return std::size_t{1};
  };
  std::vector<TokenId> ids;
  BpeEncoder({.byte_tokens = vocabulary.byte_tokens}, vocabulary.rules, tokens, whole).encode(tokens.back(), all, ids);
  EXPECT_EQ(ids, std::vector<TokenId>(whole.begin(), whole.end()));
  ids.clear();
  BpeEncoder({.byte_tokens = vocabulary.byte_tokens}, vocabulary.rules, tokens, {}).encode(tokens.back(), all, ids);
  EXPECT_EQ(ids, merge_plainly(vocabulary, tokens.back()));
}

TEST(BpeEncode, ThreadsShareAnEncoder) {
  RandomVocabulary vocabulary(7, 100, true);
  const BpeEncoder encoder = vocabulary.encoder();
  const NextPretokens next = [](std::string_view text, std::size_t begin, PretokenEnds& ends) {
    ends[0] = std::min(text.find('d', begin), text.size() - 1) + 1;
    return std::size_t{1};
  };
  const std::string text = vocabulary.text(20000);
  std::vector<TokenId> expected;
  encoder.encode(text, next, expected);
  // More threads than the pool has slots.
  std::vector<std::vector<TokenId>> ids(24);
  {
    std::vector<JoiningThread> threads;
    for (auto& mine : ids) {
      threads.emplace_back([&] {
        for (int i = 0; i < 3; ++i) {
          mine.clear();
          encoder.encode(text, next, mine);
        }
      });
    }
  }
  for (const auto& mine : ids) EXPECT_EQ(mine, expected);
}

}  // namespace
}  // namespace mslt
