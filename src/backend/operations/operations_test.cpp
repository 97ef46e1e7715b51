// Tests of what all operations share: their lists of tensors, the common checks, their work.
#include "backend/operations/operations.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

#include "backend/memoryless_backend.h"
#include "mslt/error.h"

namespace mslt {
namespace {

// Records the names of the operations it executes.
class Noting final : public MemorylessBackend<Noting> {
 public:
  template <class Op>
  void each(const Op& op) {
    names.emplace_back(Op::name);
    work = work_of(op);
  }
  std::vector<std::string> names;
  Work work;
};

// Calls visit for a default-constructed value of every operation.
template <class Visit, class... Ops>
void for_all(OperationList<Ops...> /*list*/, Visit visit) {
  (visit(Ops{}), ...);
}

class OperationsTest : public testing::Test {
 protected:
  Tensor at(std::size_t offset, DType dtype, const Shape& shape) { return {buffer_, offset, dtype, shape}; }
  std::string refusal(const std::function<void()>& run) {
    try {
      run();
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::input);
      return error.what();
    }
    return "";
  }
  SizeOnlyBuffer buffer_{4096, "plain"};
  Noting backend_;
};

TEST_F(OperationsTest, HaveNamesOfTheirOwnAndWriteSomething) {
  std::set<std::string_view> names;
  for_all(Operations{}, [&](const auto& op) {
    using Op = std::decay_t<decltype(op)>;
    EXPECT_TRUE(names.insert(Op::name).second) << Op::name;
    std::set<std::string_view> arguments;
    std::set<const Tensor*> tensors;
    bool writes = false;
    for (const Argument& argument : op.arguments()) {
      EXPECT_TRUE(arguments.insert(argument.name).second) << Op::name << " " << argument.name;
      EXPECT_TRUE(tensors.insert(argument.tensor).second) << Op::name << " " << argument.name;
      writes = writes || argument.is_written();
    }
    EXPECT_TRUE(writes) << Op::name;
    // The list refers to the operation's own members, never to copies.
    const auto* first = reinterpret_cast<const std::byte*>(&op);
    for (const Tensor* tensor : tensors) {
      const auto offset = reinterpret_cast<const std::byte*>(tensor) - first;
      EXPECT_TRUE(offset >= 0 && static_cast<std::size_t>(offset) < sizeof(Op)) << Op::name;
    }
  });
}

// Without arguments, every operation is refused by its own name.
TEST_F(OperationsTest, AreCheckedBeforeTheyAreExecuted) {
  for_all(Operations{}, [&](const auto& op) {
    using Op = std::decay_t<decltype(op)>;
    const std::string message = refusal([&] { backend_.run(op); });
    EXPECT_TRUE(message.starts_with(std::string(Op::name) + ": ")) << Op::name << " said '" << message << "'";
  });
  EXPECT_TRUE(backend_.names.empty());
  backend_.run(Add{.out = at(0, DType::f32, {4}), .in = at(64, DType::f32, {4})});
  EXPECT_EQ(backend_.names, std::vector<std::string>{"add"});
}

TEST_F(OperationsTest, WriteApartFromEverythingUnlessInPlace) {
  const Tensor x = at(0, DType::f32, {2, 8});
  const Tensor near = at(32, DType::f32, {2, 8});
  const Tensor other = at(256, DType::f32, {2, 8});
  const Tensor weight = at(512, DType::f32, {8});
  EXPECT_EQ(refusal([&] { backend_.run(Add{.out = x, .in = x}); }), "");
  EXPECT_NE(refusal([&] { backend_.run(Add{.out = x, .in = near}); }).find("overlap"), std::string::npos);
  const auto norm = [&](const Tensor& sum, const Tensor& mean) {
    return refusal([&] {
      backend_.run(ResidualNormForward{
          .out = other, .sum = sum, .mean = mean, .residual = x, .x = other, .weight = weight, .bias = weight});
    });
  };
  EXPECT_EQ(norm(x, {}), "");
  EXPECT_NE(norm(near, {}).find("sum, f32 [2, 8] of 'plain', and residual"), std::string::npos) << norm(near, {});
  // An operation's own check never compared statistics passed in the weight's place.
  EXPECT_NE(norm(x, at(512, DType::f32, {2})).find("mean"), std::string::npos);
}

TEST_F(OperationsTest, LetDtypesMeetAsListed) {
  const Tensor out = at(0, DType::f32, {2, 4});
  const Tensor in = at(256, DType::f32, {2, 8});
  const Tensor weight = at(512, DType::bf16, {4, 8});
  EXPECT_EQ(refusal([&] { backend_.run(MatmulForward{.out = out, .in = in, .weight = weight}); }), "");
  const Tensor half = at(256, DType::f16, {2, 8});
  const std::string unlike = refusal([&] { backend_.run(MatmulForward{.out = out, .in = half, .weight = weight}); });
  EXPECT_NE(unlike.find("weight is bf16 [4, 8] of 'plain' and in is f16"), std::string::npos) << unlike;
  const Tensor bias = at(1024, DType::f32, {4});
  const std::string mixed =
      refusal([&] { backend_.run(MatmulForward{.out = out, .in = in, .weight = weight, .bias = bias}); });
  EXPECT_NE(mixed.find("bias is f32 [4] of 'plain' and weight is bf16"), std::string::npos) << mixed;
}

TEST_F(OperationsTest, TellTheirWork) {
  const Tensor din = at(0, DType::bf16, {3, 8});
  const Tensor dout = at(256, DType::bf16, {3, 4});
  const Tensor weight = at(512, DType::bf16, {4, 8});
  backend_.run(MatmulBackwardInput{.din = din, .dout = dout, .weight = weight});
  EXPECT_EQ(backend_.work.flops, 2.0 * 3 * 4 * 8);
  EXPECT_EQ(backend_.work.bytes, 2.0 * (3 * 8 + 3 * 4 + 4 * 8));
  // An accumulated tensor is read as well.
  backend_.run(MatmulBackwardInput{.din = din, .dout = dout, .weight = weight, .accumulate = true});
  EXPECT_EQ(backend_.work.bytes, 2.0 * (2 * 3 * 8 + 3 * 4 + 4 * 8));
  // Counts only the rows taken from a table.
  backend_.run(GatherRows{
      .out = at(0, DType::f32, {2, 4}), .in = at(256, DType::f32, {100, 4}), .indices = at(2048, DType::i32, {2})});
  EXPECT_EQ(backend_.work.bytes, 2.0 * 4 * 2 * 4 + 4 * 2);
}

}  // namespace
}  // namespace mslt
