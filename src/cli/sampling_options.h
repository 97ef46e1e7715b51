// The options that say how tokens are drawn, alike for all commands that draw.
#pragma once

#include <CLI/CLI.hpp>

#include "cli/numbers.h"
#include "cli/ranges.h"
#include "mslt/generator.h"

namespace mslt::cli {

inline void add_sampling_options(CLI::App& command, SamplingOptions& sampling) {
  add_real(command, "--temperature", sampling.temperature, "0 for the most likely token always",
           {.most = largest_real});
  add_integer(command, "--top-k", sampling.top_k, "Draw from the k most likely; 0 for all", {.unit = "tokens"});
  add_real(command, "--top-p", sampling.top_p, "Draw from the most likely that make up this probability",
           {.above_least = true});
  add_real(command, "--min-p", sampling.min_p, "Draw from those with this share of the likeliest one's", {});
  add_real(command, "--repetition-penalty", sampling.repetition_penalty, "Above 1 to repeat less",
           {.most = largest_real, .above_least = true});
  add_integer(command, "--seed", sampling.seed, "Fixes what is drawn", seed_range);
}

}  // namespace mslt::cli
