// The speed of light for moving data: what a large copy reaches on a backend.
#pragma once

#include "backend/backend.h"

namespace mslt {

// Bytes per second of a large device copy, read and written bytes counted; on the CPU of a read loop, if that is more.
// Allocates 512 MiB meanwhile.
double measure_bandwidth(Backend& backend);

}  // namespace mslt
