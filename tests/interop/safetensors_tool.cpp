// Reads a safetensors file and writes its tensors and metadata to another one, for safetensors_oracle.py.
//   safetensors_tool INPUT OUTPUT
#include <algorithm>
#include <cstdio>
#include <exception>
#include <utility>
#include <vector>

#include "formats/safetensors.h"

namespace {

void copy(const char* from, const char* to) {
  const mslt::SafetensorsFile input(from);
  std::vector<mslt::SafetensorsEntry> entries(input.entries().begin(), input.entries().end());
  std::sort(entries.begin(), entries.end(), [](const mslt::SafetensorsEntry& a, const mslt::SafetensorsEntry& b) {
    return std::pair(mslt::safetensors_dtype_bits(b.dtype), a.begin) <
           std::pair(mslt::safetensors_dtype_bits(a.dtype), b.begin);
  });
  std::vector<mslt::SafetensorsWriter::Declaration> declarations;
  for (const mslt::SafetensorsEntry& entry : entries) declarations.push_back({entry.name, entry.dtype, entry.shape});
  mslt::AtomicFile file(to);
  mslt::SafetensorsWriter writer(file, declarations, input.metadata());
  for (const mslt::SafetensorsEntry& entry : entries) writer.write(input.bytes(entry));
  writer.finish();
  file.commit();
}

}  // namespace

int main(int count, char** values) {
  if (count != 3) {
    std::fprintf(stderr, "usage: safetensors_tool INPUT OUTPUT\n");
    return 2;
  }
  try {
    copy(values[1], values[2]);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  return 0;
}
