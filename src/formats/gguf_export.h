// Writing models as GGUF files, which llama.cpp and other programs run.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/gguf.h"
#include "base/gguf_writer.h"
#include "formats/hf_weights.h"
#include "formats/model_folder.h"

namespace mslt {

// A GGUF file to be: its head, made from all of a model but the values of its weights, so what cannot be written is
// refused before they are loaded.
class GgufExport {
 public:
  // `model` needs no transformer. Matrices get `type`: F32, F16, BF16 or one of packed_block's. Of the quantised types,
  // those of 4 and 5 bits leave the embedding and the output head in Q8_0, and a matrix whose rows are no whole blocks
  // is F16. Vectors, and positions that are learned, are F32. Throws Error(input) naming what no architecture of
  // llama.cpp computes, or what its tokenizers cannot do.
  GgufExport(const Config& config, const LoadedModel& model, const GgufBlock& type);

  // Adds what another file says of the model in general: name, author, license and so on. Call it before write().
  void carry_over(const Gguf& from);

  // Sentences about what the file cannot say.
  const std::vector<std::string>& notes() const { return notes_; }
  const GgufWriter& head() const { return head_; }

  // Writes the file under a temporary name, flushes it and renames it. `transformer` has the configuration and f32
  // parameters. Throws Error(io); Error(numeric) naming a tensor with numbers beyond the range of its type; as
  // `progress`.
  void write(const Transformer& transformer, const std::filesystem::path& path,
             const WriteProgress& progress = {}) const;

 private:
  void add_config(const Config& config, ModelFamily family);
  void add_rope_scaling(const Config& config, const std::string& prefix);
  void add_tokens(const LoadedModel& model, const Config& config);
  void add_tensors(const Config& config, ModelFamily family, const GgufBlock& type);

  GgufWriter head_;
  // The first tensors: divisors of RoPE's frequencies, by name.
  std::vector<std::pair<std::string, std::vector<float>>> factors_;
  std::vector<WeightPiece> pieces_;  // of the others
  std::vector<std::string> notes_;
};

}  // namespace mslt
