// Tests of the permutation and of the batch loader: coverage, resuming everywhere, ranks, prefetching, wrong data.
#include "data/loader.h"

#include <gtest/gtest.h>

#include <array>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "data/permutation.h"
#include "data/split_writer.h"
#include "data/test_files.h"

namespace mslt {
namespace {

using test::error_of;

struct Batch {
  std::vector<std::int32_t> tokens;
  std::vector<std::int32_t> targets;
  std::int64_t rows = 0;
  bool operator==(const Batch&) const = default;
};

Batch next(BatchLoader& loader, const LoaderOptions& options) {
  Batch batch;
  const auto elements = static_cast<std::size_t>(options.batch * options.seq_len);
  batch.tokens.assign(elements, -7);
  batch.targets.assign(elements, -7);
  batch.rows = loader.next(batch.tokens, batch.targets);
  return batch;
}

// Tokens 0, 1, ..., count - 1 in three shards of different widths, so that an id says where it stood.
TokenStream counting_stream(std::size_t count) {
  const auto folder = test::fresh_folder();
  const auto ids = test::counting(count);
  const std::size_t first = count / 5;
  const std::size_t second = count / 2;
  test::write_shard(folder / "0.bin", {ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(first)});
  test::write_shard(
      folder / "1.bin",
      {ids.begin() + static_cast<std::ptrdiff_t>(first), ids.begin() + static_cast<std::ptrdiff_t>(second)},
      TokenWidth::four);
  test::write_shard(folder / "2.bin", {ids.begin() + static_cast<std::ptrdiff_t>(second), ids.end()});
  const std::vector<std::filesystem::path> paths = {folder / "0.bin", folder / "1.bin", folder / "2.bin"};
  return {paths, static_cast<std::uint32_t>(count)};
}

BatchLoader counting_loader(std::size_t count, const LoaderOptions& options) {
  return {counting_stream(count), "data", options};
}

TEST(Permutation, IsABijectionOfEverySize) {
  for (std::uint64_t n = 1; n < 300; ++n) {
    const Permutation permutation(n, 5, n % 3);
    std::set<std::uint64_t> seen;
    for (std::uint64_t i = 0; i < n; ++i) seen.insert(permutation(i));
    ASSERT_EQ(seen.size(), n);
    ASSERT_EQ(*seen.rbegin(), n - 1);
  }
}

TEST(Permutation, StaysInsideHugeRanges) {
  for (const std::uint64_t n : {(std::uint64_t{1} << 40) + 1, ~std::uint64_t{0}, std::uint64_t{1} << 63}) {
    const Permutation permutation(n, 1, 2);
    std::set<std::uint64_t> seen;
    for (std::uint64_t i = 0; i < 1000; ++i) {
      const std::uint64_t image = permutation(i);
      EXPECT_LT(image, n);
      seen.insert(image);
    }
    EXPECT_EQ(seen.size(), 1000U);
    EXPECT_GT(*seen.rbegin(), n / 100 * 95);
  }
}

TEST(Permutation, EveryPlaceGetsEveryIndexAboutAsOften) {
  constexpr std::uint64_t n = 5;
  constexpr int epochs = 5000;
  std::map<std::vector<std::uint64_t>, int> orders;
  for (int epoch = 0; epoch < epochs; ++epoch) {
    const Permutation permutation(n, 9, static_cast<std::uint64_t>(epoch));
    std::vector<std::uint64_t> order;
    for (std::uint64_t i = 0; i < n; ++i) order.push_back(permutation(i));
    ++orders[order];
  }
  EXPECT_EQ(orders.size(), 120U);
  double chi_square = 0;
  for (const auto& [order, count] : orders) {
    const double expected = epochs / 120.0;
    chi_square += (count - expected) * (count - expected) / expected;
  }
  EXPECT_LT(chi_square, 190.0);  // 119 degrees of freedom: exceeded by chance once in 30,000
}

TEST(Loader, OrderedWindowsFollowTheText) {
  const LoaderOptions options = {.batch = 2, .seq_len = 3, .shuffle = false};
  BatchLoader loader = counting_loader(14, options);
  EXPECT_EQ(loader.windows(0), 4U);  // 13 targets
  EXPECT_EQ(loader.batches(0), 2U);
  EXPECT_EQ(next(loader, options), (Batch{{0, 1, 2, 3, 4, 5}, {1, 2, 3, 4, 5, 6}, 2}));
  EXPECT_EQ(loader.state(), (LoaderState{0, 2}));
  EXPECT_EQ(next(loader, options), (Batch{{6, 7, 8, 9, 10, 11}, {7, 8, 9, 10, 11, 12}, 2}));
  EXPECT_EQ(next(loader, options), (Batch{{0, 1, 2, 3, 4, 5}, {1, 2, 3, 4, 5, 6}, 2}));
  EXPECT_EQ(loader.state(), (LoaderState{1, 2}));
}

TEST(Loader, EachEpochCoversEachWindowOnce) {
  const LoaderOptions options = {.batch = 4, .seq_len = 7, .seed = 11};
  BatchLoader loader = counting_loader(7 * 22 + 3, options);
  ASSERT_EQ(loader.windows(0), 22U);
  std::vector<std::int32_t> starts;
  for (int i = 0; i < 33; ++i) {  // six epochs; batches cross their ends
    const Batch batch = next(loader, options);
    for (std::size_t row = 0; row < 4; ++row) {
      starts.push_back(batch.tokens[row * 7]);
      for (std::size_t t = 0; t < 7; ++t) {
        EXPECT_EQ(batch.tokens[row * 7 + t], starts.back() + static_cast<std::int32_t>(t));
        EXPECT_EQ(batch.targets[row * 7 + t], starts.back() + static_cast<std::int32_t>(t) + 1);
      }
    }
  }
  std::set<std::vector<std::int32_t>> orders;
  for (std::size_t epoch = 0; epoch < 6; ++epoch) {
    const std::vector<std::int32_t> order(starts.begin() + static_cast<std::ptrdiff_t>(epoch * 22),
                                          starts.begin() + static_cast<std::ptrdiff_t>(epoch * 22 + 22));
    const std::set<std::int32_t> distinct(order.begin(), order.end());
    EXPECT_EQ(distinct.size(), 22U);
    for (const auto start : distinct) EXPECT_EQ(start % 7, 0);
    orders.insert(order);
  }
  EXPECT_EQ(orders.size(), 6U) << "an epoch repeats the order of another";
}

TEST(Loader, RandomOffsetsMoveTheWindowsAndStayInside) {
  const LoaderOptions options = {.batch = 1, .seq_len = 5, .random_offset = true};
  for (const std::size_t count : {6U, 8U, 23U}) {
    BatchLoader loader = counting_loader(count, options);
    std::set<std::int32_t> phases;
    for (std::uint64_t epoch = 0; epoch < 40; ++epoch) {
      std::set<std::int32_t> starts;
      ASSERT_GE(loader.windows(epoch), 1U);
      for (std::uint64_t i = 0; i < loader.windows(epoch); ++i) starts.insert(next(loader, options).tokens[0]);
      ASSERT_EQ(starts.size(), loader.windows(epoch));
      for (const auto start : starts) EXPECT_EQ(start % 5, *starts.begin() % 5);
      phases.insert(*starts.begin() % 5);
    }
    EXPECT_EQ(phases.size(), std::min<std::size_t>(5, count - 5));
  }
}

TEST(Loader, ResumesExactlyFromEveryPosition) {
  for (const std::int64_t prefetch : {0, 3}) {
    const LoaderOptions options = {.batch = 3, .seq_len = 4, .seed = 2, .random_offset = true, .prefetch = prefetch};
    BatchLoader loader = counting_loader(60, options);
    std::vector<nlohmann::json> states;
    std::vector<Batch> batches;
    for (int i = 0; i < 25; ++i) {
      states.push_back(loader_state_to_json(loader.state()));
      batches.push_back(next(loader, options));
    }
    for (std::size_t i = 0; i < states.size(); ++i) {
      BatchLoader resumed(counting_stream(60), "data", options);
      resumed.restore(loader_state_from_json(states[i], "state"));
      for (std::size_t j = i; j < batches.size(); ++j) ASSERT_EQ(next(resumed, options), batches[j]) << i << " " << j;
      resumed.restore(loader_state_from_json(states[i], "state"));
      ASSERT_EQ(next(resumed, options), batches[i]) << "a loader in use does not go back to " << i;
    }
  }
}

TEST(Loader, PrefetchingChangesNothing) {
  LoaderOptions options = {.batch = 3, .seq_len = 4, .seed = 6};
  BatchLoader plain = counting_loader(70, options);
  options.prefetch = 4;
  BatchLoader ahead = counting_loader(70, options);
  for (int i = 0; i < 200; ++i) {
    ASSERT_EQ(ahead.state(), plain.state());
    ASSERT_EQ(next(ahead, options), next(plain, options));
  }
}

TEST(Loader, RanksShareEachEpoch) {
  LoaderOptions options = {.batch = 6, .seq_len = 4, .seed = 6};
  BatchLoader all = counting_loader(100, options);
  options.batch = 2;
  options.world = 3;
  std::vector<std::unique_ptr<BatchLoader>> ranks;
  for (options.rank = 0; options.rank < 3; ++options.rank) {
    ranks.push_back(std::make_unique<BatchLoader>(counting_stream(100), "data", options));
  }
  for (int i = 0; i < 20; ++i) {
    LoaderOptions whole = options;
    whole.batch = 6;
    const Batch expected = next(all, whole);
    for (std::size_t rank = 0; rank < 3; ++rank) {
      const Batch batch = next(*ranks[rank], options);
      for (std::size_t row = 0; row < 2; ++row) {
        for (std::size_t t = 0; t < 4; ++t) {
          ASSERT_EQ(batch.tokens[row * 4 + t], expected.tokens[(rank * 2 + row) * 4 + t]);
        }
      }
      ASSERT_EQ(ranks[rank]->state(), all.state());
    }
  }
}

TEST(Loader, OnceCoversEveryTargetAndThenEnds) {
  for (const std::int64_t prefetch : {0, 2}) {
    for (const std::size_t count : {2U, 3U, 24U, 25U, 26U}) {
      const LoaderOptions options = {
          .batch = 4, .seq_len = 3, .shuffle = false, .mode = LoaderMode::once, .prefetch = prefetch};
      BatchLoader loader = counting_loader(count, options);
      std::vector<std::int32_t> targets;
      std::uint64_t rows = 0;
      for (std::uint64_t i = 0; i < loader.batches(0); ++i) {
        const Batch batch = next(loader, options);
        rows += static_cast<std::uint64_t>(batch.rows);
        for (std::size_t j = 0; j < batch.targets.size(); ++j) {
          if (batch.targets[j] == -1) {
            EXPECT_EQ(batch.tokens[j], 0);
            continue;
          }
          EXPECT_EQ(batch.tokens[j] + 1, batch.targets[j]);
          targets.push_back(batch.targets[j]);
        }
      }
      EXPECT_EQ(rows, loader.windows(0));
      ASSERT_EQ(targets.size(), count - 1);
      for (std::size_t i = 0; i < targets.size(); ++i) EXPECT_EQ(targets[i], static_cast<std::int32_t>(i + 1));
      for (int i = 0; i < 4; ++i) {
        const Batch after = next(loader, options);
        EXPECT_EQ(after.rows, 0);
        EXPECT_EQ(after.targets, std::vector<std::int32_t>(12, -1));
      }
    }
  }
}

TEST(Loader, TooLittleDataIsRefusedWithBothNumbers) {
  const LoaderOptions options = {.seq_len = 8};
  const std::string message = error_of(ErrorKind::input, [&] { counting_loader(8, options); });
  EXPECT_NE(message.find("data holds 8 tokens"), std::string::npos) << message;
  EXPECT_NE(message.find("needs 9"), std::string::npos) << message;
  EXPECT_EQ(counting_loader(9, options).windows(0), 1U);
  error_of(ErrorKind::input, [&] { counting_loader(1, {.seq_len = 8, .mode = LoaderMode::once}); });
}

TEST(Loader, IdsOutsideTheVocabularyReachTheCaller) {
  const auto folder = test::fresh_folder();
  const std::vector<std::filesystem::path> paths = {test::write_shard(folder / "a.bin", {0, 1, 2, 3, 4, 9, 6, 7, 8})};
  for (const std::int64_t prefetch : {0, 2}) {
    const LoaderOptions options = {.seq_len = 2, .shuffle = false, .prefetch = prefetch};
    BatchLoader loader(TokenStream(paths, 9), "data", options);
    next(loader, options);
    next(loader, options);
    for (int i = 0; i < 3; ++i) {
      const std::string message = error_of(ErrorKind::input, [&] { next(loader, options); });
      EXPECT_NE(message.find("a.bin: token 5 is 9"), std::string::npos) << message;
      EXPECT_EQ(loader.state(), (LoaderState{0, 2}));
    }
    loader.restore({0, 3});
    EXPECT_EQ(next(loader, options).tokens[0], 6);
  }
}

TEST(Loader, CountsWhatWasHandedOut) {
  LoaderOptions options{.batch = 3, .seq_len = 7, .seed = 4, .random_offset = true};
  BatchLoader loader = counting_loader(100, options);
  std::uint64_t windows = 0;
  for (int i = 0; i < 40; ++i) {
    EXPECT_EQ(loader.handed_out(loader.state(), windows), windows);
    next(loader, options);
    windows += 3;
  }
  const LoaderState state = loader.state();
  EXPECT_GT(state.epoch, 5u);
  EXPECT_NE(loader.handed_out({state.epoch, state.position + 1}, windows), windows);
  error_of(ErrorKind::input, [&] { loader.handed_out({state.epoch, 15}, windows); });
  error_of(ErrorKind::input, [&] { loader.handed_out({std::uint64_t{1} << 50, 0}, windows); });
}

TEST(TokenStream, ChecksIdsWholeOrInPlacesOfEveryShard) {
  const auto folder = test::fresh_folder();
  const std::vector<TokenId> good(100000, 5);
  std::vector<TokenId> bad = good;
  const std::vector<std::filesystem::path> paths = {folder / "0.bin", folder / "1.bin"};
  test::write_shard(paths[0], good);
  for (const std::size_t place : {std::size_t{0}, std::size_t{50000}, std::size_t{99999}}) {
    bad = good;
    bad[place] = 9;
    test::write_shard(paths[1], bad);
    const TokenStream tokens(paths, 9);
    const std::string text = error_of(ErrorKind::input, [&] { tokens.check_ids(); });
    EXPECT_NE(text.find("1.bin: token " + std::to_string(place) + " is 9"), std::string::npos) << text;
    // Few enough blocks that every one of these is among those that are read.
    error_of(ErrorKind::input, [&] { tokens.check_ids(1000); });
  }
  test::write_shard(paths[1], good);
  TokenStream(paths, 9).check_ids();
  TokenStream(paths, 9).check_ids(1000);
}

TEST(Loader, OptionsSpansAndStatesAreChecked) {
  const std::vector<LoaderOptions> wrong = {
      {.batch = 0}, {.seq_len = 0}, {.batch = -1},    {.rank = 1},
      {.rank = -1}, {.world = 0},   {.prefetch = -1}, {.random_offset = true, .mode = LoaderMode::once}};
  for (const LoaderOptions& options : wrong) error_of(ErrorKind::usage, [&] { counting_loader(20, options); });
  BatchLoader loader = counting_loader(20, {.batch = 1, .seq_len = 4});
  std::vector<std::int32_t> four(4);
  std::vector<std::int32_t> five(5);
  error_of(ErrorKind::usage, [&] { loader.next(five, four); });
  error_of(ErrorKind::usage, [&] { loader.next(four, five); });
  EXPECT_NO_THROW(loader.restore({0, 4}));
  EXPECT_NE(error_of(ErrorKind::input, [&] { loader.restore({0, 5}); }).find("4 windows"), std::string::npos);
  const auto parse = [](const char* text) {
    return loader_state_from_json(nlohmann::json::parse(text), "s");
  };
  EXPECT_EQ(parse(R"({"epoch": 1, "position": 2})"), (LoaderState{1, 2}));
  for (const char* text :
       {"[]", R"({"epoch": 1})", R"({"epoch": -1, "position": 2})", R"({"epoch": 1, "position": "2"})"}) {
    error_of(ErrorKind::input, [&] { parse(text); });
  }
}

TEST(Loader, ReadsDataFolders) {
  const auto folder = test::fresh_folder();
  test::write_shard(folder / "train_000000.bin", test::counting(50));
  DataInfo info;
  info.train = {.shards = {"train_000000.bin"}, .tokens = 50, .documents = 1, .text_bytes = 100, .examples = {}};
  info.vocab_size = 50;
  write_file(folder / "data.json", data_info_to_json(info));
  const LoaderOptions options = {.seq_len = 7, .shuffle = false};
  BatchLoader loader(folder, "train", options);
  EXPECT_EQ(next(loader, options).targets, (std::vector<std::int32_t>{1, 2, 3, 4, 5, 6, 7}));
  EXPECT_NE(error_of(ErrorKind::input, [&] { BatchLoader(folder, "val", options); }).find("no val data"),
            std::string::npos);
  error_of(ErrorKind::usage, [&] { BatchLoader(folder, "test", options); });
  info.train.tokens = 51;
  write_file(folder / "data.json", data_info_to_json(info));
  EXPECT_NE(error_of(ErrorKind::input, [&] { BatchLoader(folder, "train", options); }).find("hold 50 tokens"),
            std::string::npos);
}

TEST(Loader, SaysWhichShardWasCutWhileItWasRead) {
  for (const std::int64_t prefetch : {0, 2}) {
    const auto folder = test::fresh_folder();
    const std::vector<std::filesystem::path> paths = {test::write_shard(folder / "a.bin", test::counting(60000))};
    LoaderOptions options;
    options.batch = 4;
    options.seq_len = 100;
    options.prefetch = prefetch;
    BatchLoader loader(TokenStream(paths, 60000), "a", options);
    std::vector<std::int32_t> tokens(400);
    std::vector<std::int32_t> targets(400);
    loader.next(tokens, targets);
    std::filesystem::resize_file(paths[0], 2048);
    const std::string message = test::error_of(ErrorKind::io, [&] {
      for (int i = 0; i < 20; ++i) loader.next(tokens, targets);
    });
    EXPECT_NE(message.find("a.bin"), std::string::npos) << message;
  }
}

// A folder of examples of these texts, each id of which is above 9; [EOS] is 2.
std::filesystem::path example_folder(const std::vector<std::vector<TokenId>>& texts, std::vector<TokenId> prefix = {}) {
  const auto folder = test::fresh_folder();
  const SplitOptions options{.val_fraction = 0.0, .shard_tokens = 5, .eos_id = 2, .prefix = prefix, .examples = true};
  SplitWriter writer(folder, std::vector<std::uint32_t>(100, 1), options);
  for (const auto& text : texts) {
    writer.append(text);
    writer.end_document();
  }
  DataInfo info;
  std::tie(info.train, info.val) = writer.finish();
  info.vocab_size = 100;
  info.eos_id = 2;
  info.document_prefix = std::move(prefix);
  write_file(folder / "data.json", data_info_to_json(info));
  return folder;
}

TEST(Loader, ExamplesArePaddedAndCut) {
  const LoaderOptions options = {.batch = 2, .seq_len = 4, .shuffle = false, .random_offset = true};
  const std::vector<std::vector<TokenId>> texts = {{10, 11}, {20}, {30, 31, 32, 33, 34}};
  BatchLoader loader(example_folder(texts), "train", options);
  EXPECT_EQ(loader.windows(0), 3U);
  // What ends documents begins them, too.
  EXPECT_EQ(next(loader, options), (Batch{{2, 10, 11, 0, 2, 20, 0, 0}, {10, 11, 2, -1, 20, 2, -1, -1}, 2}));
  EXPECT_EQ(next(loader, options), (Batch{{2, 30, 31, 32, 2, 10, 11, 0}, {30, 31, 32, 33, 10, 11, 2, -1}, 2}));
  EXPECT_EQ(loader.state(), (LoaderState{1, 1}));

  BatchLoader prefixed(example_folder(texts, {1, 3}), "train", options);
  EXPECT_EQ(next(prefixed, options), (Batch{{1, 3, 10, 11, 1, 3, 20, 0}, {3, 10, 11, 2, 3, 20, 2, -1}, 2}));

  LoaderOptions once = options;
  once.random_offset = false;
  once.mode = LoaderMode::once;
  BatchLoader last(example_folder(texts), "train", once);
  next(last, once);
  EXPECT_EQ(next(last, once), (Batch{{2, 30, 31, 32, 0, 0, 0, 0}, {30, 31, 32, 33, -1, -1, -1, -1}, 1}));
}

TEST(Loader, ExamplesAreCounted) {
  const TokenStream tokens(example_folder({{10, 11}, {20}, {30, 31, 32, 33, 34}}), "train");
  EXPECT_EQ(tokens.examples(), 3U);
  EXPECT_EQ(tokens.longest_example(), 7U);
  EXPECT_EQ(tokens.examples_above(3), 2U);
  EXPECT_EQ(tokens.examples_above(7), 0U);
  EXPECT_EQ(tokens.example_targets(7), 3U + 2U + 6U);
  EXPECT_EQ(tokens.example_targets(4), 3U + 2U + 3U);
  const auto path = test::write_shard(test::fresh_folder() / "0.bin", {10, 2});
  EXPECT_EQ(TokenStream(std::vector{path}, 11).examples(), 0U);
}

TEST(Loader, ExamplesResumeFromEveryPosition) {
  std::vector<std::vector<TokenId>> texts;
  for (TokenId i = 0; i < 23; ++i) texts.emplace_back(1 + i % 5, 10 + i);
  const auto folder = example_folder(texts);
  const LoaderOptions options = {.batch = 4, .seq_len = 6, .seed = 3, .prefetch = 2};
  BatchLoader loader(folder, "train", options);
  std::vector<LoaderState> states;
  std::vector<Batch> batches;
  std::multiset<std::int32_t> first_epoch;
  for (int i = 0; i < 14; ++i) {
    states.push_back(loader.state());
    batches.push_back(next(loader, options));
    for (std::size_t row = 0; row < 4; ++row) {
      if (i * 4 + static_cast<int>(row) < 23) first_epoch.insert(batches.back().tokens[row * 6 + 1]);
    }
  }
  EXPECT_EQ(std::set<std::int32_t>(first_epoch.begin(), first_epoch.end()).size(), 23U);
  for (std::size_t i = 0; i < states.size(); ++i) {
    EXPECT_EQ(loader.handed_out(states[i], 100), i * 4);
    BatchLoader resumed(folder, "train", options);
    resumed.restore(states[i]);
    for (std::size_t j = i; j < batches.size(); ++j) ASSERT_EQ(next(resumed, options), batches[j]);
  }
}

TEST(Loader, LengthsOfExamplesMustFitTheTokens) {
  const auto folder = example_folder({{10, 11}, {20}});
  const auto message_for = [&](const std::vector<TokenId>& lengths) {
    test::write_shard(folder / "train_examples.bin", lengths, TokenWidth::four);
    return error_of(ErrorKind::input, [&] { TokenStream(folder, "train"); });
  };
  EXPECT_NE(message_for({3, 3}).find("train_examples.bin: the 2 examples have 6 tokens, but the shards hold 5"),
            std::string::npos);
  EXPECT_NE(message_for({4, 1}).find("train_examples.bin: example 1 has 1 tokens"), std::string::npos);
  EXPECT_NE(message_for({}).find("train_examples.bin"), std::string::npos);
  write_file(folder / "train_examples.bin", "short");
  error_of(ErrorKind::input, [&] { TokenStream(folder, "train"); });
  std::filesystem::remove(folder / "train_examples.bin");
  error_of(ErrorKind::io, [&] { TokenStream(folder, "train"); });
}

// Places beyond 32 bits, in a file with a hole.
TEST(BatchLoader, ReadsShardsOfMoreTokensThan32BitsCount) {
  const auto folder = test::fresh_folder();
  constexpr std::uint64_t tokens = 5 * (std::uint64_t{1} << 30);
  constexpr std::array<std::uint32_t, 4> header = {20240520, 1, tokens & 0xffff'ffffu, tokens >> 32};
  constexpr std::array<std::uint16_t, 5> last = {1, 2, 3, 4, 5};
  {
    std::ofstream file(folder / "large.bin", std::ios::binary);
    file.write(reinterpret_cast<const char*>(header.data()), sizeof header);
    file.seekp(static_cast<std::streamoff>(shard_header_bytes + (tokens - last.size()) * sizeof last[0]));
    file.write(reinterpret_cast<const char*>(last.data()), sizeof last);
  }
  test::write_shard(folder / "small.bin", {6, 7, 8});
  const std::vector<std::filesystem::path> paths = {folder / "large.bin", folder / "small.bin"};
  TokenStream stream(paths, 10);
  EXPECT_EQ(stream.size(), tokens + 3);
  stream.check_ids();
  const LoaderOptions options = {.batch = 1, .seq_len = 2, .shuffle = false};
  BatchLoader loader(std::move(stream), "large", options);
  // The window that ends one token before the shard does.
  loader.restore({0, (tokens - 4) / 2});
  EXPECT_EQ(next(loader, options).tokens, (std::vector<std::int32_t>{2, 3}));
  EXPECT_EQ(next(loader, options).targets, (std::vector<std::int32_t>{5, 6}));
  std::filesystem::remove(folder / "large.bin");
}

}  // namespace
}  // namespace mslt
