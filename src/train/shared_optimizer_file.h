// optimizer.safetensors of a training whose ranks have a part of the optimiser's state each: every rank writes and
// reads its own, in the same file as one process would write.
#pragma once

#include <filesystem>

#include "backend/backend.h"
#include "train/optimizer.h"

namespace mslt {

// Makes the file, with all of its bytes but those of the state. One rank does this before the others write. Throws
// Error(io).
void begin_optimizer_file(const std::filesystem::path& path, const AdamW& optimizer);

// Writes what the optimiser owns in its place, and flushes it; of what all ranks have, only `with_shared`. Throws
// Error(io) naming the file.
void write_optimizer_part(const std::filesystem::path& path, Backend& backend, const AdamW& optimizer,
                          bool with_shared);

}  // namespace mslt
