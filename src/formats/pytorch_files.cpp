// Knowing PyTorch's files, and the commands that convert them.
#include "formats/pytorch_files.h"

#include <algorithm>
#include <array>
#include <fstream>
#include <string_view>
#include <system_error>
#include <vector>

#include "base/fail.h"
#include "base/paths.h"

namespace mslt {
namespace {

// A text in single quotes, as shells and Python take it.
std::string in_quotes(const std::filesystem::path& path) {
  std::string result = "'";
  for (const char letter : path.string()) letter == '\'' ? result += "'\\''" : result += letter;
  return result + "'";
}

// Opens the whole folder, so config.json and the tokenizer come along.
std::string folder_command(std::filesystem::path folder) {
  if (!folder.has_filename()) folder = folder.parent_path();
  return fmt::format(
      "python3 -c 'import sys; from transformers import AutoModelForCausalLM as M, AutoTokenizer as T; "
      "[C.from_pretrained(sys.argv[1]).save_pretrained(sys.argv[2]) for C in (M, T)]' {} {}",
      in_quotes(folder), in_quotes(folder.string() + "-safetensors"));
}

// Of a file by itself: only its tensors. The command writes over no file.
std::string file_command(const std::filesystem::path& file) {
  std::filesystem::path converted = file.parent_path() / "model.safetensors";
  for (int number = 2; path_exists(converted); ++number) {
    converted = file.parent_path() / fmt::format("{}-{}.safetensors", file.stem().string(), number);
  }
  return fmt::format(
      "python3 -c 'import sys, torch; from safetensors.torch import save_file; "
      "d = torch.load(sys.argv[1], map_location=\"cpu\", weights_only=True); d = d.get(\"state_dict\", d); "
      "save_file({{k: v.clone().contiguous() for k, v in d.items()}}, sys.argv[2])' {} {}",
      in_quotes(file), in_quotes(converted));
}

[[noreturn]] void refuse(const std::filesystem::path& file, const std::filesystem::path& folder) {
  const bool has_config = path_exists(folder / "config.json");
  fail(
      ErrorKind::input,
      "{} is a PyTorch file, which can run programs when it is opened, so it is not read. Convert it to safetensors{}: "
      "{}",
      file.string(), has_config ? "" : " and put the model's config.json and tokenizer beside it",
      has_config ? folder_command(folder) : file_command(file));
}

bool has_its_ending(const std::filesystem::path& path) {
  constexpr std::array<std::string_view, 4> endings = {".bin", ".pt", ".pth", ".ckpt"};
  return std::ranges::find(endings, path.extension().string()) != endings.end();
}

}  // namespace

bool is_pytorch_file(const std::filesystem::path& path) {
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error)) return false;
  std::ifstream file(path, std::ios::binary);
  std::array<char, 4> begin{};
  if (!file.read(begin.data(), begin.size())) return false;
  if (std::string_view(begin.data(), begin.size()) == "PK\x03\x04") {
    // A zip file whose first entry, named from byte 30 on, is the pickle.
    std::array<char, 256> entry{};
    file.seekg(30);
    file.read(entry.data(), entry.size());
    const std::string_view names(entry.data(), static_cast<std::size_t>(file.gcount()));
    return names.find("data.pkl") != std::string_view::npos || has_its_ending(path);
  }
  // The opcode that begins a pickle, and its protocol.
  return begin[0] == '\x80' && begin[1] >= 2 && begin[1] <= 5;
}

void refuse_pytorch_files(const std::filesystem::path& path) {
  if (!is_folder(path)) {
    if (is_pytorch_file(path)) refuse(path, std::filesystem::absolute(path).parent_path());
    return;
  }
  std::vector<std::filesystem::path> found;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(path, error)) {
    if (entry.path().extension() == ".safetensors") return;
    if (has_its_ending(entry.path()) && is_pytorch_file(entry.path())) found.push_back(entry.path());
  }
  if (!found.empty()) refuse(*std::ranges::min_element(found), path);
}

}  // namespace mslt
