// The options that choose a device and how its kernels are launched.
#pragma once

#include <memory>
#include <span>
#include <string>

#include "backend/backend.h"
#include "backend/libraries.h"
#include "cli/command.h"

namespace CLI {  // NOLINT(readability-identifier-naming): not ours
class App;
}

namespace mslt::cli {

struct DeviceOptions {
  std::string device = "auto";
  std::string tuning = "auto";
  LibraryChoice libraries;
};

// Adds --tuning, whose default is "auto".
void add_tuning_option(CLI::App& command, std::string& tuning);

// Adds --attention and --products.
void add_library_options(CLI::App& command, std::string& attention, std::string& products);

// Adds --device, --tuning, --attention and --products.
std::shared_ptr<DeviceOptions> add_device_options(CLI::App& command);

// The backend that they choose; prints its warning.
std::unique_ptr<Backend> make_backend(const DeviceOptions& options, Context& context);

// Prints what was passed over when the backend was made, if anything was.
void print_warning(const Backend& backend, Context& context);

// Prints a line for each sentence on what a file says that was converted or could not be used.
void print_notes(std::span<const std::string> notes, Context& context);

}  // namespace mslt::cli
