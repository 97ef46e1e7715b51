// Recorded work on every backend: the same as run at once, with what was uploaded in between.
#include <gtest/gtest.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "tests/backend/backend_under_test.h"
#include "tests/backend/numeric_check.h"
#include "tests/backend/values.h"

namespace mslt::test {
namespace {

class RecordingTest : public BackendTest {};

TEST_P(RecordingTest, RunsWhatWasRecordedAsOftenAsAsked) {
  const Guarded in = upload(backend(), DType::f32, {3}, {1, 2, 3});
  const Guarded weight = upload(backend(), DType::f32, {2, 3}, {1, 0, 1, 0, 2, 0});
  const Guarded out = upload(backend(), DType::f32, {1, 2}, {-1, -1});
  const Guarded total = upload(backend(), DType::f32, {1, 2}, {0, 0});
  const std::unique_ptr<Recording> recording = backend().record([&] {
    backend().run(MatmulForward{.out = out, .in = in.tensor().reshape({1, 3}), .weight = weight.tensor()});
    backend().run(Add{.out = total, .in = out});
  });
  EXPECT_EQ(out.values(), (std::vector<double>{-1, -1}));
  EXPECT_EQ(total.values(), (std::vector<double>{0, 0}));
  backend().replay(*recording);
  backend().replay(*recording);
  EXPECT_EQ(total.values(), (std::vector<double>{8, 8}));
  const float changed[] = {0, 5, 1};
  backend().upload(in, std::as_bytes(std::span(changed)));
  backend().replay(*recording);
  backend().run(Add{.out = total, .in = out});
  EXPECT_EQ(out.values(), (std::vector<double>{1, 10}));
  EXPECT_EQ(total.values(), (std::vector<double>{10, 28}));
  EXPECT_TRUE(in.intact() && out.intact() && total.intact());
}

TEST_P(RecordingTest, KeepsOperationsAlone) {
  const Guarded tensor = upload(backend(), DType::f32, {1}, {1});
  const float value = 2.0f;
  const std::string uploading = error_of(ErrorKind::usage, [&] {
    backend().record([&] { backend().upload(tensor, std::as_bytes(std::span(&value, 1))); });
  });
  EXPECT_NE(uploading.find("upload cannot be recorded"), std::string::npos) << uploading;
  const std::string waiting = error_of(ErrorKind::usage, [&] { backend().record([&] { backend().wait(); }); });
  EXPECT_NE(waiting.find("wait cannot be recorded"), std::string::npos) << waiting;
  // An operation that is none ends the recording as well.
  error_of(ErrorKind::input, [&] { backend().record([&] { backend().run(Fill{.out = {}, .value = 0.0f}); }); });
  backend().run(Fill{.out = tensor, .value = 3.0f});
  EXPECT_EQ(tensor.values(), (std::vector<double>{3}));
}

TEST_P(RecordingTest, BelongsToItsBackend) {
  const std::unique_ptr<Backend> other = make_test_backend(GetParam());
  const std::unique_ptr<Recording> recording = other->record([] {});
  const std::string message = error_of(ErrorKind::usage, [&] { backend().replay(*recording); });
  EXPECT_NE(message.find("of another backend"), std::string::npos) << message;
}

// A decoding step of two layers of one row, from its token to the next, which a backend may do in fewer launches where
// it is recorded.
struct DecodingStep {
  static constexpr std::int64_t channels = 128;
  static constexpr std::int64_t ffn = 512;
  static constexpr std::int64_t blocks = 24;
  static constexpr int layers = 2;
  static constexpr std::int64_t vocab = 700;
  static constexpr std::int64_t choices = 650;

  DecodingStep(Backend& backend, DType dtype, NormKind norm, std::int64_t first) : norm(norm) {
    std::uint64_t seed = 1;
    const auto make = [&](const Shape& shape, double scale, double centre = 0.0) {
      std::vector<double> values = random_values(dtype, shape.elements(), ++seed);
      for (double& value : values) value = centre + scale * value;
      return upload(backend, dtype, shape, values);
    };
    stream = make({1, channels}, 1.0);
    token_rows = make({vocab, channels}, 1.0);
    place_rows = make({blocks * 16, channels}, 0.5);
    logits = make({1, vocab}, 1.0);
    best = upload(backend, DType::f32, {1}, {0.0});
    token = upload(backend, DType::i32, {1}, {37.0});
    qkv = make({1, 3 * channels}, 1.0);
    attended = make({1, channels}, 1.0);
    inner = make({1, ffn}, 1.0);
    for (int layer = 0; layer < layers; ++layer) {
      weights.push_back({make({3 * channels, channels}, 0.1), make({channels, channels}, 0.1),
                         make({ffn, channels}, 0.1), make({channels, ffn}, 0.05), make({3 * channels}, 0.3),
                         make({ffn}, 0.3), make({channels}, 0.3, 1.0), make({channels}, 0.3),
                         make({blocks, 16, channels}, 1.0), make({blocks, 16, channels}, 1.0)});
    }
    std::vector<double> table;
    for (std::int64_t i = 0; i < blocks; ++i) table.push_back(static_cast<double>((7 * i + 3) % blocks));
    table_tensor = upload(backend, DType::i32, {1, blocks}, table);
    first_tensor = upload(backend, DType::i32, {1}, {static_cast<double>(first)});
  }

  void run(Backend& backend) const {
    backend.run(EmbeddingForward{.out = stream.tensor().reshape({1, 1, channels}),
                                 .tokens = token.tensor().reshape({1, 1}),
                                 .token_weight = token_rows,
                                 .position_weight = place_rows,
                                 .positions = {first_tensor.tensor()},
                                 .scale = 1.25f});
    for (const Layer& layer : weights) {
      const auto product = [&](const Guarded& out, const Guarded& in, const Guarded& weight, const Tensor& bias,
                               bool normalizes, Activation activation, bool accumulates) {
        backend.run(FusedProduct{.out = out,
                                 .in = in,
                                 .norm_weight = normalizes ? layer.gain.tensor() : Tensor(),
                                 .norm_bias = normalizes && !norm.rms ? layer.offset.tensor() : Tensor(),
                                 .norm = norm,
                                 .weight = weight.tensor(),
                                 .bias = bias,
                                 .activation = activation,
                                 .accumulate = accumulates});
      };
      product(qkv, stream, layer.qkv, layer.qkv_bias.tensor(), true, Activation::none, false);
      backend.run(AttentionDecode{.out = attended.tensor().reshape({1, 1, channels}),
                                  .qkv = qkv.tensor().reshape({1, 1, 3 * channels}),
                                  .cache = {layer.keys.tensor(), layer.values.tensor(), table_tensor.tensor()},
                                  .positions = {first_tensor.tensor()},
                                  .shape = {.heads = 2, .kv_heads = 2, .head_size = 64, .scale = 0.125f}});
      product(stream, attended, layer.out, {}, false, Activation::none, true);
      product(inner, stream, layer.up, layer.up_bias.tensor(), true, Activation::gelu, false);
      product(stream, inner, layer.down, {}, false, Activation::none, true);
    }
    backend.run(FusedProduct{.out = logits,
                             .in = stream,
                             .norm_weight = weights.front().gain,
                             .norm_bias = norm.rms ? Tensor() : weights.front().offset.tensor(),
                             .norm = norm,
                             .weight = {token_rows.tensor()}});
    backend.run(Argmax{.values = best, .indices = token, .logits = logits, .vocab = choices});
  }

  struct Layer {
    Guarded qkv, out, up, down, qkv_bias, up_bias, gain, offset, keys, values;
  };
  NormKind norm;
  std::vector<Layer> weights;
  Guarded stream, qkv, attended, inner, token_rows, place_rows, logits, best, token, table_tensor, first_tensor;
};

TEST_P(RecordingTest, DecodesAsItsOperationsDo) {
  for (const DType dtype : last_under_tsan(activation_types(backend()))) {
    for (const auto& [rms, first] : std::vector<std::pair<bool, std::int64_t>>{{false, 0}, {true, 15}, {false, 383}}) {
      SCOPED_TRACE(testing::Message() << name_of(dtype) << (rms ? " RMSNorm" : " LayerNorm") << " position " << first);
      const NormKind norm = {.rms = rms};
      const DecodingStep apart(backend(), dtype, norm, first);
      apart.run(backend());
      const DecodingStep together(backend(), dtype, norm, first);
      const std::unique_ptr<Recording> recording = backend().record([&] { together.run(backend()); });
      const std::vector<std::byte> begun = together.token.bytes();
      backend().replay(*recording);
      const double tolerance = 4 * tolerance_of(dtype, 2e-6);
      expect_close(together.stream.values(), apart.stream.values(), tolerance);
      const std::vector<double> logits = together.logits.values();
      expect_close(logits, apart.logits.values(), tolerance);
      const auto largest = std::max_element(logits.begin(), logits.begin() + DecodingStep::choices);
      EXPECT_EQ(together.token.values(), std::vector<double>{static_cast<double>(largest - logits.begin())});
      EXPECT_EQ(together.best.values(), std::vector<double>{*largest});
      for (std::size_t layer = 0; layer < apart.weights.size(); ++layer) {
        expect_close(together.weights[layer].keys.values(), apart.weights[layer].keys.values(), tolerance);
        expect_close(together.weights[layer].values.values(), apart.weights[layer].values.values(), tolerance);
      }
      const std::vector<std::byte> stream_once = together.stream.bytes();
      const std::vector<std::byte> once = together.logits.bytes();
      backend().upload(together.token, begun);
      backend().replay(*recording);
      EXPECT_EQ(together.stream.bytes(), stream_once);
      EXPECT_EQ(together.logits.bytes(), once);
      EXPECT_TRUE(together.logits.intact() && together.token.intact() && together.best.intact());
      EXPECT_TRUE(together.stream.intact() && together.qkv.intact() && together.inner.intact() &&
                  together.attended.intact());
    }
  }
}

// Products of several rows in a row, each of which reads what the one before it writes. A device may begin them early,
// but not where the weight is new.
TEST_P(RecordingTest, MultipliesFewRowsAsItsOperationsDo) {
  constexpr std::int64_t rows = 6;
  constexpr std::int64_t channels = 64;
  constexpr std::int64_t ffn = 128;
  constexpr int layers = 4;
  for (const DType dtype : activation_types(backend())) {
    SCOPED_TRACE(name_of(dtype));
    std::uint64_t seed = 0;
    const auto make = [&](const Shape& shape, double size, double mean = 0.0) {
      std::vector<double> values = random_values(dtype, shape.elements(), ++seed);
      for (double& value : values) value = mean + size * value;
      return upload(backend(), dtype, shape, values);
    };
    const Guarded start = make({rows, channels}, 1.0);
    const Guarded stream(backend(), dtype, {rows, channels});
    const Guarded inner(backend(), dtype, {rows, ffn});
    const Guarded gain = make({channels}, 0.3, 1.0);
    const Guarded up = make({ffn, channels}, 0.1);
    const Guarded other_up = make({ffn, channels}, 0.1);
    const Guarded down = make({channels, ffn}, 0.05);
    const auto run = [&](const Guarded& last_up) {
      backend().run(Copy{.out = stream, .in = start});
      for (int layer = 0; layer < layers; ++layer) {
        const bool is_last = layer + 1 == layers;
        if (is_last) backend().run(Copy{.out = up, .in = last_up});
        backend().run(FusedProduct{
            .out = inner, .in = stream, .norm_weight = gain, .weight = {up.tensor()}, .activation = Activation::gelu});
        backend().run(FusedProduct{.out = stream, .in = inner, .weight = {down.tensor()}, .accumulate = true});
      }
    };
    const std::vector<std::byte> first_up = up.bytes();
    run(other_up);
    const std::vector<double> apart = stream.values();
    backend().upload(up, first_up);
    run(up);
    const std::vector<double> without = stream.values();
    EXPECT_NE(apart, without);
    const std::unique_ptr<Recording> recording = backend().record([&] { run(other_up); });
    for (int turn = 0; turn < 3; ++turn) {
      backend().upload(up, first_up);
      backend().replay(*recording);
      EXPECT_EQ(stream.values(), apart) << turn;
    }
    EXPECT_TRUE(stream.intact() && inner.intact());
  }
}

INSTANTIATE_TEST_SUITE_P(Backends, RecordingTest, testing::ValuesIn(test_backends()), test_backend_name);

}  // namespace
}  // namespace mslt::test
