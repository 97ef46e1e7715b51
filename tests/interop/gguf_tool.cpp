// Packs and unpacks quantised blocks, encodes texts and continues them greedily, for the scripts in this folder.
#include <fmt/format.h>

#include <cstring>
#include <fstream>
#include <iostream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "formats/gguf_blocks.h"
#include "formats/gguf_quantise.h"
#include "mslt/error.h"
#include "mslt/generator.h"
#include "mslt/model.h"

namespace {

// Blocks on standard input, floats on standard output.
void dequantise(const std::string& type) {
  const std::string blocks{std::istreambuf_iterator<char>(std::cin), {}};
  const auto block = mslt::quantised_block(type);
  if (!block) throw mslt::Error(mslt::ErrorKind::usage, type + " is no quantised type.");
  std::vector<float> values(blocks.size() / block->bytes * block->elements);
  mslt::dequantise(std::as_bytes(std::span(blocks)), *block, values);
  std::cout.write(reinterpret_cast<const char*>(values.data()),
                  static_cast<std::streamsize>(values.size() * sizeof(float)));
}

// A JSON list of texts on standard input; the list of their ids on standard output.
void encode(const std::string& path) {
  const mslt::Tokenizer tokenizer = mslt::Tokenizer::load(path);
  nlohmann::json ids = nlohmann::json::array();
  for (const auto& text : nlohmann::json::parse(std::cin))
    ids.push_back(tokenizer.encode(text.get<std::string>(), mslt::SpecialTokens::parse));
  std::cout << ids.dump() << "\n";
}

// A JSON list of lists of ids; each continued by `count` tokens, the likeliest ones.
void generate(const std::string& path, const std::string& count) {
  mslt::Model model = mslt::Model::load(path, {.device = "cpu", .dtype = "f32"});
  mslt::Generator generator(model);
  mslt::GenerateOptions options;
  options.sampling.temperature = 0.0f;
  options.max_new_tokens = std::stoll(count);
  options.ignore_eos = true;
  nlohmann::json results = nlohmann::json::array();
  for (const auto& prompt : nlohmann::json::parse(std::cin)) {
    const auto ids = prompt.get<std::vector<mslt::TokenId>>();
    results.push_back(generator.generate_from_tokens(ids, options).front().tokens);
  }
  std::cout << results.dump() << "\n";
}

// A JSON list of ids; the logits behind each as little-endian f32 in the file `output`.
void logits(const std::string& path, const std::string& output) {
  mslt::Model model = mslt::Model::load(path, {.device = "cpu", .dtype = "f32"});
  const std::vector<float> values = model.logits(nlohmann::json::parse(std::cin).get<std::vector<std::int32_t>>());
  std::ofstream(output, std::ios::binary)
      .write(reinterpret_cast<const char*>(values.data()), static_cast<std::streamsize>(values.size() * sizeof(float)));
}

// Floats on standard input, blocks on standard output.
void quantise(const std::string& type) {
  const std::string bytes{std::istreambuf_iterator<char>(std::cin), {}};
  std::vector<float> values(bytes.size() / sizeof(float));
  std::memcpy(values.data(), bytes.data(), values.size() * sizeof(float));
  const auto block = mslt::packed_block(type);
  if (!block) throw mslt::Error(mslt::ErrorKind::usage, type + " is no type that is written.");
  std::vector<std::byte> blocks(values.size() / block->elements * block->bytes);
  mslt::quantise(values, *block, blocks);
  std::cout.write(reinterpret_cast<const char*>(blocks.data()), static_cast<std::streamsize>(blocks.size()));
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> arguments(argv, argv + argc);
  try {
    if (argc == 3 && arguments[1] == "dequantise") {
      dequantise(arguments[2]);
    } else if (argc == 3 && arguments[1] == "quantise") {
      quantise(arguments[2]);
    } else if (argc == 4 && arguments[1] == "logits") {
      logits(arguments[2], arguments[3]);
    } else if (argc == 3 && arguments[1] == "encode") {
      encode(arguments[2]);
    } else if (argc == 4 && arguments[1] == "generate") {
      generate(arguments[2], arguments[3]);
    } else {
      std::cerr << "usage: gguf_tool dequantise TYPE | quantise TYPE | encode FILE | generate FILE COUNT | logits FILE "
                   "OUTPUT\n";
      return 2;
    }
  } catch (const mslt::Error& error) {
    std::cerr << error.what() << "\n";
    return 1;
  }
  return 0;
}
