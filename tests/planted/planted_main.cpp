// Runs one kernel of defects.metal, whose defect a sanitizer or the runtime should report.
// Usage: planted KERNEL
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <iterator>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "backend/msl/drivers/host/team.h"
#include "tests/planted/planted_args.h"

namespace mslt::msl::host::planted {
std::span<const HostKernel> host_kernels();
}  // namespace mslt::msl::host::planted

namespace {

struct Case {
  std::string_view kernel;
  std::uint32_t count;
  std::uint32_t groups;
};

constexpr Case cases[] = {
    {"threadgroup_overrun", 2048, 1},
    {"thread_array_overrun", 1024, 1},
    {"device_overrun", 31, 1},
    {"missing_barrier", 32, 1},
    {"group_race", 32, 2},
    {"divergent_barrier", 16, 1},
    {"division_by_zero", 32, 1},
    {"uninitialised_read", 32, 1},
    {"divergent_sum", 16, 1},
    {"no_defect", 32, 200},
};
constexpr std::uint32_t threads = 32;

// The runtime's message for one run.
std::string run(mslt::msl::host::Team& team, const Case& planted) {
  using namespace mslt::msl::host;
  const auto kernels = planted::host_kernels();
  const auto kernel = std::find_if(kernels.begin(), kernels.end(),
                                   [&](const HostKernel& candidate) { return candidate.name == planted.kernel; });
  // If an overrun by one is expected, the buffer ends with the last element that may be written.
  const std::size_t elements = planted.kernel == "device_overrun" ? threads - 1 : threads;
  const auto out = std::make_unique<float[]>(elements);
  PlantedArgs args = {planted.count, 0};
  Dispatch dispatch;
  dispatch.kernel = &*kernel;
  dispatch.bindings.buffers[0] = out.get();
  dispatch.bindings.buffers[1] = &args;
  dispatch.groups = {planted.groups, 1, 1};
  dispatch.threads = {threads, 1, 1};
  return team.run(dispatch);
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view name = argc == 2 ? argv[1] : "";
  const auto wanted = std::find_if(std::begin(cases), std::end(cases), [&](const Case& c) { return c.kernel == name; });
  if (wanted == std::end(cases)) {
    std::fprintf(stderr, "usage: planted KERNEL\n");
    return 2;
  }
  // One host thread is enough: the sanitizers see the threads of the kernel.
  mslt::msl::host::Team team(1);
  const std::string mistake = run(team, *wanted);
  if (mistake.empty()) return 0;
  // An aborted kernel leaves nothing behind.
  const std::string after = run(team, *std::rbegin(cases));
  std::fprintf(stderr, "%s\n", after.empty() ? mistake.c_str() : "the next kernel fails, too");
  return 1;
}
