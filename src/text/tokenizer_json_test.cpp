// Tests of reading and writing tokenizer.json.
#include "text/tokenizer_json.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "mslt/error.h"
#include "text/byte_characters.h"
#include "text/test_tokenizers.h"

namespace mslt {
namespace {

using nlohmann::json;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool sanitized = true;
#elif defined(__has_feature)
constexpr bool sanitized = __has_feature(address_sanitizer) || __has_feature(thread_sanitizer);
#else
constexpr bool sanitized = false;
#endif

Tokenizer trained(SplitPattern pattern = SplitPattern::gpt2) {
  return Tokenizer::train_on_text("hello hello world, a new world of words; \u00E9t\u00E9 \u00E9t\u00E9",
                                  {.vocab_size = 275, .pattern = pattern, .min_frequency = 1});
}

json document(SplitPattern pattern = SplitPattern::gpt2) {
  return json::parse(trained(pattern).to_json());
}

// The error of reading the trained file after `change`.
std::string error_after(const std::function<void(json&)>& change) {
  json file = document(SplitPattern::llama3);
  change(file);
  try {
    read_tokenizer(file);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::input);
    EXPECT_NE(std::string_view(error.what()).find("file.json"), std::string_view::npos) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "nothing was thrown";
  return "";
}

#define EXPECT_NAMES(error, text) EXPECT_NE((error).find(text), std::string::npos) << (error)

TEST(TokenizerJson, WhatIsWrittenReadsBackTheSame) {
  for (const SplitPattern pattern :
       {SplitPattern::none, SplitPattern::gpt2, SplitPattern::llama3, SplitPattern::qwen2, SplitPattern::o200k}) {
    const std::string written = trained(pattern).to_json();
    const Tokenizer again = Tokenizer::from_json(written, "again");
    EXPECT_EQ(again.pattern(), pattern);
    EXPECT_TRUE(again.to_json() == written);
    EXPECT_FALSE(again.normalizes());
    EXPECT_TRUE(again.text_prefix().empty());
    const std::string text = "hello new worlds; 12345 \u00E9t\u00E9\n";
    EXPECT_EQ(again.encode(text), trained(pattern).encode(text));
  }
}

TEST(TokenizerJson, SaveAndLoad) {
  const auto path =
      std::filesystem::path(testing::TempDir()) /
      (std::string("mslt_tokenizer_") + testing::UnitTest::GetInstance()->current_test_info()->name() + ".json");
  trained(SplitPattern::qwen2).save(path);
  EXPECT_TRUE(Tokenizer::load(path).to_json() == trained(SplitPattern::qwen2).to_json());
  EXPECT_EQ(Tokenizer::load(path, SplitPattern::qwen2).pattern(), SplitPattern::qwen2);
  EXPECT_THROW(Tokenizer::load(path, SplitPattern::gpt2), Error);
  EXPECT_THROW(trained().save("/nonexistent/folder/tokenizer.json"), Error);
}

TEST(TokenizerJson, MergesMayBeStrings) {
  json file = document();
  for (auto& merge : file["model"]["merges"]) merge = merge[0].get<std::string>() + " " + merge[1].get<std::string>();
  EXPECT_TRUE(read_tokenizer(file).to_json() == trained().to_json());
}

TEST(TokenizerJson, TheSplitExpressionGivesThePattern) {
  json file = document(SplitPattern::o200k);
  auto& split = file["pre_tokenizer"]["pretokenizers"][0];
  split["behavior"] = "Removed";
  split["invert"] = true;
  EXPECT_EQ(read_tokenizer(file).pattern(), SplitPattern::o200k);
  // Otherwise the expression itself does what the file says.
  split["invert"] = false;
  EXPECT_EQ(read_tokenizer(file).pattern(), std::nullopt);
  EXPECT_TRUE(read_tokenizer(file).encode("hello world").empty());
}

TEST(TokenizerJson, NfcIsAppliedAndKept) {
  json file = document();
  file["normalizer"] = {{"type", "NFC"}};
  const Tokenizer tokenizer = read_tokenizer(file);
  EXPECT_TRUE(tokenizer.normalizes());
  EXPECT_EQ(tokenizer.encode("e\u0301t\u00E9"), trained().encode("\u00E9t\u00E9"));
  EXPECT_EQ(json::parse(tokenizer.to_json())["normalizer"], file["normalizer"]);
  file["normalizer"] = {{"type", "Sequence"}, {"normalizers", json::array()}};
  EXPECT_FALSE(read_tokenizer(file).normalizes());
}

TEST(TokenizerJson, AddPrefixSpaceIsAppliedAndKept) {
  json file = document();
  file["pre_tokenizer"]["add_prefix_space"] = true;
  const Tokenizer tokenizer = read_tokenizer(file);
  EXPECT_EQ(tokenizer.encode("hello"), trained().encode(" hello"));
  EXPECT_EQ(tokenizer.encode(" hello"), trained().encode(" hello"));
  EXPECT_EQ(tokenizer.encode(""), std::vector<TokenId>());
  EXPECT_EQ(json::parse(tokenizer.to_json())["pre_tokenizer"], file["pre_tokenizer"]);
}

// A file with a few letters. The tokenizers package gave the expected results.
json small_file() {
  const json byte_level = {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", true}};
  return {{"added_tokens", json::array()},
          {"normalizer", nullptr},
          {"pre_tokenizer", byte_level},
          {"post_processor", nullptr},
          {"decoder", {{"type", "ByteLevel"}}},
          {"model",
           {{"type", "BPE"},
            {"vocab", {{"a", 0}, {"b", 1}, {"c", 2}, {"ab", 3}, {"\u0120", 4}, {"<u>", 5}}},
            {"merges", json::parse(R"([["a", "b"]])")}}}};
}

using Ids = std::vector<TokenId>;

TEST(TokenizerJson, BytesWithoutALetterAreUnknownOrNothing) {
  json file = small_file();
  // "<u>" is not an added token, so its characters must stand for bytes, as they do.
  const Tokenizer nothing = read_tokenizer(file);
  EXPECT_EQ(nothing.encode("axyb"), Ids{3});
  EXPECT_EQ(nothing.encode("x"), Ids{});
  EXPECT_EQ(nothing.encode("a x b"), (Ids{0, 4, 4, 1}));
  file["model"]["unk_token"] = "<u>";
  const Tokenizer unknown = read_tokenizer(file);
  EXPECT_EQ(unknown.encode("axyb"), (Ids{0, 5, 5, 1}));
  EXPECT_EQ(unknown.encode("a x b"), (Ids{0, 4, 5, 4, 1}));
  EXPECT_EQ(unknown.encode(std::string(200, 'a') + "x" + std::string(200, 'b')).size(), 401u);
  file["model"]["fuse_unk"] = true;
  EXPECT_EQ(read_tokenizer(file).encode("axyb"), (Ids{0, 5, 1}));
  EXPECT_EQ(read_tokenizer(file).encode("x"), Ids{5});
  EXPECT_EQ(read_tokenizer(json::parse(read_tokenizer(file).to_json())).encode("axyb"), (Ids{0, 5, 1}));
}

TEST(TokenizerJson, AddedTokensTakeSpacesAndStandBetweenWords) {
  json file = small_file();
  const auto add = [&](int id, const char* content, json flags) {
    flags["id"] = id;
    flags["content"] = content;
    if (!flags.contains("normalized")) flags["normalized"] = false;
    file["added_tokens"].push_back(flags);
  };
  add(6, "<l>", {{"lstrip", true}});
  add(7, "<r>", {{"rstrip", true}});
  add(8, "bc", {{"single_word", true}});
  add(9, "[S]", {{"special", true}});
  add(10, "S]b", json::object());
  add(11, "c<", {{"normalized", true}});
  for (int written = 0; written < 2; ++written) {
    const Tokenizer tokenizer = read_tokenizer(file);
    const auto parse = [&](std::string_view text) {
      return tokenizer.encode(text, SpecialTokens::parse);
    };
    EXPECT_EQ(parse("a  <l> b"), (Ids{0, 6, 4, 1}));
    EXPECT_EQ(parse("a <r>  b"), (Ids{0, 4, 7, 1}));
    EXPECT_EQ(parse("abc bc bcb bc"), (Ids{3, 2, 4, 8, 4, 1, 2, 1, 4, 8}));
    EXPECT_EQ(parse("a <r> <l>b"), (Ids{0, 4, 7, 6, 1}));
    // Tokens that are not normalized come first.
    EXPECT_EQ(parse("ac<l>"), (Ids{0, 2, 6}));
    EXPECT_EQ(parse("ac<b"), (Ids{0, 11, 1}));
    // The contents of a special token are skipped with it.
    EXPECT_EQ(parse("a[S]b"), (Ids{0, 9, 1}));
    EXPECT_EQ(tokenizer.encode("a[S]b"), (Ids{0, 1}));
    EXPECT_EQ(parse("[S]S]b"), (Ids{9, 10}));
    EXPECT_EQ(tokenizer.encode("[S]S]b"), Ids{10});
    file = json::parse(tokenizer.to_json());
  }
  file["pre_tokenizer"]["add_prefix_space"] = true;
  EXPECT_EQ(read_tokenizer(file).encode("a[S]b b", SpecialTokens::parse), (Ids{4, 0, 9, 4, 1, 4, 1}));
  EXPECT_EQ(read_tokenizer(file).encode("a[S]b b"), (Ids{4, 0, 1, 4, 1}));
}

TEST(TokenizerJson, AnAddedTokenMayBeALetter) {
  json file = small_file();
  file["added_tokens"].push_back({{"id", 0}, {"content", "a"}, {"special", true}});
  EXPECT_EQ(read_tokenizer(file).encode("ab"), Ids{3});
  EXPECT_EQ(read_tokenizer(file).encode("ab", SpecialTokens::parse), (Ids{0, 1}));
}

TEST(TokenizerJson, OtherStepsAreKeptAsTheyStand) {
  json file = document();
  file["normalizer"] = {{"type", "Sequence"},
                        {"normalizers", {{{"type", "NFKC"}}, {{"type", "Prepend"}, {"prepend", "x"}}}}};
  const json digits = {{"type", "Digits"}, {"individual_digits", true}};
  const json split = {
      {"type", "Split"}, {"pattern", {{"String", "o"}}}, {"behavior", "MergedWithNext"}, {"invert", false}};
  file["pre_tokenizer"] = {{"type", "Sequence"}, {"pretokenizers", {digits, split, file["pre_tokenizer"]}}};
  file["decoder"] = {{"type", "Sequence"}, {"decoders", {{{"type", "ByteLevel"}}, {{"type", "Fuse"}}}}};
  const Tokenizer tokenizer = read_tokenizer(file);
  EXPECT_EQ(tokenizer.pattern(), std::nullopt);
  EXPECT_TRUE(tokenizer.normalizes());
  const json written = json::parse(tokenizer.to_json());
  EXPECT_EQ(written["normalizer"], file["normalizer"]);
  EXPECT_EQ(written["pre_tokenizer"], file["pre_tokenizer"]);
  EXPECT_TRUE(read_tokenizer(written).encodes_like(tokenizer));
  EXPECT_FALSE(tokenizer.encodes_like(trained()));
  EXPECT_EQ(tokenizer.decode(tokenizer.encode("\u2460o12")), "x1o12");
}

TEST(TokenizerJson, IgnoreMergesTakesWholeTokensFirst) {
  json file = document();
  file["model"]["vocab"]["unreachable"] = 275;
  EXPECT_GT(read_tokenizer(file).encode("unreachable").size(), 1u);
  file["model"]["ignore_merges"] = true;
  EXPECT_EQ(read_tokenizer(file).encode("unreachable"), std::vector<TokenId>{275});
  EXPECT_EQ(json::parse(read_tokenizer(file).to_json())["model"]["ignore_merges"], true);
}

std::vector<TokenId> prefix_of(const Tokenizer& tokenizer) {
  return {tokenizer.text_prefix().begin(), tokenizer.text_prefix().end()};
}

TEST(TokenizerJson, ATemplateThatStartsWithATokenIsToldAndKept) {
  json file = document();
  const json single = {{{"SpecialToken", {{"id", "[BOS]"}, {"type_id", 0}}}},
                       {{"Sequence", {{"id", "A"}, {"type_id", 0}}}}};
  const json processor = {{"type", "TemplateProcessing"}, {"single", single}};
  file["post_processor"] = {{"type", "Sequence"}, {"processors", {processor}}};
  const Tokenizer tokenizer = read_tokenizer(file);
  EXPECT_EQ(prefix_of(tokenizer), std::vector<TokenId>{1});
  EXPECT_EQ(tokenizer.encode("hello"), trained().encode("hello"));
  EXPECT_EQ(json::parse(tokenizer.to_json())["post_processor"], file["post_processor"]);
}

// The ids are those that the tokenizers package 0.23 puts first.
TEST(TokenizerJson, PostProcessorsOfEveryKindSayWhatStandsBeforeAText) {
  const auto prefix_by = [](const json& processor) {
    json file = document();
    file["post_processor"] = processor;
    return prefix_of(read_tokenizer(file));
  };
  const auto token = [](const char* name) {
    return json{{"SpecialToken", {{"id", name}, {"type_id", 0}}}};
  };
  const json text = {{"Sequence", {{"id", "A"}, {"type_id", 0}}}};
  const auto made = [](const json& single, const json& special) {
    return json{
        {"type", "TemplateProcessing"}, {"single", single}, {"pair", json::array()}, {"special_tokens", special}};
  };
  // The template's own ids apply, and ids after the text are not part of the prefix.
  const json special = {{"[BOS]", {{"id", "[BOS]"}, {"ids", {2, 0}}, {"tokens", {"[EOS]", "[PAD]"}}}}};
  EXPECT_EQ(prefix_by(made({token("[BOS]"), text, token("[BOS]")}, special)), (std::vector<TokenId>{2, 0}));
  EXPECT_EQ(prefix_by(made({text, token("[BOS]")}, special)), std::vector<TokenId>{});
  EXPECT_EQ(prefix_by({{"type", "RobertaProcessing"}, {"sep", {"[EOS]", 2}}, {"cls", {"[BOS]", 1}}}),
            std::vector<TokenId>{1});
  EXPECT_EQ(prefix_by({{"type", "ByteLevel"}, {"trim_offsets", false}}), std::vector<TokenId>{});
  EXPECT_EQ(prefix_by(nullptr), std::vector<TokenId>{});
  const json one = made({token("[BOS]"), text}, json::object());
  const json other = made({token("[PAD]"), text}, json::object());
  EXPECT_EQ(prefix_by({{"type", "Sequence"}, {"processors", {one, {{"type", "ByteLevel"}}, other}}}),
            std::vector<TokenId>{1});
  const auto error_by = [&](const json& processor) {
    return error_after([&](json& file) { file["post_processor"] = processor; });
  };
  EXPECT_NAMES(error_by(made({token("[CLS]"), text}, json::object())), "post_processor.single[0].SpecialToken.id");
  EXPECT_NAMES(error_by(made({token("[BOS]"), text}, {{"[BOS]", {{"ids", {99999}}}}})),
               "post_processor.special_tokens.[BOS].ids[0] is 99999, which is not a token's id");
}

TEST(TokenizerJson, IdsMayHaveHolesBeforeAddedTokens) {
  json file = document();
  file["added_tokens"].push_back({{"id", 290}, {"content", "<late>"}, {"special", true}});
  const Tokenizer tokenizer = read_tokenizer(file);
  EXPECT_EQ(tokenizer.vocab_size(), 291u);
  EXPECT_EQ(tokenizer.encode("<late>", SpecialTokens::parse), std::vector<TokenId>{290});
  EXPECT_TRUE(tokenizer.token_bytes(280).empty());
  EXPECT_FALSE(tokenizer.has_token(280));
  EXPECT_TRUE(tokenizer.has_token(290));
  EXPECT_TRUE(read_tokenizer(json::parse(tokenizer.to_json())).to_json() == tokenizer.to_json());
}

TEST(TokenizerJson, RejectsBadVocabularies) {
  EXPECT_NAMES(error_after([](json& file) { file["model"]["vocab"]["x y"] = 275; }), "\"x y\"");
  EXPECT_NAMES(error_after([](json& file) { file["model"]["vocab"]["\u4E2D"] = 275; }), "no byte-level token");
  EXPECT_NAMES(error_after([](json& file) { file["model"]["vocab"][""] = 275; }), "no byte-level token");
  EXPECT_NAMES(error_after([](json& file) { file["model"]["vocab"]["zz"] = 10; }), "id 10");
  EXPECT_NAMES(error_after([](json& file) { file["model"]["vocab"]["zz"] = 4000000000u; }), "out of range");
  EXPECT_NAMES(error_after([](json& file) { file["model"]["vocab"]["zz"] = -1; }), "\"zz\"");
  EXPECT_NAMES(error_after([](json& file) { file["model"]["vocab"]["zz"] = 1.5; }), "\"zz\"");
  EXPECT_NAMES(error_after([](json& file) { file["model"]["vocab"] = json::array(); }), "model.vocab");
}

TEST(TokenizerJson, RejectsBadMerges) {
  EXPECT_NAMES(error_after([](json& file) { file["model"]["merges"][2] = {"hell", "nothing"}; }), "model.merges[2]");
  EXPECT_NAMES(error_after([](json& file) { file["model"]["merges"][2] = "a b c"; }), "model.merges[2]");
  EXPECT_NAMES(error_after([](json& file) { file["model"]["merges"][2] = {"a", "b", "c"}; }), "model.merges[2]");
  EXPECT_NAMES(error_after([](json& file) { file["model"]["merges"][2] = 7; }), "model.merges[2]");
  // Both are tokens, but joined they are not.
  EXPECT_NAMES(error_after([](json& file) { file["model"]["merges"][2] = {"z", "z"}; }), "\"zz\"");
  EXPECT_NAMES(error_after([](json& file) { file["model"]["merges"].push_back(file["model"]["merges"][1]); }),
               "repeats the merge 1");
  EXPECT_NAMES(error_after([](json& file) { file["model"].erase("merges"); }), "\"merges\"");
}

TEST(TokenizerJson, RejectsBadAddedTokens) {
  const auto add = [](json token) {
    return [token](json& file) {
      file["added_tokens"].push_back(token);
    };
  };
  EXPECT_NAMES(error_after(add({{"id", 275}, {"content", ""}})), "added_tokens[3]");
  EXPECT_NAMES(error_after(add({{"id", 275}, {"content", "<x>"}, {"lstrip", "yes"}})), "lstrip");
  EXPECT_NAMES(error_after(add({{"id", 0}, {"content", "<x>"}})), "id 0");
  EXPECT_NAMES(error_after(add({{"id", 275}, {"content", "[PAD]"}})), "listed twice");
  EXPECT_NAMES(error_after(add({{"id", 1u << 30}, {"content", "<x>"}})), "out of range");
  EXPECT_NAMES(error_after(add({{"content", "<x>"}})), "\"id\"");
  EXPECT_NAMES(error_after(add({{"id", 275}, {"content", 7}})), "content");
  EXPECT_NAMES(error_after(add({{"id", 275}, {"content", "<x>"}, {"special", "yes"}})), "special");
}

TEST(TokenizerJson, RejectsWhatIsNotSupportedByName) {
  const auto set = [](const char* pointer, const json& value) {
    return error_after([&](json& file) { file[json::json_pointer(pointer)] = value; });
  };
  EXPECT_NAMES(set("/model/type", "Unigram"), "Unigram");
  EXPECT_NAMES(set("/model/byte_fallback", true), "model.byte_fallback");
  EXPECT_NAMES(set("/model/dropout", 0.1), "model.dropout");
  EXPECT_NAMES(set("/model/continuing_subword_prefix", "##"), "continuing_subword_prefix");
  EXPECT_NAMES(set("/model/end_of_word_suffix", "</w>"), "end_of_word_suffix");
  EXPECT_NAMES(set("/model/unk_token", "<unk>"), "model.unk_token");
  EXPECT_NAMES(set("/normalizer", {{"type", "StripAccents"}}), "StripAccents");
  EXPECT_NAMES(set("/normalizer", {{"type", "Replace"}, {"pattern", {{"Regex", "("}}}, {"content", ""}}),
               "normalizer.pattern.Regex");
  EXPECT_NAMES(set("/decoder", {{"type", "Metaspace"}}), "Metaspace");
  EXPECT_NAMES(set("/pre_tokenizer", {{"type", "Whitespace"}}), "ByteLevel");
  EXPECT_NAMES(set("/pre_tokenizer", nullptr), "pre_tokenizer");
  EXPECT_NAMES(set("/pre_tokenizer", {{"type", "Metaspace"}}), "Metaspace");
  EXPECT_NAMES(set("/pre_tokenizer/pretokenizers/0/pattern/Regex", "(a)\\1"),
               "pre_tokenizer.pretokenizers[0].pattern.Regex");
  EXPECT_NAMES(set("/pre_tokenizer/pretokenizers/0/pattern", {{"String", ""}}), "pattern.String");
  EXPECT_NAMES(set("/pre_tokenizer/pretokenizers/0/behavior", "Sideways"), "Sideways");
  EXPECT_NAMES(set("/pre_tokenizer/pretokenizers/0", {{"type", "ByteLevel"}}), "pretokenizers[1]");
  EXPECT_NAMES(set("/pre_tokenizer/pretokenizers", json::array()), "ByteLevel");
  EXPECT_NAMES(set("/model", 3), "model");
}

TEST(TokenizerJson, RejectsFilesThatAreNoTokenizer) {
  const auto load = [](std::string_view text) {
    const auto path = std::filesystem::path(testing::TempDir()) / "mslt_bad.json";
    write_file(path, text);
    try {
      static_cast<void>(Tokenizer::load(path));
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::input);
      return std::string(error.what());
    }
    ADD_FAILURE() << "nothing was thrown";
    return std::string();
  };
  const std::string good = trained().to_json();
  EXPECT_NAMES(load(""), "not valid JSON");
  EXPECT_NAMES(load(good.substr(0, good.size() / 2)), "not valid JSON");
  EXPECT_NAMES(load(std::string_view("\x7F"
                                     "ELF\0\1\2",
                                     7)),
               "not valid JSON");
  EXPECT_NAMES(load("[]"), "the top level is not an object");
  EXPECT_NAMES(load("{}"), "\"model\"");
  EXPECT_THROW(Tokenizer::load("/nonexistent/tokenizer.json"), Error);
}

TEST(TokenizerJson, FilesOverTheLimitAreNotRead) {
  const auto path = std::filesystem::path(testing::TempDir()) / "mslt_huge.json";
  write_file(path, "{");
  std::filesystem::resize_file(path, max_tokenizer_file_bytes + 1);  // sparse
  EXPECT_THROW(Tokenizer::load(path), Error);
  std::filesystem::remove(path);
}

TEST(TokenizerJson, TheConfigNamesTheTokensThatThereAre) {
  const json config = json::parse(tokenizer_config_json(trained(), 512));
  EXPECT_EQ(config["tokenizer_class"], "PreTrainedTokenizerFast");
  EXPECT_EQ(config["model_max_length"], 512);
  EXPECT_EQ(config["bos_token"], "[BOS]");
  EXPECT_EQ(config["eos_token"], "[EOS]");
  EXPECT_EQ(config["pad_token"], "[PAD]");
  const Tokenizer without = Tokenizer::train_on_text("x", {.vocab_size = 256, .special = {}});
  EXPECT_FALSE(json::parse(tokenizer_config_json(without, 512)).contains("bos_token"));
}

TEST(TokenizerJson, ListsMayComeInAnyOrder) {
  const json file = document();
  nlohmann::ordered_json turned = nlohmann::ordered_json::object();
  turned["model"]["merges"] = file.at("model").at("merges");
  turned["model"]["vocab"] = file.at("model").at("vocab");
  turned["model"]["type"] = "BPE";
  for (const auto& [name, value] : file.items()) {
    if (name != "model") turned[name] = value;
  }
  const Tokenizer tokenizer = Tokenizer::from_json(turned.dump(), "turned.json");
  EXPECT_EQ(tokenizer.to_json(), trained().to_json());
  EXPECT_TRUE(tokenizer.encodes_like(trained()));
}

TEST(TokenizerJson, MembersThatOccurTwiceAreRefused) {
  const std::string text = document().dump();
  const auto error_with = [&](std::string_view before, std::string_view inserted) {
    std::string changed = text;
    changed.insert(changed.find(before), inserted);
    try {
      Tokenizer::from_json(changed, "file.json");
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string("nothing was thrown");
  };
  EXPECT_NAMES(error_with("\"vocab\"", "\"vocab\": {\"a\": 0}, "), "model.vocab occurs twice");
  EXPECT_NAMES(error_with("\"merges\"", "\"merges\": [], "), "model.merges occurs twice");
  EXPECT_NAMES(error_with("\"added_tokens\"", "\"added_tokens\": [], "), "added_tokens occurs twice");
  EXPECT_NAMES(error_with("\"hello\":", "\"hello\": 275, "), "gives \"hello\" the ids");
}

TEST(TokenizerJson, LongListsWhereShortOnesBelongAreRefused) {
  const std::string error = error_after([](json& file) { file["post_processor"] = std::vector<int>(70000); });
  EXPECT_NAMES(error, "more than 65536 values");
}

TEST(TokenizerJson, TellsTokenizersApartThatEncodeDifferently) {
  EXPECT_TRUE(trained().encodes_like(trained()));
  EXPECT_FALSE(trained().encodes_like(trained(SplitPattern::llama3)));
  json other = document();
  other["post_processor"] = {{"type", "ByteLevel"}, {"trim_offsets", true}};
  EXPECT_TRUE(read_tokenizer(other).encodes_like(trained()));
  other = document();
  auto& vocabulary = other["model"]["vocab"];
  std::swap(vocabulary["a"], vocabulary["b"]);
  EXPECT_FALSE(read_tokenizer(other).encodes_like(trained()));
  EXPECT_EQ(read_tokenizer(other).vocab_size(), trained().vocab_size());
  other = document();
  other["added_tokens"][0]["special"] = false;
  EXPECT_FALSE(read_tokenizer(other).encodes_like(trained()));
}

// All pairs of bytes and many triples, in as few bytes as JSON allows; just too many merges for a table of 2^19 slots.
std::string large_file() {
  json file = document();
  std::vector<std::string> characters;
  for (const unsigned char byte : bytes_in_character_order()) {
    characters.push_back(to_byte_characters(std::string(1, static_cast<char>(byte))));
  }
  const auto quoted = [](const std::string& text) {
    return json(text).dump();
  };
  std::string vocabulary;
  std::string merges;
  std::size_t id = 0;
  const auto add = [&](const std::string& left, const std::string& right) {
    vocabulary += fmt::format("{}{}:{}", id == 0 ? "" : ",", quoted(left + right), id);
    if (!left.empty()) merges += fmt::format("{}{}", merges.empty() ? "" : ",", quoted(left + " " + right));
    ++id;
  };
  for (const std::string& character : characters) add("", character);
  for (const std::string& left : characters) {
    for (const std::string& right : characters) add(left, right);
  }
  for (std::size_t i = 0; i < 256 * 256 * 3 + 1000; ++i) {
    add(characters[i % 256] + characters[i / 256 % 256], characters[i / 65536]);
  }
  file["added_tokens"] = json::array();
  file["model"]["vocab"] = json::object();
  file["model"]["merges"] = json::array();
  std::string text = file.dump();
  text.replace(text.find("\"vocab\":{}"), 10, "\"vocab\":{" + vocabulary + "}");
  text.replace(text.find("\"merges\":[]"), 11, "\"merges\":[" + merges + "]");
  return text;
}

#ifdef __APPLE__
constexpr std::uint64_t resident_unit = 1;
#else
constexpr std::uint64_t resident_unit = 1024;
#endif

std::uint64_t most_resident() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return static_cast<std::uint64_t>(usage.ru_maxrss) * resident_unit;
}

TEST(TokenizerJson, ReadingTakesAFewTimesTheFile) {
  if (sanitized) GTEST_SKIP() << "a sanitizer's own memory would be counted";
  const auto path = std::filesystem::path(testing::TempDir()) / "mslt_large_tokenizer.json";
  write_file(path, large_file());
  const std::uint64_t size = std::filesystem::file_size(path);
  ASSERT_GT(size, std::uint64_t{4} << 20);
  // In a separate process, whose peak memory nothing else has raised.
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(
      {
        const std::uint64_t before = most_resident();
        const Tokenizer tokenizer = Tokenizer::load(path);
        const std::uint64_t taken = most_resident() - before;
        const bool good = tokenizer.vocab_size() > 200000 && taken < max_memory_multiple * size;
        std::fprintf(stderr, "%s: %.2f times the file's %.1f MB\n", good ? "good" : "too much",
                     static_cast<double>(taken) / static_cast<double>(size), static_cast<double>(size) / 1e6);
        ::_exit(good ? 0 : 1);
      },
      testing::ExitedWithCode(0), "good");
  GTEST_FLAG_SET(death_test_style, "fast");
}

}  // namespace
}  // namespace mslt
