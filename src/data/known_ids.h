// Whether a model knows all ids of a data folder.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string_view>

#include "data/data_folder.h"
#include "mslt/tokenizer.h"

namespace mslt {

// Throws Error(input) if a split of the data folder holds an id that is not below `vocab_size`, naming the token and
// `model`, whose vocabulary that is. Reads the ids only where data.json speaks of a larger vocabulary. `tokenizer` is
// the folder's.
void require_known_ids(const std::filesystem::path& folder, const DataInfo& info, const Tokenizer& tokenizer,
                       std::int64_t vocab_size, std::string_view model);

}  // namespace mslt
