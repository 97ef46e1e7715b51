// The prediction of mslt profile train --predict.
#pragma once

#include <string_view>

#include "cli/command.h"
#include "profile/workload.h"

namespace mslt::cli {

// Prints what a training step would take on the chip. Throws Error(usage) for an unknown chip or impossible sizes.
void predict_training(std::string_view chip_name, const WorkloadOptions& options, Context& context);

}  // namespace mslt::cli
