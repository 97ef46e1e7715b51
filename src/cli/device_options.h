// The options that choose a device and the launch parameters of its kernels.
#pragma once

#include <memory>
#include <span>
#include <string>

#include "backend/backend.h"
#include "backend/libraries.h"
#include "cli/command.h"
#include "model/transformer.h"
#include "mslt/model.h"

namespace CLI {  // NOLINT(readability-identifier-naming): not ours
class App;
}

namespace mslt::cli {

struct DeviceOptions {
  std::string device = "auto";
  std::string tuning = "auto";
  LibraryChoice libraries;
};

// Adds --device.
void add_device_option(CLI::App& command, std::string& device);

// Adds --tuning, whose default is "auto".
void add_tuning_option(CLI::App& command, std::string& tuning);

// Adds --attention and --products.
void add_library_options(CLI::App& command, std::string& attention, std::string& products);

// Adds --device, --tuning, --attention and --products.
std::shared_ptr<DeviceOptions> add_device_options(CLI::App& command);

// Adds --model, which must be given.
void add_model_option(CLI::App& command, std::string& model);

// Adds --device, --tuning, --attention, --products, --dtype and --quantize.
void add_load_options(CLI::App& command, LoadOptions& load);

// The model that they choose; prints its warnings and notes, and what its quantised matrices take.
Model load_model(const std::string& path, const LoadOptions& load, Context& context);

// Adds --quantize.
void add_quantize_option(CLI::App& command, std::string& quantize);

// The backend that they choose; prints its warning.
std::unique_ptr<Backend> make_backend(const DeviceOptions& options, Context& context);

// Prints the backend's warnings, if there are any.
void print_warning(const Backend& backend, Context& context);

// Prints what the model's quantised matrices take, if there are any.
void print_quantised(const Transformer& transformer, Context& context);

// Prints one line for each sentence about converted or unusable parts of a file.
void print_notes(std::span<const std::string> notes, Context& context);

}  // namespace mslt::cli
