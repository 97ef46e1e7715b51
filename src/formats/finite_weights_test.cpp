// Tests that weights which are not numbers are refused by name, at any position and in any type.
#include "formats/finite_weights.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/test_errors.h"
#include "formats/model_folder.h"
#include "formats/safetensors.h"
#include "model/test_models.h"
#include "mslt/error.h"

namespace mslt {
namespace {

using test::error_of;

template <class Bits>
void expect_found(const std::string& dtype, Bits largest, const std::vector<Bits>& bad) {
  for (const std::size_t count : {std::size_t{1}, std::size_t{100}, (std::size_t{3} << 20) / sizeof(Bits) + 5}) {
    std::vector<Bits> values(count, largest);
    const std::span<const std::byte> bytes = std::as_bytes(std::span(values));
    const FileTensor good{"good", dtype, {count}, bytes};
    EXPECT_NO_THROW(require_finite(std::array{&good}, "file"));
    for (const Bits value : bad) {
      for (const std::size_t at : {std::size_t{0}, count / 2, count - 1}) {
        std::vector<Bits> other = values;
        other[at] = value;
        const FileTensor tensor{"layer.x", dtype, {count}, std::as_bytes(std::span(other))};
        const std::string message =
            error_of(ErrorKind::numeric, [&] { require_finite(std::array{&good, &tensor}, "file"); });
        EXPECT_NE(message.find("file: the tensor 'layer.x'"), std::string::npos) << message;
        EXPECT_NE(message.find("element " + std::to_string(at) + " of " + std::to_string(count)), std::string::npos)
            << message;
      }
    }
  }
}

TEST(FiniteWeights, FindsEveryKindInEveryType) {
  expect_found<std::uint32_t>("F32", 0xFF7FFFFFu, {0x7FC00000u, 0x7F800001u, 0x7F800000u, 0xFF800000u});
  expect_found<std::uint16_t>("BF16", 0xFF7F, {0x7FC0, 0x7F81, 0x7F80, 0xFF80});
  expect_found<std::uint16_t>("F16", 0xFBFF, {0x7E00, 0x7C01, 0x7C00, 0xFC00});
  // The largest double that rounds to a finite float, the next one, which does not, infinities and NaN.
  expect_found<std::uint64_t>("F64", 0xC7EFFFFFEFFFFFFFu,
                              {0x47EFFFFFF0000000u, 0xFFEFFFFFFFFFFFFFu, 0x7FF0000000000000u, 0xFFF0000000000000u,
                               0x7FF8000000000000u, 0x7FF0000000000001u});
}

class FiniteModel : public testing::Test {
 protected:
  // A saved model; one element of its tensor `name` is `value`.
  std::filesystem::path folder_with(const std::string& name, float value) {
    const auto* info = testing::UnitTest::GetInstance()->current_test_info();
    const std::filesystem::path folder =
        std::filesystem::path(testing::TempDir()) / (std::string("mslt_finite_model_") + info->name());
    std::filesystem::remove_all(folder);
    Transformer model(*backend_, test::small_llama(), DType::f32);
    test::randomize(model);
    save_model_folder(folder, model, nullptr);
    std::string file = read_file(folder / "model.safetensors", 1 << 24);
    {
      const SafetensorsModel saved(folder);
      for (const FileTensor& tensor : saved.tensors()) {
        if (tensor.name != name) continue;
        const auto offset = static_cast<std::size_t>(tensor.data.data() - saved.files()[0].bytes().data());
        std::memcpy(file.data() + offset + 8, &value, sizeof value);
      }
    }
    write_file(folder / "model.safetensors", file);
    return folder;
  }

  std::unique_ptr<Backend> backend_ = make_backend("cpu");
};

TEST_F(FiniteModel, IsRefusedByTheNameOfItsTensor) {
  const std::string name = "model.layers.1.mlp.up_proj.weight";
  for (const float value : {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()}) {
    const auto folder = folder_with(name, value);
    for (const WeightMemory memory : {WeightMemory::copied, WeightMemory::mapped}) {
      const std::string message =
          error_of(ErrorKind::numeric, [&] { load_model_folder(*backend_, folder, DType::f32, memory); });
      EXPECT_NE(message.find("'" + name + "' holds NaN or an infinity (element 2 "), std::string::npos) << message;
      EXPECT_NE(message.find((folder / "model.safetensors").string()), std::string::npos) << message;
    }
  }
}

TEST_F(FiniteModel, IsRefusedWhereItsTypeIsTooNarrow) {
  const std::string name = "model.layers.0.self_attn.o_proj.weight";
  const auto folder = folder_with(name, 1e6f);
  EXPECT_NO_THROW(load_model_folder(*backend_, folder, DType::bf16));
  const std::string message = error_of(ErrorKind::numeric, [&] { load_model_folder(*backend_, folder, DType::f16); });
  EXPECT_NE(message.find("'" + name + "' holds numbers beyond the range of f16"), std::string::npos) << message;
}

}  // namespace
}  // namespace mslt
