// Token shards: files of token ids in the format of llm.c, described byte by byte in docs/file-formats.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/file.h"
#include "base/mapped_file.h"
#include "mslt/tokenizer.h"

namespace mslt {

// How many bytes each id of a shard takes.
enum class TokenWidth : std::uint8_t { two = 2, four = 4 };

// The narrowest width that holds every id below `vocab_size`.
TokenWidth token_width_for(std::uint64_t vocab_size);

inline constexpr std::size_t shard_header_bytes = 1024;

// The ids of a shard in memory. Does not own the bytes. Safe to read from several threads.
class ShardView {
 public:
  // Checks the header of `bytes` against their number. Throws Error(input) naming `source` where they are empty,
  // shorter than a header, no shard, of an unknown version, or fewer (truncated) or more (oversized) than the header
  // says.
  ShardView(std::span<const std::byte> bytes, std::string_view source);

  TokenWidth width() const { return width_; }
  std::uint64_t size() const { return size_; }

  // Writes ids [first, first + ids.size()) and returns the largest of them (0 for none). Throws Error(usage) if that
  // reaches past size(). An id over 2^31 - 1, which no vocabulary has, comes out as 2^31 - 1.
  TokenId copy(std::uint64_t first, std::span<std::int32_t> ids) const;

 private:
  const std::byte* ids_ = nullptr;
  std::uint64_t size_ = 0;
  TokenWidth width_ = TokenWidth::two;
};

// A shard in a memory-mapped file. Movable. Safe to read from several threads.
class ShardReader {
 public:
  // Throws Error(io) if the file is missing or cannot be read, and what ShardView throws.
  explicit ShardReader(const std::filesystem::path& path) : file_(path), view_(file_.bytes(), path.string()) {}

  const std::filesystem::path& path() const { return file_.path(); }
  TokenWidth width() const { return view_.width(); }
  std::uint64_t size() const { return view_.size(); }

  // ShardView::copy. Throws Error(io) naming the file where it became shorter since it was opened. Where `vocab_size`
  // is given, throws Error(input) naming the file, the id and its place if an id is not below it.
  void copy(std::uint64_t first, std::span<std::int32_t> ids,
            std::optional<std::uint32_t> vocab_size = std::nullopt) const;

  // Reads the whole shard; throws Error(input) as copy does.
  void check_ids(std::uint32_t vocab_size) const;

 private:
  MappedFile file_;
  ShardView view_;
};

// Whether the file begins as shards do.
bool is_shard(const std::filesystem::path& path);

// Writes one shard in a stream. The file appears under its name with finish(), not before. One thread at a time.
class ShardWriter {
 public:
  // Throws Error(io) if the folder does not exist or cannot be written.
  ShardWriter(const std::filesystem::path& path, TokenWidth width);

  // Throws Error(input) naming an id that does not fit the width, Error(io) if the disk is full.
  void append(std::span<const TokenId> ids);
  std::uint64_t size() const { return size_; }

  // Completes the header and commits the file.
  void finish();

 private:
  std::filesystem::path path_;
  AtomicFile file_;
  TokenWidth width_;
  std::uint64_t size_ = 0;
};

}  // namespace mslt
