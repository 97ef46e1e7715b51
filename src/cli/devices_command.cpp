// mslt devices: the devices that this build can use on this machine.
#include <fmt/format.h>
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <ostream>

#include "backend/msl/tuning_store.h"
#include "backend/registry.h"
#include "cli/command.h"
#include "cli/units.h"

namespace mslt::cli {
namespace {

void list_devices(Context& context) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const auto& [option, device] : available_devices()) {
    nlohmann::ordered_json entry = {{"device", option},
                                    {"name", device.name},
                                    {"memory_bytes", device.memory_bytes},
                                    {"compute_units", device.compute_units},
                                    {"trains_16_bit", device.trains_16_bit},
                                    {"multiplies_bf16", device.multiplies_bf16}};
    std::string units = fmt::format("{} compute units", device.compute_units);
    if (device.backend == "cpu") {
      entry["instructions"] = device.instructions;
      units = fmt::format("{} threads, {}", device.compute_units, device.instructions);
    }
    std::string launches;
    if (device.backend != "cpu") {
      const msl::ChosenTuning chosen = msl::choose_tuning(device, "auto");
      if (!chosen.warning.empty()) context.err << fmt::format("Warning: {}\n", chosen.warning);
      entry["tuning"] = chosen.origin;
      entry["tuned"] = chosen.origin == msl::stored_tuning_file(device).string();
      launches = fmt::format("          tuning: {}\n", chosen.origin);
    }
    list.push_back(std::move(entry));
    if (!context.json) {
      context.out << fmt::format("{:<9} {}, {}, {}\n{}", option, device.name, units,
                                 format_bytes(static_cast<double>(device.memory_bytes)), launches);
    }
  }
  if (context.json) context.print_json(list);
}

}  // namespace

void add_devices_command(CLI::App& app, Context& context) {
  CLI::App* command =
      add_command(app, context, "devices", "List the devices that --device can name here, and their tunings",
                  "  mslt devices\n  mslt devices --json\n");
  command->callback([&context] {
    context.action = [&context] {
      list_devices(context);
    };
  });
}

}  // namespace mslt::cli
