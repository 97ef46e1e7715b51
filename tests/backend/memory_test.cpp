// Memory and order of every backend, and the registry.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "backend/registry.h"
#include "tests/backend/backend_under_test.h"
#include "tests/backend/guard_bands.h"

namespace mslt::test {
namespace {

class MemoryTest : public BackendTest {};

TEST_P(MemoryTest, DescribesItsDevice) {
  const DeviceInfo& device = backend().device();
  EXPECT_EQ(device.backend, GetParam() == cuda_kernels_device ? "cuda" : GetParam());
  EXPECT_FALSE(device.name.empty());
  EXPECT_GT(device.memory_bytes, 0u);
  EXPECT_GE(device.compute_units, 1);
}

// More than a GPU's staging memory holds at once.
TEST_P(MemoryTest, CarriesLargeTensorsThereAndBack) {
  const std::int64_t count = (std::int64_t{70} << 18) + 1;
  const auto bytes = static_cast<std::size_t>(count) * sizeof(float);
  const std::unique_ptr<Buffer> buffer = backend().allocate(bytes, "large");
  const Tensor tensor(*buffer, 0, DType::f32, {count});
  std::vector<float> values(static_cast<std::size_t>(count));
  std::iota(values.begin(), values.end(), 1.0f);
  backend().run(Fill{.out = tensor, .value = 3.0f});
  backend().upload(tensor, std::as_bytes(std::span(values)));
  std::vector<float> back(values.size());
  backend().download(tensor, std::as_writable_bytes(std::span(back)));
  EXPECT_TRUE(back == values);
}

TEST_P(MemoryTest, AllocatesZeroedMemory) {
  for (const std::size_t bytes : {std::size_t{0}, std::size_t{1}, std::size_t{4097}, std::size_t{5} << 20}) {
    const std::unique_ptr<Buffer> buffer = backend().allocate(bytes, "zeros");
    EXPECT_EQ(buffer->size(), bytes);
    EXPECT_EQ(buffer->label(), "zeros");
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(buffer->host()) % 64, 0u);
    std::vector<std::byte> content(bytes, std::byte{1});
    backend().download({*buffer, 0, DType::u8, {static_cast<std::int64_t>(bytes)}}, content);
    EXPECT_TRUE(std::all_of(content.begin(), content.end(), [](std::byte b) { return b == std::byte{0}; }));
  }
}

TEST_P(MemoryTest, RefusesImpossibleSizes) {
  for (const std::size_t bytes : {std::size_t{1} << 50, SIZE_MAX}) {
    const std::string message = error_of(ErrorKind::memory, [&] { backend().allocate(bytes, "second moments"); });
    EXPECT_NE(message.find("'second moments'"), std::string::npos) << message;
    EXPECT_NE(message.find(std::to_string(bytes)), std::string::npos) << message;
    EXPECT_NE(message.find("free"), std::string::npos) << message;
  }
  for (const auto& [label, flag] : {std::pair{"KV cache", "--max-new-tokens"},
                                    {"activations", "--seq-len"},
                                    {"activations of prompts", "--num"},
                                    {"logits of the next tokens", "--num"},
                                    {"scratch", "--batch-size"},
                                    {"master weights", "--dtype bf16"}}) {
    const std::string message = error_of(ErrorKind::memory, [&] { backend().allocate(std::size_t{1} << 50, label); });
    EXPECT_NE(message.find(flag), std::string::npos) << message;
  }
}

TEST_P(MemoryTest, CopiesToAndFro) {
  const Guarded tensor = upload(backend(), DType::i32, {2, 3}, {1, 2, 3, 4, 5, 6});
  EXPECT_EQ(tensor.values(), (std::vector<double>{1, 2, 3, 4, 5, 6}));
  const std::int32_t row[] = {7, 8, 9};
  backend().upload(tensor.tensor().slice(1, 1), std::as_bytes(std::span(row)));
  EXPECT_EQ(tensor.values(), (std::vector<double>{1, 2, 3, 7, 8, 9}));
  EXPECT_TRUE(tensor.intact());
}

TEST_P(MemoryTest, GuardsAreWatchedUnderAddressSanitizer) {
  if (!guards_bands || GetParam() != "msl-host") GTEST_SKIP() << "Only AddressSanitizer sees them, on msl-host.";
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  const Guarded tensor(backend(), DType::f32, {6});
  const volatile auto* first = reinterpret_cast<const volatile float*>(tensor.tensor().buffer().host()) +
                               tensor.tensor().offset() / sizeof(float);
  EXPECT_DEATH(static_cast<void>(first[6]), "use-after-poison");
  EXPECT_DEATH(static_cast<void>(first[-1]), "use-after-poison");
  EXPECT_TRUE(std::isnan(first[5]));
}

TEST_P(MemoryTest, ReadsBackWhatWasThereWhenAsked) {
  const Guarded tensor = upload(backend(), DType::i32, {1}, {5});
  std::vector<std::int32_t> received;
  const auto receive = [&](std::span<const std::byte> bytes) {
    std::int32_t value = 0;
    ASSERT_EQ(bytes.size(), sizeof(value));
    std::memcpy(&value, bytes.data(), sizeof(value));
    received.push_back(value);
  };
  backend().read_back(tensor, receive);
  const std::int32_t six = 6;
  backend().upload(tensor, std::as_bytes(std::span(&six, 1)));
  backend().read_back(tensor, receive);
  backend().submit();
  backend().wait();
  EXPECT_EQ(received, (std::vector<std::int32_t>{5, 6}));
}

TEST_P(MemoryTest, RefusesTransfersOfOtherSizes) {
  const Guarded tensor = upload(backend(), DType::i32, {3}, {1, 2, 3});
  std::vector<std::byte> bytes(8);
  error_of(ErrorKind::input, [&] { backend().upload(tensor, bytes); });
  error_of(ErrorKind::input, [&] { backend().download(tensor, bytes); });
  error_of(ErrorKind::input, [&] { backend().upload({}, bytes); });
  error_of(ErrorKind::input, [&] { backend().download({}, bytes); });
  error_of(ErrorKind::input, [&] { backend().read_back({}, [](std::span<const std::byte>) {}); });
}

INSTANTIATE_TEST_SUITE_P(Backends, MemoryTest, testing::ValuesIn(test_backends()), test_backend_name);

TEST(RegistryTest, MakesWhatItLists) {
  const std::vector<AvailableDevice> devices = available_devices();
  ASSERT_FALSE(devices.empty());
  for (const auto& [option, info] : devices) {
    EXPECT_TRUE(option.starts_with(info.backend));
    EXPECT_EQ(make_backend(option)->device().name, info.name);
  }
  EXPECT_EQ(make_backend("auto")->device().backend, devices.front().info.backend);
}

TEST(RegistryTest, RefusesUnknownDevices) {
  const std::string message = error_of(ErrorKind::usage, [] { make_backend("abacus"); });
  EXPECT_NE(message.find("'abacus'"), std::string::npos) << message;
  EXPECT_NE(message.find("cpu"), std::string::npos) << message;
}

TEST(RegistryTest, SaysWhatThisBuildLacks) {
  const std::vector<AvailableDevice> devices = available_devices();
  for (const std::string name : {"cuda", "cuda:1", "metal", "metal:1", "msl-host"}) {
    if (std::ranges::any_of(devices, [&](const auto& each) { return name.starts_with(each.info.backend); })) continue;
    const std::string message = error_of(ErrorKind::device, [&] { make_backend(name); });
    EXPECT_NE(message.find(name.substr(0, name.find(':'))), std::string::npos) << message;
    EXPECT_NE(message.find("cpu"), std::string::npos) << message;
  }
}

}  // namespace
}  // namespace mslt::test
