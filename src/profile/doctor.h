// Examining a machine: whether a device computes what it should, how fast it is, and what to change.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "backend/backend.h"

namespace mslt {

enum class Verdict : unsigned char { good, advice, problem };
std::string_view name_of(Verdict verdict);

// What an examination found, and what to change; the latter is empty where nothing is to be.
struct Finding {
  Verdict verdict = Verdict::good;
  std::string topic = {};
  std::string text = {};
  std::string change = {};
};

// Compares a training step and the logits of small models of two families with those of `reference`, so that every
// kernel of such a model runs once on each device. Weights in f32.
Finding check_kernels(Backend& backend, Backend& reference);
// Measures peaks, and compares them with those stored for the device earlier, if any.
Finding check_speed(Backend& backend);
// Memory that can be had.
Finding check_memory(const Backend& backend);
// Threads against the cores that the process may use.
Finding check_threads();
// Writes, flushes and reads a file of 64 MiB in `folder`, and removes it.
Finding check_file_system(const std::filesystem::path& folder);
// Whether the processor's counters can be read.
Finding check_counters();

// All of them, for a backend that was made. `reference` is a backend of the CPU.
std::vector<Finding> examine(Backend& backend, Backend& reference, const std::filesystem::path& folder);

}  // namespace mslt
