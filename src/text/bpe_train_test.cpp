// Tests of training: counting in blocks and on threads, merges against a plain trainer, options and bad input.
#include "text/bpe_train.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <map>

#include "base/file.h"
#include "base/philox.h"
#include "mslt/error.h"
#include "mslt/tokenizer.h"

namespace mslt {
namespace {

std::filesystem::path write_temporary(const std::string& name, std::string_view text) {
  const std::filesystem::path path = std::filesystem::path(testing::TempDir()) / ("mslt_train_" + name);
  write_file(path, text);
  return path;
}

std::string random_text(std::uint64_t seed, std::size_t words) {
  PhiloxStream random(seed, 0, 0);
  std::string text;
  for (std::size_t i = 0; i < words; ++i) {
    const std::size_t size = random.below(6) + 1;
    for (std::size_t j = 0; j < size; ++j) text.push_back("aaabbcé1"[random.below(9)]);
    text += random.below(8) == 0 ? "\n" : " ";
  }
  return text;
}

std::map<std::string, std::uint64_t> as_map(const PretokenCounts& counts) {
  std::map<std::string, std::uint64_t> map;
  for (const auto& entry : counts.entries()) map[std::string(counts.bytes_of(entry))] = entry.count;
  return map;
}

template <class Call>
Error error_of(Call&& call) {
  try {
    call();
  } catch (const Error& error) {
    return error;
  }
  ADD_FAILURE() << "nothing was thrown";
  return {ErrorKind::usage, ""};
}

// The definition: count all pairs anew, take the most frequent, among those the smallest (left, right), replace it.
std::vector<std::pair<TokenId, TokenId>> train_plainly(const std::map<std::string, std::uint64_t>& counts,
                                                       const std::array<TokenId, 256>& byte_tokens, TokenId first_id,
                                                       std::size_t merges, std::uint64_t min_frequency) {
  std::vector<std::pair<std::vector<TokenId>, std::uint64_t>> words;
  for (const auto& [text, count] : counts) {
    std::vector<TokenId> ids;
    for (const char byte : text) ids.push_back(byte_tokens[static_cast<unsigned char>(byte)]);
    words.emplace_back(std::move(ids), count);
  }
  std::vector<std::pair<TokenId, TokenId>> result;
  while (result.size() < merges) {
    std::map<std::pair<TokenId, TokenId>, std::uint64_t> pairs;
    for (const auto& [ids, count] : words) {
      for (std::size_t i = 0; i + 1 < ids.size(); ++i) pairs[{ids[i], ids[i + 1]}] += count;
    }
    const auto best =
        std::max_element(pairs.begin(), pairs.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
    if (best == pairs.end() || best->second < min_frequency) break;
    const auto made = static_cast<TokenId>(first_id + result.size());
    result.push_back(best->first);
    for (auto& [ids, count] : words) {
      for (std::size_t i = 0; i + 1 < ids.size(); ++i) {
        if (std::pair(ids[i], ids[i + 1]) != result.back()) continue;
        ids[i] = made;
        ids.erase(ids.begin() + static_cast<std::ptrdiff_t>(i) + 1);
      }
    }
  }
  return result;
}

TEST(BpeTrain, MergesFollowTheDefinition) {
  for (const SplitPattern pattern : {SplitPattern::gpt2, SplitPattern::none}) {
    for (std::uint64_t seed = 0; seed < 12; ++seed) {
      const PretokenCounts counts = count_pretokens(random_text(seed, 60 + 40 * seed), {.pattern = pattern});
      MergeOptions options{.merges = 60, .min_frequency = 1 + seed % 3, .first_id = 300};
      // Ids in reverse order of the bytes: ties go by id.
      for (unsigned byte = 0; byte < 256; ++byte) options.byte_tokens[byte] = 299 - byte;
      std::vector<std::pair<TokenId, TokenId>> learned;
      for (const MergeRule& rule : learn_merges(counts, options)) {
        EXPECT_EQ(rule.rank, learned.size());
        EXPECT_EQ(rule.result, 300 + learned.size());
        learned.emplace_back(rule.left, rule.right);
      }
      EXPECT_EQ(learned, train_plainly(as_map(counts), options.byte_tokens, 300, 60, options.min_frequency));
      EXPECT_GT(learned.size(), 20u);
    }
  }
}

TEST(BpeTrain, CountsDoNotDependOnBlocksOrThreads) {
  const std::string text = random_text(1, 5000) + "  \n\n x \xFF\xE2\x82 y";
  const auto file = write_temporary("blocks.txt", text);
  for (const SplitPattern pattern :
       {SplitPattern::none, SplitPattern::gpt2, SplitPattern::llama3, SplitPattern::qwen2, SplitPattern::o200k}) {
    const auto expected = as_map(count_pretokens(text, {.pattern = pattern, .block_bytes = text.size()}));
    for (const int threads : {1, 3}) {
      for (const std::size_t block_bytes : {1, 64, 1000, 1 << 20}) {
        const CountOptions options{.pattern = pattern, .threads = threads, .block_bytes = block_bytes};
        EXPECT_EQ(as_map(count_pretokens(text, options)), expected) << block_bytes;
        EXPECT_EQ(as_map(count_pretokens(std::span(&file, 1), options)), expected) << block_bytes;
      }
    }
  }
}

TEST(BpeTrain, CountsOver32BitsAreRight) {
  PretokenCounts counts;
  counts.add("ab", std::uint64_t{1} << 40);
  counts.add("cd", (std::uint64_t{1} << 40) + 1);
  MergeOptions options{.merges = 1, .first_id = 256};
  for (unsigned byte = 0; byte < 256; ++byte) options.byte_tokens[byte] = byte;
  const auto rules = learn_merges(counts, options);
  ASSERT_EQ(rules.size(), 1u);
  EXPECT_EQ(rules[0].left, TokenId{'c'});
  counts.add("ab", UINT64_MAX - (std::uint64_t{1} << 41));
  EXPECT_EQ(error_of([&] { learn_merges(counts, options); }).kind(), ErrorKind::input);
  EXPECT_EQ(error_of([&] { counts.add("ab", UINT64_MAX); }).kind(), ErrorKind::input);
}

TEST(BpeTrain, NoPretokenCrossesFiles) {
  const std::vector<std::filesystem::path> files = {write_temporary("a.txt", "hello"), write_temporary("empty.txt", ""),
                                                    write_temporary("b.txt", "world")};
  EXPECT_EQ(as_map(count_pretokens(files, {})), (std::map<std::string, std::uint64_t>{{"hello", 1}, {"world", 1}}));
}

TEST(BpeTrain, TheVocabularyIsTheSameOnAnyNumberOfThreads) {
  const auto file = write_temporary("threads.txt", random_text(2, 200000));
  TokenizerTrainOptions options{.vocab_size = 600, .threads = 1};
  const std::string expected = Tokenizer::train(std::span(&file, 1), options).to_json();
  for (const int threads : {0, 2, 7}) {
    options.threads = threads;
    EXPECT_EQ(Tokenizer::train(std::span(&file, 1), options).to_json(), expected);
  }
}

TEST(BpeTrain, IdsAreSpecialTokensThenBytesThenMerges) {
  const Tokenizer tokenizer =
      Tokenizer::train_on_text("hello hello hello", {.vocab_size = 260, .special = {"<s>", "</s>"}});
  EXPECT_EQ(tokenizer.vocab_size(), 260u);
  EXPECT_EQ(tokenizer.token_bytes(0), "<s>");
  EXPECT_EQ(tokenizer.token_bytes(1), "</s>");
  EXPECT_EQ(tokenizer.token_bytes(2), "!");
  EXPECT_EQ(tokenizer.token_bytes(2 + 188), std::string_view("\0", 1));
  EXPECT_EQ(tokenizer.token_bytes(257), "\xAD");
  EXPECT_EQ(tokenizer.token_bytes(258), "el");
  EXPECT_EQ(tokenizer.bos_id(), TokenId{0});
  EXPECT_EQ(tokenizer.eos_id(), TokenId{1});
  EXPECT_EQ(tokenizer.pad_id(), std::nullopt);
}

// No merge may spell a special token, since both would have the same entry in the file's vocabulary.
TEST(BpeTrain, MergesNeverMakeASpecialToken) {
  std::string text;
  for (int i = 0; i < 100; ++i) text += "EOSEOSxEOS";
  const Tokenizer tokenizer = Tokenizer::train_on_text(
      text, {.vocab_size = 264, .pattern = SplitPattern::none, .special = {"EOS"}, .min_frequency = 1});
  for (TokenId id = 1; id < tokenizer.vocab_size(); ++id) EXPECT_NE(tokenizer.token_bytes(id), "EOS");
  for (const TokenId id : tokenizer.encode(text)) EXPECT_NE(id, 0u);
  EXPECT_EQ(Tokenizer::from_json(tokenizer.to_json(), "again").encode(text), tokenizer.encode(text));
}

TEST(BpeTrain, TooSmallATextNamesTheLargestVocabulary) {
  const Error error = error_of([] { Tokenizer::train_on_text("hello hello", {.vocab_size = 1000}); });
  EXPECT_EQ(error.kind(), ErrorKind::input);
  // ell, hello: el, lo or ll; in all four merges make "hello".
  EXPECT_NE(std::string(error.what()).find("at most 263"), std::string::npos) << error.what();
  EXPECT_EQ(Tokenizer::train_on_text("hello hello", {.vocab_size = 263}).vocab_size(), 263u);
}

TEST(BpeTrain, RejectsBadInput) {
  const auto train = [](const std::filesystem::path& path) {
    return error_of([&] { Tokenizer::train(std::span(&path, 1), {.vocab_size = 300}); });
  };
  const Error empty = train(write_temporary("none.txt", ""));
  EXPECT_EQ(empty.kind(), ErrorKind::input);
  EXPECT_NE(std::string(empty.what()).find("is empty"), std::string::npos);
  const Error missing = train("/nonexistent/corpus.txt");
  EXPECT_EQ(missing.kind(), ErrorKind::io);
  EXPECT_NE(std::string(missing.what()).find("corpus.txt"), std::string::npos);
  const Error folder = train(testing::TempDir());
  EXPECT_EQ(folder.kind(), ErrorKind::io);
  const Error binary = train(write_temporary("binary.bin", std::string_view("\x7F"
                                                                            "ELF\x01\0\0\0",
                                                                            8)));
  EXPECT_EQ(binary.kind(), ErrorKind::input);
  EXPECT_NE(std::string(binary.what()).find("byte 5 is NUL"), std::string::npos) << binary.what();
}

TEST(BpeTrain, PassesOverFilesThatAreNoText) {
  const std::string late = std::string(100'000, 'a') + std::string(1, '\0');
  const std::vector<std::filesystem::path> files = {write_temporary("passed_empty.txt", ""),
                                                    write_temporary("passed_text.txt", "some words and some more"),
                                                    write_temporary("passed_late.bin", late)};
  std::vector<std::string> skipped;
  TokenizerTrainOptions options{.vocab_size = 262, .min_frequency = 1};
  options.on_skip = [&](std::string_view message) {
    skipped.emplace_back(message);
  };
  const Tokenizer tokenizer = Tokenizer::train(files, options);
  EXPECT_EQ(tokenizer.to_json(), Tokenizer::train_on_text("some words and some more", options).to_json());
  ASSERT_EQ(skipped.size(), 2u);
  EXPECT_NE(skipped[1].find("byte 100000 is NUL"), std::string::npos) << skipped[1];
  options.strict = true;
  options.threads = 4;
  for (int i = 0; i < 20; ++i) {
    const Error strict = error_of([&] { Tokenizer::train(files, options); });
    EXPECT_NE(std::string(strict.what()).find("passed_empty.txt is empty"), std::string::npos) << strict.what();
  }
  const Error none = error_of([&] { Tokenizer::train(std::vector{files[0], files[2]}, {.vocab_size = 262}); });
  EXPECT_NE(std::string(none.what()).find("None of the 2 files"), std::string::npos) << none.what();
}

TEST(BpeTrain, RejectsBadOptions) {
  const auto train = [](TokenizerTrainOptions options) {
    const Error error = error_of([&] { Tokenizer::train_on_text("some text", options); });
    EXPECT_EQ(error.kind(), ErrorKind::usage);
    return std::string(error.what());
  };
  EXPECT_NE(train({.vocab_size = 258}).find("at least 259"), std::string::npos);
  EXPECT_NE(train({.vocab_size = UINT32_MAX}).find("at most"), std::string::npos);
  EXPECT_NE(train({.special = {"a b", ""}}).find("empty"), std::string::npos);
  EXPECT_NE(train({.special = {"<s>", "<t>", "<s>"}}).find("<s>"), std::string::npos);
  EXPECT_NE(train({.special = {"x"}}).find("single character"), std::string::npos);
  EXPECT_NE(train({.special = {"\u0120"}}).find("single character"), std::string::npos);
  EXPECT_NE(train({.special = {"\xFF\xFE"}}).find("UTF-8"), std::string::npos);
  EXPECT_NE(train({.threads = -1}).find("threads"), std::string::npos);
}

TEST(BpeTrain, StopsWhenAsked) {
  std::vector<std::string> stages;
  const std::string text = random_text(4, 20000);
  for (const std::string_view last : {"counting", "merging"}) {
    stages.clear();
    TokenizerTrainOptions options{.vocab_size = 256 + 3 + 600, .min_frequency = 1, .threads = 1};
    options.progress = [&](std::string_view stage, std::uint64_t done, std::uint64_t total) {
      stages.emplace_back(stage);
      EXPECT_LE(done, total);
      return stage != last;
    };
    EXPECT_EQ(error_of([&] { Tokenizer::train_on_text(text, options); }).kind(), ErrorKind::interrupted);
    EXPECT_EQ(stages.back(), last);
  }
}

TEST(Count, FilesCutWhileTheyAreReadAreNamed) {
  const std::vector<std::filesystem::path> files = {write_temporary("cut_a", random_text(1, 2000)),
                                                    write_temporary("cut_b", random_text(2, 2000))};
  CountOptions options;
  options.block_bytes = 1000;
  options.progress = [&](std::string_view, std::uint64_t, std::uint64_t) {
    std::filesystem::resize_file(files[1], 100);
    return true;
  };
  const Error error = error_of([&] { count_pretokens(files, options); });
  EXPECT_EQ(error.kind(), ErrorKind::io);
  EXPECT_NE(std::string(error.what()).find("cut_b was shortened"), std::string::npos) << error.what();
}

}  // namespace
}  // namespace mslt
