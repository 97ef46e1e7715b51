// mslt generate: text from a trained model.
#include <fmt/format.h>
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <memory>
#include <ostream>
#include <utility>

#include "base/printable.h"
#include "cli/command.h"
#include "cli/device_options.h"
#include "cli/input_stream.h"
#include "cli/interrupt.h"
#include "cli/numbers.h"
#include "cli/ranges.h"
#include "cli/sampling_options.h"
#include "cli/texts.h"
#include "cli/units.h"
#include "formats/model_parts.h"
#include "mslt/generator.h"
#include "mslt/model.h"

namespace mslt::cli {
namespace {

struct GenerateArguments {
  std::string model;
  std::string prompt;
  std::string eos;
  bool no_bos = false;
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

// Chat templates often begin with the token that the tokenizer adds as well.
void warn_of_second_prefix(std::string_view prompt, const GenerateOptions& options, const Model& model,
                           Context& context) {
  if (!options.add_prefix || !options.parse_special || model.text_prefix().empty()) return;
  const std::string_view first = model.tokenizer().token_bytes(model.text_prefix().front());
  if (!prompt.starts_with(first)) return;
  context.err << fmt::format(
      "Warning: the prompt begins with {}, which the tokenizer puts before it as well; --no-bos leaves that one out.\n",
      printable(first));
}

void generate(const GenerateArguments& arguments, Context& context) {
  GenerateOptions options = arguments.options;
  options.validate();
  std::string prompt = arguments.prompt;
  if (prompt == "-") prompt = read_all(context.in);
  options.add_prefix = !arguments.no_bos;
  Model model = load_model(arguments.model, arguments.load, context);
  if (!arguments.eos.empty()) model.end_at(arguments.eos);
  warn_of_second_prefix(prompt, options, model, context);
  Generator generator(model);
  const InterruptGuard interrupt;
  const bool stream = !context.json && options.num == 1;
  // The prompt is shown with the first text, once nothing can refuse it.
  bool shown = false;
  const auto show_prompt = [&] {
    if (stream && !std::exchange(shown, true)) context.out << prompt;
  };
  const std::vector<Generated> results = generator.generate(prompt, options, [&](std::int64_t, std::string_view piece) {
    show_prompt();
    if (stream) context.out << piece << std::flush;
    return !interrupt.interrupted();
  });
  show_prompt();
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
                       ? static_cast<double>(statistics.new_tokens - options.num) / statistics.decode_seconds
                       : 0.0));
}

}  // namespace

void add_generate_command(CLI::App& app, Context& context) {
  const auto arguments = std::make_shared<GenerateArguments>();
  CLI::App* command = add_command(app, context, "generate", "Continue a text",
                                  "  mslt generate --model run --prompt 'In the beginning' --temperature 0.8\n"
                                  "  echo 'Once' | mslt generate --model run --prompt - --top-p 0.9 --num 3 --seed 7\n"
                                  "  mslt generate --model run --prompt 'Q:' --stop 'Q:' --json\n");
  GenerateOptions& options = arguments->options;
  add_model_option(*command, arguments->model);
  command->add_option("--prompt", arguments->prompt, "What to continue; - for standard input")->required();
  add_load_options(*command, arguments->load);
  add_integer(*command, "--max-new-tokens", options.max_new_tokens, "Most tokens to generate", {.unit = "tokens"});
  add_sampling_options(*command, options.sampling);
  add_texts(*command, "--stop", options.stop, "End before this text or at this special token");
  add_integer(*command, "--num", options.num, "Samples", {.least = 1, .most = 1024, .unit = "samples"});
  command->add_option("--eos", arguments->eos, "The token that ends a text, instead of the one the model's files name");
  add_switch(*command, "--no-bos", arguments->no_bos,
             "Leave out the prefix that the tokenizer's files put before each text");
  add_switch(*command, "--parse-special", options.parse_special,
             "Read the spelling of a special token in the prompt as that token");
  add_switch(*command, "--ignore-eos", options.ignore_eos, "Go on past the end-of-text token");
  command->callback([=, &context] {
    context.action = [=, &context] {
      generate(*arguments, context);
    };
  });
}

}  // namespace mslt::cli
