// CRC-32C (Castagnoli), the checksum of TensorBoard's records and of checkpoint manifests.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>

namespace mslt {

// Reflected polynomial 0x82F63B78, initial value and final xor all ones; crc32c("123456789") = 0xE3069283. `previous`
// continues a sum over bytes that came before. Thread-safe.
std::uint32_t crc32c(std::span<const std::byte> bytes, std::uint32_t previous = 0);

struct FileSum {
  std::uint64_t bytes = 0;
  std::uint32_t crc32c = 0;
  bool operator==(const FileSum&) const = default;
};

// Size and sum of a file, read in blocks. Throws Error(io) if it cannot be read.
FileSum sum_file(const std::filesystem::path& path);

}  // namespace mslt
