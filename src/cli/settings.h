// Options whose values are names.
#pragma once

#include <cstdint>
#include <ostream>
#include <string>

#include "cli/numbers.h"
#include "mslt/config.h"

namespace mslt::cli {

// Adds an option for a setting, whose current value is the default. A name that it does not have throws Error(usage)
// out of CLI::App's parse.
template <Setting T>
void add_setting(CLI::App& command, const std::string& flag, T& value, const std::string& description) {
  detail::add_value(
      command, flag, description, "TEXT", "", [](const std::string& text) { from_name<T>(text); },
      [&value](const std::string& text) { value = from_name<T>(text); },
      [&value] { return std::string(name_of(value)); });
}

inline constexpr const char* training_dtype_help =
    "Of parameters, gradients and activations: f32, on any device; bf16, half the memory and faster on GPUs; f16, the "
    "same with more digits and a smaller range. CPUs train in f32, those with AVX512-BF16 or AMX also with products in "
    "bf16";

// Options of training, as the command's own structure holds them.
template <class Options>
void add_memory_options(CLI::App& command, Options& options) {
  add_setting(command, "--master-weights", options.master_weights,
              "What updates change with --dtype bf16 and f16: f32 weights kept beside the parameters, or none: bf16 "
              "parameters rounded at random");
  add_setting(command, "--grad-dtype", options.grad_dtype,
              "What the gradients of several batches are added up in: auto, as the parameters, or f32");
  add_setting(command, "--recompute", options.recompute,
              "What the backward pass computes again to save memory: none, activations (and norms), layers, or auto "
              "for the first that fits the device");
}

inline void add_zero_option(CLI::App& command, std::int64_t& zero) {
  add_integer(command, "--zero", zero,
              "With several processes, what each holds a part of: 1: the optimiser's state, 2: gradients as well where "
              "that saves memory; 0: nothing",
              {.most = 2});
}

inline void note_zero_alone(std::int64_t zero, bool is_alone, std::ostream& err) {
  if (zero > 0 && is_alone) {
    err << "Note: --zero " << zero << " does nothing here: one process trains alone and holds all.\n";
  }
}

}  // namespace mslt::cli
