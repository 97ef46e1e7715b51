// Dividing devices among processes.
#include "cli/parallel_options.h"

#include <CLI/CLI.hpp>

#include <algorithm>
#include <optional>
#include <ostream>
#include <string_view>
#include <vector>

#include "backend/msl/cuda_backend.h"
#include "base/fail.h"
#include "base/parallel.h"
#include "cli/numbers.h"
#include "parallel/communicator.h"
#include "parallel/launch.h"
#include "parallel/processes.h"

namespace mslt::cli {
namespace {

constexpr IntegerRange count_range = {.least = 1, .most = 1024, .unit = "devices"};
constexpr IntegerRange number_range = {.least = 0, .most = 1023};

// --devices: so many, or those of these numbers.
struct Devices {
  int count = 1;
  std::vector<int> numbers;
  bool are_all = false;  // of the machine
};

std::optional<Devices> devices_from(const std::string& text) {
  if (text.empty()) return std::nullopt;
  Devices devices;
  if (text == "all") {
    devices.are_all = true;
    devices.count = static_cast<int>(msl_cuda_devices().size());
    if (devices.count == 0) {
      fail(ErrorKind::usage,
           "--devices all stands for all NVIDIA GPUs, of which there is none; with --device cpu, a "
           "number of processes is valid.");
    }
  } else if (text.find(',') != std::string::npos) {
    std::string_view rest = text;
    while (true) {
      const std::size_t comma = rest.find(',');
      const auto number = static_cast<int>(parse_integer("--devices", rest.substr(0, comma), number_range));
      if (std::ranges::find(devices.numbers, number) != devices.numbers.end()) {
        fail(ErrorKind::usage, "--devices {} names GPU {} twice; each process needs one of its own.", text, number);
      }
      devices.numbers.push_back(number);
      if (comma == std::string_view::npos) break;
      rest.remove_prefix(comma + 1);
    }
    devices.count = static_cast<int>(devices.numbers.size());
  } else {
    devices.count = static_cast<int>(parse_integer("--devices", text, count_range));
  }
  return devices;
}

// Of the processes of this machine, each gets its part.
void divide_threads(int processes) {
  set_parallel_threads(std::max(1, parallel_threads() / processes));
}

// Whether --device leaves open which of the NVIDIA GPUs it is.
bool is_any_gpu(const std::string& device) {
  return device == "auto" || device == "cuda";
}

[[noreturn]] void refuse_both(const ParallelOptions& options, const Launch& launch) {
  fail(ErrorKind::usage,
       "--devices {} starts processes, but by {} a launcher has started this one among {}. Leave --devices out: each "
       "process takes the GPU of its place on its machine, among those that CUDA_VISIBLE_DEVICES names; or unset these "
       "variables.",
       options.devices, launch.told_by, launch.size);
}

}  // namespace

void add_parallel_options(CLI::App& command, ParallelOptions& options) {
  command
      .add_option(
          "--devices", options.devices,
          "Train on several devices of this machine, each with a process of its own that is started for it: all "
          "(NVIDIA GPUs), a number (the first so many), or those of the numbers 0,1; with --device cpu, a number "
          "of processes")
      ->type_name(std::string(count_or_list_type));
  command.add_option("--rendezvous", options.rendezvous,
                     "Where processes that a launcher started without MPI meet: HOST:PORT, where rank 0 listens, or a "
                     "file that all of them see");
}

void require_devices(const ParallelOptions& options, const std::string& device, std::size_t gpus) {
  const std::optional<Devices> devices = devices_from(options.devices);
  if (!devices) return;
  if (device.starts_with("cuda:") && devices->count > 1) {
    fail(
        ErrorKind::usage,
        "--device {} is one GPU, but --devices {} asks for {} devices; give --device cuda, and --devices 0,1 for those "
        "of these numbers, say.",
        device, options.devices, devices->count);
  }
  if (!is_any_gpu(device) || gpus == 0) {
    if (!devices->are_all && devices->numbers.empty()) return;
    fail(ErrorKind::usage, "--devices {} names NVIDIA GPUs, but {}; valid is a number of processes.", options.devices,
         is_any_gpu(device) ? "this machine has none" : "--device is " + device);
  }
  const std::size_t most = devices->numbers.empty()
                               ? static_cast<std::size_t>(devices->count)
                               : static_cast<std::size_t>(*std::ranges::max_element(devices->numbers)) + 1;
  if (most <= gpus) return;
  fail(ErrorKind::usage, "--devices {} asks for {}, but this machine has {} NVIDIA GPU{}{}.", options.devices,
       devices->numbers.empty() ? fmt::format("{} GPUs", most) : fmt::format("GPU {}", most - 1), gpus,
       gpus == 1 ? "" : "s", gpus == 1 ? ", number 0" : fmt::format(", numbers 0 to {}", gpus - 1));
}

void on_all_processes(const ParallelOptions& options, const std::string& device, Context& context,
                      const std::function<void()>& work) {
  const std::optional<Devices> devices = devices_from(options.devices);
  Launch launch = find_launch(options.rendezvous);
  const bool has_launcher = launch.through != Launch::Through::nothing;
  if (devices && has_launcher && !launch.is_child) refuse_both(options, launch);
  if (devices && !has_launcher && devices->count > 1) {
    if (!device.empty()) require_devices(options, device, msl_cuda_devices().size());
    std::vector<std::string> arguments = context.arguments;
    arguments.insert(arguments.begin(), context.program);
    context.processes = std::make_shared<Processes>(arguments, devices->count);
    launch = context.processes->launch();
  }
  if (devices) divide_threads(devices->count);
  context.local_rank = launch.local_rank;
  context.is_under_mpi = launch.through == Launch::Through::mpi;
  // One of those that --devices started is enough to tell.
  if (!launch.is_child) {
    launch.rendezvous.tell = [&context](const std::string& sentence) {
      context.err << sentence << '\n' << std::flush;
    };
  }
  try {
    context.communicator = make_communicator(launch);
    if (context.processes) context.processes->have_met();
  } catch (...) {
    if (context.processes) context.processes->end_soon();
    throw;
  }
  try {
    work();
  } catch (const std::exception& error) {
    context.communicator->tell_failure(error);
    if (context.processes) context.processes->end_soon();
    throw;
  }
}

std::string own_device(const ParallelOptions& options, const std::string& device, const Context& context) {
  const std::optional<Devices> devices = devices_from(options.devices);
  const bool is_one_of_several = context.communicator && !context.communicator->is_alone();
  if (!devices && !is_one_of_several) return device;
  const std::size_t gpus = is_any_gpu(device) ? msl_cuda_devices().size() : 0;
  require_devices(options, device, gpus);
  if (gpus == 0) return device;
  const auto place = static_cast<std::size_t>(context.local_rank);
  // A launcher may show each process one GPU of its own.
  if (!devices && gpus == 1) return device;
  const std::size_t number =
      devices && !devices->numbers.empty() ? static_cast<std::size_t>(devices->numbers[place]) : place;
  if (number >= gpus) {
    fail(ErrorKind::usage, "There is no GPU {} for process {} of this machine, which has {} NVIDIA GPU{}.", number,
         place + 1, gpus, gpus == 1 ? "" : "s");
  }
  return fmt::format("cuda:{}", number);
}

}  // namespace mslt::cli
