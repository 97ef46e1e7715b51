// mslt export: a model as the files of other programs.
#include <fmt/format.h>
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <ostream>
#include <string>
#include <system_error>

#include "backend/registry.h"
#include "base/fail.h"
#include "base/gguf.h"
#include "base/paths.h"
#include "cli/command.h"
#include "cli/device_options.h"
#include "cli/interrupt.h"
#include "cli/progress.h"
#include "cli/shell_quote.h"
#include "cli/units.h"
#include "formats/gguf_blocks.h"
#include "formats/gguf_export.h"
#include "formats/gguf_quantise.h"
#include "formats/model_info.h"
#include "formats/safetensors.h"
#include "text/gguf_tokenizer.h"

namespace mslt::cli {
namespace {

// As transformers splits them.
constexpr std::uint64_t shard_bytes = 5'000'000'000;

struct ExportArguments {
  std::string model;
  std::string format;
  std::string dtype;
  std::string quantize;
  std::string output;
};

// A folder may be there if it is empty.
void require_free(const std::filesystem::path& output, bool is_folder) {
  std::error_code error;
  if (!path_exists(output)) {
    // The new file would take the place of the link.
    if (!std::filesystem::is_symlink(std::filesystem::symlink_status(output, error))) return;
    fail(ErrorKind::usage, "{} is a link to nothing; choose another --output, or remove it.", output.string());
  }
  if (is_folder && std::filesystem::is_directory(output, error) && std::filesystem::is_empty(output, error)) return;
  fail(ErrorKind::usage, "{} exists already; choose another --output, or remove it.", output.string());
}

void require_space(const std::filesystem::path& output, std::uint64_t bytes) {
  std::filesystem::path folder = std::filesystem::absolute(output).parent_path();
  while (!path_exists(folder) && folder.has_relative_path()) folder = folder.parent_path();
  std::error_code error;
  const auto space = std::filesystem::space(folder, error);
  if (error || space.available >= bytes) return;
  fail(ErrorKind::io, "{} needs {}, but {} has only {} free; make room on it or choose another --output.",
       output.string(), format_bytes(static_cast<double>(bytes)), folder.string(),
       format_bytes(static_cast<double>(space.available)));
}

// Shows how much of so many bytes is written, and ends the writing on a signal.
WriteProgress show_writing(ProgressLine& line, const InterruptGuard& interrupt, std::uint64_t bytes) {
  return [&line, &interrupt, bytes, done = std::uint64_t{0}](std::uint64_t more) mutable {
    if (interrupt.interrupted()) {
      fail(ErrorKind::interrupted, "Writing the model was stopped; nothing of it is left.");
    }
    done += more;
    line.update(fmt::format("writing: {} of {}", format_bytes(static_cast<double>(done)),
                            format_bytes(static_cast<double>(bytes))));
  };
}

// The type of most of the file's weights, if it is a float.
DType stored_dtype(const ModelInfo& info) {
  std::uint64_t most = 0;
  DType result = DType::f32;
  for (const auto& [type, weights] : info.weights) {
    if (weights.bytes <= most) continue;
    most = weights.bytes;
    result = dtype_from_safetensors(type).value_or(DType::f32);
  }
  return result;
}

GgufBlock gguf_type(const ExportArguments& arguments, DType dtype) {
  if (arguments.quantize.empty()) return *gguf_block(safetensors_dtype(dtype));
  const auto block = packed_block(arguments.quantize);
  if (!block) {
    fail(ErrorKind::usage, "--quantize is {}; valid are {}.", arguments.quantize, packed_block_names());
  }
  return *block;
}

void print(const ExportArguments& arguments, std::string_view type, std::uint64_t bytes, const Context& context) {
  if (context.json) {
    context.print_json({{"format", arguments.format}, {"output", arguments.output}, {"type", type}, {"bytes", bytes}});
    return;
  }
  context.out << fmt::format("{}: {} of {} weights\n", arguments.output, format_bytes(static_cast<double>(bytes)),
                             type);
  context.err << fmt::format("Next: {} generate --model {} --prompt 'Once'\n", context.program,
                             shell_quote(arguments.output));
}

// What the new files will not say as the old ones did.
void note_losses(const ExportArguments& arguments, const ModelInfo& info, Context& context) {
  if (!arguments.quantize.empty()) {
    for (const auto& [type, weights] : info.weights) {
      if (!quantised_block(type)) continue;
      context.err << fmt::format(
          "Note: the model's weights are {} already; quantising them again loses more than quantising the original.\n",
          type);
      break;
    }
  }
  if (arguments.format != "hf" || !info.model.tokenizer || !is_gguf_file(arguments.model)) return;
  if (!has_tied_merges(parts_from_gguf_file(arguments.model))) return;
  context.err
      << "Note: tokens of the file have the same scores. tokenizer.json has to put their merges in an order, so "
         "it may encode some texts otherwise.\n";
}

void export_model(const ExportArguments& arguments, Context& context) {
  const bool is_gguf = arguments.format == "gguf";
  if (!is_gguf && arguments.format != "hf") {
    fail(ErrorKind::usage, "--format is {}; valid are hf and gguf.", arguments.format);
  }
  if (!arguments.quantize.empty() && (!is_gguf || !arguments.dtype.empty())) {
    fail(ErrorKind::usage, "--quantize cannot be combined with {}.",
         is_gguf ? "--dtype: it is the type of the file's matrices"
                 : "--format hf: such folders hold floats, of which --dtype chooses the type");
  }
  if (arguments.output.empty())
    fail(ErrorKind::usage, "--output is empty; valid is the path of a new {}.", is_gguf ? "file" : "folder");
  const std::filesystem::path output = arguments.output;
  if (!is_gguf && output.extension() == ".gguf") {
    fail(ErrorKind::usage,
         "--format hf writes a folder, but --output {} is the name of a file; --format gguf writes one.",
         output.string());
  }
  require_free(output, !is_gguf);
  const ModelInfo info = read_model_info(arguments.model);
  const DType dtype = arguments.dtype.empty() ? stored_dtype(info) : dtype_from_name(arguments.dtype);
  const auto load = [&](Backend& backend) {
    LoadedModel model = load_model_folder(backend, arguments.model, DType::f32, WeightMemory::mapped);
    print_notes(model.notes, context);
    return model;
  };
  note_losses(arguments, info, context);
  const std::unique_ptr<Backend> backend = mslt::make_backend("cpu");
  ProgressLine line(context.err, context.err_is_terminal);
  if (is_gguf) {
    const GgufBlock type = gguf_type(arguments, dtype);
    GgufExport file(info.config, info.model, type);
    if (is_gguf_file(arguments.model)) file.carry_over(GgufFile(arguments.model).contents());
    require_space(output, file.head().file_bytes());
    const LoadedModel model = load(*backend);
    const InterruptGuard interrupt;
    print_notes(file.notes(), context);
    make_folders(std::filesystem::absolute(output).parent_path());
    file.write(*model.transformer, output, show_writing(line, interrupt, file.head().file_bytes()));
    line.clear();
    interrupt.end_if_interrupted(arguments.output + " is written.");
    print(arguments, type.name, file.head().file_bytes(), context);
    if (output.extension() != ".gguf") context.err << "Note: other programs look for the ending .gguf.\n";
    return;
  }
  const std::uint64_t bytes = static_cast<std::uint64_t>(info.config.parameter_count()) * size_of(dtype);
  require_space(output, bytes);
  const LoadedModel model = load(*backend);
  const InterruptGuard interrupt;
  if (const std::string note = own_form_note(info.config); !note.empty()) context.err << "Note: " << note << '\n';
  const Tokenizer* const tokenizer = model.tokenizer ? &*model.tokenizer : nullptr;
  SaveModelOptions options = carried_over(model, tokenizer);
  options.dtype = dtype;
  options.shard_bytes = shard_bytes;
  options.progress = show_writing(line, interrupt, bytes);
  save_model_folder(output, *model.transformer, tokenizer, options);
  line.clear();
  interrupt.end_if_interrupted(arguments.output + " is written.");
  print(arguments, safetensors_dtype(dtype), bytes, context);
}

}  // namespace

void add_export_command(CLI::App& app, Context& context) {
  const auto arguments = std::make_shared<ExportArguments>();
  CLI::App* command = add_command(app, context, "export", "Write a model as a Hugging Face folder or a GGUF file",
                                  "  mslt export --model run --format gguf --output model.gguf\n"
                                  "  mslt export --model run --format gguf --quantize q8_0 --output small.gguf\n"
                                  "  mslt export --model model.gguf --format hf --dtype bf16 --output folder\n");
  add_model_option(*command, arguments->model);
  command->add_option("--format", arguments->format, "hf, a folder for transformers, or gguf, a file for llama.cpp")
      ->required();
  command->add_option("--output", arguments->output, "The new folder or file; it must not exist")->required();
  command->add_option("--dtype", arguments->dtype, "f32, bf16 or f16; by default the model's, f32 if it is quantised");
  command->add_option("--quantize", arguments->quantize, "Of matrices in a GGUF file: " + packed_block_names());
  command->callback([=, &context] {
    context.action = [=, &context] {
      export_model(*arguments, context);
    };
  });
}

}  // namespace mslt::cli
