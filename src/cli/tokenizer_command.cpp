// mslt tokenizer: train a vocabulary, encode text to ids, decode ids to text.
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <charconv>
#include <chrono>
#include <memory>
#include <ostream>

#include "base/fail.h"
#include "base/mapped_file.h"
#include "base/parallel.h"
#include "base/printable.h"
#include "cli/command.h"
#include "cli/input_stream.h"
#include "cli/interrupt.h"
#include "cli/numbers.h"
#include "cli/output_place.h"
#include "cli/progress.h"
#include "cli/ranges.h"
#include "cli/shell_quote.h"
#include "cli/special_tokens.h"
#include "cli/texts.h"
#include "cli/units.h"
#include "data/shard.h"
#include "mslt/tokenizer.h"

namespace mslt::cli {
namespace {

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

struct TokenizerTrainArguments {
  std::vector<std::string> inputs;
  std::string output;
  std::string pattern = "gpt2";
  bool force = false;
  TokenizerTrainOptions options;
};

void train(const TokenizerTrainArguments& arguments, Context& context) {
  TokenizerTrainOptions options = arguments.options;
  options.pattern = split_pattern_from_name(arguments.pattern);
  require_replaceable(arguments.output, arguments.force);
  const InterruptGuard interrupt;
  ProgressLine progress(context.err, context.err_is_terminal);
  options.progress = [&](std::string_view stage, std::uint64_t done, std::uint64_t total) {
    progress.update(fmt::format("{}: {} of {}", stage, format_count(static_cast<double>(done)),
                                format_count(static_cast<double>(total))));
    return !interrupt.interrupted();
  };
  std::vector<std::string> skipped;
  options.on_skip = [&](std::string_view message) {
    skipped.emplace_back(message);
  };
  const auto start = std::chrono::steady_clock::now();
  const std::vector<std::filesystem::path> files(arguments.inputs.begin(), arguments.inputs.end());
  const Tokenizer tokenizer = Tokenizer::train(files, options);
  tokenizer.save(arguments.output);
  interrupt.end_if_interrupted(arguments.output + " is written.");
  const double seconds = seconds_since(start);
  progress.clear();
  for (const std::string& message : skipped) context.err << fmt::format("Warning: skipped {}\n", printable(message));
  if (context.json) {
    context.print_json({{"output", arguments.output},
                        {"vocab_size", tokenizer.vocab_size()},
                        {"skipped_files", skipped.size()},
                        {"seconds", seconds}});
    return;
  }
  if (!skipped.empty()) {
    context.out << fmt::format("Skipped {} of {} files; --strict would stop at the first.\n", skipped.size(),
                               files.size());
  }
  context.out << fmt::format("Trained {} tokens in {}: {}\n", tokenizer.vocab_size(), format_duration(seconds),
                             printable(arguments.output));
  std::vector<std::string> inputs;
  for (const std::string& input : arguments.inputs) inputs.push_back(shell_quote(input));
  context.err << fmt::format("Next: {} data prepare --tokenizer {} --input {} --output {}\n", context.program,
                             shell_quote(arguments.output), fmt::join(inputs, " "), free_name("data"));
}

struct CodeArguments {
  std::string tokenizer;
  std::string input = "-";
  std::string output = "-";
  std::string pattern;
  std::vector<std::string> special;
  bool parse_special = false;
};

Tokenizer load(const CodeArguments& arguments) {
  std::optional<SplitPattern> pattern;
  if (!arguments.pattern.empty()) pattern = split_pattern_from_name(arguments.pattern);
  return Tokenizer::load(arguments.tokenizer, pattern, parse_special_tokens(arguments.special));
}

std::string read_input(const CodeArguments& arguments, Context& context) {
  if (arguments.input == "-") return read_all(context.in);
  const MappedFile file(arguments.input);
  std::string text(file.text());
  file.require_intact();
  return text;
}

void write_output(const CodeArguments& arguments, std::string_view text, Context& context) {
  if (arguments.output == "-") {
    context.out << text << std::flush;
  } else {
    // A signal leaves a whole file or none, and no temporary one.
    const InterruptGuard interrupt;
    write_file(arguments.output, text);
    interrupt.end_if_interrupted(arguments.output + " is written.");
  }
}

void encode(const CodeArguments& arguments, Context& context) {
  const Tokenizer tokenizer = load(arguments);
  const std::string text = read_input(arguments, context);
  const std::vector<TokenId> ids =
      tokenizer.encode(text, arguments.parse_special ? SpecialTokens::parse : SpecialTokens::as_text);
  if (arguments.output.ends_with(".bin")) {
    const InterruptGuard interrupt;
    ShardWriter writer(arguments.output, token_width_for(tokenizer.vocab_size()));
    writer.append(ids);
    writer.finish();
    interrupt.end_if_interrupted(arguments.output + " is written.");
  } else if (context.json && arguments.output == "-") {
    context.print_json({{"tokens", ids.size()}, {"bytes", text.size()}, {"ids", ids}});
    return;
  } else {
    write_output(arguments, fmt::format("{}\n", fmt::join(ids, " ")), context);
  }
  if (context.json) context.print_json({{"tokens", ids.size()}, {"bytes", text.size()}, {"output", arguments.output}});
}

std::vector<TokenId> parse_ids(std::string_view text, std::string_view source) {
  std::vector<TokenId> ids;
  const char* position = text.data();
  const char* end = text.data() + text.size();
  while (true) {
    while (position != end && (*position == ' ' || *position == '\n' || *position == '\r' || *position == '\t' ||
                               *position == ',' || *position == '[' || *position == ']')) {
      ++position;
    }
    if (position == end) return ids;
    TokenId id = 0;
    const auto [next, error] = std::from_chars(position, end, id);
    if (error != std::errc() || (next != end && std::string_view(" \n\r\t,[]").find(*next) == std::string_view::npos)) {
      fail(ErrorKind::input, "{} is not a list of token ids: byte {} is not a number from 0 to 4294967295.", source,
           position - text.data());
    }
    ids.push_back(id);
    position = next;
  }
}

void decode(const CodeArguments& arguments, Context& context) {
  const Tokenizer tokenizer = load(arguments);
  std::vector<TokenId> ids;
  if (arguments.input.ends_with(".bin")) {
    const ShardReader shard(arguments.input);
    std::vector<std::int32_t> stored(shard.size());
    shard.copy(0, stored);
    ids.assign(stored.begin(), stored.end());
  } else {
    ids = parse_ids(read_input(arguments, context), arguments.input == "-" ? "Standard input" : arguments.input);
  }
  std::size_t without_token = 0;
  const std::string text = tokenizer.decode(ids, false, &without_token);
  if (without_token > 0) {
    context.err << fmt::format("Warning: {} of the {} ids have no token and are skipped.\n", without_token, ids.size());
  }
  if (context.json && arguments.output == "-") {
    context.print_json({{"tokens", ids.size()}, {"without_token", without_token}, {"text", text}});
  } else {
    write_output(arguments, text, context);
    if (context.json) context.print_json({{"tokens", ids.size()}, {"output", arguments.output}});
  }
}

void add_code_options(CLI::App* command, CodeArguments& arguments) {
  command->add_option("--tokenizer", arguments.tokenizer, "A tokenizer.json, .tiktoken or GGUF file, or a folder")
      ->required();
  command->add_option("--pattern", arguments.pattern,
                      "Split pattern of a .tiktoken file: gpt2, llama3, qwen2 or o200k");
  add_texts(*command, "--special", arguments.special, "Special tokens of a .tiktoken file, as NAME=ID");
  command->add_option("--input", arguments.input, "A file, or - for standard input");
}

}  // namespace

void add_tokenizer_command(CLI::App& app, Context& context) {
  CLI::App* tokenizer = app.add_subcommand("tokenizer", "Train and use byte-level BPE tokenizers");
  tokenizer->require_subcommand(1);

  const auto training = std::make_shared<TokenizerTrainArguments>();
  CLI::App* train_command =
      add_command(*tokenizer, context, "train", "Train a tokenizer on text files",
                  "  mslt tokenizer train --input book.txt --vocab-size 1776 --output tokenizer.json\n"
                  "  mslt tokenizer train --input a.txt b.txt --pattern llama3 --vocab-size 32000 --output t.json\n");
  add_texts(*train_command, "--input", training->inputs, "Text files")->required();
  train_command->add_option("--output", training->output, "Where to write tokenizer.json")->required();
  add_integer(*train_command, "--vocab-size", training->options.vocab_size,
              "Vocabulary size, including bytes and special tokens", trained_vocab_range);
  add_force_option(*train_command, training->force);
  train_command->add_option("--pattern", training->pattern, "How text is split: gpt2, llama3, qwen2, o200k or none");
  add_switch(*train_command, "--strict", training->options.strict,
             "Stop at a file that is empty or not text instead of skipping it");
  add_texts(*train_command, "--special", training->options.special, "Special tokens, first in the vocabulary");
  add_integer(*train_command, "--min-frequency", training->options.min_frequency, "Smallest frequency of a merged pair",
              {.least = 1, .most = std::uint64_t{1} << 62, .unit = "times"});
  train_command->callback([training, &context] {
    context.action = [=, &context] {
      training->options.threads = parallel_threads();
      train(*training, context);
    };
  });

  const auto encoding = std::make_shared<CodeArguments>();
  CLI::App* encode_command =
      add_command(*tokenizer, context, "encode", "Turn text into token ids",
                  "  echo 'In the beginning' | mslt tokenizer encode --tokenizer tokenizer.json\n"
                  "  mslt tokenizer encode --tokenizer t.json --input a.txt --output a.bin\n");
  add_code_options(encode_command, *encoding);
  encode_command->add_option("--output", encoding->output, "A text file, a shard (*.bin), or - for standard output");
  add_switch(*encode_command, "--parse-special", encoding->parse_special, "Recognise special tokens in the text");
  encode_command->callback([encoding, &context] {
    context.action = [=, &context] {
      encode(*encoding, context);
    };
  });

  const auto decoding = std::make_shared<CodeArguments>();
  CLI::App* decode_command = add_command(*tokenizer, context, "decode", "Turn token ids into text",
                                         "  echo 12 500 33 | mslt tokenizer decode --tokenizer tokenizer.json\n");
  add_code_options(decode_command, *decoding);
  decode_command->add_option("--output", decoding->output, "A file, or - for standard output");
  decode_command->callback([decoding, &context] {
    context.action = [=, &context] {
      decode(*decoding, context);
    };
  });
}

}  // namespace mslt::cli
