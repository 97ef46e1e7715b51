// mslt doctor: whether this machine computes what it should, and what to change.
#include <fmt/format.h>
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <ostream>
#include <string>

#include "backend/registry.h"
#include "base/printable.h"
#include "cli/command.h"
#include "cli/device_options.h"
#include "cli/exit_status.h"
#include "profile/doctor.h"
#include "train/report.h"

namespace mslt::cli {
namespace {

void examine_machine(const DeviceOptions& device, const std::filesystem::path& folder, Context& context) {
  const std::unique_ptr<Backend> backend = mslt::make_backend(device.device, device.tuning, device.libraries);
  const std::unique_ptr<Backend> reference = mslt::make_backend("cpu");
  const std::vector<Finding> findings = examine(*backend, *reference, folder);
  const auto environment = describe_environment();
  if (std::ranges::any_of(findings, [](const Finding& each) { return each.verdict == Verdict::problem; })) {
    context.status = failure_status;
  }
  if (context.json) {
    nlohmann::ordered_json list = nlohmann::ordered_json::array();
    for (const Finding& each : findings) {
      list.push_back(
          {{"topic", each.topic}, {"verdict", name_of(each.verdict)}, {"text", each.text}, {"change", each.change}});
    }
    nlohmann::ordered_json about = nlohmann::ordered_json::object();
    for (const auto& [name, value] : environment) about[name] = value;
    context.print_json({{"environment", about}, {"findings", list}});
    return;
  }
  for (const auto& [name, value] : environment) context.out << fmt::format("{:<9} {}\n", name, value);
  context.out << '\n';
  for (const Finding& each : findings) {
    context.out << fmt::format("{:<8} {:<9} {}\n", name_of(each.verdict), each.topic, printable(each.text));
    if (!each.change.empty()) context.out << fmt::format("{:<18} {}\n", "", printable(each.change));
  }
}

}  // namespace

void add_doctor_command(CLI::App& app, Context& context) {
  CLI::App* command =
      add_command(app, context, "doctor", "Examine a device, its kernels, memory and disk, and say what to change",
                  "  mslt doctor\n"
                  "  mslt doctor --device cuda --folder /data/runs\n"
                  "The exit status is 1 where there is a problem. Please send the output with a report of a bug.\n");
  const auto folder = std::make_shared<std::filesystem::path>(".");
  const std::shared_ptr<DeviceOptions> device = add_device_options(*command);
  command->add_option("--folder", *folder, "Folder whose file system to measure");
  command->callback([=, &context] {
    context.action = [=, &context] {
      examine_machine(*device, *folder, context);
    };
  });
}

}  // namespace mslt::cli
