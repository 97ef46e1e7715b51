// Dropout by Philox words: whether an element is kept is a function of (seed, step, operation, element).
#pragma once

#include "lib/philox.h"
#include "lib/span.h"

// One operation's dropout. With probability 0 nothing is dropped and nothing is read.
struct DropoutStream {
  uint2 seed;
  uint step;
  uint operation;
  uint dropped;  // words below this drop their element
  float scale;
};

// `state` is u32 [4]: seed low, seed high, step, unused; read only if probability > 0. `scale` is 1 / (1 -
// probability).
inline DropoutStream dropout_stream(device const uint* state, uint operation, float probability, float scale) {
  DropoutStream stream;
  stream.seed = uint2(0u, 0u);
  stream.step = 0;
  stream.operation = operation;
  // An element is dropped if its word's upper 24 bits over 2^24, a number in [0, 1), are below the probability. Both
  // sides times 2^24 are exact, and a probability below 1 leaves 24 bits.
  stream.dropped = probability > 0.0f ? uint(ceil(probability * 0x1p24f)) << 8 : 0u;
  stream.scale = scale;
  if (probability > 0.0f) {
    stream.seed = uint2(state[0], state[1]);
    stream.step = state[2];
  }
  return stream;
}

// The element of `word`: 0 if dropped, else scaled.
inline float drop_value(DropoutStream stream, uint word, float value) {
  return word >= stream.dropped ? value * stream.scale : 0.0f;
}

// The factor of one element: 0 or the scale.
inline float dropout_factor(DropoutStream stream, ulong element) {
  if (stream.dropped == 0) {
    return 1.0f;
  }
  const uint4 block = philox_block(stream.seed, stream.step, stream.operation, element / 4);
  return drop_value(stream, philox_word_of(block, uint(element & 3u)), 1.0f);
}

// Drops the four elements of a block.
inline void drop_block(DropoutStream stream, ulong block_index, thread float* values) {
  const uint4 block = philox_block(stream.seed, stream.step, stream.operation, block_index);
  values[0] = drop_value(stream, block.x, values[0]);
  values[1] = drop_value(stream, block.y, values[1]);
  values[2] = drop_value(stream, block.z, values[2]);
  values[3] = drop_value(stream, block.w, values[3]);
}

// Drops elements of the span that begins with element `first` of the operation.
inline void drop_span(DropoutStream stream, ulong first, thread float* values) {
  if (stream.dropped == 0) {
    return;
  }
  if ((first & 3u) == 0) {
    drop_block(stream, first / 4, values);
    drop_block(stream, first / 4 + 1, values + 4);
    return;
  }
  uint4 block = philox_block(stream.seed, stream.step, stream.operation, first / 4);
#pragma unroll
  for (uint k = 0; k < span_width; ++k) {
    const uint word = uint((first + k) & 3u);
    if (word == 0 && k != 0) {
      block = philox_block(stream.seed, stream.step, stream.operation, (first + k) / 4);
    }
    values[k] = drop_value(stream, philox_word_of(block, word), values[k]);
  }
}
