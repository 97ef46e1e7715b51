// Making sure that the processes of a training do the same.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>

#include "mslt/trainer.h"
#include "parallel/communicator.h"

namespace mslt {

// All ranks call these with objects of their own. Throws Error(usage), on every rank, that names the ranks whose
// version or options are not rank 0's, their hosts and the members that differ. The device may be another one, and so
// may what is tuned for it.
void require_same_options(Communicator& communicator, const TrainOptions& options);

// The same for data, told by run_identity.
void require_same_data(Communicator& communicator, const nlohmann::json& identity);

// That all ranks see what the leading one writes to `folder`, of whose path alone the leading one's counts. Throws
// Error(usage), on every rank, that names those that do not, their hosts and the folder.
void require_same_folder(Communicator& communicator, const std::filesystem::path& folder);

// Throws Error(device), on every rank, that names those whose parameters have another sum than most ranks' have: their
// memory or their device is at fault. `sum` is this rank's CRC-32C of them after `step`.
void require_same_parameters(Communicator& communicator, std::uint32_t sum, std::int64_t step);

}  // namespace mslt
