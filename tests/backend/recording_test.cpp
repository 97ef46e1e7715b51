// Recorded work on every backend: the same as run at once, with what was uploaded in between.
#include <gtest/gtest.h>

#include <vector>

#include "tests/backend/backend_under_test.h"

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

INSTANTIATE_TEST_SUITE_P(Backends, RecordingTest, testing::ValuesIn(test_backends()), test_backend_name);

}  // namespace
}  // namespace mslt::test
