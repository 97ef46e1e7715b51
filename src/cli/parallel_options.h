// The options by which several processes work together: --devices and --rendezvous.
#pragma once

#include <cstddef>
#include <functional>
#include <string>

#include "cli/command.h"

namespace CLI {  // NOLINT(readability-identifier-naming): not ours
class App;
}

namespace mslt::cli {

struct ParallelOptions {
  std::string devices = {};     // as written; empty where not given
  std::string rendezvous = {};  // the same
};

// Adds both.
void add_parallel_options(CLI::App& command, ParallelOptions& options);

// Runs `work` together with the processes that a launcher started with this one or, where there is no launcher, with
// those that --devices asks for, which are started here once require_devices has seen to it. `device` is that of
// --device; empty where it is not known yet. Sets context.communicator. An error of one process ends all. Throws
// Error(usage) for --devices beside a launcher.
void on_all_processes(const ParallelOptions& options, const std::string& device, Context& context,
                      const std::function<void()>& work);

// Throws Error(usage) where a machine with so many GPUs has not the devices that --devices names, with this --device.
void require_devices(const ParallelOptions& options, const std::string& device, std::size_t gpus);

// What this process makes its backend of, where --device is `device`: on several GPUs, one of its own. Throws
// Error(usage) where there are fewer GPUs than processes of this machine.
std::string own_device(const ParallelOptions& options, const std::string& device, const Context& context);

}  // namespace mslt::cli
