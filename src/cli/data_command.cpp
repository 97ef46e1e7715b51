// mslt data: text files to token shards.
#include <fmt/format.h>
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <filesystem>
#include <memory>
#include <optional>
#include <ostream>
#include <string>

#include "base/gguf.h"
#include "base/paths.h"
#include "base/printable.h"
#include "cli/command.h"
#include "cli/device_options.h"
#include "cli/interrupt.h"
#include "cli/numbers.h"
#include "cli/output_place.h"
#include "cli/progress.h"
#include "cli/ranges.h"
#include "cli/shell_quote.h"
#include "cli/special_tokens.h"
#include "cli/texts.h"
#include "cli/units.h"
#include "data/data_folder.h"
#include "data/prepare.h"
#include "formats/token_names.h"

namespace mslt::cli {
namespace {

struct PrepareArguments {
  PrepareOptions options;
  std::string pattern;
  std::vector<std::string> special;
  std::string eos;
  bool no_bos = false;
  bool force = false;
};

// What stands between documents, in words.
std::string describe_documents(const DataInfo& info, const PrepareArguments& arguments) {
  const Tokenizer tokenizer = load_data_tokenizer(arguments.options.output, info);
  const auto shown = [&](std::span<const TokenId> ids) {
    return printable(tokenizer.decode(ids));
  };
  const std::string end = shown(std::span(&info.eos_id, 1));
  if (!info.document_prefix.empty()) {
    return fmt::format("Each document begins with {}, as the tokenizer's files say, and ends with {}.",
                       shown(info.document_prefix), end);
  }
  if (info.holds_examples()) {
    return fmt::format("Each example begins and ends with {}, and so will prompts of a model trained on them begin.",
                       end);
  }
  return fmt::format("Each document ends with {}; nothing is put before it.", end);
}

// The model that a tokenizer comes from, which can be trained on: a GGUF file with weights, or a model folder. Nothing
// if it comes by itself.
std::string model_of(const std::filesystem::path& tokenizer) {
  if (is_gguf_file(tokenizer)) return GgufFile(tokenizer).contents().tensors().empty() ? "" : tokenizer.string();
  const std::filesystem::path folder = tokenizer_folder(tokenizer);
  return path_exists(folder / "config.json") ? folder.string() : "";
}

void prepare(const PrepareArguments& arguments, Context& context) {
  PrepareOptions options = arguments.options;
  if (!arguments.pattern.empty()) options.pattern = split_pattern_from_name(arguments.pattern);
  options.special = parse_special_tokens(arguments.special);
  require_replaceable(options.output / "data.json", arguments.force);
  const InterruptGuard interrupt;
  options.eos = [&](const Tokenizer& tokenizer) -> std::optional<TokenId> {
    if (!arguments.eos.empty()) return require_token(tokenizer, arguments.eos, "--eos");
    std::vector<std::string> notes;
    const auto id = eos_beside(options.tokenizer, tokenizer, notes);
    print_notes(notes, context);
    return id;
  };
  options.prefix = [&](const Tokenizer& tokenizer) {
    return arguments.no_bos ? std::vector<TokenId>()
                            : text_prefix_beside(tokenizer_folder(options.tokenizer), tokenizer);
  };
  ProgressLine progress(context.err, context.err_is_terminal);
  const PrepareResult result = prepare_data(options, [&](std::uint64_t done, std::uint64_t total) {
    progress.update(fmt::format("encoding: {} of {}", format_bytes(static_cast<double>(done)),
                                format_bytes(static_cast<double>(total))));
    return !interrupt.interrupted();
  });
  progress.clear();
  interrupt.end_if_interrupted(options.output.string() + " is complete.");
  for (const std::string& message : result.skipped)
    context.err << fmt::format("Warning: skipped {}\n", printable(message));
  const DataInfo& info = result.info;
  if (context.json) {
    nlohmann::ordered_json document = {{"output", options.output.string()},
                                       {"bytes_read", result.bytes_read},
                                       {"skipped_files", result.skipped.size()},
                                       {"train_tokens", info.train.tokens},
                                       {"validation_tokens", info.val.tokens},
                                       {"vocab_size", info.vocab_size},
                                       {"eos_id", info.eos_id},
                                       {"document_prefix", info.document_prefix}};
    if (info.holds_examples()) {
      document["train_examples"] = info.train.documents;
      document["validation_examples"] = info.val.documents;
      document["longest_example"] = TokenStream(options.output, "train").longest_example();
    }
    context.print_json(document);
    return;
  }
  if (!result.skipped.empty()) {
    context.out << fmt::format("Skipped {} of {} files; --strict stops at the first.\n", result.skipped.size(),
                               options.inputs.size());
  }
  context.out << fmt::format("{} of text, {} tokens for training, {} for validation: {}\n",
                             format_bytes(static_cast<double>(result.bytes_read)),
                             format_count(static_cast<double>(info.train.tokens)),
                             format_count(static_cast<double>(info.val.tokens)), printable(options.output.string()));
  context.out << describe_documents(info, arguments) << '\n';
  if (info.holds_examples()) {
    context.out << fmt::format("{} examples for training, {} for validation; the longest for training has {} tokens.\n",
                               info.train.documents, info.val.documents,
                               TokenStream(options.output, "train").longest_example());
  }
  const std::string model = model_of(options.tokenizer);
  context.err << fmt::format("Next: {} train --data {} --output {} {}\n", context.program,
                             shell_quote(options.output.string()), free_name("run"),
                             model.empty() ? "--preset tiny" : "--init-from " + shell_quote(model));
}

}  // namespace

void add_data_command(CLI::App& app, Context& context) {
  CLI::App* data = app.add_subcommand("data", "Turn text into training data");
  data->require_subcommand(1);
  const auto arguments = std::make_shared<PrepareArguments>();
  PrepareOptions* options = &arguments->options;
  CLI::App* command =
      add_command(*data, context, "prepare", "Clean, encode and split text files",
                  "  mslt data prepare --tokenizer tokenizer.json --input book.txt --output data\n"
                  "  mslt data prepare --tokenizer t.json --input a.txt b.txt --clean whitespace,nfc --output data\n"
                  "  mslt data prepare --tokenizer t.json --input answers.jsonl --examples --output data\n");
  command
      ->add_option("--tokenizer", options->tokenizer,
                   "A tokenizer.json, .tiktoken or GGUF file, or a model folder, with an end-of-text token")
      ->required();
  command->add_option("--pattern", arguments->pattern,
                      "Split pattern of a .tiktoken file: gpt2, llama3, qwen2 or o200k");
  add_texts(*command, "--special", arguments->special, "Special tokens of a .tiktoken file, as NAME=ID");
  add_paths(*command, "--input", options->inputs, "Text files; each is a document")->required();
  command->add_option("--output", options->output, "Data folder, created if it does not exist")->required();
  add_force_option(*command, arguments->force);
  add_real(*command, "--val-fraction", options->val_fraction, "Share kept for validation", {.most = 0.99});
  add_texts(*command, "--clean", options->cleaning, "Steps in order: whitespace, lowercase, nfc")->delimiter(',');
  add_switch(
      *command, "--examples", options->examples,
      "Make each line, or the \"text\" of each record of .jsonl files, an example that training pads to one length");
  add_switch(*command, "--strict", options->strict, "Stop at a file that is empty or not text instead of skipping it");
  command->add_option("--separator", options->document_separator, "A line that ends a document within a file");
  command->add_option("--eos", arguments->eos, "The token that ends documents, if the tokenizer's files name none");
  add_switch(
      *command, "--no-bos", arguments->no_bos,
      "Leave out the prefix that the tokenizer's files put before each text; models trained on the data leave it out, "
      "too");
  add_integer(*command, "--seed", options->seed, "Chooses the documents kept for validation", seed_range);
  add_integer(*command, "--shard-tokens", options->shard_tokens, "Most tokens per shard file",
              {.least = 1, .unit = "tokens"});
  command->callback([=, &context] {
    context.action = [=, &context] {
      prepare(*arguments, context);
    };
  });
}

}  // namespace mslt::cli
