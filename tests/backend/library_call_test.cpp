// A backend derived from the MSL one: a library replaces single operations, in recording order.
#include <gtest/gtest.h>

#include <vector>

#include "backend/msl/drivers/idle/idle_device.h"
#include "backend/msl/host_backend.h"
#include "backend/msl/msl_backend.h"
#include "tests/backend/backend_under_test.h"
#include "tests/backend/numeric_check.h"
#include "tests/backend/reference_linear.h"

namespace mslt::test {
namespace {

// Its "library" multiplies f32 matrices on the host; everything else is inherited.
class LibraryBackend final : public MslBackend {
 public:
  explicit LibraryBackend(std::unique_ptr<msl::Device> device) : MslBackend(std::move(device)) {}

  using MslBackend::execute;
  void execute(const MatmulForward& op) override {
    if (op.in.dtype() != DType::f32 || op.weight.scales || op.bias || op.activation != Activation::none ||
        op.pre_activation) {
      ++inherited;
      return MslBackend::execute(op);
    }
    const std::int64_t rows = op.in.shape().rows();
    const std::int64_t columns = op.weight.values.shape()[0];
    const std::int64_t inner = op.weight.values.shape()[1];
    const auto bytes = static_cast<std::size_t>(inner) * sizeof(float);
    library_call("test", op, bytes,
                 {[this, rows, columns, inner, out = static_cast<float*>(address(op.out)),
                   in = static_cast<const float*>(address(op.in)),
                   weight = static_cast<const float*>(address(op.weight.values))](const msl::LibraryContext& context) {
                   ++calls;
                   if (fails) throw Error(ErrorKind::device, "test: the library has no plan.");
                   auto* const row = static_cast<float*>(context.workspace);
                   for (std::int64_t i = 0; i < rows; ++i) {
                     std::copy_n(in + i * inner, inner, row);
                     for (std::int64_t j = 0; j < columns; ++j) {
                       float sum = 0.0f;
                       for (std::int64_t k = 0; k < inner; ++k) sum += row[k] * weight[j * inner + k];
                       out[i * columns + j] = sum;
                     }
                   }
                 }});
  }

  std::unique_ptr<MslBackend> same_on(std::unique_ptr<msl::Device> device) const override {
    return std::make_unique<LibraryBackend>(std::move(device));
  }

  int inherited = 0;
  int calls = 0;  // read after wait()
  bool fails = false;
};

TEST(LibraryCallTest, RunsInTheOrderOfTheRecording) {
  LibraryBackend backend(make_msl_host_device());
  const std::vector<double> in_values = random_values(DType::f32, 6 * 5, 1);
  const std::vector<double> weight_values = random_values(DType::f32, 4 * 5, 2);
  const Guarded source = upload(backend, DType::f32, {6, 5}, in_values);
  const Guarded weight = upload(backend, DType::f32, {4, 5}, weight_values);
  const Guarded in(backend, DType::f32, {6, 5});
  const Guarded out(backend, DType::f32, {6, 4});
  const Guarded twice(backend, DType::f32, {6, 4});
  // The product reads the result of an earlier kernel, and a later kernel reads the product.
  backend.run(Copy{.out = in, .in = source});
  backend.run(MatmulForward{.out = out, .in = in, .weight = {weight}});
  backend.run(Fill{.out = in, .value = 0.0f});
  backend.run(Copy{.out = twice, .in = out});
  backend.run(Add{.out = twice, .in = out});
  backend.wait();
  std::vector<double> expected = reference_matmul(in_values, weight_values, {}, 6, 4, 5);
  expect_close(out.values(), expected, 1e-6);
  for (double& value : expected) value *= 2.0;
  expect_close(twice.values(), expected, 1e-6);
  EXPECT_EQ(backend.calls, 1);
  EXPECT_TRUE(in.intact() && out.intact() && twice.intact());
}

TEST(LibraryCallTest, LeavesToTheKernelsWhatItsBackendDoes) {
  LibraryBackend backend(make_msl_host_device());
  const std::vector<double> in_values = random_values(DType::f32, 20 * 5, 1);
  const std::vector<double> weight_values = random_values(DType::f32, 4 * 5, 2);
  const std::vector<double> bias_values = random_values(DType::f32, 4, 3);
  const Guarded in = upload(backend, DType::f32, {20, 5}, in_values);
  const Guarded weight = upload(backend, DType::f32, {4, 5}, weight_values);
  const Guarded bias = upload(backend, DType::f32, {4}, bias_values);
  const Guarded out(backend, DType::f32, {20, 4});
  backend.run(MatmulForward{.out = out, .in = in, .weight = {weight}, .bias = bias});
  backend.wait();
  expect_close(out.values(), reference_matmul(in_values, weight_values, bias_values, 20, 4, 5), 1e-6);
  EXPECT_EQ(backend.inherited, 1);
  EXPECT_EQ(backend.calls, 0);
}

TEST(LibraryCallTest, ChecksAndCountsItAsAnyOperation) {
  LibraryBackend backend(make_msl_host_device());
  const Guarded in(backend, DType::f32, {6, 5});
  const Guarded weight(backend, DType::f32, {4, 5});
  const Guarded out(backend, DType::f32, {6, 4});
  std::vector<msl::DispatchRecord> records;
  std::string name;
  backend.recorder().observe([&](const msl::DispatchRecord& record) {
    name = record.kernel;
    records.push_back(record);
  });
  backend.run(MatmulForward{.out = out, .in = in, .weight = {weight}});
  backend.recorder().observe({});
  ASSERT_EQ(records.size(), 1u);
  EXPECT_EQ(name, "test_matmul_forward");
  EXPECT_EQ(records[0].flops, 2.0 * 6 * 4 * 5);
  EXPECT_EQ(records[0].bytes, 4.0 * (6 * 5 + 4 * 5 + 6 * 4));
  EXPECT_EQ(backend.recorder().counters().dispatches, 1u);
  const std::string message =
      error_of(ErrorKind::input, [&] { backend.run(MatmulForward{.out = in, .in = in, .weight = {weight}}); });
  EXPECT_NE(message.find("matmul_forward: out is f32 [6, 5]"), std::string::npos) << message;
  backend.wait();
  EXPECT_EQ(backend.calls, 1);
}

TEST(LibraryCallTest, FailsTheWorkWhereTheLibraryFails) {
  LibraryBackend backend(make_msl_host_device());
  backend.fails = true;
  const Guarded in(backend, DType::f32, {6, 5});
  const Guarded weight(backend, DType::f32, {4, 5});
  const Guarded out(backend, DType::f32, {6, 4});
  backend.run(MatmulForward{.out = out, .in = in, .weight = {weight}});
  const std::string message = error_of(ErrorKind::device, [&] { backend.wait(); });
  EXPECT_NE(message.find("the library has no plan"), std::string::npos) << message;
}

// A device that does nothing counts a library's work and never calls it; predictions need this.
TEST(LibraryCallTest, IsOnlyCountedByAnIdleDevice) {
  LibraryBackend backend(std::make_unique<msl::idle::IdleDevice>(DeviceInfo{}, msl::DeviceLimits{}));
  const auto memory = backend.allocate(1024, "tensors");
  backend.run(MatmulForward{.out = Tensor(*memory, 0, DType::f32, {2, 4}),
                            .in = Tensor(*memory, 256, DType::f32, {2, 5}),
                            .weight = Tensor(*memory, 512, DType::f32, {4, 5})});
  backend.wait();
  EXPECT_EQ(backend.recorder().counters().dispatches, 1u);
  EXPECT_EQ(backend.calls, 0);
}

TEST(LibraryCallTest, ItsWorkspaceIsPlanned) {
  const auto multiply = [](Backend& like) {
    const auto memory = like.allocate(1024, "tensors");
    like.run(MatmulForward{.out = Tensor(*memory, 0, DType::f32, {2, 4}),
                           .in = Tensor(*memory, 256, DType::f32, {2, 5}),
                           .weight = Tensor(*memory, 512, DType::f32, {4, 5})});
    like.wait();
  };
  EXPECT_EQ(MslBackend(make_msl_host_device()).rehearse(multiply).scratch, 0u);
  LibraryBackend backend(make_msl_host_device());
  const std::size_t planned = backend.rehearse(multiply).scratch;
  EXPECT_GT(planned, 0u);
  multiply(backend);
  EXPECT_EQ(backend.working_memory().scratch, planned);
}

}  // namespace
}  // namespace mslt::test
