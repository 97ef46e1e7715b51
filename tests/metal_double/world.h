// Shared by all objects of the double.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "tests/metal_double/executor.h"
#include "tests/metal_double/metal_double.h"
#include "tests/metal_double/ordering.h"

namespace mslt::metal_double {

struct CommandFault {
  std::uint64_t after = 0;
  long code = 0;
  std::string reason;
};

// Metal's functions take no object that could own this, so it is global. `mutex` guards everything except `settings`,
// which change only in reset(), and the executor, which guards itself.
struct World {
  std::mutex mutex;
  Settings settings;
  std::uint64_t generation = 0;  // number of resets: objects from before a reset do not count
  std::vector<std::string> violations;
  std::map<std::string, int> live;
  std::vector<std::function<void()>> graves;  // frees the memory of dead objects
  Counts counts;
  Ordering ordering;
  std::uint64_t allocated_bytes = 0;
  std::optional<std::string> compile_fault;
  std::optional<std::string> pipeline_fault;
  std::optional<std::uint64_t> allocation_fault;
  std::optional<CommandFault> command_fault;
  std::unique_ptr<Executor> executor;
};

World& world();

void violation(const std::string& text);

// The next dispatch announced by this thread, null if none is left; then marks it as arrived.
const Announcement* next_announced();
void announced_came();

}  // namespace mslt::metal_double
