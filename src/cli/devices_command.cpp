// mslt devices: what this build can run on, here.
#include <fmt/format.h>

#include <ostream>

#include "backend/registry.h"
#include "cli/command.h"
#include "cli/units.h"

namespace mslt::cli {

void add_devices_command(CLI::App& app, Context& context) {
  CLI::App* command = add_command(app, context, "devices", "List the devices that --device can name here",
                                  "  mslt devices\n  mslt devices --json\n");
  command->callback([&context] {
    context.action = [&context] {
      nlohmann::ordered_json list = nlohmann::ordered_json::array();
      for (const DeviceInfo& device : available_devices()) {
        list.push_back({{"device", device.backend},
                        {"name", device.name},
                        {"memory_bytes", device.memory_bytes},
                        {"compute_units", device.compute_units},
                        {"trains_16_bit", device.trains_16_bit}});
        if (!context.json) {
          context.out << fmt::format("{:<9} {}, {} compute units, {}\n", device.backend, device.name,
                                     device.compute_units, format_bytes(static_cast<double>(device.memory_bytes)));
        }
      }
      if (context.json) context.print_json(list);
    };
  });
}

}  // namespace mslt::cli
