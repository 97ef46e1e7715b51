// Fuzzes the reading of token shards: for any bytes, the header is refused or every id can be read.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <vector>

#include "data/shard.h"
#include "mslt/error.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::span bytes(reinterpret_cast<const std::byte*>(data), size);
  try {
    const mslt::ShardView shard(bytes, "fuzz.bin");
    if (mslt::shard_header_bytes + shard.size() * static_cast<std::uint64_t>(shard.width()) != size) std::abort();
    std::vector<std::int32_t> ids(shard.size());
    const mslt::TokenId largest = shard.copy(0, ids);
    for (const std::int32_t id : ids) {
      if (id < 0 || static_cast<mslt::TokenId>(id) > largest) std::abort();
    }
  } catch (const mslt::Error& error) {
    if (error.kind() != mslt::ErrorKind::input) std::abort();
  }
  return 0;
}
