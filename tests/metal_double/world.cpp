// The double's machine and its log.
#include "tests/metal_double/world.h"

#include <charconv>
#include <deque>
#include <utility>

#include "base/fail.h"
#include "base/parallel.h"

namespace mslt::metal_double {
namespace {

std::deque<Announcement>& announced() {
  thread_local std::deque<Announcement> dispatches;
  return dispatches;
}

void apply(std::string_view name, Settings& settings) {
  constexpr std::string_view threads = "threads-";
  if (name == "nil-default") {
    settings.has_default = false;
  } else if (name == "flush") {
    settings.flush_subnormals = true;
  } else if (name == "validation") {
    settings.threadgroup_factor = 2;
    settings.pipeline_threads = 512;
  } else if (name.starts_with(threads)) {
    const std::string_view digits = name.substr(threads.size());
    const char* end = digits.data() + digits.size();
    const auto parsed = std::from_chars(digits.data(), end, settings.pipeline_threads);
    if (parsed.ec != std::errc() || parsed.ptr != end) fail(ErrorKind::usage, "'{}' has no number of threads.", name);
  } else if (name == "reversed" || name.starts_with("random")) {
    settings.order = msl::host::parse_run_order(name);
  } else {
    fail(ErrorKind::usage, "The double has no machine '{}'; see metal_double.h for those that it has.", name);
  }
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

Settings settings_of(std::string_view list) {
  Settings settings = default_settings();
  while (!list.empty()) {
    const std::size_t end = list.find(',');
    apply(list.substr(0, end), settings);
    list.remove_prefix(end == std::string_view::npos ? list.size() : end + 1);
  }
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

void announce(std::vector<Announcement> dispatches) {
  announced().assign(dispatches.begin(), dispatches.end());
}

void violation(const std::string& text) {
  World& w = world();
  const std::lock_guard lock(w.mutex);
  w.violations.push_back(text);
}

const Announcement* next_announced() {
  return announced().empty() ? nullptr : &announced().front();
}

void announced_came() {
  announced().pop_front();
}

}  // namespace mslt::metal_double
