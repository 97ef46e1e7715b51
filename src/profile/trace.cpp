// Writing trace events.
#include "profile/trace.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <vector>

#include "base/fail.h"
#include "profile/memory_curve.h"

namespace mslt {
namespace {

using Json = nlohmann::ordered_json;

constexpr int process = 1;
constexpr int host_track = 1;
constexpr int device_track = 2;
constexpr int kernel_track = 3;

double microseconds(double seconds) {
  return 1e6 * seconds;
}

Json named(std::string_view what, int track, std::string_view name) {
  return {{"ph", "M"}, {"pid", process}, {"tid", track}, {"name", what}, {"args", {{"name", name}}}};
}

Json slice(std::string_view name, int track, double begin, double end, Json arguments) {
  return {{"ph", "X"},
          {"pid", process},
          {"tid", track},
          {"name", name},
          {"ts", microseconds(begin)},
          {"dur", microseconds(std::max(0.0, end - begin))},
          {"args", std::move(arguments)}};
}

Json flow(std::string_view phase, int track, std::size_t number, double time) {
  Json event = {{"ph", phase},   {"pid", process},          {"tid", track}, {"cat", "operation"}, {"id", number},
                {"name", "run"}, {"ts", microseconds(time)}};
  if (phase == "f") event["bp"] = "e";
  return event;
}

Json arguments_of(const OperationTime& one) {
  Json arguments = {{"shape", one.shape},
                    {"layer", one.layer},
                    {"flops", one.work.flops},
                    {"bytes", one.work.bytes},
                    {"seconds", one.seconds}};
  if (one.counts.cycles > 0) {
    arguments["cycles"] = one.counts.cycles;
    arguments["instructions"] = one.counts.instructions;
    arguments["cache_misses"] = one.counts.cache_misses;
  }
  return arguments;
}

void add_operation(Json& events, const OperationTime& one, std::size_t number) {
  // What a recording holds is handed over by its replay.
  if (one.handed_end > one.handed_over) {
    events.push_back(slice(fmt::format("hand over {}", one.operation), host_track, one.handed_over, one.handed_end,
                           {{"layer", one.layer}}));
  }
  events.push_back(flow("s", host_track, number, one.handed_over));
  events.push_back(slice(one.operation, device_track, one.begin, one.end, arguments_of(one)));
  events.push_back(flow("f", device_track, number, one.begin));
  for (const KernelTime& kernel : one.kernels) {
    events.push_back(slice(kernel.kernel, kernel_track, kernel.begin, kernel.begin + kernel.seconds,
                           {{"flops", kernel.work.flops}, {"bytes", kernel.work.bytes}}));
  }
}

}  // namespace

std::string trace_of(const StepTimeline& step, std::string_view device) {
  Json events = Json::array();
  events.push_back(named("process_name", host_track, "mslt"));
  events.push_back(named("thread_name", host_track, "host"));
  events.push_back(named("thread_name", device_track, device));
  const bool has_kernels =
      std::ranges::any_of(step.operations, [](const OperationTime& one) { return !one.kernels.empty(); });
  if (has_kernels) events.push_back(named("thread_name", kernel_track, "kernels"));
  for (std::size_t i = 0; i < step.operations.size(); ++i) add_operation(events, step.operations[i], i);
  for (const HostTime& one : step.host) {
    events.push_back(slice(one.what, host_track, one.begin, one.end, {{"bytes", one.bytes}}));
  }
  const MemoryCurve memory = memory_curve(step);
  for (std::size_t i = 0; i < memory.times.size(); ++i) {
    Json bytes = Json::object();
    for (std::size_t holder = 0; holder < memory.holders.size(); ++holder) {
      bytes[memory.holders[holder]] = memory.bytes[holder][i];
    }
    events.push_back({{"ph", "C"},
                      {"pid", process},
                      {"tid", host_track},
                      {"name", "memory in use"},
                      {"ts", microseconds(memory.times[i])},
                      {"args", std::move(bytes)}});
  }
  const Json document = {{"traceEvents", std::move(events)}, {"displayTimeUnit", "ms"}};
  return document.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace mslt
