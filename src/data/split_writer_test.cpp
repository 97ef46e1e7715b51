// Tests of the split of documents: fractions, determinism, shard sizes, and data.json.
#include "data/split_writer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>

#include "data/test_files.h"

namespace mslt {
namespace {

using test::error_of;

constexpr TokenId eos = 2;
constexpr std::uint32_t vocab = 1000;

// Document i is the id 10 + i, repeated; each id stands for id % 7 bytes.
std::pair<SplitInfo, SplitInfo> write_documents(const std::filesystem::path& folder, std::size_t documents,
                                                std::size_t length, SplitOptions options) {
  options.eos_id = eos;
  std::vector<std::uint32_t> bytes(vocab);
  for (std::uint32_t id = 0; id < vocab; ++id) bytes[id] = id % 7;
  SplitWriter writer(folder, bytes, options);
  for (std::size_t i = 0; i < documents; ++i) {
    const std::vector<TokenId> ids(length, static_cast<TokenId>(10 + i));
    writer.append(std::span(ids).first(length / 2));
    writer.append(std::span(ids).subspan(length / 2));
    writer.end_document();
  }
  return writer.finish();
}

std::vector<std::int32_t> tokens_of(const std::filesystem::path& folder, const SplitInfo& split) {
  std::vector<std::int32_t> all;
  for (const auto& shard : split.shards) {
    const auto ids = test::read_shard(folder / shard);
    all.insert(all.end(), ids.begin(), ids.end());
  }
  EXPECT_EQ(all.size(), split.tokens);
  std::uint64_t bytes = 0;
  for (const auto id : all) bytes += id == static_cast<std::int32_t>(eos) ? 0U : static_cast<std::uint64_t>(id % 7);
  EXPECT_EQ(split.text_bytes, bytes);
  EXPECT_EQ(split.documents, static_cast<std::uint64_t>(std::ranges::count(all, static_cast<std::int32_t>(eos))));
  return all;
}

TEST(SplitWriter, EachDocumentBeginsWithThePrefix) {
  for (const std::size_t documents : {std::size_t{3}, std::size_t{40}}) {
    const auto folder = test::fresh_folder();
    // Each of these ids would be text of its own elsewhere.
    const auto [train, val] = write_documents(folder, documents, 4, {.val_fraction = 0.0, .prefix = {5, 6}});
    std::vector<std::int32_t> expected;
    std::uint64_t bytes = 0;
    for (std::size_t i = 0; i < documents; ++i) {
      const auto id = static_cast<std::int32_t>(10 + i);
      expected.insert(expected.end(), {5, 6, id, id, id, id, static_cast<std::int32_t>(eos)});
      bytes += 4 * (static_cast<std::uint64_t>(id) % 7);
    }
    std::vector<std::int32_t> ids;
    for (const auto& shard : train.shards) {
      const auto part = test::read_shard(folder / shard);
      ids.insert(ids.end(), part.begin(), part.end());
    }
    EXPECT_EQ(ids, expected);
    EXPECT_EQ(train.text_bytes, bytes);
    EXPECT_EQ(train.documents, documents);
  }
  error_of(ErrorKind::usage, [] { write_documents(test::fresh_folder(), 1, 4, {.prefix = {vocab}}); });
}

TEST(SplitWriter, FewDocumentsLoseTheirTail) {
  const auto folder = test::fresh_folder();
  const auto [train, val] = write_documents(folder, 3, 9, {.val_fraction = 0.4});
  const auto train_ids = tokens_of(folder, train);
  const auto val_ids = tokens_of(folder, val);
  EXPECT_EQ(train_ids.size(), 18U);
  EXPECT_EQ(val_ids.size(), 12U);
  std::vector<std::int32_t> all = train_ids;
  all.insert(all.end(), val_ids.begin(), val_ids.end());
  for (std::size_t i = 0; i < all.size(); ++i) {
    EXPECT_EQ(all[i], i % 10 == 9 ? static_cast<std::int32_t>(eos) : static_cast<std::int32_t>(10 + i / 10));
  }
  EXPECT_FALSE(std::filesystem::exists(folder / "gathered.bin"));
}

TEST(SplitWriter, TheTailIsAtLeastOneTokenAndNeverAll) {
  const auto folder = test::fresh_folder();
  EXPECT_EQ(write_documents(folder, 1, 9, {.val_fraction = 0.001}).second.tokens, 1U);
  EXPECT_EQ(write_documents(folder, 1, 1, {.val_fraction = 0.999}).first.tokens, 1U);
  const auto none = write_documents(folder, 1, 9, {.val_fraction = 0.0});
  EXPECT_EQ(none.first.tokens, 10U);
  EXPECT_TRUE(none.second.shards.empty());
}

TEST(SplitWriter, ManyDocumentsAreSplitWhole) {
  const auto folder = test::fresh_folder();
  const auto [train, val] = write_documents(folder, 900, 4, {.val_fraction = 0.1, .seed = 3});
  std::multiset<std::int32_t> seen;
  for (const SplitInfo* split : {&train, &val}) {
    const auto ids = tokens_of(folder, *split);
    ASSERT_EQ(ids.size() % 5, 0U);
    for (std::size_t i = 0; i < ids.size(); i += 5) {
      for (std::size_t j = 1; j < 4; ++j) EXPECT_EQ(ids[i + j], ids[i]);
      EXPECT_EQ(ids[i + 4], static_cast<std::int32_t>(eos));
      seen.insert(ids[i]);
      if (i > 0) {
        EXPECT_GT(ids[i], ids[i - 5]) << "documents changed their order";
      }
    }
  }
  for (std::int32_t i = 0; i < 900; ++i) EXPECT_EQ(seen.count(10 + i), 1U);
  EXPECT_NEAR(static_cast<double>(val.documents), 90.0, 30.0);
}

TEST(SplitWriter, TheChoiceDependsOnTheSeedAlone) {
  const auto folder = test::fresh_folder();
  std::set<std::vector<std::int32_t>> choices;
  for (const std::uint64_t seed : {0, 1, 2}) {
    const auto first = tokens_of(folder, write_documents(folder, 60, 4, {.val_fraction = 0.2, .seed = seed}).second);
    const auto second = tokens_of(folder, write_documents(folder, 60, 7, {.val_fraction = 0.2, .seed = seed}).second);
    EXPECT_EQ(std::set(first.begin(), first.end()), std::set(second.begin(), second.end()));
    choices.insert(first);
  }
  EXPECT_EQ(choices.size(), 3U);
}

TEST(SplitWriter, NeitherSplitOfTwentyDocumentsIsEmpty) {
  const auto folder = test::fresh_folder();
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    EXPECT_EQ(write_documents(folder, 20, 1, {.val_fraction = 1e-9, .seed = seed}).second.documents, 1U);
    EXPECT_EQ(write_documents(folder, 20, 1, {.val_fraction = 0.999999999, .seed = seed}).first.documents, 1U);
    EXPECT_EQ(write_documents(folder, 20, 1, {.val_fraction = 0.0, .seed = seed}).second.documents, 0U);
  }
}

TEST(SplitWriter, FullShardsAreFollowedByNewOnes) {
  const auto folder = test::fresh_folder();
  const auto [train, val] = write_documents(folder, 3, 9, {.val_fraction = 0.0, .shard_tokens = 7});
  EXPECT_EQ(train.shards, (std::vector<std::string>{"train_000000.bin", "train_000001.bin", "train_000002.bin",
                                                    "train_000003.bin", "train_000004.bin"}));
  EXPECT_EQ(test::read_shard(folder / "train_000000.bin").size(), 7U);
  EXPECT_EQ(test::read_shard(folder / "train_000004.bin").size(), 2U);
  EXPECT_EQ(tokens_of(folder, train)[29], static_cast<std::int32_t>(eos));
  const auto exact = write_documents(folder, 1, 6, {.val_fraction = 0.0, .shard_tokens = 7}).first;
  EXPECT_EQ(exact.shards.size(), 1U);
}

// Few ones, too.
TEST(SplitWriter, ExamplesAreSplitWholeAndTheirLengthsKept) {
  for (const std::size_t count : {1, 2, 19, 20, 30}) {
    SCOPED_TRACE(count);
    const auto folder = test::fresh_folder();
    const auto [train, val] = write_documents(folder, count, 4, {.shard_tokens = 40, .prefix = {7}, .examples = true});
    EXPECT_EQ(train.documents + val.documents, count);
    EXPECT_EQ(val.documents == 0, count == 1);
    for (const SplitInfo& split : {train, val}) {
      if (split.documents == 0) continue;
      const std::vector<std::int32_t> lengths = test::read_shard(folder / split.examples);
      EXPECT_EQ(lengths, std::vector<std::int32_t>(split.documents, 6));
      const std::vector<std::int32_t> ids = tokens_of(folder, split);
      for (std::size_t i = 0; i < ids.size(); i += 6) {
        EXPECT_EQ(ids[i], 7);
        EXPECT_EQ(ids[i + 5], static_cast<std::int32_t>(eos));
      }
      EXPECT_EQ(split.files().size(), split.shards.size() + 1);
    }
  }
}

TEST(SplitWriter, WrongOptionsAndIdsAreRefused) {
  const auto folder = test::fresh_folder();
  for (const double fraction : {-0.1, 1.0, 2.0, std::numeric_limits<double>::quiet_NaN()}) {
    error_of(ErrorKind::usage, [&] { write_documents(folder, 1, 1, {.val_fraction = fraction}); });
  }
  error_of(ErrorKind::usage, [&] { write_documents(folder, 1, 1, {.shard_tokens = 0}); });
  error_of(ErrorKind::usage, [&] { SplitWriter(folder, {1, 1}, {.eos_id = 2}); });
  error_of(ErrorKind::input, [&] { SplitWriter(folder, {1, 1}, {.eos_id = 1}).finish(); });
  const std::vector<TokenId> wrong = {2};
  error_of(ErrorKind::input, [&] { SplitWriter(folder, {1, 1}, {.eos_id = 1}).append(wrong); });
}

DataInfo example_info() {
  DataInfo info;
  info.train = {
      .shards = {"train_000000.bin"}, .tokens = 10, .documents = 1, .text_bytes = 33, .examples = "train_examples.bin"};
  info.val = {
      .shards = {"val_000000.bin"}, .tokens = 5, .documents = 1, .text_bytes = 12, .examples = "val_examples.bin"};
  info.vocab_size = 1776;
  info.eos_id = 2;
  info.tokenizer_hash = text_hash("abc");
  info.cleaning = {"whitespace", "nfc"};
  info.val_fraction = 0.25;
  info.seed = ~std::uint64_t{0};
  return info;
}

TEST(DataInfo, RoundTripsThroughJson) {
  const std::string json = data_info_to_json(example_info());
  EXPECT_EQ(data_info_to_json(data_info_from_json(json, "data.json")), json);
  EXPECT_EQ(data_info_from_json(json, "data.json").seed, ~std::uint64_t{0});
  EXPECT_EQ(text_hash("abc"), "e71fa2190541574b");  // FNV's published value
}

TEST(DataInfo, EachMissingOrWrongMemberIsNamed) {
  const auto json = nlohmann::json::parse(data_info_to_json(example_info()));
  const auto message_for = [](const nlohmann::json& changed) {
    return error_of(ErrorKind::input, [&] { data_info_from_json(changed.dump(), "data.json"); });
  };
  for (const auto& [name, value] : json.items()) {
    nlohmann::json changed = json;
    changed.erase(name);
    EXPECT_NE(message_for(changed).find("'" + name + "'"), std::string::npos);
    changed[name] = nlohmann::json::array({nullptr});
    EXPECT_NE(message_for(changed).find("data.json"), std::string::npos);
  }
  for (const std::string split : {"train", "val"}) {
    for (const auto& [name, value] : json["splits"][split].items()) {
      nlohmann::json changed = json;
      changed["splits"][split][name] = -1;
      EXPECT_NE(message_for(changed).find("'" + name + "'"), std::string::npos);
    }
    for (const std::string wrong : {"../x.bin", "/etc/passwd", "..", ""}) {
      nlohmann::json changed = json;
      changed["splits"][split]["shards"] = {wrong};
      EXPECT_NE(message_for(changed).find("'" + wrong + "'"), std::string::npos);
    }
  }
  nlohmann::json changed = json;
  changed["version"] = 3;
  EXPECT_NE(message_for(changed).find("version 3"), std::string::npos);
  changed = json;
  changed["eos_id"] = json["vocab_size"];
  EXPECT_NE(message_for(changed).find("'eos_id'"), std::string::npos);
  changed = json;
  changed["splits"]["train"]["examples"] = "../x.bin";
  EXPECT_NE(message_for(changed).find("'../x.bin'"), std::string::npos);
  message_for(nlohmann::json::array());
}

TEST(DataInfo, AFolderWithoutDataSaysHowToMakeIt) {
  const auto folder = test::fresh_folder();
  EXPECT_NE(error_of(ErrorKind::input, [&] { read_data_info(folder); }).find("mslt data prepare"), std::string::npos);
  test::write_text(folder / "data.json", "{");
  error_of(ErrorKind::input, [&] { read_data_info(folder); });
}

}  // namespace
}  // namespace mslt
