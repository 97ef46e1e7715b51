// Looking into folders that are no models.
#include "formats/model_place.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <string>
#include <system_error>
#include <vector>

#include "base/fail.h"
#include "base/gguf.h"
#include "base/paths.h"
#include "formats/pytorch_files.h"
#include "text/vocabulary_files.h"

namespace mslt {
namespace {

namespace fs = std::filesystem;

constexpr const char* valid = "a model is a folder with config.json and model.safetensors, or a GGUF file";

// What of a folder can be opened as a model, by name; few of them.
std::vector<std::string> models_in(const fs::path& folder) {
  constexpr std::size_t most = 8;
  std::vector<std::string> found;
  std::error_code error;
  for (auto entry = fs::directory_iterator(folder, error); entry != fs::directory_iterator(); entry.increment(error)) {
    const fs::path& path = entry->path();
    if (path_exists(path / "config.json") || (path.extension() == ".gguf" && is_gguf_file(path))) {
      found.push_back(path.filename().string());
    }
  }
  std::ranges::sort(found);
  if (found.size() > most) {
    found.resize(most);
    found.emplace_back("...");
  }
  return found;
}

std::string describe(const fs::path& folder) {
  if (path_exists(folder / "data.json")) return "is prepared data";
  if (path_exists(folder / "checkpoints")) {
    const auto checkpoints = models_in(folder / "checkpoints");
    if (checkpoints.empty()) return "is a run that has saved no model so far";
    return fmt::format("has no config.json, but its folder checkpoints holds {}; name one of these",
                       fmt::join(checkpoints, ", "));
  }
  const auto models = models_in(folder);
  if (!models.empty())
    return fmt::format("is no model itself, but holds {}; name one of these", fmt::join(models, ", "));
  if (tokenizer_file_in(folder)) return "holds a tokenizer, but no config.json";
  std::error_code error;
  return fs::is_empty(folder, error) ? "is an empty folder" : "has no config.json";
}

}  // namespace

void require_model_folder(const fs::path& path) {
  refuse_pytorch_files(path);
  if (!path_exists(path)) fail(ErrorKind::io, "There is no {}; {}.", path.string(), valid);
  if (!is_folder(path)) {
    fail(ErrorKind::io, "{} is not a folder, nor does it begin with \"GGUF\"; {}.", path.string(), valid);
  }
  if (!path_exists(path / "config.json")) fail(ErrorKind::io, "{} {}; {}.", path.string(), describe(path), valid);
}

}  // namespace mslt
