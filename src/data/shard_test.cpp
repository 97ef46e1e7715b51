// Tests of token shards: round trips, the bytes of the format, and each way a file can be wrong.
#include "data/shard.h"

#include <gtest/gtest.h>

#include <cstring>

#include "data/test_files.h"

namespace mslt {
namespace {

using test::error_of;

std::string header_of(std::uint32_t magic, std::uint32_t version, std::uint32_t low, std::uint32_t high) {
  std::string header(shard_header_bytes, '\0');
  const std::uint32_t words[] = {magic, version, low, high};
  std::memcpy(header.data(), words, sizeof(words));
  return header;
}

std::string message_for(const std::string& bytes) {
  return error_of(ErrorKind::input, [&] { ShardView(std::as_bytes(std::span(bytes)), "a.bin"); });
}

TEST(Shard, RoundTripsBothWidths) {
  const auto folder = test::fresh_folder();
  const std::vector<TokenId> ids = {0, 1, 65535, 256, 1775};
  for (const TokenWidth width : {TokenWidth::two, TokenWidth::four}) {
    const auto path = test::write_shard(folder / "a.bin", ids, width);
    const ShardReader reader(path);
    EXPECT_EQ(reader.size(), ids.size());
    EXPECT_EQ(reader.width(), width);
    EXPECT_EQ(test::read_shard(path), (std::vector<std::int32_t>{0, 1, 65535, 256, 1775}));
    std::vector<std::int32_t> middle(2);
    reader.copy(2, middle);
    EXPECT_EQ(middle, (std::vector<std::int32_t>{65535, 256}));
    reader.copy(5, {});
    error_of(ErrorKind::usage, [&] { reader.copy(4, middle); });
    error_of(ErrorKind::usage, [&] { reader.copy(6, {}); });
    error_of(ErrorKind::usage, [&] { reader.copy(~std::uint64_t{0}, middle); });
  }
}

TEST(Shard, LongStreamsSurviveBlockBoundaries) {
  const auto folder = test::fresh_folder();
  ShardWriter writer(folder / "a.bin", TokenWidth::four);
  const auto ids = test::counting(20000);
  writer.append(std::span(ids).first(8191));
  writer.append(std::span(ids).subspan(8191));
  EXPECT_FALSE(std::filesystem::exists(folder / "a.bin"));
  writer.finish();
  const auto read = test::read_shard(folder / "a.bin");
  ASSERT_EQ(read.size(), 20000U);
  for (std::size_t i = 0; i < read.size(); ++i) ASSERT_EQ(read[i], static_cast<std::int32_t>(i));
}

TEST(Shard, BytesAreThoseOfLlmC) {
  const auto folder = test::fresh_folder();
  const std::string two = read_file(test::write_shard(folder / "a.bin", {1, 0x203}), 1 << 20);
  EXPECT_EQ(two, header_of(20240520, 1, 2, 0) + std::string("\x01\x00\x03\x02", 4));
  const std::string four = read_file(test::write_shard(folder / "b.bin", {128000}, TokenWidth::four), 1 << 20);
  EXPECT_EQ(four, header_of(20240801, 7, 1, 0) + std::string("\x00\xF4\x01\x00", 4));
}

TEST(Shard, WidthFollowsTheVocabulary) {
  EXPECT_EQ(token_width_for(65536), TokenWidth::two);
  EXPECT_EQ(token_width_for(65537), TokenWidth::four);
  ShardWriter writer(test::fresh_folder() / "a.bin", TokenWidth::two);
  const std::vector<TokenId> wide = {65536};
  EXPECT_NE(error_of(ErrorKind::input, [&] { writer.append(wide); }).find("65536"), std::string::npos);
}

TEST(Shard, EachWrongFileIsRefusedByName) {
  EXPECT_NE(message_for("").find("a.bin is empty"), std::string::npos);
  EXPECT_NE(message_for("abc").find("no token shard"), std::string::npos);
  EXPECT_NE(message_for(std::string(5000, 'x')).find("no token shard"), std::string::npos);
  const std::string good = header_of(20240520, 1, 2, 0) + "1234";
  EXPECT_EQ(ShardView(std::as_bytes(std::span(good)), "a.bin").size(), 2U);
  EXPECT_NE(message_for(good.substr(0, 1023)).find("truncated"), std::string::npos);
  EXPECT_NE(message_for(good.substr(0, 4)).find("truncated"), std::string::npos);
  EXPECT_NE(message_for(good.substr(0, good.size() - 1)).find("truncated"), std::string::npos);
  EXPECT_NE(message_for(good + "5").find("oversized"), std::string::npos);
  EXPECT_NE(message_for(header_of(20240520, 2, 0, 0)).find("version 2"), std::string::npos);
  EXPECT_NE(message_for(header_of(20240801, 1, 0, 0)).find("version 1"), std::string::npos);
}

TEST(Shard, CountsAreOf64Bits) {
  // 2^32 + 1 tokens: without the high word this would pass for 1.
  EXPECT_NE(message_for(header_of(20240520, 1, 1, 1) + "12").find("4294967297 tokens, which make 8589935618 bytes"),
            std::string::npos);
  EXPECT_NE(message_for(header_of(20240801, 7, 0xFFFFFFFF, 0xFFFFFFFF)).find("overflows"), std::string::npos);
  EXPECT_NE(message_for(header_of(20240520, 1, 0xFFFFFFFF, 0x7FFFFFFF)).find("overflows"), std::string::npos);
}

TEST(Shard, MissingFilesAndFoldersAreRefused) {
  const auto folder = test::fresh_folder();
  EXPECT_NE(error_of(ErrorKind::io, [&] { ShardReader(folder / "missing.bin"); }).find("missing.bin"),
            std::string::npos);
  error_of(ErrorKind::io, [&] { ShardReader reader(folder); });
  error_of(ErrorKind::io, [&] { ShardWriter(folder / "none" / "a.bin", TokenWidth::two); });
}

TEST(Shard, IdsOutsideTheVocabularyAreNamed) {
  const auto folder = test::fresh_folder();
  auto ids = test::counting(20000);
  ids[17000] = 30000;
  const ShardReader reader(test::write_shard(folder / "a.bin", ids));
  reader.check_ids(30001);
  const std::string message = error_of(ErrorKind::input, [&] { reader.check_ids(30000); });
  EXPECT_NE(message.find("a.bin: token 17000 is 30000, but the vocabulary ends at 29999"), std::string::npos)
      << message;
  const ShardReader huge(test::write_shard(folder / "b.bin", {5, 0xFFFFFFFF}, TokenWidth::four));
  error_of(ErrorKind::input, [&] { huge.check_ids(0xFFFFFFFF); });
  error_of(ErrorKind::input, [&] { huge.check_ids(0); });
}

TEST(Shard, CutWhileOpenIsAnErrorThatNamesIt) {
  const auto folder = test::fresh_folder();
  const auto path = test::write_shard(folder / "a.bin", test::counting(60000));
  const ShardReader reader(path);
  std::vector<std::int32_t> ids(2);
  reader.copy(50000, ids);
  std::filesystem::resize_file(path, 4096);
  const std::string message = error_of(ErrorKind::io, [&] { reader.copy(50000, ids); });
  EXPECT_NE(message.find(path.string()), std::string::npos) << message;
  // Also by a few bytes, where the disk's last block still answers.
  const auto other = test::write_shard(folder / "b.bin", test::counting(100));
  const ShardReader short_reader(other);
  std::filesystem::resize_file(other, 1024 + 198);
  error_of(ErrorKind::io, [&] { short_reader.copy(98, ids); });
}

}  // namespace
}  // namespace mslt
