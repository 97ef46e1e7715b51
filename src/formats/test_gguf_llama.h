// A small Llama in a GGUF file, quantised at random.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/test_gguf.h"
#include "formats/gguf_blocks.h"

namespace mslt {

// Its rows are whole blocks of 256 elements, of the type that `type_of` says by a tensor's name; as floats if
// `unpacked`. Norms are ones, and the head of `vocab` rows is tied.
inline TestGguf quantised_llama(const std::function<std::string(const std::string&)>& type_of, bool unpacked,
                                std::uint64_t vocab = 40) {
  TestGguf file;
  file.text("general.architecture", "llama").number("llama.block_count", 1).number("llama.context_length", 16);
  file.number("llama.embedding_length", 256).number("llama.feed_forward_length", 256);
  file.number("llama.attention.head_count", 4).number("llama.attention.head_count_kv", 2);
  file.real("llama.attention.layer_norm_rms_epsilon", 1e-5f);
  unsigned seed = 1;
  const auto matrix = [&](const std::string& name, std::uint64_t rows) {
    const GgufBlock block = *gguf_block(std::string_view(type_of(name)));
    std::string bytes(rows * 256 / block.elements * block.bytes, '\0');
    for (std::size_t i = 0; i < bytes.size(); ++i) {
      seed = seed * 1664525u + 1013904223u;
      bytes[i] = static_cast<char>(seed >> 24);
    }
    // Scales that are numbers.
    for (std::size_t at = 0; at < bytes.size(); at += block.bytes) {
      for (const std::size_t half : {std::size_t{1}, std::size_t{3}, std::size_t{209}}) {
        if (half < block.bytes) bytes[at + half] = '\x20';
      }
    }
    if (!unpacked) {
      file.tensor(name, {rows, 256}, block.type, bytes);
      return;
    }
    std::vector<float> values(rows * 256);
    dequantise(std::as_bytes(std::span(bytes)), block, values);
    file.floats(name, {rows, 256}, values);
  };
  const std::vector<float> ones(256, 1.0f);
  matrix("token_embd.weight", vocab);
  file.floats("output_norm.weight", {256}, ones).floats("blk.0.attn_norm.weight", {256}, ones);
  file.floats("blk.0.ffn_norm.weight", {256}, ones);
  matrix("blk.0.attn_q.weight", 256);
  matrix("blk.0.attn_k.weight", 128);
  matrix("blk.0.attn_v.weight", 128);
  matrix("blk.0.attn_output.weight", 256);
  matrix("blk.0.ffn_gate.weight", 256);
  matrix("blk.0.ffn_up.weight", 256);
  matrix("blk.0.ffn_down.weight", 256);
  return file;
}

// All of one type.
inline TestGguf quantised_llama(const std::string& type, bool unpacked, std::uint64_t vocab = 40) {
  return quantised_llama([&](const std::string& /*name*/) { return type; }, unpacked, vocab);
}

}  // namespace mslt
