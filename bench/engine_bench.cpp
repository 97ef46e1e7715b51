// Tokens a second of the engine at 1, 8 and 32 requests at once, and the time to the first token of a new request while
// 8 others decode.
//
// Usage: engine_bench MODEL [none|int8|int4] [tokens a request]
#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <future>
#include <memory>
#include <string>
#include <vector>

#include "mslt/engine.h"

namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

mslt::Request request(std::size_t prompt, std::uint32_t number, std::int64_t tokens) {
  mslt::Request result;
  for (std::size_t i = 0; i < prompt; ++i) {
    result.prompt.push_back(1000 + static_cast<mslt::TokenId>((number * 7919 + i * 104729) % 40000));
  }
  result.sampling.temperature = 0.0f;
  result.max_new_tokens = tokens;
  result.ignore_eos = true;
  return result;
}

// Its sink says when the first token comes and when the last.
struct Timed {
  Clock::time_point submitted;
  double first_seconds = 0.0;
  std::promise<void> done;
};

void submit(mslt::Engine& engine, Timed& timed, mslt::Request work) {
  timed.submitted = Clock::now();
  engine.submit(std::move(work), [&timed](mslt::RequestEvent&& event) {
    if (timed.first_seconds == 0.0) timed.first_seconds = seconds_since(timed.submitted);
    if (event.end || event.error) timed.done.set_value();
    return true;
  });
}

void run(int argc, char** argv) {
  const std::string quantize = argc > 2 ? argv[2] : "none";
  const std::int64_t tokens = argc > 3 ? std::atoi(argv[3]) : 64;
  mslt::LoadOptions options;
  options.quantize = quantize;
  mslt::Model model = mslt::Model::load(argv[1], options);
  std::uint32_t number = 0;
  for (const std::size_t count : {1u, 8u, 32u}) {
    double best = 0.0;
    for (int round = 0; round < 2; ++round) {
      std::vector<Timed> timed(count);
      const auto engine = mslt::make_engine(model);
      const Clock::time_point start = Clock::now();
      for (Timed& each : timed) submit(*engine, each, request(16, ++number, tokens));
      for (Timed& each : timed) each.done.get_future().wait();
      best = std::max(best, static_cast<double>(count) * static_cast<double>(tokens) / seconds_since(start));
    }
    fmt::print("{:2} requests: {:.1f} tokens/s, prompts of 16 included\n", count, best);
    std::fflush(stdout);
  }
  std::vector<Timed> timed(8);
  Timed late;
  const auto engine = mslt::make_engine(model);
  for (Timed& each : timed) submit(*engine, each, request(16, ++number, tokens));
  while (engine->statistics().running < 8) {
  }
  submit(*engine, late, request(256, ++number, 1));
  late.done.get_future().wait();
  for (Timed& each : timed) each.done.get_future().wait();
  fmt::print("time to first token of a prompt of 256 beside 8 that decode: {:.3f} s\n", late.first_seconds);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    fmt::print(stderr, "usage: {} MODEL [none|int8|int4] [tokens a request]\n", argv[0]);
    return 2;
  }
  try {
    run(argc, argv);
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 1;
  }
  return 0;
}
