// Writing GGUF files: keys and a table of tensors, then the tensors' data as a stream.
#pragma once

#include <bit>
#include <concepts>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/file.h"
#include "base/gguf.h"

namespace mslt {

// Collects the head of a GGUF file of version 3 and then streams the data. Keys and tensors keep their order; data is
// aligned to 32 bytes. One thread at a time.
class GgufWriter {
 public:
  struct Tensor {
    std::string name;
    GgufBlock block;
    std::vector<std::uint64_t> shape;  // the last dimension is contiguous and a multiple of block.elements
    std::uint64_t bytes = 0;
  };

  GgufWriter();

  void set(std::string_view key, std::uint32_t value);
  void set_real(std::string_view key, float value);
  void set_boolean(std::string_view key, bool value);
  void set_text(std::string_view key, std::string_view value);
  void set_texts(std::string_view key, std::span<const std::string> values);
  void set_integers(std::string_view key, std::span<const std::int32_t> values);
  void set_reals(std::string_view key, std::span<const float> values);

  // Throws Error(input) naming the tensor if its size overflows.
  void add_tensor(std::string name, const GgufBlock& block, std::vector<std::uint64_t> shape);
  std::span<const Tensor> tensors() const { return tensors_; }
  // Of the whole file.
  std::uint64_t file_bytes() const;

  // Writes the head. Throws Error(io).
  void write_head(AtomicFile& file) const;
  // Writes what aligns the data behind a tensor of `bytes`, all of which are written.
  static void write_padding(AtomicFile& file, std::uint64_t bytes);

 private:
  void add_key(std::string_view key, GgufType type);
  std::string table() const;

  std::string keys_;
  std::uint64_t key_count_ = 0;
  std::vector<Tensor> tensors_;
};

}  // namespace mslt
