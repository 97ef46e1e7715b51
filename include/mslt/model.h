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
  // How a GPU's kernels are launched: "none" by the built-in table, "auto" as mslt tune stored for the device, if it
  // did, else by that tuning file. Results differ by rounding alone.
  std::string tuning = "none";
};

// Movable; one thread at a time.
class Model {
 public:
  // Opens a Hugging Face folder (config.json, model.safetensors, tokenizer.json) of a supported family, a run folder
  // that train wrote, or any folder save() wrote. Throws Error naming the file and member that cannot be accepted.
  static Model load(const std::filesystem::path& folder, const LoadOptions& options = {});
  Model(Model&&) noexcept;
  Model& operator=(Model&&) noexcept;
  ~Model();

  const Config& config() const;
  // Throws Error(input) where the folder had no tokenizer.
  const Tokenizer& tokenizer() const;
  bool has_tokenizer() const;
  // Ids that end a generated text.
  std::span<const TokenId> eos_ids() const;
  // What stands before each text, as the tokenizer's files have it: usually nothing or the BOS token.
  std::span<const TokenId> text_prefix() const;
  // Texts end at this token instead; throws Error(usage) where the tokenizer has none of that text.
  void end_at(std::string_view token);
  // Sentences on what of the folder was converted or could not be used.
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
