// Counter-based random numbers: Philox4x32-10 (Salmon et al., 2011), the words of src/base/philox.h bit for bit.
#pragma once

// The four words of elements 4 · block_index to 4 · block_index + 3 under (seed, step, operation).
inline uint4 philox_block(uint2 seed, uint step, uint operation, ulong block_index) {
  uint c0 = uint(block_index);
  uint c1 = uint(block_index >> 32);
  uint c2 = step;
  uint c3 = operation;
  uint key0 = seed.x;
  uint key1 = seed.y;
  for (uint round = 0; round < 10; ++round) {
    const ulong product0 = ulong(0xD2511F53u) * c0;
    const ulong product1 = ulong(0xCD9E8D57u) * c2;
    const uint high0 = uint(product0 >> 32);
    const uint low0 = uint(product0);
    const uint high1 = uint(product1 >> 32);
    const uint low1 = uint(product1);
    c0 = high1 ^ c1 ^ key0;
    c1 = low1;
    c2 = high0 ^ c3 ^ key1;
    c3 = low0;
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
  return uint4(c0, c1, c2, c3);
}

// Word 0 to 3 of a block.
inline uint philox_word_of(uint4 block, uint index) {
  const uint low = (index & 1u) == 0 ? block.x : block.y;
  const uint high = (index & 1u) == 0 ? block.z : block.w;
  return (index & 2u) == 0 ? low : high;
}
