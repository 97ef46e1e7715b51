// Reading, checking and writing token shards.
#include "data/shard.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <fstream>
#include <limits>
#include <system_error>
#include <vector>

#include "base/checked.h"
#include "base/fail.h"

namespace mslt {
namespace {

static_assert(std::endian::native == std::endian::little, "Shards are little-endian and are read where they lie.");

constexpr std::uint32_t magic_two = 20240520;
constexpr std::uint32_t version_two = 1;
constexpr std::uint32_t magic_four = 20240801;
constexpr std::uint32_t version_four = 7;

using HeaderStart = std::array<std::uint32_t, 4>;  // magic, version, low and high word of the count

template <class Stored>
TokenId copy_ids(const std::byte* source, std::span<std::int32_t> ids) {
  constexpr Stored limit = static_cast<Stored>(
      std::min<std::uint64_t>(std::numeric_limits<Stored>::max(), std::numeric_limits<std::int32_t>::max()));
  TokenId largest = 0;
  for (std::size_t i = 0; i < ids.size(); ++i) {
    Stored stored;
    std::memcpy(&stored, source + i * sizeof(Stored), sizeof(Stored));
    largest = std::max<TokenId>(largest, stored);
    ids[i] = static_cast<std::int32_t>(std::min(stored, limit));
  }
  return largest;
}

template <class Stored>
void write_ids(AtomicFile& file, std::span<const TokenId> ids) {
  std::array<Stored, 8192> block;
  while (!ids.empty()) {
    const std::size_t count = std::min(ids.size(), block.size());
    std::transform(ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(count), block.begin(),
                   [](TokenId id) { return static_cast<Stored>(id); });
    file.write(std::as_bytes(std::span(block).first(count)));
    ids = ids.subspan(count);
  }
}

}  // namespace

TokenWidth token_width_for(std::uint64_t vocab_size) {
  return vocab_size <= std::uint64_t{1} << 16 ? TokenWidth::two : TokenWidth::four;
}

ShardView::ShardView(std::span<const std::byte> bytes, std::string_view source) {
  if (bytes.empty())
    fail(ErrorKind::input, "{} is empty; a token shard has a header of {} bytes.", source, shard_header_bytes);
  HeaderStart header{};
  std::memcpy(header.data(), bytes.data(), std::min(bytes.size(), sizeof(header)));
  const bool two = header[0] == magic_two;
  if (bytes.size() < sizeof(header[0]) || (!two && header[0] != magic_four)) {
    fail(ErrorKind::input,
         "{} is no token shard: its first 4 bytes are {:#010x} where {} (16-bit ids) or {} (32-bit ids) should stand.",
         source, header[0], magic_two, magic_four);
  }
  if (bytes.size() < shard_header_bytes) {
    fail(ErrorKind::input, "{} is truncated: it ends after {} of its header's {} bytes.", source, bytes.size(),
         shard_header_bytes);
  }
  const std::uint32_t version = two ? version_two : version_four;
  if (header[1] != version) {
    fail(ErrorKind::input, "{} is a token shard of version {}; only version {} is known for its kind.", source,
         header[1], version);
  }
  width_ = two ? TokenWidth::two : TokenWidth::four;
  size_ = (std::uint64_t{header[3]} << 32) | header[2];
  const std::uint64_t expected =
      checked_add(shard_header_bytes, checked_multiply(size_, static_cast<std::uint64_t>(width_), source), source);
  if (bytes.size() != expected) {
    fail(ErrorKind::input, "{} is {}: its header promises {} tokens, which make {} bytes, but it has {}.", source,
         bytes.size() < expected ? "truncated" : "oversized", size_, expected, bytes.size());
  }
  ids_ = bytes.data() + shard_header_bytes;
}

TokenId ShardView::copy(std::uint64_t first, std::span<std::int32_t> ids) const {
  if (first > size_ || ids.size() > size_ - first) {
    fail(ErrorKind::usage, "Tokens {} to {} were asked of a shard of {}.", first, first + ids.size(), size_);
  }
  const std::byte* source = ids_ + first * static_cast<std::uint64_t>(width_);
  return width_ == TokenWidth::two ? copy_ids<std::uint16_t>(source, ids) : copy_ids<std::uint32_t>(source, ids);
}

void ShardReader::copy(std::uint64_t first, std::span<std::int32_t> ids,
                       std::optional<std::uint32_t> vocab_size) const {
  const TokenId largest = view_.copy(first, ids);
  file_.require_intact();
  if (!vocab_size || ids.empty()) return;
  constexpr std::uint32_t most = std::numeric_limits<std::int32_t>::max();
  const std::uint32_t limit = std::min(*vocab_size, most);
  if (largest < limit) return;
  const auto wrong =
      std::ranges::find_if(ids, [&](std::int32_t id) { return static_cast<std::uint32_t>(id) >= limit; });
  fail(ErrorKind::input, "{}: token {} is {}, but the vocabulary ends at {}. Was it made with another tokenizer?",
       path().string(), first + static_cast<std::uint64_t>(wrong - ids.begin()), *wrong, std::int64_t{limit} - 1);
}

void ShardReader::check_ids(std::uint32_t vocab_size) const {
  std::vector<std::int32_t> block(std::size_t{1} << 14);
  for (std::uint64_t first = 0; first < size(); first += block.size()) {
    const auto count = static_cast<std::size_t>(std::min<std::uint64_t>(block.size(), size() - first));
    copy(first, std::span(block).first(count), vocab_size);
  }
}

bool is_shard(const std::filesystem::path& path) {
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error)) return false;
  std::ifstream file(path, std::ios::binary);
  std::array<char, sizeof(std::uint32_t)> begin{};
  if (!file.read(begin.data(), begin.size())) return false;
  const auto magic = std::bit_cast<std::uint32_t>(begin);
  return magic == magic_two || magic == magic_four;
}

ShardWriter::ShardWriter(const std::filesystem::path& path, TokenWidth width)
    : path_(path), file_(path), width_(width) {
  const std::array<std::byte, shard_header_bytes> empty_header{};
  file_.write(empty_header);
}

void ShardWriter::append(std::span<const TokenId> ids) {
  if (width_ == TokenWidth::two) {
    const auto wrong = std::ranges::find_if(ids, [](TokenId id) { return id > 0xFFFF; });
    if (wrong != ids.end()) fail(ErrorKind::input, "{}: the id {} does not fit 16 bits.", path_.string(), *wrong);
    write_ids<std::uint16_t>(file_, ids);
  } else {
    write_ids<std::uint32_t>(file_, ids);
  }
  size_ += ids.size();
}

void ShardWriter::finish() {
  const bool two = width_ == TokenWidth::two;
  const HeaderStart header = {two ? magic_two : magic_four, two ? version_two : version_four,
                              static_cast<std::uint32_t>(size_), static_cast<std::uint32_t>(size_ >> 32)};
  file_.write_at(0, std::as_bytes(std::span(header)));
  file_.commit();
}

}  // namespace mslt
