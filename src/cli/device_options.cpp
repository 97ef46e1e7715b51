// Choosing a device by the command line.
#include "cli/device_options.h"

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <ostream>

#include "backend/registry.h"
#include "cli/units.h"

namespace mslt::cli {

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
  command.add_option("--device", options->device, "auto, cpu, cuda, metal or msl-host; of several GPUs cuda:1, say");
  add_tuning_option(command, options->tuning);
  add_library_options(command, options->libraries.attention, options->libraries.products);
  return options;
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
