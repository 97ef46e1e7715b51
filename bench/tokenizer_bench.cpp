// Speed of the tokenizer's encoding, decoding and training. MSLT_BENCH_TEXT names the text; by default it is synthetic.
#include <benchmark/benchmark.h>

#include <cmath>
#include <cstdlib>
#include <string>

#include "base/file.h"
#include "base/philox.h"
#include "mslt/tokenizer.h"

namespace {

// Words with Zipf frequencies, so a cache behaves as with real text.
std::string made_up_text() {
  mslt::PhiloxStream random(1, 0, 0);
  std::vector<std::string> words(20000);
  for (auto& word : words) {
    word = " ";
    const auto size = 2 + random.below(8);
    for (std::size_t i = 0; i < size; ++i) word.push_back("etaoinshrdlu"[random.below(12)]);
  }
  std::string text;
  while (text.size() < 4'000'000) {
    // exp of a uniform number has a density proportional to 1 / rank.
    text +=
        words[static_cast<std::size_t>(std::exp(random.uniform() * std::log(static_cast<float>(words.size())))) - 1];
    if (random.below(12) == 0) text += random.below(3) == 0 ? ".\n" : ",";
  }
  return text;
}

const std::string& bench_text() {
  static const std::string text = [] {
    const char* path = std::getenv("MSLT_BENCH_TEXT");
    return path == nullptr ? made_up_text() : mslt::read_file(path, std::uint64_t{1} << 32);
  }();
  return text;
}

mslt::Tokenizer trained(mslt::SplitPattern pattern) {
  return mslt::Tokenizer::train_on_text(bench_text(), {.vocab_size = 1776, .pattern = pattern});
}

void set_bytes(benchmark::State& state, std::size_t bytes) {
  state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations()) * static_cast<std::int64_t>(bytes));
}

void encode(benchmark::State& state) {
  const auto tokenizer = trained(static_cast<mslt::SplitPattern>(state.range(0)));
  std::vector<mslt::TokenId> ids;
  for (auto _ : state) {
    ids.clear();
    tokenizer.encode_append(bench_text(), ids);
    benchmark::DoNotOptimize(ids.data());
  }
  set_bytes(state, bench_text().size());
}
BENCHMARK(encode)->ArgName("pattern")->DenseRange(1, 4)->Unit(benchmark::kMillisecond);

// Line by line: shows the overhead of a call.
void encode_lines(benchmark::State& state) {
  const auto tokenizer = trained(mslt::SplitPattern::gpt2);
  const std::string& text = bench_text();
  std::vector<mslt::TokenId> ids;
  for (auto _ : state) {
    for (std::size_t begin = 0; begin < text.size();) {
      const std::size_t end = std::min(text.find('\n', begin), text.size() - 1) + 1;
      ids.clear();
      tokenizer.encode_append(std::string_view(text).substr(begin, end - begin), ids);
      begin = end;
    }
  }
  set_bytes(state, text.size());
}
BENCHMARK(encode_lines)->Unit(benchmark::kMillisecond);

// One pre-token: the time per byte must not grow with its length.
void encode_one_letter(benchmark::State& state) {
  const auto tokenizer = mslt::Tokenizer::train_on_text(
      std::string(1000, 'a'), {.vocab_size = 265, .pattern = mslt::SplitPattern::none, .min_frequency = 1});
  const std::string text(static_cast<std::size_t>(state.range(0)), 'a');
  std::vector<mslt::TokenId> ids;
  for (auto _ : state) {
    ids.clear();
    tokenizer.encode_append(text, ids);
  }
  set_bytes(state, text.size());
}
BENCHMARK(encode_one_letter)->RangeMultiplier(10)->Range(100, 1'000'000)->Unit(benchmark::kMicrosecond);

void decode(benchmark::State& state) {
  const auto tokenizer = trained(mslt::SplitPattern::gpt2);
  const auto ids = tokenizer.encode(bench_text());
  for (auto _ : state) benchmark::DoNotOptimize(tokenizer.decode(ids));
  set_bytes(state, bench_text().size());
}
BENCHMARK(decode)->Unit(benchmark::kMillisecond);

void train(benchmark::State& state) {
  for (auto _ : state) {
    benchmark::DoNotOptimize(mslt::Tokenizer::train_on_text(
        bench_text(), {.vocab_size = 1776, .threads = static_cast<int>(state.range(0))}));
  }
  set_bytes(state, bench_text().size());
}
BENCHMARK(train)->ArgName("threads")->Arg(1)->Arg(2)->UseRealTime()->Unit(benchmark::kMillisecond);

}  // namespace

BENCHMARK_MAIN();
