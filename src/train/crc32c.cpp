// CRC-32C eight bytes at a time by tables ("slicing by 8", Kounavis & Berry, 2008).
#include "train/crc32c.h"

#include <array>
#include <fstream>
#include <vector>

#include "base/fail.h"

namespace mslt {
namespace {

using Tables = std::array<std::array<std::uint32_t, 256>, 8>;

constexpr Tables make_tables() {
  Tables tables{};
  for (std::uint32_t i = 0; i < 256; ++i) {
    std::uint32_t value = i;
    for (int bit = 0; bit < 8; ++bit) value = (value >> 1) ^ ((value & 1u) != 0 ? 0x82F63B78u : 0u);
    tables[0][i] = value;
  }
  for (std::size_t t = 1; t < 8; ++t) {
    for (std::size_t i = 0; i < 256; ++i) {
      const std::uint32_t before = tables[t - 1][i];
      tables[t][i] = (before >> 8) ^ tables[0][before & 0xFFu];
    }
  }
  return tables;
}

constexpr Tables tables = make_tables();

}  // namespace

std::uint32_t crc32c(std::span<const std::byte> bytes, std::uint32_t previous) {
  std::uint32_t crc = ~previous;
  const auto at = [&](std::size_t i) {
    return static_cast<std::uint32_t>(bytes[i]);
  };
  while (bytes.size() >= 8) {
    crc ^= at(0) | at(1) << 8 | at(2) << 16 | at(3) << 24;
    crc = tables[7][crc & 0xFFu] ^ tables[6][(crc >> 8) & 0xFFu] ^ tables[5][(crc >> 16) & 0xFFu] ^
          tables[4][crc >> 24] ^ tables[3][at(4)] ^ tables[2][at(5)] ^ tables[1][at(6)] ^ tables[0][at(7)];
    bytes = bytes.subspan(8);
  }
  for (const std::byte byte : bytes) {
    crc = (crc >> 8) ^ tables[0][(crc ^ static_cast<std::uint32_t>(byte)) & 0xFFu];
  }
  return ~crc;
}

FileSum sum_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) fail(ErrorKind::io, "Cannot open {}.", path.string());
  std::vector<char> block(std::size_t{1} << 18);
  FileSum sum;
  while (file) {
    file.read(block.data(), static_cast<std::streamsize>(block.size()));
    const auto count = static_cast<std::size_t>(file.gcount());
    sum.crc32c = crc32c(std::as_bytes(std::span(block.data(), count)), sum.crc32c);
    sum.bytes += count;
  }
  if (file.bad()) fail(ErrorKind::io, "Cannot read {}.", path.string());
  return sum;
}

}  // namespace mslt
