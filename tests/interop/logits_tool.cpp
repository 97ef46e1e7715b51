// Opens or makes model folders for transformers_oracle.py.
//   logits_tool logits FOLDER OUTPUT ID...       writes the logits [tokens, vocab] as little-endian f32
//   logits_tool init CONFIG.json FOLDER SEED     writes a randomly initialised model of that configuration
//   logits_tool copy FOLDER OTHER                loads a model and saves it again
#include <cstdio>
#include <exception>
#include <fstream>
#include <string>
#include <vector>

#include "backend/registry.h"
#include "base/fail.h"
#include "base/file.h"
#include "formats/model_folder.h"
#include "mslt/model.h"

namespace {

void write_logits(const std::vector<std::string>& arguments) {
  mslt::Model model = mslt::Model::load(arguments[1], {.device = "cpu", .dtype = "f32"});
  std::vector<std::int32_t> ids;
  for (std::size_t i = 3; i < arguments.size(); ++i) ids.push_back(std::stoi(arguments[i]));
  const std::vector<float> logits = model.logits(ids);
  std::ofstream file(arguments[2], std::ios::binary);
  file.write(reinterpret_cast<const char*>(logits.data()), static_cast<std::streamsize>(logits.size() * sizeof(float)));
  if (!file) mslt::fail(mslt::ErrorKind::io, "Cannot write {}.", arguments[2]);
}

void init(const std::vector<std::string>& arguments) {
  const auto backend = mslt::make_backend("cpu");
  const mslt::HfConfig hf = mslt::parse_hf_config(mslt::read_file(arguments[1], 1 << 20), arguments[1]);
  mslt::Transformer transformer(*backend, hf.config, mslt::DType::f32);
  transformer.initialize(std::stoull(arguments[3]));
  mslt::SaveModelOptions options;
  options.generation.tokens = hf.tokens;
  const std::filesystem::path tokenizer_path = std::filesystem::path(arguments[1]).parent_path() / "tokenizer.json";
  if (std::filesystem::exists(tokenizer_path)) {
    const mslt::Tokenizer tokenizer = mslt::Tokenizer::load(tokenizer_path);
    mslt::save_model_folder(arguments[2], transformer, &tokenizer, options);
  } else {
    mslt::save_model_folder(arguments[2], transformer, nullptr, options);
  }
}

}  // namespace

int main(int count, char** values) {
  const std::vector<std::string> arguments(values + 1, values + count);
  try {
    if (arguments.size() > 3 && arguments[0] == "logits") {
      write_logits(arguments);
    } else if (arguments.size() == 4 && arguments[0] == "init") {
      init(arguments);
    } else if (arguments.size() == 3 && arguments[0] == "copy") {
      mslt::Model::load(arguments[1], {.device = "cpu", .dtype = "f32"}).save(arguments[2]);
    } else {
      std::fprintf(stderr, "usage: logits_tool logits FOLDER OUTPUT ID... | init CONFIG.json FOLDER SEED | "
                           "copy FOLDER OTHER\n");
      return 2;
    }
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  return 0;
}
