// The public generator: a model with its text generator.
#include "mslt/generator.h"

#include "base/fail.h"
#include "formats/model_parts.h"
#include "generate/text_generator.h"

namespace mslt {

struct Generator::State {
  TextGenerator generator;
};

std::string_view name_of(FinishReason reason) {
  switch (reason) {
    case FinishReason::length:
      return "length";
    case FinishReason::eos:
      return "eos";
    case FinishReason::stop:
      return "stop";
    case FinishReason::cancelled:
      return "cancelled";
  }
  return "unknown";
}

Generator::Generator(Model& model)
    : model_(model),
      state_(std::make_unique<State>(
          State{TextGenerator(*model.parts().loaded.transformer, model.tokenizer(), model.eos_ids())})) {}

Generator::~Generator() = default;

std::vector<Generated> Generator::generate(std::string_view prompt, const GenerateOptions& options,
                                           const TextSink& on_text) {
  std::vector<TokenId> ids;
  if (options.add_prefix) ids.assign(model_.text_prefix().begin(), model_.text_prefix().end());
  model_.tokenizer().encode_append(prompt, ids, options.parse_special ? SpecialTokens::parse : SpecialTokens::as_text);
  return generate_from_tokens(ids, options, on_text);
}

std::vector<Generated> Generator::generate_from_tokens(std::span<const TokenId> prompt, const GenerateOptions& options,
                                                       const TextSink& on_text) {
  return state_->generator.generate(prompt, options, on_text);
}

const GenerateStatistics& Generator::statistics() const {
  return state_->generator.statistics();
}

}  // namespace mslt
