// What a command buffer of CUDA holds, with device addresses.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <variant>

#include "backend/msl/driver.h"
#include "backend/msl/drivers/cuda/cuda_pipeline.h"

namespace mslt::msl::cuda {

class TimeMarks;

struct Launch {
  const CudaPipeline* pipeline = nullptr;
  GridSize groups;
  GridSize threads;
  std::uint32_t dynamic_bytes = 0;  // of shared memory
  std::size_t parameters = 0;       // where its block begins among the command buffer's
};
struct Copy {
  void* to = nullptr;
  const void* from = nullptr;
  std::size_t bytes = 0;
};
struct Fill {
  void* to = nullptr;
  std::size_t bytes = 0;
  std::uint8_t value = 0;
};
struct Library {
  std::string name;
  LibraryContext context;
  LibraryCall call;
};
// The time when all before it is done.
struct Mark {
  const TimeMarks* marks = nullptr;
};
using Command = std::variant<Launch, Copy, Fill, Library, Mark>;

}  // namespace mslt::msl::cuda
