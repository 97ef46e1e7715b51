// The argument struct of rope.metal, shared with the host.
#pragma once

#include <stdint.h>

struct RopeArgs {
  uint32_t rows;  // B · T
  uint32_t steps;
  uint32_t columns;  // of a row of qkv
  uint32_t heads;    // rotated heads: queries and keys
  uint32_t head_size;
  uint32_t pairs;        // rotated ones of a head
  uint32_t group_rows;   // per threadgroup
  uint32_t group_spans;  // spans of pairs of a head per threadgroup
  uint32_t aligned;      // rows, heads and both channels of pairs start at multiples of 16 bytes
  uint32_t has_first;
  float direction;  // 1 to rotate by the angle, -1 to rotate back
  float scale;      // of what is rotated
};
