// How tokens are drawn: flags, and what a model's makers recommend.
#include "cli/sampling_options.h"

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <ostream>
#include <vector>

#include "cli/command.h"
#include "cli/numbers.h"
#include "cli/ranges.h"
#include "formats/model_parts.h"
#include "mslt/error.h"

namespace mslt::cli {

void add_sampling_options(CLI::App& command, SamplingOptions& sampling) {
  add_real(command, "--temperature", sampling.temperature, "0 for the most likely token always",
           {.most = largest_real});
  add_integer(command, "--top-k", sampling.top_k, "Draw from the k most likely; 0 for all", {.unit = "tokens"});
  add_real(command, "--top-p", sampling.top_p, "Draw from the most likely that make up this probability",
           {.above_least = true});
  add_real(command, "--min-p", sampling.min_p, "Draw from those with this share of the likeliest one's", {});
  add_real(command, "--repetition-penalty", sampling.repetition_penalty, "Above 1 to repeat less",
           {.most = largest_real, .above_least = true});
  add_integer(command, "--seed", sampling.seed, "Fixes what is drawn", seed_range);
}

void take_recommended(const Model& model, const std::function<bool(const char* flag)>& is_given,
                      SamplingOptions& sampling, Context& context) {
  const GenerationSettings& settings = model.parts().loaded.generation;
  if (settings.do_sample == false) return;
  std::vector<std::string> taken;
  const auto take = [&]<class T>(const char* flag, const char* name, const auto& value, T SamplingOptions::* member) {
    if (!value || is_given(flag)) return;
    SamplingOptions changed = sampling;
    changed.*member = static_cast<T>(*value);
    try {
      changed.validate();
    } catch (const Error&) {
      return;  // a value that only others can use
    }
    sampling = changed;
    taken.push_back(fmt::format("{} {}", name, sampling.*member));
  };
  take("--temperature", "temperature", settings.temperature, &SamplingOptions::temperature);
  take("--top-k", "top_k", settings.top_k, &SamplingOptions::top_k);
  take("--top-p", "top_p", settings.top_p, &SamplingOptions::top_p);
  take("--min-p", "min_p", settings.min_p, &SamplingOptions::min_p);
  take("--repetition-penalty", "repetition_penalty", settings.repetition_penalty, &SamplingOptions::repetition_penalty);
  if (taken.empty()) return;
  context.err << fmt::format("Tokens are drawn as the model's generation_config.json recommends: {}.\n",
                             fmt::join(taken, ", "));
}

}  // namespace mslt::cli
