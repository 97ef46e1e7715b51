// Tests of reading GGUF files: values of every type, tensors, and every kind of false file.
#include "base/gguf.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <limits>
#include <span>

#include "base/test_gguf.h"
#include "mslt/error.h"

namespace mslt {
namespace {

Gguf parse(std::string_view file) {
  return Gguf(std::as_bytes(std::span(file.data(), file.size())), "x.gguf");
}

// The message of body's Error; fails the test if there is none or it names no file.
template <class Body>
std::string refusal_of(Body body) {
  try {
    body();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::input);
    EXPECT_TRUE(std::string_view(error.what()).starts_with("x.gguf")) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "accepted";
  return {};
}

void expect_refused(const std::string& file, std::string_view reason) {
  const std::string message = refusal_of([&] { parse(file); });
  EXPECT_NE(message.find(reason), std::string::npos) << message;
}

TEST(GgufTest, ReadsEveryTypeOfValue) {
  TestGguf file;
  using Type = GgufType;
  file.key("u8", Type::u8, TestGguf::raw(std::uint8_t{200}))
      .key("i8", Type::i8, TestGguf::raw(std::int8_t{-3}))
      .key("u16", Type::u16, TestGguf::raw(std::uint16_t{60000}))
      .key("i16", Type::i16, TestGguf::raw(std::int16_t{-300}))
      .key("u32", Type::u32, TestGguf::raw(std::uint32_t{4000000000u}))
      .key("i32", Type::i32, TestGguf::raw(std::int32_t{70000}))
      .key("u64", Type::u64, TestGguf::raw(std::uint64_t{1} << 40))
      .key("i64", Type::i64, TestGguf::raw(std::int64_t{5}))
      .key("f64", Type::f64, TestGguf::raw(0.125))
      .real("f32", 1e-5f)
      .boolean("yes", true)
      .boolean("no", false)
      .text("text", "a\nb")
      .texts("texts", {"", "x", "длина"})
      .integers("integers", {3, -1});
  const std::string bytes = file.bytes();
  const Gguf gguf = parse(bytes);
  EXPECT_EQ(gguf.version(), 3U);
  EXPECT_EQ(gguf.size("u8"), 200);
  EXPECT_EQ(gguf.number("i8"), -3.0);
  EXPECT_EQ(gguf.size("u16"), 60000);
  EXPECT_EQ(gguf.number("i16"), -300.0);
  EXPECT_EQ(gguf.unsigned_number("u32"), 4000000000u);
  EXPECT_EQ(gguf.size("i32"), 70000);
  EXPECT_EQ(gguf.unsigned_number("u64"), std::uint64_t{1} << 40);
  EXPECT_EQ(gguf.size("i64"), 5);
  EXPECT_EQ(gguf.number("f64"), 0.125);
  EXPECT_EQ(static_cast<float>(gguf.number("f32")), 1e-5f);
  EXPECT_TRUE(gguf.boolean("yes", false));
  EXPECT_FALSE(gguf.boolean("no", true));
  EXPECT_EQ(gguf.text("text"), "a\nb");
  EXPECT_EQ(gguf.texts("texts"), (std::vector<std::string_view>{"", "x", "длина"}));
  EXPECT_EQ(gguf.integers("integers"), (std::vector<std::int64_t>{3, -1}));
  EXPECT_FALSE(gguf.has("other"));
  EXPECT_EQ(gguf.size("other", 7), 7);
  EXPECT_EQ(gguf.text("other", "none"), "none");
  EXPECT_EQ(gguf.unsigned_number("other"), std::nullopt);
  EXPECT_EQ(gguf.keys().size(), 15U);
}

TEST(GgufTest, RefusesValuesOfOtherTypesAndRangesByKey) {
  TestGguf file;
  file.number("zero", 0)
      .number("large", 3000000000u)
      .key("negative", GgufType::i32, TestGguf::raw(std::int32_t{-4}))
      .key("huge", GgufType::u64, TestGguf::raw(std::numeric_limits<std::uint64_t>::max()))
      .real("infinite", std::numeric_limits<float>::infinity())
      .text("text", "seven")
      .texts("texts", {"a"});
  const std::string bytes = file.bytes();
  const Gguf gguf = parse(bytes);
  const auto expect = [](const std::string& message, std::string_view reason) {
    EXPECT_NE(message.find(reason), std::string::npos) << message;
  };
  expect(refusal_of([&] { gguf.size("zero"); }), "the key 'zero' is 0; valid are whole numbers from 1");
  expect(refusal_of([&] { gguf.size("large"); }), "the key 'large' is 3000000000");
  expect(refusal_of([&] { gguf.size("text"); }), "the key 'text' is \"seven\"");
  expect(refusal_of([&] { gguf.size("infinite"); }), "the key 'infinite' is inf");
  expect(refusal_of([&] { gguf.unsigned_number("negative"); }), "the key 'negative' is -4");
  expect(refusal_of([&] { gguf.unsigned_number("huge"); }), "the key 'huge' is 18446744073709551615");
  expect(refusal_of([&] { gguf.number("infinite"); }), "valid are finite numbers");
  expect(refusal_of([&] { gguf.boolean("zero", true); }), "valid are true and false");
  expect(refusal_of([&] { gguf.text("texts"); }), "the key 'texts' is an array of 1 values; valid is a text");
  expect(refusal_of([&] { gguf.texts("text"); }), "valid is an array of texts");
  expect(refusal_of([&] { gguf.integers("texts"); }), "valid is an array of whole numbers");
  expect(refusal_of([&] { gguf.integers("zero"); }), "valid is an array of whole numbers");
  expect(refusal_of([&] { gguf.size("missing"); }), "the key 'missing' is missing");
}

TEST(GgufTest, ReadsTensorsInTheOrderOfTheirData) {
  TestGguf file;
  file.floats("a", {2, 3}, {1, 2, 3, 4, 5, 6});
  file.tensor("b", {2, 64}, 2, std::string(2 * 2 * 18, 'q'));
  const std::string bytes = file.bytes();
  const Gguf gguf = parse(bytes);
  ASSERT_EQ(gguf.tensors().size(), 2U);
  const GgufTensor& a = gguf.tensors()[0];
  EXPECT_EQ(a.name, "a");
  EXPECT_EQ(a.block.name, "F32");
  EXPECT_EQ(a.shape, (std::vector<std::uint64_t>{2, 3}));
  float last = 0;
  std::memcpy(&last, a.data.data() + 5 * sizeof last, sizeof last);
  EXPECT_EQ(last, 6.0f);
  const GgufTensor* const b = gguf.find_tensor("b");
  ASSERT_NE(b, nullptr);
  EXPECT_EQ(b->block.name, "Q4_0");
  EXPECT_EQ(b->data.size(), 72U);
  EXPECT_EQ(gguf.find_tensor("c"), nullptr);
}

TEST(GgufTest, ReadsVersion2AndOtherAlignments) {
  TestGguf file;
  file.version = 2;
  file.alignment = 128;
  file.number("general.alignment", 128).floats("a", {1}, {1.5f}).floats("b", {1}, {2.5f});
  const std::string bytes = file.bytes();
  const Gguf gguf = parse(bytes);
  EXPECT_EQ(gguf.version(), 2U);
  EXPECT_EQ(gguf.tensors()[1].data.data() - gguf.tensors()[0].data.data(), 128);
}

TEST(GgufTest, RefusesOtherFilesAndVersions) {
  expect_refused("", "is not a GGUF file");
  expect_refused("GGU", "is not a GGUF file");
  expect_refused("GGML\3\0\0\0 and more", "is not a GGUF file");
  for (const std::uint32_t version : {0U, 1U, 4U}) {
    TestGguf file;
    file.version = version;
    expect_refused(file.bytes(), "supported are the versions 2 and 3");
  }
  TestGguf file;
  file.version = 0x03000000;
  expect_refused(file.bytes(), "the file is in big endian");
}

TEST(GgufTest, RefusesEveryTruncation) {
  TestGguf file;
  file.text("text", "hello").texts("texts", {"a", "b"}).integers("integers", {1, 2}).real("real", 1);
  file.floats("a", {2}, {1, 2}).tensor("b", {32}, 8, std::string(34, '\0'));
  const std::string whole = file.bytes();
  parse(whole);
  // The last tensor's padding may be missing.
  for (std::size_t length = 0; length < whole.size() - (64 - 34); ++length) {
    expect_refused(whole.substr(0, length), "x.gguf");
  }
}

TEST(GgufTest, RefusesHostileCountsAndLengths) {
  constexpr std::uint64_t huge = std::numeric_limits<std::uint64_t>::max();
  TestGguf keys;
  keys.number("a", 1).key_count = huge;
  expect_refused(keys.bytes(), "the header has 18446744073709551615 keys");
  TestGguf tensors;
  tensors.number("a", 1).tensor_count = huge / 2;
  expect_refused(tensors.bytes(), "tensors, but only");
  TestGguf text;
  text.key("long", GgufType::text, TestGguf::raw(huge));
  expect_refused(text.bytes(), "the key 'long' would take 18446744073709551615 bytes");
  TestGguf array;
  array.key("list", GgufType::array, TestGguf::raw_array(GgufType::u64, huge, ""));
  expect_refused(array.bytes(), "the key 'list' has 18446744073709551615 elements");
  TestGguf name;
  name.number(std::string(65536, 'n'), 1);
  expect_refused(name.bytes(), "key 1 of 1 has a name of 65536 bytes");
  TestGguf empty;
  empty.number("", 1);
  expect_refused(empty.bytes(), "has a name of 0 bytes");
}

TEST(GgufTest, RefusesUnknownTypesDeepNestingAndDuplicates) {
  TestGguf type;
  type.key("odd", static_cast<GgufType>(13), "    ");
  expect_refused(type.bytes(), "the key 'odd' is of type 13");
  TestGguf element;
  element.key("odd", GgufType::array, TestGguf::raw_array(static_cast<GgufType>(99), 1, "x"));
  expect_refused(element.bytes(), "the key 'odd' is of type 99");
  TestGguf boolean;
  boolean.key("odd", GgufType::boolean, "\2");
  expect_refused(boolean.bytes(), "the key 'odd' is a boolean that is neither 0 nor 1");
  const auto nested = [](int depth) {
    std::string value = TestGguf::raw_array(GgufType::u8, 1, "x");
    for (int i = 1; i < depth; ++i) value = TestGguf::raw_array(GgufType::array, 1, value);
    TestGguf file;
    file.key("deep", GgufType::array, value).number("behind", 9);
    return file.bytes();
  };
  const std::string fine = nested(8);
  EXPECT_EQ(parse(fine).size("behind"), 9);
  expect_refused(nested(9), "the key 'deep' nests more than 8 arrays");
  expect_refused(nested(5000), "the key 'deep' nests more than 8 arrays");
  TestGguf twice;
  twice.number("a", 1).number("a", 2);
  expect_refused(twice.bytes(), "the key 'a' occurs twice");
}

TEST(GgufTest, RefusesImpossibleTensors) {
  const auto refuse = [](const std::vector<std::uint64_t>& shape, std::uint32_t type, std::string_view reason,
                         std::optional<std::uint64_t> offset = std::nullopt) {
    TestGguf file;
    file.floats("first", {8}, std::vector<float>(8)).tensor("bad", shape, type, std::string(64, 'x'), offset);
    expect_refused(file.bytes(), reason);
  };
  refuse({}, 0, "the tensor 'bad' has 0 dimensions");
  refuse({1, 1, 1, 1, 1}, 0, "the tensor 'bad' has 5 dimensions");
  refuse({4, 0}, 0, "the tensor 'bad' of shape [4, 0] and type F32 has a dimension of 0");
  refuse({16}, 57, "the tensor 'bad' is of the unknown type 57");
  refuse({2, 16}, 2, "has rows that are no multiple of 32 elements");
  refuse({17}, 0, "takes 68 bytes from byte 32 of the data on, which has 96");
  refuse({std::uint64_t{1} << 63, 8}, 0, "the tensor 'bad': ");
  refuse({1}, 0, "takes 4 bytes from byte 18446744073709551584", std::uint64_t{0} - 32);
  refuse({1}, 0, "is at byte 33 of the data, which is no multiple of the alignment, 32", 33);
  refuse({1}, 0, "lies inside the tensor", 0);
  TestGguf twice;
  twice.floats("same", {1}, {1}).floats("same", {1}, {1});
  expect_refused(twice.bytes(), "the tensor 'same' occurs twice");
  for (const std::uint32_t alignment : {0U, 24U}) {
    TestGguf odd;
    odd.number("general.alignment", alignment).floats("a", {1}, {1});
    expect_refused(odd.bytes(), "the key 'general.alignment' is");
  }
}

TEST(GgufTest, MapsFilesAndKnowsThemByTheirBeginning) {
  const std::filesystem::path folder = std::filesystem::path(testing::TempDir()) / "mslt_gguf";
  std::filesystem::create_directories(folder);
  TestGguf file;
  file.text("general.name", "x").floats("a", {1}, {3.5f});
  std::ofstream(folder / "model", std::ios::binary) << file.bytes();
  std::ofstream(folder / "other.gguf", std::ios::binary) << "GG";
  EXPECT_TRUE(is_gguf_file(folder / "model"));
  EXPECT_FALSE(is_gguf_file(folder / "other.gguf"));
  EXPECT_FALSE(is_gguf_file(folder));
  EXPECT_FALSE(is_gguf_file(folder / "missing"));
  const GgufFile mapped(folder / "model");
  EXPECT_EQ(mapped.contents().text("general.name"), "x");
  EXPECT_EQ(mapped.contents().tensors().size(), 1U);
  mapped.require_intact();
}

}  // namespace
}  // namespace mslt
