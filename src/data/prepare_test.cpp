// Tests of data preparation: what is written, that parts join seamlessly, and that errors leave the folder as it was.
#include "data/prepare.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>

#include "data/loader.h"
#include "data/test_files.h"

namespace mslt {
namespace {

using test::error_of;

const std::string sample =
    "In the beginning God created the heaven and the earth.\nAnd the earth was without form, and void;\n\n"
    "and darkness was upon the face of the deep. [EOS] \u00C9t\u00E9 \U0001F600 \xFF 1234567\t\tend\r\n";

std::filesystem::path write_tokenizer(const std::filesystem::path& folder, SplitPattern pattern = SplitPattern::gpt2,
                                      const std::vector<std::string>& special = {"[PAD]", "[BOS]", "[EOS]"}) {
  TokenizerTrainOptions options;
  options.vocab_size = 290;
  options.pattern = pattern;
  options.special = special;
  Tokenizer::train_on_text(sample + sample, options).save(folder / (std::to_string(special.size()) + ".json"));
  return folder / (std::to_string(special.size()) + ".json");
}

std::vector<TokenId> split_ids(const std::filesystem::path& folder, const SplitInfo& split) {
  std::vector<TokenId> ids;
  for (const auto& shard : split.shards) {
    for (const auto id : test::read_shard(folder / shard)) ids.push_back(static_cast<TokenId>(id));
  }
  return ids;
}

std::string text_of(const Tokenizer& tokenizer, std::vector<TokenId> ids) {
  return tokenizer.decode(ids, true);
}

TEST(Prepare, EndsDocumentsWithTheTokenAskedFor) {
  const auto folder = test::fresh_folder();
  PrepareOptions options;
  options.tokenizer = write_tokenizer(folder, SplitPattern::gpt2, {"<begin>", "<finish>"});
  options.output = folder / "data";
  options.inputs = {test::write_text(folder / "a.txt", sample)};
  const std::string message = error_of(ErrorKind::input, [&] { prepare_data(options); });
  EXPECT_NE(message.find("--eos"), std::string::npos) << message;
  options.eos = [](const Tokenizer& tokenizer) {
    return tokenizer.special_id("<finish>");
  };
  const DataInfo info = prepare_data(options).info;
  EXPECT_EQ(info.eos_id, 1u);
  EXPECT_EQ(split_ids(options.output, info.val).back(), 1u);
}

TEST(Prepare, BeginsDocumentsAsTheTokenizersFileBeginsTexts) {
  const auto folder = test::fresh_folder();
  PrepareOptions options;
  options.tokenizer = write_tokenizer(folder);
  auto json = nlohmann::json::parse(read_file(options.tokenizer, 1 << 24));
  json["post_processor"] = {{"type", "RobertaProcessing"}, {"sep", {"[EOS]", 2}}, {"cls", {"[BOS]", 1}}};
  write_file(options.tokenizer, json.dump());
  options.output = folder / "data";
  options.val_fraction = 0.0;
  options.inputs = {test::write_text(folder / "a.txt", sample), test::write_text(folder / "b.txt", "Second file.")};
  const Tokenizer tokenizer = Tokenizer::load(options.tokenizer);
  const auto documents = [&](std::vector<TokenId> prefix) {
    std::vector<TokenId> ids = prefix;
    tokenizer.encode_append(sample, ids);
    ids.push_back(2);
    ids.insert(ids.end(), prefix.begin(), prefix.end());
    tokenizer.encode_append("Second file.", ids);
    ids.push_back(2);
    return ids;
  };
  prepare_data(options);
  DataInfo info = read_data_info(options.output);
  EXPECT_EQ(info.document_prefix, std::vector<TokenId>{1});
  EXPECT_EQ(split_ids(options.output, info.train), documents({1}));
  EXPECT_EQ(info.train.text_bytes, sample.size() + 12);
  for (const std::vector<TokenId>& given : {std::vector<TokenId>{}, {2}}) {
    options.prefix = [&](const Tokenizer&) {
      return given;
    };
    prepare_data(options);
    info = read_data_info(options.output);
    EXPECT_EQ(info.document_prefix, std::vector<TokenId>{});
    EXPECT_EQ(split_ids(options.output, info.train), documents({}));
    const Tokenizer written = Tokenizer::load(options.output);
    EXPECT_TRUE(std::ranges::equal(written.text_prefix(), given));
  }
}

TEST(Prepare, WritesACompleteFolder) {
  const auto folder = test::fresh_folder();
  PrepareOptions options;
  options.tokenizer = write_tokenizer(folder);
  options.output = folder / "new" / "data";
  options.cleaning = {"whitespace", "lowercase"};
  options.inputs = {test::write_text(folder / "a.txt", sample), test::write_text(folder / "b.txt", "Second file.")};
  std::uint64_t last_done = 0;
  const PrepareResult result = prepare_data(options, [&](std::uint64_t done, std::uint64_t total) {
    EXPECT_GE(done, last_done);
    EXPECT_EQ(total, sample.size() + 12);
    last_done = done;
    return true;
  });
  EXPECT_EQ(last_done, sample.size() + 12);
  EXPECT_EQ(result.bytes_read, sample.size() + 12);

  const DataInfo info = read_data_info(options.output);
  EXPECT_EQ(data_info_to_json(info), data_info_to_json(result.info));
  const Tokenizer tokenizer = Tokenizer::load(options.output / "tokenizer.json");
  EXPECT_EQ(info.vocab_size, tokenizer.vocab_size());
  EXPECT_EQ(info.tokenizer_hash, text_hash(read_file(options.output / "tokenizer.json", 1 << 24)));
  EXPECT_EQ(info.cleaning, options.cleaning);

  const auto train = split_ids(options.output, info.train);
  const auto val = split_ids(options.output, info.val);
  std::vector<TokenId> all = train;
  all.insert(all.end(), val.begin(), val.end());
  std::vector<TokenId> expected = tokenizer.encode(test::clean(sample, options.cleaning));
  expected.push_back(*tokenizer.eos_id());
  tokenizer.encode_append("second file.", expected);
  expected.push_back(*tokenizer.eos_id());
  EXPECT_EQ(all, expected);
  EXPECT_EQ(val.size(), static_cast<std::size_t>(std::llround(0.1 * static_cast<double>(all.size()))));
  EXPECT_EQ(info.train.text_bytes, text_of(tokenizer, train).size());
  EXPECT_EQ(info.val.text_bytes, text_of(tokenizer, val).size());
  EXPECT_EQ(info.train.documents + info.val.documents, 2U);
  EXPECT_FALSE(std::filesystem::exists(options.output / ".staging"));
  EXPECT_NO_THROW(BatchLoader(options.output, "train", {.batch = 2, .seq_len = 8}));
}

TEST(Prepare, LongDocumentsAreCutWithoutATrace) {
  const auto folder = test::fresh_folder();
  std::string text;
  for (std::size_t i = 0; text.size() < (std::size_t{5} << 20); ++i) text += std::to_string(i * i) + " " + sample;
  text += std::string(100000, 'a') + sample;
  for (const SplitPattern pattern : {SplitPattern::gpt2, SplitPattern::o200k, SplitPattern::none}) {
    if (pattern == SplitPattern::none) text.resize(std::size_t{3} << 19);
    PrepareOptions options;
    options.tokenizer = write_tokenizer(folder, pattern);
    options.output = folder / "data";
    options.val_fraction = 0.0;
    options.inputs = {test::write_text(folder / "a.txt", text)};
    options.cleaning = {"nfc"};
    const PrepareResult result = prepare_data(options);
    const Tokenizer tokenizer = Tokenizer::load(options.tokenizer);
    std::vector<TokenId> expected = tokenizer.encode(text);
    expected.push_back(*tokenizer.eos_id());
    EXPECT_TRUE(split_ids(options.output, result.info.train) == expected) << name_of(pattern);
    EXPECT_EQ(result.info.train.text_bytes, text.size());
    EXPECT_TRUE(result.info.val.shards.empty());
  }
}

// The ids of one long text under a tokenizer whose file was changed.
void expect_same_when_cut(const std::filesystem::path& folder, const std::string& text,
                          const std::function<void(nlohmann::json&)>& change) {
  PrepareOptions options;
  auto file = nlohmann::json::parse(read_file(write_tokenizer(folder), 1 << 24));
  change(file);
  options.tokenizer = test::write_text(folder / "changed.json", file.dump());
  options.output = folder / "data";
  options.val_fraction = 0.0;
  options.inputs = {test::write_text(folder / "a.txt", text)};
  const PrepareResult result = prepare_data(options);
  const Tokenizer tokenizer = Tokenizer::load(options.tokenizer);
  std::vector<TokenId> expected = tokenizer.encode(text);
  expected.push_back(*tokenizer.eos_id());
  EXPECT_TRUE(split_ids(options.output, result.info.train) == expected);
}

TEST(Prepare, AddedTokensThatAreNotSpecialAreNotCutApart) {
  const auto folder = test::fresh_folder();
  const auto added = [](int id, const char* content) {
    return nlohmann::json{{"id", id}, {"content", content}};
  };
  std::string text;
  for (int i = 0; i < 150'000; ++i) text += "<think>lord</think>";
  expect_same_when_cut(folder, text, [&](nlohmann::json& file) {
    file["added_tokens"].push_back(added(290, "<think>"));
    file["added_tokens"].push_back(added(291, "</think>"));
  });
  text.clear();
  for (int i = 0; i < 400'000; ++i) text += "a\nb";
  expect_same_when_cut(folder, text, [&](nlohmann::json& file) { file["added_tokens"].push_back(added(290, "a\nb")); });
}

TEST(Prepare, ALongDocumentGetsOnePrefixSpace) {
  std::string text;
  for (int i = 0; i < 200'000; ++i) text += "the\nlord\n";
  expect_same_when_cut(test::fresh_folder(), text,
                       [](nlohmann::json& file) { file["pre_tokenizer"]["add_prefix_space"] = true; });
}

TEST(Prepare, FilesThatAreNoTextAreCounted) {
  const auto folder = test::fresh_folder();
  PrepareOptions options;
  options.tokenizer = write_tokenizer(folder);
  options.output = folder / "data";
  options.inputs = {test::write_text(folder / "a.txt", sample), test::write_text(folder / "empty", ""),
                    test::write_text(folder / "binary", std::string("ab\0cd", 5))};
  const PrepareResult result = prepare_data(options);
  EXPECT_EQ(result.skipped.size(), 2U);
  EXPECT_EQ(result.info.train.documents + result.info.val.documents, 1U);
}

TEST(Prepare, SeparatedDocumentsAreSplitWhole) {
  const auto folder = test::fresh_folder();
  std::string text;
  for (int i = 0; i < 200; ++i) text += "document " + std::to_string(i) + "\n<end>\n\x01\n<end>\n";
  PrepareOptions options;
  options.tokenizer = write_tokenizer(folder);
  options.output = folder / "data";
  options.document_separator = "<end>";
  options.cleaning = {"whitespace"};
  options.val_fraction = 0.25;
  options.shard_tokens = 500;
  options.inputs = {test::write_text(folder / "a.txt", text)};
  const DataInfo info = prepare_data(options).info;
  EXPECT_EQ(info.train.documents + info.val.documents, 400U);
  EXPECT_NEAR(static_cast<double>(info.val.documents), 100.0, 35.0);
  EXPECT_GT(info.train.shards.size(), 1U);
  const auto val = split_ids(options.output, info.val);
  EXPECT_EQ(val.back(), info.eos_id);

  // A second, smaller data set leaves nothing of the first.
  options.shard_tokens = 100'000;
  options.val_fraction = 0.0;
  prepare_data(options);
  std::size_t shards = 0;
  for (const auto& entry : std::filesystem::directory_iterator(options.output)) {
    shards += entry.path().extension() == ".bin" ? 1U : 0U;
  }
  EXPECT_EQ(shards, 1U);
}

TEST(Prepare, ErrorsLeaveTheFolderAsItWas) {
  const auto folder = test::fresh_folder();
  PrepareOptions options;
  options.tokenizer = write_tokenizer(folder);
  options.output = folder / "data";
  options.inputs = {test::write_text(folder / "a.txt", sample)};
  prepare_data(options);
  const auto contents = [&] {
    std::map<std::string, std::string> files;
    for (const auto& entry : std::filesystem::directory_iterator(options.output)) {
      files[entry.path().filename().string()] = read_file(entry.path(), 1 << 24);
    }
    return files;
  };
  const auto before = contents();

  PrepareOptions wrong = options;
  wrong.strict = true;
  wrong.inputs.push_back(test::write_text(folder / "binary", std::string("ab\0cd", 5)));
  EXPECT_NE(error_of(ErrorKind::input, [&] { prepare_data(wrong); }).find("binary"), std::string::npos);
  wrong.inputs = {test::write_text(folder / "empty", "")};
  error_of(ErrorKind::input, [&] { prepare_data(wrong); });
  wrong.inputs = {folder / "missing"};
  error_of(ErrorKind::io, [&] { prepare_data(wrong); });
  wrong.inputs = {test::write_text(folder / "mark", "\xEF\xBB\xBF")};
  error_of(ErrorKind::input, [&] { prepare_data(wrong); });
  wrong = options;
  wrong.val_fraction = 1.0;
  error_of(ErrorKind::usage, [&] { prepare_data(wrong); });
  wrong = options;
  wrong.cleaning = {"shout"};
  error_of(ErrorKind::usage, [&] { prepare_data(wrong); });
  error_of(ErrorKind::interrupted, [&] { prepare_data(options, [](auto, auto) { return false; }); });
  {
    const FolderLock other(options.output);
    error_of(ErrorKind::io, [&] { prepare_data(options); });
  }
  wrong = options;
  wrong.tokenizer = write_tokenizer(folder, SplitPattern::gpt2, {"[PAD]"});
  EXPECT_NE(error_of(ErrorKind::input, [&] { prepare_data(wrong); }).find("[EOS]"), std::string::npos);
  EXPECT_EQ(contents(), before);

  wrong = options;
  wrong.output = options.inputs[0] / "below";
  error_of(ErrorKind::io, [&] { prepare_data(wrong); });
}

TEST(Prepare, LeftoversOfACrashAreNoDataSet) {
  const auto folder = test::fresh_folder();
  PrepareOptions options;
  options.tokenizer = write_tokenizer(folder);
  options.output = folder / "data";
  options.inputs = {test::write_text(folder / "a.txt", sample)};
  std::filesystem::create_directories(options.output / ".staging");
  test::write_text(options.output / ".staging" / "train_000000.bin", "half");
  test::write_text(options.output / "train_000007.bin", "old");
  error_of(ErrorKind::input, [&] { BatchLoader(options.output, "train", {}); });
  prepare_data(options);
  EXPECT_FALSE(std::filesystem::exists(options.output / "train_000007.bin"));
  EXPECT_NO_THROW(BatchLoader(options.output, "train", {}));
}

TEST(Prepare, TheFoldersTokenizerIsTheOneThatDataJsonNames) {
  const auto folder = test::fresh_folder();
  PrepareOptions options;
  options.tokenizer = write_tokenizer(folder);
  options.output = folder / "data";
  options.inputs = {test::write_text(folder / "a.txt", sample)};
  const DataInfo info = prepare_data(options, {}).info;
  const std::filesystem::path path = options.output / "tokenizer.json";
  const std::string text = read_file(path, 1 << 24);
  EXPECT_EQ(load_data_tokenizer(options.output, info).to_json(), text);
  // The same tokenizer, written by another program.
  write_file(path, "\n " + text + "\n");
  EXPECT_EQ(load_data_tokenizer(options.output, info).to_json(), text);
  // Another one of the same size, and one of another size.
  for (const std::uint32_t size : {290, 280}) {
    TokenizerTrainOptions training;
    training.vocab_size = size;
    training.min_frequency = 1;
    Tokenizer::train_on_text("quite other words make quite other tokens of other sizes, whichever come first", training)
        .save(path);
    const std::string message = error_of(ErrorKind::input, [&] { load_data_tokenizer(options.output, info); });
    EXPECT_NE(message.find(path.string()), std::string::npos) << message;
    EXPECT_NE(message.find((options.output / "data.json").string()), std::string::npos) << message;
  }
  const Tokenizer own = Tokenizer::from_json(text, "own");
  EXPECT_NO_THROW(require_same_tokenizer(own, "model", Tokenizer::from_json(text, "again"), "data"));
  const std::string message =
      error_of(ErrorKind::input, [&] { require_same_tokenizer(own, "m", Tokenizer::load(path), "d"); });
  EXPECT_NE(message.find("data in d"), std::string::npos) << message;
  EXPECT_NE(message.find("model in m"), std::string::npos) << message;
}

TEST(Prepare, AModelsFolderKeepsItsTokenizer) {
  const auto folder = test::fresh_folder();
  PrepareOptions options;
  options.tokenizer = write_tokenizer(folder);
  options.output = folder / "run";
  options.inputs = {test::write_text(folder / "a.txt", sample)};
  std::filesystem::create_directories(options.output);
  write_file(options.output / "tokenizer.json", "the model's");
  for (const char* name : {"", "config.json", "model.safetensors", "run.json"}) {
    if (*name != '\0') write_file(options.output / name, "x");
    const std::string message = error_of(ErrorKind::usage, [&] { prepare_data(options, {}); });
    EXPECT_NE(message.find("choose another --output"), std::string::npos) << message;
    EXPECT_EQ(read_file(options.output / "tokenizer.json", 100), "the model's");
    if (*name != '\0') std::filesystem::remove(options.output / name);
  }
}

}  // namespace
}  // namespace mslt
