// The double's machine and its log.
#include "tests/metal_double/world.h"

#include <utility>

#include "base/parallel.h"

namespace mslt::metal_double {
namespace {

std::map<std::uint32_t, std::size_t>& announced() {
  thread_local std::map<std::uint32_t, std::size_t> bytes;
  return bytes;
}

}  // namespace

World& world() {
  // Never destroyed: objects may die after the end of main.
  static World& only = *[] {
    auto* made = new World;
    made->settings = default_settings();
    made->executor = std::make_unique<Executor>(parallel_threads(), made->settings.seed);
    return made;
  }();
  return only;
}

Settings default_settings() {
  Settings settings;
  settings.kernels = msl::kernel_table();
  settings.host_kernels = msl::host::host_kernels();
  return settings;
}

void reset(const Settings& settings) {
  World& w = world();
  w.executor.reset();
  std::vector<std::function<void()>> graves;
  {
    const std::lock_guard lock(w.mutex);
    w.settings = settings;
    ++w.generation;
    w.violations.clear();
    w.live.clear();
    graves = std::exchange(w.graves, {});
    w.counts = {};
    w.ordering = {};
    w.allocated_bytes = 0;
    w.compile_fault.reset();
    w.pipeline_fault.reset();
    w.allocation_fault.reset();
    w.command_fault.reset();
  }
  for (const auto& free : graves) free();
  announced().clear();
  w.executor = std::make_unique<Executor>(parallel_threads(), settings.seed);
}

void finish() {
  world().executor->finish();
}

std::vector<std::string> take_violations() {
  World& w = world();
  const std::lock_guard lock(w.mutex);
  std::vector<std::string> taken = std::exchange(w.violations, {});
  for (std::string& problem : w.ordering.take_problems()) taken.push_back(std::move(problem));
  return taken;
}

std::map<std::string, int> live_objects() {
  World& w = world();
  const std::lock_guard lock(w.mutex);
  std::map<std::string, int> live = w.live;
  std::erase_if(live, [](const auto& entry) { return entry.second == 0; });
  return live;
}

std::uint64_t allocated_bytes() {
  World& w = world();
  const std::lock_guard lock(w.mutex);
  return w.allocated_bytes;
}

Counts counts() {
  World& w = world();
  const std::lock_guard lock(w.mutex);
  return w.counts;
}

void fail_compile(const std::string& log) {
  World& w = world();
  const std::lock_guard lock(w.mutex);
  w.compile_fault = log;
}

void fail_pipeline(const std::string& reason) {
  World& w = world();
  const std::lock_guard lock(w.mutex);
  w.pipeline_fault = reason;
}

void fail_allocation(std::uint64_t after) {
  World& w = world();
  const std::lock_guard lock(w.mutex);
  w.allocation_fault = after;
}

void fail_command_buffer(std::uint64_t after, long code, const std::string& reason) {
  World& w = world();
  const std::lock_guard lock(w.mutex);
  w.command_fault = CommandFault{after, code, reason};
}

std::string compiled_library(const std::vector<std::string>& functions) {
  std::string file = "MTLB of the double\n";
  for (const std::string& function : functions) file += function + '\n';
  return file;
}

void announce(std::uint32_t index, std::size_t bytes) {
  announced()[index] = bytes;
}

void violation(const std::string& text) {
  World& w = world();
  const std::lock_guard lock(w.mutex);
  w.violations.push_back(text);
}

std::optional<std::size_t> take_announced(std::uint32_t index) {
  const auto found = announced().find(index);
  if (found == announced().end()) return std::nullopt;
  const std::size_t bytes = found->second;
  announced().erase(found);
  return bytes;
}

}  // namespace mslt::metal_double
