// The members of a mslt::Model, for the library's other layers.
#pragma once

#include <filesystem>
#include <memory>

#include "backend/backend.h"
#include "formats/model_folder.h"
#include "mslt/model.h"

namespace mslt {

struct Model::Parts {
  std::unique_ptr<Backend> backend;  // outlives the parameters; null where somebody else owns it
  LoadedModel loaded;
  std::filesystem::path folder;  // where it was loaded from
};

}  // namespace mslt
