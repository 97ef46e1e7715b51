// The tokenizer as a small program for tokenizer_oracle.py: trains, converts, encodes, decodes and times.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <ctime>
#include <exception>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/file.h"
#include "mslt/tokenizer.h"
#include "text/tokenizer_json.h"

namespace {

using Arguments = std::span<char*>;

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

std::string read_input() {
  std::string text;
  std::string block(std::size_t{1} << 16, '\0');
  while (const std::size_t count = std::fread(block.data(), 1, block.size(), stdin)) text.append(block, 0, count);
  return text;
}

std::uint32_t take_u32(std::string_view& bytes) {
  std::uint32_t value = 0;
  for (int i = 3; i >= 0; --i) value = (value << 8) | static_cast<unsigned char>(bytes.at(static_cast<std::size_t>(i)));
  bytes.remove_prefix(4);
  return value;
}

void put_u32(std::uint32_t value) {
  for (int i = 0; i < 4; ++i) std::putchar(static_cast<int>((value >> (8 * i)) & 0xFF));
}

// train INPUT OUTPUT VOCAB_SIZE PATTERN THREADS MIN_FREQUENCY [SPECIAL...]: prints the seconds that training took.
void train(Arguments arguments) {
  mslt::TokenizerTrainOptions options;
  options.vocab_size = static_cast<std::uint32_t>(std::stoul(arguments[2]));
  options.pattern = mslt::split_pattern_from_name(arguments[3]);
  options.threads = std::stoi(arguments[4]);
  options.min_frequency = std::stoull(arguments[5]);
  options.special.assign(arguments.begin() + 6, arguments.end());
  const std::filesystem::path input = arguments[0];
  const auto start = std::chrono::steady_clock::now();
  const auto tokenizer = mslt::Tokenizer::train(std::span(&input, 1), options);
  std::printf("%.6f\n", seconds_since(start));
  tokenizer.save(arguments[1]);
}

mslt::Tokenizer load(const std::string& path, const std::string& pattern) {
  return mslt::Tokenizer::load(path,
                               pattern == "-" ? std::nullopt : std::optional(mslt::split_pattern_from_name(pattern)));
}

// convert INPUT PATTERN OUTPUT_FOLDER: tokenizer.json and tokenizer_config.json.
void convert(Arguments arguments) {
  const auto tokenizer = load(arguments[0], arguments[1]);
  const std::filesystem::path folder = arguments[2];
  std::filesystem::create_directories(folder);
  tokenizer.save(folder / "tokenizer.json");
  mslt::write_file(folder / "tokenizer_config.json", mslt::tokenizer_config_json(tokenizer, 1024));
}

// The ids of a text of which `step` more bytes become known at a time, encoded in parts as soon as it may be cut.
std::vector<mslt::TokenId> encode_in_parts(const mslt::Tokenizer& tokenizer, std::string_view text,
                                           mslt::SpecialTokens special, std::size_t step) {
  std::vector<mslt::TokenId> ids;
  std::size_t start = 0;
  bool continues = false;
  std::size_t search_at = step;
  for (std::size_t known = step; known < text.size(); known += step) {
    if (known - start < search_at) continue;
    const std::string_view held = text.substr(start, known - start);
    const auto cut = tokenizer.find_cut(held, special, continues);
    search_at = cut ? step : 2 * held.size();
    if (!cut) continue;
    tokenizer.encode_append(held.substr(0, cut->position), ids, special, continues);
    start += cut->position;
    continues = cut->continues;
  }
  tokenizer.encode_append(text.substr(start), ids, special, continues);
  return ids;
}

// encode TOKENIZER PATTERN text|parse [STEP]: standard input holds texts, each after its length; standard output the
// ids of each after their count. With STEP, texts are encoded in parts as more of them becomes known. All numbers are
// 32 bits, little-endian.
void encode(Arguments arguments) {
  const auto tokenizer = load(arguments[0], arguments[1]);
  const auto special =
      std::string_view(arguments[2]) == "parse" ? mslt::SpecialTokens::parse : mslt::SpecialTokens::as_text;
  const std::string input = read_input();
  for (std::string_view rest = input; !rest.empty();) {
    const std::uint32_t size = take_u32(rest);
    const std::string_view text = rest.substr(0, size);
    const auto ids = arguments.size() == 4 ? encode_in_parts(tokenizer, text, special, std::stoul(arguments[3]))
                                           : tokenizer.encode(text, special);
    rest.remove_prefix(size);
    put_u32(static_cast<std::uint32_t>(ids.size()));
    for (const auto id : ids) put_u32(id);
  }
}

// decode TOKENIZER PATTERN bytes|stream: the inverse. `stream` decodes token by token with StreamDecoder.
void decode(Arguments arguments) {
  const auto tokenizer = load(arguments[0], arguments[1]);
  const bool stream = std::string_view(arguments[2]) == "stream";
  const std::string input = read_input();
  for (std::string_view rest = input; !rest.empty();) {
    std::vector<mslt::TokenId> ids(take_u32(rest));
    for (auto& id : ids) id = take_u32(rest);
    std::string text;
    if (stream) {
      mslt::StreamDecoder decoder(tokenizer, false);
      for (const auto id : ids) text += decoder.push(id);
      text += decoder.finish();
    } else {
      text = tokenizer.decode(ids);
    }
    put_u32(static_cast<std::uint32_t>(text.size()));
    std::fwrite(text.data(), 1, text.size(), stdout);
  }
}

// time TOKENIZER PATTERN FILE REPEATS: the processor seconds of each encoding of the file, one per line, then the count
// of ids. Not the wall clock: encoding uses one thread, and other programs may be running.
void time(Arguments arguments) {
  const auto tokenizer = load(arguments[0], arguments[1]);
  const std::string text = mslt::read_file(arguments[2], std::uint64_t{1} << 32);
  std::size_t count = 0;
  for (int i = 0; i < std::stoi(arguments[3]); ++i) {
    const std::clock_t start = std::clock();
    count = tokenizer.encode(text).size();
    std::printf("%.6f\n", static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC);
  }
  std::printf("%zu\n", count);
}

int run(Arguments arguments) {
  const std::string_view command = arguments.size() > 1 ? arguments[1] : "";
  const Arguments rest = arguments.subspan(std::min<std::size_t>(arguments.size(), 2));
  if (command == "train" && rest.size() >= 6) {
    train(rest);
  } else if (command == "convert" && rest.size() == 3) {
    convert(rest);
  } else if (command == "encode" && (rest.size() == 3 || rest.size() == 4)) {
    encode(rest);
  } else if (command == "decode" && rest.size() == 3) {
    decode(rest);
  } else if (command == "time" && rest.size() == 4) {
    time(rest);
  } else {
    std::fputs("usage: tokenizer_tool train|convert|encode|decode|time ARGUMENTS; see tokenizer_tool.cpp\n", stderr);
    return 2;
  }
  return 0;
}

}  // namespace

int main(int count, char** arguments) {
  try {
    return run(Arguments(arguments, static_cast<std::size_t>(count)));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
