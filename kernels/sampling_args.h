// The argument structs of sampling.metal and draw_tokens.metal, shared with the host.
#pragma once

#include <stdint.h>

struct SamplingArgs {
  uint32_t columns;
  uint32_t vocab;    // columns that are logits
  uint32_t k;        // requested number
  uint32_t aligned;  // rows start at multiples of 16 bytes
};

struct DrawArgs {
  uint32_t columns;
  uint32_t vocab;           // columns that are logits
  uint32_t weight_columns;  // of the scratch memory: whole spans
  uint32_t words;           // of a row of `seen`
  uint32_t aligned;         // rows of logits start at multiples of 16 bytes
  uint32_t has_seen;
  uint32_t has_excluded;
  uint32_t excluded_words;  // of a row of `excluded`; 0: one row is for all
};

// A row of `settings`: DrawSettings of the operation.
struct DrawRow {
  float temperature;
  float top_p;
  float min_p;
  float repetition_penalty;
  uint32_t top_k;
  uint32_t seed_low;
  uint32_t seed_high;
  uint32_t sample;
};
