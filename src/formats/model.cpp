// The public Model: a backend with a loaded model folder.
#include "mslt/model.h"

#include <algorithm>
#include <array>
#include <utility>

#include "backend/download_floats.h"
#include "backend/registry.h"
#include "base/fail.h"
#include "formats/model_parts.h"
#include "formats/token_names.h"
#include "model/inference_pass.h"
#include "model/training_pass.h"

namespace mslt {
namespace {

// Token by token with a cache, because no other pass of 16-bit parameters keeps f32 logits.
std::vector<float> logits_by_inference(Transformer& transformer, std::span<const std::int32_t> tokens) {
  KvCache cache(transformer.backend(), transformer.config(), DType::f32, 1, static_cast<std::int64_t>(tokens.size()));
  InferencePass pass(transformer, cache);
  std::vector<float> all;
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    const std::array<int, 1> slots = {0};
    const std::array<std::span<const std::int32_t>, 1> token = {tokens.subspan(i, 1)};
    const std::vector<float> row = download_floats(transformer.backend(), pass.forward(slots, token));
    transformer.parameters().require_intact();
    all.insert(all.end(), row.begin(), row.begin() + transformer.config().vocab_size);
  }
  return all;
}

}  // namespace

Model::Model(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
Model::Model(Model&&) noexcept = default;
Model& Model::operator=(Model&&) noexcept = default;
Model::~Model() = default;

Model Model::load(const std::filesystem::path& folder, const LoadOptions& options) {
  auto parts = std::make_unique<Parts>();
  parts->folder = folder;
  parts->backend = make_backend(options.device, options.tuning, {options.attention, options.products});
  std::optional<DType> dtype;
  if (!options.dtype.empty()) {
    dtype = dtype_from_name(options.dtype);
  } else if (parts->backend->device().backend == "cpu") {
    dtype = DType::f32;
  }
  if (options.quantize == "auto") {
    parts->loaded = load_model_folder(*parts->backend, folder, dtype, WeightMemory::packed);
    return Model(std::move(parts));
  }
  const Quantisation quantisation = quantisation_from_name(options.quantize);
  parts->loaded = load_model_folder(*parts->backend, folder, dtype, WeightMemory::mapped);
  parts->loaded.transformer->quantise(quantisation);
  return Model(std::move(parts));
}

const Config& Model::config() const {
  return parts_->loaded.transformer->config();
}

const Tokenizer& Model::tokenizer() const {
  const std::optional<Tokenizer>& tokenizer = parts_->loaded.tokenizer;
  if (!tokenizer) fail(ErrorKind::input, "{} holds no tokenizer.", parts_->folder.string());
  return *tokenizer;
}

bool Model::has_tokenizer() const {
  return parts_->loaded.tokenizer.has_value();
}

std::span<const TokenId> Model::eos_ids() const {
  return parts_->loaded.generation.tokens.eos;
}

std::span<const TokenId> Model::text_prefix() const {
  return parts_->loaded.text_prefix;
}

void Model::end_at(std::string_view token) {
  parts_->loaded.generation.tokens.eos = {require_token(tokenizer(), token, "--eos")};
}

std::span<const std::string> Model::notes() const {
  return parts_->loaded.notes;
}

void Model::save(const std::filesystem::path& folder) const {
  const LoadedModel& loaded = parts_->loaded;
  save_model_folder(folder, *loaded.transformer, loaded.tokenizer ? &*loaded.tokenizer : nullptr,
                    carried_over(loaded, loaded.tokenizer ? &*loaded.tokenizer : nullptr));
}

std::vector<float> Model::logits(std::span<const std::int32_t> tokens) {
  Transformer& transformer = *parts_->loaded.transformer;
  const Config& config = transformer.config();
  if (static_cast<std::int64_t>(tokens.size()) > config.max_positions) {
    fail(ErrorKind::input, "A sequence of {} tokens is longer than the model's {} positions.", tokens.size(),
         config.max_positions);
  }
  for (const std::int32_t token : tokens) {
    if (token < 0 || token >= config.vocab_size) {
      fail(ErrorKind::input, "The token {} is not in the model's vocabulary of {}.", token, config.vocab_size);
    }
  }
  if (tokens.empty()) return {};
  if (transformer.dtype() != DType::f32) return logits_by_inference(transformer, tokens);
  TrainingPass pass(transformer, 1, static_cast<std::int64_t>(tokens.size()), TrainingPass::Mode::evaluate);
  const std::vector<std::int32_t> targets(tokens.size(), -1);
  pass.set_batch(tokens, targets);
  std::vector<float> logits = download_floats(transformer.backend(), pass.forward_logits());
  transformer.parameters().require_intact();
  return logits;
}

}  // namespace mslt
