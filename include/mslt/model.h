// A trained model: its configuration, its parameters on a device, and its tokenizer.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "mslt/config.h"
#include "mslt/tokenizer.h"

namespace mslt {

struct LoadOptions {
  std::string device = "auto";  // as --device: auto, cpu, cuda, metal, msl-host
  std::string dtype;            // of the parameters in memory: f32, bf16 or f16; empty: f32 on the CPU
  // How matrices are kept for inference: "auto" as the file has them, which in a GGUF file may be 8 or 4 bits, and in
  // GPT-2's files transposed, where the device reads those in place; "none" as numbers of `dtype`; "int8" or "int4" as
  // copies of these in groups of 32. Results of "auto" and "none" differ by rounding only.
  std::string quantize = "auto";
  // Launch parameters of a GPU's kernels: "none" for the built-in table; "auto" for what mslt tune stored for the
  // device, else the table; or a tuning file. Results differ by rounding only.
  std::string tuning = "none";
  // What a GPU's libraries do: "auto", "msl" for mslt's kernels, or the library, "cudnn" and "cublas". Differs by
  // rounding.
  std::string attention = "auto";
  std::string products = "auto";
};

// Movable; one thread at a time.
class Model {
 public:
  // Opens a Hugging Face folder (config.json, model.safetensors, tokenizer.json) of a supported family, a run folder
  // written by train, any folder written by save(), or a GGUF file. Throws Error naming the
  // file and member that it cannot accept.
  static Model load(const std::filesystem::path& folder, const LoadOptions& options = {});
  Model(Model&&) noexcept;
  Model& operator=(Model&&) noexcept;
  ~Model();

  const Config& config() const;
  // Throws Error(input) if the folder had no tokenizer.
  const Tokenizer& tokenizer() const;
  bool has_tokenizer() const;
  // Ids that end a generated text.
  std::span<const TokenId> eos_ids() const;
  // The ids before each text, according to the tokenizer's files: usually none or the BOS token.
  std::span<const TokenId> text_prefix() const;
  // Makes texts end at this token instead; throws Error(usage) if the tokenizer has no token of that text.
  void end_at(std::string_view token);
  // Sentences about parts of the folder that were converted or could not be used.
  std::span<const std::string> notes() const;

  // Writes the same files for transformers and other readers.
  void save(const std::filesystem::path& folder) const;

  // Logits of one sequence without a cache: [tokens, vocab_size], row by row. Throws Error(input) for ids outside the
  // vocabulary and for more tokens than max_positions.
  std::vector<float> logits(std::span<const std::int32_t> tokens);

  // The parts, for the library's other layers.
  struct Parts;
  explicit Model(std::unique_ptr<Parts> parts);
  Parts& parts() { return *parts_; }
  const Parts& parts() const { return *parts_; }

 private:
  std::unique_ptr<Parts> parts_;
};

}  // namespace mslt
