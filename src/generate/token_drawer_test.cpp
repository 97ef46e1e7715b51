// Tests of where candidates come from: the device's and the host's give the same tokens.
#include "generate/token_drawer.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numeric>

#include "backend/for_each_operation.h"
#include "backend/registry.h"
#include "base/philox.h"
#include "mslt/error.h"

namespace mslt {
namespace {

constexpr std::int64_t rows = 3;
constexpr std::int64_t columns = 500;  // the last ones are no choice

// Logits of many ties, whose largest are no choice or excluded.
std::vector<float> some_logits(std::uint32_t stream_number) {
  PhiloxStream stream(7, stream_number, 0);
  std::vector<float> logits(static_cast<std::size_t>(rows * columns));
  for (std::size_t i = 0; i < logits.size(); ++i) {
    logits[i] = static_cast<float>(stream.below(40)) / 8.0f;
    const std::size_t column = i % columns;
    if (column >= 490 || column == 3 || column == 200) logits[i] = 9.0f;
  }
  return logits;
}

// A device that counts what is downloaded.
class CountingBackend final : public ForEachOperation<CountingBackend> {
 public:
  template <class Op>
  void each(const Op& op) {
    inner_->execute(op);
  }

  const DeviceInfo& device() const override { return inner_->device(); }
  std::unique_ptr<Buffer> allocate(std::size_t bytes, std::string_view label) override {
    return inner_->allocate(bytes, label);
  }
  void upload(const Tensor& destination, std::span<const std::byte> source) override {
    inner_->upload(destination, source);
  }
  void download(const Tensor& source, std::span<std::byte> destination) override {
    downloaded += destination.size();
    inner_->download(source, destination);
  }
  void read_back(const Tensor& source, std::function<void(std::span<const std::byte>)> receive) override {
    inner_->read_back(source, std::move(receive));
  }
  void submit() override { inner_->submit(); }
  void wait() override { inner_->wait(); }
  void throttle(std::size_t in_flight) override { inner_->throttle(in_flight); }

  std::size_t downloaded = 0;

 private:
  std::unique_ptr<Backend> inner_ = make_backend("cpu");
};

class TokenDrawerTest : public testing::Test {
 protected:
  Tensor upload(const std::vector<float>& logits) {
    const Tensor tensor(*buffer_, 0, DType::f32, {rows, columns});
    backend_.upload(tensor, std::as_bytes(std::span(logits)));
    return tensor;
  }

  // What samplers draw that see all logits.
  static std::vector<std::int32_t> expected(std::vector<Sampler>& samplers, std::vector<float> logits,
                                            const std::vector<std::span<const std::int32_t>>& histories,
                                            bool excludes = true) {
    std::vector<std::int32_t> tokens;
    for (std::size_t row = 0; row < static_cast<std::size_t>(rows); ++row) {
      const std::span<float> choices = std::span(logits).subspan(row * columns, 490);
      if (excludes) choices[3] = choices[200] = -std::numeric_limits<float>::infinity();
      tokens.push_back(samplers[row].draw({choices}, histories[row]));
    }
    return tokens;
  }

  CountingBackend backend_;
  std::unique_ptr<Buffer> buffer_ = backend_.allocate(rows * columns * sizeof(float), "logits");
  std::unique_ptr<Buffer> tokens_ = backend_.allocate(2 * rows * sizeof(std::int32_t), "tokens");
  std::vector<TokenId> excluded_ = {200, 3, 495};
};

TEST_F(TokenDrawerTest, DrawsWhatASamplerOfAllLogitsDraws) {
  const std::vector<std::int32_t> seen = {1, 2, 10, 11, 12};
  const std::vector<std::span<const std::int32_t>> histories(rows, seen);
  for (const float temperature : {0.0f, 0.7f, 1.0f}) {
    for (const std::int64_t top_k : {0, 1, 5, 100, 256, 300, 1000}) {
      for (const float top_p : {1.0f, 0.5f}) {
        for (const float penalty : {1.0f, 1.3f}) {
          SCOPED_TRACE(testing::Message() << temperature << " " << top_k << " " << top_p << " " << penalty);
          const SamplingOptions options{
              .temperature = temperature, .top_k = top_k, .top_p = top_p, .repetition_penalty = penalty, .seed = 5};
          TokenDrawer drawer(backend_, options, rows, 490, excluded_);
          std::vector<Sampler> samplers = {{options, 0}, {options, 1}, {options, 2}};
          for (std::uint32_t step = 0; step < 2; ++step) {
            const std::vector<float> logits = some_logits(step);
            drawer.load(upload(logits));
            EXPECT_EQ(drawer.draw(std::vector<int>{0, 1, 2}, histories), expected(samplers, logits, histories));
          }
        }
      }
    }
  }
}

// Draws on the device go on where those of the host were, and those of the host where the device was.
TEST_F(TokenDrawerTest, TheDeviceDrawsWhatASamplerOfAllLogitsDraws) {
  const std::vector<std::int32_t> seen = {1, 2, 10, 11, 12, 499};
  const std::vector<int> samples = {2, 0, 1};
  for (const float temperature : {0.0f, 0.7f}) {
    for (const std::int64_t top_k : {0, 1, 5, 300, 1000}) {
      for (const float penalty : {1.0f, 1.3f}) {
        for (const bool excludes : {false, true}) {
          SCOPED_TRACE(testing::Message() << temperature << " " << top_k << " " << penalty << " " << excludes);
          const SamplingOptions options{.temperature = temperature,
                                        .top_k = top_k,
                                        .top_p = 0.9f,
                                        .repetition_penalty = penalty,
                                        .seed = (std::uint64_t{9} << 32) | 5};
          TokenDrawer drawer(backend_, options, rows, 490,
                             excludes ? std::span<const TokenId>(excluded_) : std::span<const TokenId>());
          std::vector<Sampler> samplers = {{options, 2}, {options, 0}, {options, 1}};
          std::vector<std::vector<std::int32_t>> histories(rows, seen);
          const auto spans = [&] {
            return std::vector<std::span<const std::int32_t>>(histories.begin(), histories.end());
          };
          const auto expect = [&](const std::vector<std::int32_t>& tokens, const std::vector<float>& logits) {
            EXPECT_EQ(tokens, expected(samplers, logits, spans(), excludes));
            for (std::size_t row = 0; row < histories.size(); ++row) histories[row].push_back(tokens[row]);
          };
          drawer.load(upload(some_logits(0)));
          expect(drawer.draw(samples, spans()), some_logits(0));
          drawer.begin_on_device(samples, spans());
          const NextTokens next(Tensor(*tokens_, 0, DType::i32, {2 * rows}));
          // Which a step does itself.
          const auto draw = [&](const Tensor& logits) {
            const std::int64_t choices = drawer.greedy_choices();
            if (choices == 0) return drawer.draw_on_device(logits, next);
            backend_.run(Argmax{.values = next.logits, .indices = next.tokens, .logits = logits, .vocab = choices});
          };
          for (std::uint32_t step = 1; step < 4; ++step) {
            draw(upload(some_logits(step)));
            std::vector<std::int32_t> tokens(rows);
            backend_.download(next.tokens, std::as_writable_bytes(std::span(tokens)));
            drawer.count_draws(samples);
            expect(tokens, some_logits(step));
          }
          drawer.load(upload(some_logits(4)));
          expect(drawer.draw(samples, spans()), some_logits(4));
        }
      }
    }
  }
}

TEST_F(TokenDrawerTest, OnlyCandidatesLeaveTheDevice) {
  const Tensor logits = upload(some_logits(0));
  const auto downloaded = [&](const SamplingOptions& options, std::span<const TokenId> excluded) {
    TokenDrawer drawer(backend_, options, rows, 490, excluded);
    backend_.downloaded = 0;
    drawer.load(logits);
    return backend_.downloaded / rows;
  };
  constexpr std::size_t all = columns * sizeof(float);
  EXPECT_EQ(downloaded({.temperature = 0.0f}, {}), 8u);
  EXPECT_EQ(downloaded({.temperature = 0.0f, .top_k = 9}, {}), 8u);
  EXPECT_EQ(downloaded({.top_k = 40}, {}), 40u * 8);
  EXPECT_EQ(downloaded({.top_k = 40}, excluded_), 42u * 8);
  EXPECT_EQ(downloaded({}, {}), all);
  EXPECT_EQ(downloaded({.top_k = 300}, {}), all);
  EXPECT_EQ(downloaded({.top_k = 40, .repetition_penalty = 1.1f}, {}), all);
}

TEST_F(TokenDrawerTest, SamplesThatEndLeaveTheOthersTheirDraws) {
  const SamplingOptions options{.top_k = 20};
  const std::vector<float> logits = some_logits(0);
  TokenDrawer drawer(backend_, options, rows, 490);
  TokenDrawer fewer(backend_, options, rows, 490);
  const Tensor all = upload(logits);
  drawer.load(all);
  fewer.load(all.slice(1, 2));
  const std::vector<std::int32_t> tokens = drawer.draw(std::vector<int>{0, 1, 2}, {{}, {}, {}});
  EXPECT_EQ(fewer.draw(std::vector<int>{1, 2}, {{}, {}}), (std::vector<std::int32_t>{tokens[1], tokens[2]}));
}

TEST_F(TokenDrawerTest, OutputThatIsNotFiniteIsAnError) {
  for (const float wrong : {std::numeric_limits<float>::infinity(), std::nanf("")}) {
    for (const SamplingOptions& options :
         {SamplingOptions{.temperature = 0.0f}, SamplingOptions{.top_k = 5}, SamplingOptions{}}) {
      TokenDrawer drawer(backend_, options, rows, columns);
      std::vector<float> logits(static_cast<std::size_t>(rows * columns), wrong);
      drawer.load(upload(logits));
      try {
        drawer.draw(std::vector<int>{0, 1, 2}, {{}, {}, {}});
        ADD_FAILURE() << "drawn from " << wrong;
      } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::numeric);
      }
    }
  }
}

}  // namespace
}  // namespace mslt
