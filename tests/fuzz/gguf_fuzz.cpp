// Fuzzes GGUF files: accepted ones have tensors apart from each other inside of the file, and their keys, configuration
// and tokenizer are read or refused with an Error.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/gguf.h"
#include "formats/gguf_blocks.h"
#include "formats/gguf_config.h"
#include "mslt/error.h"
#include "text/gguf_tokenizer.h"

namespace {

void require(bool condition) {
  if (!condition) {
    std::abort();
  }
}

template <class Body>
void accept_or_refuse(Body body) {
  try {
    body();
  } catch (const mslt::Error& error) {
    require(error.kind() == mslt::ErrorKind::input);
  }
}

void check_contents(const mslt::Gguf& file, std::span<const std::byte> bytes) {
  const std::byte* end = bytes.data();
  for (const mslt::GgufTensor& tensor : file.tensors()) {
    require(tensor.data.data() >= end && tensor.data.size() % tensor.block.bytes == 0);
    end = tensor.data.data() + tensor.data.size();
    require(end <= bytes.data() + bytes.size() && file.find_tensor(tensor.name) == &tensor);
    if (const auto block = mslt::quantised_block(tensor.block.name)) {
      std::vector<float> values(tensor.data.size() / block->bytes * block->elements);
      mslt::dequantise(tensor.data, *block, values);
      mslt::finite_blocks(tensor.data, *block);
    }
  }
  for (const std::string_view key : file.keys()) {
    accept_or_refuse([&] { file.size(key); });
    accept_or_refuse([&] { file.unsigned_number(key); });
    accept_or_refuse([&] { file.number(key); });
    accept_or_refuse([&] { file.boolean(key, false); });
    accept_or_refuse([&] { file.text(key); });
    accept_or_refuse([&] { file.texts(key); });
    accept_or_refuse([&] { file.integers(key); });
  }
  accept_or_refuse([&] { mslt::config_from_gguf(file); });
  accept_or_refuse([&] { mslt::make_tables(mslt::parts_from_gguf(file), "fuzz"); });
}

void check(std::string_view file) {
  accept_or_refuse([&] {
    const auto bytes = std::as_bytes(std::span(file.data(), file.size()));
    check_contents(mslt::Gguf(bytes, "fuzz"), bytes);
  });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  check(std::string_view(reinterpret_cast<const char*>(data), size));
  return 0;
}
