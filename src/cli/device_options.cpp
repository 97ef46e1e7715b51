// Choosing a device by the command line.
#include "cli/device_options.h"

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <ostream>

#include "backend/registry.h"
#include "cli/units.h"
#include "formats/model_parts.h"

namespace mslt::cli {

void add_device_option(CLI::App& command, std::string& device) {
  command.add_option("--device", device, "auto, cpu, cuda, metal or msl-host; of several GPUs cuda:1, say");
}

void add_tuning_option(CLI::App& command, std::string& tuning) {
  tuning = "auto";
  command.add_option(
      "--tuning", tuning,
      "Launch parameters of a GPU's kernels: auto (as stored by 'mslt tune'), none, or a file that it wrote");
}

void add_library_options(CLI::App& command, std::string& attention, std::string& products) {
  command.add_option("--attention", attention,
                     "What attends over whole sequences on cuda: auto, msl for mslt's own kernels, or cudnn");
  command.add_option("--products", products,
                     "What multiplies matrices on cuda: auto, msl for mslt's own kernels, or cublas");
}

void add_quantize_option(CLI::App& command, std::string& quantize) {
  command.add_option(
      "--quantize", quantize,
      "Matrices in memory: auto (as in the file, which a GGUF file may have in 8 or 4 bits), none (all of "
      "--dtype), int8 or int4, in groups of 32; int4 leaves 8 bits to the output head");
}

std::shared_ptr<DeviceOptions> add_device_options(CLI::App& command) {
  auto options = std::make_shared<DeviceOptions>();
  add_device_option(command, options->device);
  add_tuning_option(command, options->tuning);
  add_library_options(command, options->libraries.attention, options->libraries.products);
  return options;
}

void add_model_option(CLI::App& command, std::string& model) {
  command.add_option("--model", model, "A run, checkpoint or Hugging Face model folder, or a GGUF file")->required();
}

void add_load_options(CLI::App& command, LoadOptions& load) {
  add_device_option(command, load.device);
  add_tuning_option(command, load.tuning);
  add_library_options(command, load.attention, load.products);
  command.add_option(
      "--dtype", load.dtype,
      "Weights in memory: f32; bf16 or f16, which halve them and round what the model's files have in more digits. By "
      "default as in the files on GPUs, f32 on the CPU");
  add_quantize_option(command, load.quantize);
}

Model load_model(const std::string& path, const LoadOptions& load, Context& context) {
  Model model = Model::load(path, load);
  print_warning(*model.parts().backend, context);
  print_notes(model.notes(), context);
  print_quantised(*model.parts().loaded.transformer, context);
  return model;
}

std::unique_ptr<Backend> make_backend(const DeviceOptions& options, Context& context) {
  auto backend = mslt::make_backend(options.device, options.tuning, options.libraries);
  print_warning(*backend, context);
  return backend;
}

void print_notes(std::span<const std::string> notes, Context& context) {
  for (const std::string& note : notes) context.err << fmt::format("Warning: {}\n", note);
}

void print_quantised(const Transformer& transformer, Context& context) {
  const std::size_t bytes = transformer.quantised().bytes();
  if (bytes == 0) return;
  context.err << fmt::format("Quantised matrices take {}.\n", format_bytes(static_cast<double>(bytes)));
}

void print_warning(const Backend& backend, Context& context) {
  if (!backend.warning().empty()) context.err << fmt::format("Warning: {}\n", backend.warning());
}

}  // namespace mslt::cli
