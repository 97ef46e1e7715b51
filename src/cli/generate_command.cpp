// mslt generate: text from a trained model.
#include <fmt/format.h>
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <memory>
#include <ostream>

#include "base/fail.h"
#include "cli/command.h"
#include "cli/device_options.h"
#include "cli/input_stream.h"
#include "cli/interrupt.h"
#include "cli/numbers.h"
#include "cli/ranges.h"
#include "cli/texts.h"
#include "cli/units.h"
#include "formats/model_parts.h"
#include "mslt/generator.h"
#include "mslt/model.h"

namespace mslt::cli {
namespace {

struct Arguments {
  std::string model;
  std::string prompt;
  std::string eos;
  LoadOptions load;
  GenerateOptions options;
};

void print_json(const std::vector<Generated>& results, const std::string& prompt, const GenerateStatistics& statistics,
                const Context& context) {
  nlohmann::ordered_json samples = nlohmann::ordered_json::array();
  for (const Generated& result : results) {
    samples.push_back({{"text", result.text}, {"tokens", result.tokens}, {"finish_reason", name_of(result.reason)}});
  }
  context.print_json({{"prompt", prompt},
                      {"samples", samples},
                      {"prompt_tokens", statistics.prompt_tokens},
                      {"new_tokens", statistics.new_tokens},
                      {"prefill_seconds", statistics.prefill_seconds},
                      {"decode_seconds", statistics.decode_seconds}});
}

void generate(const Arguments& arguments, Context& context) {
  arguments.options.validate();
  std::string prompt = arguments.prompt;
  if (prompt == "-") prompt = read_all(context.in);
  Model model = Model::load(arguments.model, arguments.load);
  print_warning(*model.parts().backend, context);
  print_notes(model.notes(), context);
  if (!arguments.eos.empty()) model.end_at(arguments.eos);
  Generator generator(model);
  const InterruptGuard interrupt;
  const bool stream = !context.json && arguments.options.num == 1;
  if (stream) context.out << prompt << std::flush;
  const std::vector<Generated> results =
      generator.generate(prompt, arguments.options, [&](std::int64_t, std::string_view piece) {
        if (stream) context.out << piece << std::flush;
        return !interrupt.interrupted();
      });
  if (interrupt.interrupted()) context.status = interrupt_status();
  const GenerateStatistics& statistics = generator.statistics();
  if (context.json) {
    print_json(results, prompt, statistics, context);
    return;
  }
  if (stream) {
    context.out << '\n';
  } else {
    for (std::size_t i = 0; i < results.size(); ++i) {
      context.out << fmt::format("--- sample {}\n{}{}\n", i + 1, prompt, results[i].text);
    }
  }
  const double seconds = statistics.prefill_seconds + statistics.decode_seconds;
  context.err << fmt::format(
      "{} tokens in {}: prompt of {} in {}, then {} tokens/s\n", statistics.new_tokens, format_duration(seconds),
      statistics.prompt_tokens, format_duration(statistics.prefill_seconds),
      format_count(statistics.decode_seconds > 0
                       ? static_cast<double>(statistics.new_tokens - arguments.options.num) / statistics.decode_seconds
                       : 0.0));
}

}  // namespace

void add_generate_command(CLI::App& app, Context& context) {
  const auto arguments = std::make_shared<Arguments>();
  CLI::App* command = add_command(app, context, "generate", "Continue a text",
                                  "  mslt generate --model run --prompt 'In the beginning' --temperature 0.8\n"
                                  "  echo 'Once' | mslt generate --model run --prompt - --top-p 0.9 --num 3 --seed 7\n"
                                  "  mslt generate --model run --prompt 'Q:' --stop 'Q:' --json\n");
  GenerateOptions& options = arguments->options;
  command->add_option("--model", arguments->model, "A run folder or Hugging Face model folder")->required();
  command->add_option("--prompt", arguments->prompt, "What to continue; - for standard input")->required();
  command->add_option("--device", arguments->load.device, "auto, cpu, cuda, metal or msl-host");
  add_tuning_option(*command, arguments->load.tuning);
  command->add_option("--dtype", arguments->load.dtype, "f32, bf16 or f16 weights in memory");
  add_integer(*command, "--max-new-tokens", options.max_new_tokens, "Tokens to generate at most", {.unit = "tokens"});
  add_real(*command, "--temperature", options.sampling.temperature, "0 for the most likely token always",
           {.most = largest_real});
  add_integer(*command, "--top-k", options.sampling.top_k, "Draw from the k most likely; 0 for all",
              {.unit = "tokens"});
  add_real(*command, "--top-p", options.sampling.top_p, "Draw from the most likely that make up this probability",
           {.above_least = true});
  add_real(*command, "--min-p", options.sampling.min_p, "Draw from those with this share of the likeliest one's", {});
  add_real(*command, "--repetition-penalty", options.sampling.repetition_penalty, "Above 1 to repeat less",
           {.most = largest_real, .above_least = true});
  add_texts(*command, "--stop", options.stop, "End before this text");
  add_integer(*command, "--seed", options.sampling.seed, "Fixes what is drawn", seed_range);
  add_integer(*command, "--num", options.num, "Samples", {.least = 1, .most = 1024, .unit = "samples"});
  command->add_option("--eos", arguments->eos, "The token that ends a text, where the model's files name another");
  add_switch(*command, "--ignore-eos", options.ignore_eos, "Go on past the end-of-text token");
  command->callback([=, &context] {
    context.action = [=, &context] {
      generate(*arguments, context);
    };
  });
}

}  // namespace mslt::cli
