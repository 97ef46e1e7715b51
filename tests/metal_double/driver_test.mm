// Tests of the Metal driver on the double: it works, uses Metal correctly, and reports failures.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <functional>
#include <numeric>

#include "backend/msl/drivers/metal/metal_device.h"
#include "backend/msl/encoder.h"
#include "backend/msl/kernel_source.h"
#include "backend/msl/metal_backend.h"
#include "backend/msl/recorder.h"
#include "backend/registry.h"
#include "kernels/layout_args.h"
#include "mslt/error.h"
#include "tests/metal_double/announcing_device.h"
#include "tests/metal_double/metal_double.h"

namespace mslt::msl::metal {
namespace {

using metal_double::counts;
using metal_double::default_settings;
using metal_double::reset;
using metal_double::Settings;

// The message of the Error(kind) that `call` throws; fails the test if it throws none or another kind.
template <class Call>
std::string error_of(ErrorKind kind, Call&& call) {
  try {
    call();
  } catch (const Error& error) {
    EXPECT_EQ(static_cast<int>(error.kind()), static_cast<int>(kind)) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "Nothing was thrown.";
  return {};
}

MetalOptions options(const std::string& device = "") {
  return {.device = device, .source = metal_source(), .compiled = {}};
}

std::unique_ptr<Device> make_device() {
  return std::make_unique<metal_double::AnnouncingDevice>(std::make_unique<MetalDevice>(options()));
}

std::span<float> floats(Buffer& buffer) {
  return {reinterpret_cast<float*>(buffer.host()), buffer.size() / sizeof(float)};
}

constexpr std::uint32_t threads = 32;

// out += in over `count` floats starting at `offset`, by the kernel add_f32.
void add(Device& device, CommandBuffer& commands, Buffer& out, Buffer& in, std::size_t count, std::size_t offset = 0) {
  const SpanArgs args = {.count = count, .aligned = 0, .reserved = 0};
  commands.set_pipeline(device.pipeline("add_f32"));
  commands.set_buffer_range(0, out, offset * 4, count * 4, ArgumentAccess::write);
  commands.set_buffer_range(1, in, offset * 4, count * 4, ArgumentAccess::read);
  commands.set_bytes(2, std::as_bytes(std::span(&args, 1)));
  commands.dispatch({static_cast<std::uint32_t>((count + threads - 1) / threads)}, {threads});
}

class MetalDriverTest : public testing::Test {
 protected:
  std::unique_ptr<Buffer> buffer(std::size_t count, float value = 0.0f) {
    auto made = device_->allocate(count * sizeof(float), "floats", true);
    for (float& element : floats(*made)) element = value;
    return made;
  }

  std::unique_ptr<Device> device_ = make_device();
};

TEST_F(MetalDriverTest, DescribesItsDevice) {
  EXPECT_EQ(device_->info().backend, "metal");
  EXPECT_EQ(device_->info().name, "Apple M3 Max");
  EXPECT_EQ(device_->info().memory_bytes, std::uint64_t{96} << 30);
  EXPECT_EQ(device_->info().compute_units, 40);
  EXPECT_EQ(device_->limits().max_threads_per_threadgroup, 1024u);
  EXPECT_EQ(device_->limits().threadgroup_memory_bytes, 32768u);
  EXPECT_EQ(device_->limits().max_buffer_bytes, std::uint64_t{64} << 30);
}

TEST_F(MetalDriverTest, RunsAKernel) {
  const auto out = buffer(100, 1.0f);
  const auto in = buffer(100, 2.0f);
  const auto commands = device_->command_buffer();
  add(*device_, *commands, *out, *in, 90);
  commands->commit();
  commands->wait();
  for (std::size_t i = 0; i < 100; ++i) EXPECT_EQ(floats(*out)[i], i < 90 ? 3.0f : 1.0f) << i;
}

// commit() makes Metal's calls.
std::uint64_t barriers_of(CommandBuffer& commands) {
  const std::uint64_t before = counts().barriers;
  commands.commit();
  commands.wait();
  return counts().barriers - before;
}

TEST_F(MetalDriverTest, PutsBarriersOnlyWhereCommandsMeet) {
  const auto a = buffer(64, 1.0f);
  const auto b = buffer(64, 1.0f);
  const auto c = buffer(64, 1.0f);
  // The first so many of these.
  const std::vector<std::function<void(CommandBuffer&)>> all = {
      // Concurrent readers of c, concurrent halves of a buffer.
      [&](CommandBuffer& commands) { add(*device_, commands, *a, *c, 32); },
      [&](CommandBuffer& commands) { add(*device_, commands, *a, *c, 32, 32); },
      [&](CommandBuffer& commands) { add(*device_, commands, *b, *c, 64); },
      // Reads a written buffer; the barrier also serves the next one.
      [&](CommandBuffer& commands) { add(*device_, commands, *b, *a, 64); },
      [&](CommandBuffer& commands) { add(*device_, commands, *c, *c, 1); },
      // Writes a read buffer, then a written one.
      [&](CommandBuffer& commands) { add(*device_, commands, *a, *c, 64); },
      [&](CommandBuffer& commands) {
        add(*device_, commands, *a, *b, 64);
      }};
  const std::vector<std::uint64_t> expected = {0, 0, 0, 1, 1, 2, 3};
  for (std::size_t count = 1; count <= all.size(); ++count) {
    for (const auto& memory : {a.get(), b.get(), c.get()}) std::ranges::fill(floats(*memory), 1.0f);
    const std::uint64_t encoders = counts().compute_encoders;
    const auto commands = device_->command_buffer();
    for (std::size_t i = 0; i < count; ++i) all[i](*commands);
    EXPECT_EQ(barriers_of(*commands), expected[count - 1]) << count;
    EXPECT_EQ(counts().compute_encoders - encoders, 1u);
  }
  EXPECT_EQ(floats(*a)[0], 8.0f);  // 2, then 4 with c = 2, then 8 with b = 4
}

TEST_F(MetalDriverTest, EncodesWithinOnePool) {
  const auto x = buffer(4, 1.0f);
  const auto pools = [&](int dispatches) {
    device_->pipeline("add_f32");
    const std::uint64_t before = metal_double::pools_begun();
    const auto commands = device_->command_buffer();
    for (int i = 0; i < dispatches; ++i) {
      add(*device_, *commands, *x, *x, 1);
      commands->fill(*x, 4, 4, 0);
    }
    commands->commit();
    const std::uint64_t begun = metal_double::pools_begun() - before;
    commands->wait();
    return begun;
  };
  metal_double::pools_begun();
  EXPECT_EQ(pools(1), 1u);
  EXPECT_EQ(pools(50), 1u);
}

// As in a program whose own pools come and go while commands are recorded.
TEST_F(MetalDriverTest, RecordsAcrossPoolsOfTheProgram) {
  const auto x = buffer(1, 1.0f);
  const auto y = buffer(1, 1.0f);
  std::unique_ptr<CommandBuffer> first;
  std::unique_ptr<CommandBuffer> second;
  {
    const AutoreleasePool pool;
    first = device_->command_buffer();
    add(*device_, *first, *x, *x, 1);
  }
  {
    const AutoreleasePool pool;
    second = device_->command_buffer();
    add(*device_, *second, *y, *y, 1);
    add(*device_, *first, *x, *x, 1);
    first->commit();
  }
  second->commit();
  second->wait();
  EXPECT_EQ(floats(*x)[0], 4.0f);
  EXPECT_EQ(floats(*y)[0], 2.0f);
}

TEST_F(MetalDriverTest, BindsEmptyTensors) {
  const std::uint64_t before = metal_double::allocated_bytes();
  const auto empty = device_->allocate(0, "empty", true);
  EXPECT_EQ(empty->size(), 0u);
  EXPECT_EQ(metal_double::allocated_bytes() - before, 16u);
  const auto commands = device_->command_buffer();
  const SpanArgs args = {.count = 0, .aligned = 0, .reserved = 0};
  commands->set_pipeline(device_->pipeline("add_f32"));
  for (const std::uint32_t i : {0, 1}) commands->set_buffer_range(i, *empty, 0, 0, ArgumentAccess::write);
  commands->set_bytes(2, std::as_bytes(std::span(&args, 1)));
  commands->dispatch({1}, {threads});
  commands->commit();
  commands->wait();
}

TEST_F(MetalDriverTest, EmptyTensorsMayLieAtTheEndOfTheirBuffer) {
  const auto x = buffer(4, 1.0f);
  const Tensor empty(*x, x->size(), DType::f32, {0});
  const SpanArgs args = {.count = 0, .aligned = 0, .reserved = 0};
  Recorder recorder(*device_, kernel_table());
  Encoder(recorder, "add_f32").buffer(0, empty).buffer(1, empty).bytes(2, args).dispatch({1}, {threads});
  recorder.wait();
}

TEST_F(MetalDriverTest, OrdersCommandBuffersWithoutWaiting) {
  const auto x = buffer(1, 1.0f);
  const auto y = buffer(1, 0.0f);
  std::vector<std::unique_ptr<CommandBuffer>> all;
  for (int i = 0; i < 100; ++i) {  // more than a queue holds at a time
    all.push_back(device_->command_buffer());
    add(*device_, *all.back(), *y, *x, 1);
    all.back()->copy(*x, 0, *y, 0, 4);
    all.back()->fill(*y, 0, 4, 0);
    all.back()->commit();
  }
  all.back()->wait();
  EXPECT_EQ(floats(*x)[0], 1.0f);
  for (const auto& commands : all) commands->wait();
}

TEST_F(MetalDriverTest, CopiesAndFillsAnyBytes) {
  const auto from = device_->allocate(100, "from", true);
  for (std::size_t i = 0; i < 100; ++i) from->host()[i] = static_cast<std::byte>(i);
  for (const std::size_t offset : {0, 1, 2, 3, 4, 7, 16}) {
    for (const std::size_t bytes : {0, 1, 2, 3, 4, 5, 8, 31, 64}) {
      const auto copied = device_->allocate(100, "copied", true);
      const auto filled = device_->allocate(100, "filled", true);
      const auto commands = device_->command_buffer();
      commands->copy(*copied, offset, *from, 4, bytes);
      commands->fill(*filled, offset, bytes, 0xA5);
      commands->commit();
      commands->wait();
      for (std::size_t i = 0; i < 100; ++i) {
        const bool inside = i >= offset && i < offset + bytes;
        ASSERT_EQ(copied->host()[i], static_cast<std::byte>(inside ? i - offset + 4 : 0)) << offset << ' ' << bytes;
        ASSERT_EQ(filled->host()[i], static_cast<std::byte>(inside ? 0xA5 : 0)) << offset << ' ' << bytes;
      }
    }
  }
}

TEST_F(MetalDriverTest, OrdersCopiesAndFillsAmongThemselves) {
  const auto a = buffer(4, 1.0f);
  const auto b = buffer(4);
  const auto c = buffer(4);
  const auto commands = device_->command_buffer();
  commands->copy(*b, 0, *a, 0, 16);
  commands->copy(*c, 0, *b, 0, 16);
  commands->fill(*b, 0, 16, 0);
  commands->copy(*b, 0, *c, 0, 8);
  commands->copy(*b, 8, *a, 0, 8);
  commands->commit();
  commands->wait();
  for (const float value : floats(*b)) EXPECT_EQ(value, 1.0f);
  EXPECT_EQ(counts().blit_encoders, 4u);
}

TEST_F(MetalDriverTest, CallsHandlersBeforeWaitReturns) {
  const auto x = buffer(1, 1.0f);
  for (int round = 0; round < 20; ++round) {
    const auto commands = device_->command_buffer();
    add(*device_, *commands, *x, *x, 1);
    int called = 0;
    CommandTiming seen;
    commands->on_completed([&](const CommandTiming& timing, std::string_view error) {
      EXPECT_TRUE(error.empty()) << error;
      seen = timing;
      ++called;
    });
    commands->on_completed([&](const CommandTiming&, std::string_view) { ++called; });
    commands->commit();
    commands->wait();
    EXPECT_EQ(called, 2);
    EXPECT_GT(seen.gpu_start, 0.0);
    EXPECT_GE(seen.gpu_end, seen.gpu_start);
  }
}

TEST_F(MetalDriverTest, DropsWhatIsNotCommitted) {
  const auto x = buffer(1, 1.0f);
  {
    const auto commands = device_->command_buffer();
    add(*device_, *commands, *x, *x, 1);
  }
  {
    const auto commands = device_->command_buffer();
    commands->copy(*x, 0, *buffer(1), 0, 4);
  }
  const auto commands = device_->command_buffer();
  commands->commit();  // empty
  commands->wait();
  EXPECT_EQ(floats(*x)[0], 1.0f);
}

TEST_F(MetalDriverTest, FinishesWhatIsCommittedBeforeItGoes) {
  const auto x = buffer(1, 1.0f);
  Buffer& memory = *x;
  auto commands = device_->command_buffer();
  for (int i = 0; i < 10; ++i) add(*device_, *commands, *x, *x, 1);
  commands->commit();
  commands.reset();
  device_.reset();
  EXPECT_EQ(floats(memory)[0], 1024.0f);
}

TEST_F(MetalDriverTest, BuffersMayGoWhileCommandsUseThem) {
  const auto x = buffer(1, 0.0f);
  std::unique_ptr<CommandBuffer> commands = device_->command_buffer();
  {
    const auto y = buffer(1, 5.0f);
    add(*device_, *commands, *x, *y, 1);
    commands->commit();
  }
  commands->wait();
  EXPECT_EQ(floats(*x)[0], 5.0f);
}

TEST_F(MetalDriverTest, NamesTheKernelsOfAFailedCommandBuffer) {
  const auto x = buffer(4, 1.0f);
  metal_double::fail_command_buffer(1, 8, "Insufficient Memory (00000008:kIOGPUCommandBufferCallbackErrorOutOfMemory)");
  std::vector<std::unique_ptr<CommandBuffer>> all;
  std::string told;
  for (int i = 0; i < 3; ++i) {
    all.push_back(device_->command_buffer());
    add(*device_, *all.back(), *x, *x, 1);
    add(*device_, *all.back(), *x, *x, 1);
    all.back()->fill(*x, 4, 4, 0);
    all.back()->on_completed([&told](const CommandTiming&, std::string_view error) { told += error; });
    all.back()->commit();
  }
  all[0]->wait();
  const std::string message = error_of(ErrorKind::device, [&] { all[1]->wait(); });
  EXPECT_EQ(message, "metal: a command buffer failed: the GPU has no memory left for it (Insufficient Memory "
                     "(00000008:kIOGPUCommandBufferCallbackErrorOutOfMemory)). It held: add_f32 (2 times), fill.");
  EXPECT_EQ("metal: " + told, message);
  all[2]->wait();
  EXPECT_EQ(floats(*x)[0], 16.0f);  // the failed command did nothing
}

TEST_F(MetalDriverTest, NamesEveryKindOfFailure) {
  const std::vector<std::pair<long, std::string>> kinds = {
      {1, "internal error"}, {2, "too long"}, {3, "not mapped"}, {4, "too many faults"}, {7, "may not use the GPU now"},
      {9, "was deleted"},    {11, "removed"}, {12, "stack"},     {99, "unknown error"}};
  for (const auto& [code, words] : kinds) {
    metal_double::fail_command_buffer(0, code, "reason");
    const auto commands = device_->command_buffer();
    commands->commit();
    const std::string message = error_of(ErrorKind::device, [&] { commands->wait(); });
    EXPECT_NE(message.find(words), std::string::npos) << message;
    EXPECT_NE(message.find("It held: no kernels."), std::string::npos) << message;
  }
}

TEST_F(MetalDriverTest, ReportsAKernelThatFails) {
  // An exception from a handler is a failure, too.
  const auto commands = device_->command_buffer();
  commands->on_completed(
      [](const CommandTiming&, std::string_view) { throw std::runtime_error("the handler failed"); });
  commands->commit();
  EXPECT_EQ(error_of(ErrorKind::device, [&] { commands->wait(); }), "metal: the handler failed");
}

TEST_F(MetalDriverTest, RefusesMisuse) {
  const auto x = buffer(4, 1.0f);
  const auto commands = device_->command_buffer();
  const auto refused = [](std::string_view words, auto&& call) {
    const std::string message = error_of(ErrorKind::device, call);
    EXPECT_NE(message.find(words), std::string::npos) << message;
  };
  refused("not committed", [&] { commands->wait(); });
  refused("set_pipeline comes before", [&] { commands->dispatch({1}, {1}); });
  refused("set_pipeline comes before", [&] { commands->set_buffer(0, *x, 0); });
  commands->set_pipeline(device_->pipeline("add_f32"));
  refused("buffer 31; 0 to 30 exist", [&] { commands->set_buffer(31, *x, 0); });
  refused("which has 16", [&] { commands->set_buffer_range(0, *x, 12, 8, ArgumentAccess::read); });
  refused("which has 16", [&] { commands->set_buffer(0, *x, 17); });
  refused("which has 16", [&] { commands->set_buffer(0, *x, 16); });
  refused("1 to 4096", [&] { commands->set_bytes(2, {}); });
  const std::vector<std::byte> long_bytes(4097);
  refused("1 to 4096", [&] { commands->set_bytes(2, long_bytes); });
  refused("has 32768", [&] { commands->set_threadgroup_memory(0, 32769); });
  refused("1 to 1024", [&] { commands->dispatch({1}, {1025}); });
  refused("1 to 1024", [&] { commands->dispatch({0}, {1}); });
  commands->set_threadgroup_memory(0, 20001);  // Metal takes multiples of 16
  commands->set_threadgroup_memory(1, 20001);
  refused("takes 40032 bytes", [&] { commands->dispatch({1}, {1}); });
  refused("would overlap", [&] { commands->copy(*x, 0, *x, 4, 8); });
  refused("(16 bytes)", [&] { commands->copy(*x, 0, *x, 8, 12000); });
  refused("which has 16", [&] { commands->fill(*x, 16, 1, 0); });
  commands->commit();
  refused("accepts no more commands", [&] { commands->commit(); });
  refused("accepts no more commands", [&] { commands->set_pipeline(device_->pipeline("add_f32")); });
  refused("accepts no more commands", [&] { commands->copy(*x, 0, *x, 8, 8); });
  refused("accepts no more commands", [&] { commands->fill(*x, 0, 8, 0); });
  refused("accepts no more commands", [&] { commands->on_completed([](const CommandTiming&, std::string_view) {}); });
  commands->wait();
  commands->wait();
}

TEST_F(MetalDriverTest, CopiesForgetBindings) {
  const auto x = buffer(4, 1.0f);
  const auto commands = device_->command_buffer();
  commands->set_pipeline(device_->pipeline("add_f32"));
  commands->copy(*x, 0, *x, 8, 8);
  error_of(ErrorKind::device, [&] { commands->dispatch({1}, {1}); });
  add(*device_, *commands, *x, *x, 4);
  commands->commit();
  commands->wait();
  EXPECT_EQ(floats(*x)[3], 2.0f);
}

TEST_F(MetalDriverTest, SaysWhatMemoryLacks) {
  metal_double::fail_allocation(0);
  std::string message = error_of(ErrorKind::memory, [&] { device_->allocate(1000, "gradients", false); });
  EXPECT_NE(message.find("'gradients'"), std::string::npos) << message;
  EXPECT_NE(message.find("1000 bytes"), std::string::npos) << message;
  message = error_of(ErrorKind::memory, [&] { device_->allocate(std::size_t{65} << 30, "weights", false); });
  EXPECT_NE(message.find("at most 64.0 GiB"), std::string::npos) << message;
}

TEST_F(MetalDriverTest, ReadsMappedMemoryInPlace) {
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  void* mapped = ::mmap(nullptr, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(mapped, MAP_FAILED);
  auto* values = static_cast<float*>(mapped);
  std::iota(values, values + 2 * page / sizeof(float), 0.0f);
  ASSERT_EQ(::mprotect(mapped, 2 * page, PROT_READ), 0);
  const std::span bytes(static_cast<const std::byte*>(mapped), page + 100);
  {
    const std::unique_ptr<Buffer> wrapped = device_->wrap(bytes, "weights", nullptr);
    ASSERT_NE(wrapped, nullptr);
    EXPECT_EQ(wrapped->size(), bytes.size());
    EXPECT_EQ(wrapped->host(), bytes.data());
    EXPECT_EQ(wrapped->label(), "weights");
    const auto out = buffer(wrapped->size() / sizeof(float));
    const auto commands = device_->command_buffer();
    add(*device_, *commands, *out, *wrapped, floats(*out).size());
    commands->commit();
    commands->wait();
    EXPECT_TRUE(std::equal(floats(*out).begin(), floats(*out).end(), values));
  }
  EXPECT_EQ(device_->wrap(bytes.subspan(4), "off the page", nullptr), nullptr);
  EXPECT_EQ(device_->wrap({}, "nothing", nullptr), nullptr);
  metal_double::fail_allocation(0);
  EXPECT_EQ(device_->wrap(bytes, "weights", nullptr), nullptr);
  ::munmap(mapped, 2 * page);
}

TEST_F(MetalDriverTest, KeepsMappedMemoryUntilCommandsHaveReadIt) {
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  void* mapped = ::mmap(nullptr, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(mapped, MAP_FAILED);
  std::fill_n(static_cast<float*>(mapped), page / sizeof(float), 2.0f);
  const auto out = buffer(page / sizeof(float));
  std::vector<float> seen;  // contents of the command's output when the mapping was released
  std::shared_ptr<const void> owner(mapped, [&](const void*) {
    seen.assign(floats(*out).begin(), floats(*out).end());
    ::munmap(mapped, page);
  });
  const std::weak_ptr<const void> watched = owner;
  std::unique_ptr<Buffer> wrapped =
      device_->wrap({static_cast<const std::byte*>(mapped), page}, "weights", std::move(owner));
  auto commands = device_->command_buffer();
  add(*device_, *commands, *out, *wrapped, floats(*out).size());
  EXPECT_FALSE(watched.expired());
  commands->commit();
  wrapped.reset();
  commands->wait();
  commands.reset();
  device_.reset();
  metal_double::finish();
  EXPECT_TRUE(watched.expired());
  EXPECT_EQ(seen, std::vector<float>(page / sizeof(float), 2.0f));
}

TEST_F(MetalDriverTest, RefusesKernelsThatDoNotExist) {
  const std::string message = error_of(ErrorKind::device, [&] { device_->pipeline("no_such_kernel"); });
  EXPECT_NE(message.find("'no_such_kernel'"), std::string::npos) << message;
  EXPECT_EQ(&device_->pipeline("add_f32"), &device_->pipeline("add_f32"));
}

TEST_F(MetalDriverTest, SaysWhyAPipelineIsNotMade) {
  metal_double::fail_pipeline("Compiler encountered an internal error");
  const std::string message = error_of(ErrorKind::device, [&] { device_->pipeline("add_f32"); });
  EXPECT_NE(message.find("kernel 'add_f32': Compiler encountered an internal error"), std::string::npos) << message;
  EXPECT_EQ(device_->pipeline("add_f32").name(), "add_f32");
}

class MetalMachineTest : public testing::Test {
 protected:
  // The error of making a device on this machine.
  std::string refusal(const Settings& settings, const std::string& device = "") {
    reset(settings);
    return error_of(ErrorKind::device, [&] { MetalDevice{options(device)}; });
  }
};

TEST_F(MetalMachineTest, CompilesWithoutFastMathOnEveryMacOs) {
  for (const int macos : {14, 15}) {
    Settings settings = default_settings();
    settings.macos = macos;
    reset(settings);
    const MetalDevice device{options()};
    EXPECT_EQ(counts().libraries_compiled, 1u);
    EXPECT_TRUE(metal_double::take_violations().empty()) << macos;
  }
}

TEST_F(MetalMachineTest, ShowsCompileErrorsAtTheirLines) {
  // Line 5 of the source follows its first #line directive.
  ASSERT_TRUE(
      metal_source().starts_with("#include <metal_stdlib>\n#pragma METAL fp contract(off)\nusing namespace metal;\n"
                                 "#line 6 \"kernels/"));
  metal_double::fail_compile("program_source:6:3: error: unknown type name 'uint65_t'\n  uint65_t count;\n  ^\n");
  const std::string message = error_of(ErrorKind::device, [] { MetalDevice{options()}; });
  EXPECT_NE(message.find("do not compile on Apple M3 Max"), std::string::npos) << message;
  EXPECT_NE(message.find("_args.h:7:3: error: unknown type name 'uint65_t'"), std::string::npos) << message;
  EXPECT_EQ(message.find("program_source"), std::string::npos) << message;
}

TEST_F(MetalMachineTest, RefusesAnEmptySource) {
  error_of(ErrorKind::device, [] { MetalDevice({.device = "", .source = "", .compiled = {}}); });
  error_of(ErrorKind::device, [] { MetalDevice({.device = "", .source = "\xff\xfe", .compiled = {}}); });
}

TEST_F(MetalMachineTest, LoadsACompiledLibraryOfThisSource) {
  const std::filesystem::path path = std::filesystem::path(testing::TempDir()) / "mslt_driver_test.metallib";
  const auto write = [&path](const std::vector<std::string>& functions) {
    std::ofstream(path) << metal_double::compiled_library(functions);
  };
  const MetalOptions with_library = {.device = "", .source = metal_source(), .compiled = path};
  write({"add_f32", source_stamp(metal_source())});
  {
    MetalDevice device(with_library);
    EXPECT_EQ(counts().libraries_loaded, 1u);
    EXPECT_EQ(counts().libraries_compiled, 0u);
    EXPECT_EQ(device.pipeline("add_f32").name(), "add_f32");
  }
  write({"add_f32", source_stamp("an older source")});
  {
    MetalDevice device(with_library);
  }
  EXPECT_EQ(counts().libraries_compiled, 1u);
  std::ofstream(path) << "damaged";
  {
    MetalDevice device(with_library);
  }
  EXPECT_EQ(counts().libraries_compiled, 2u);
  std::filesystem::remove(path);
  {
    MetalDevice device(with_library);
  }
  EXPECT_EQ(counts().libraries_compiled, 3u);
}

TEST_F(MetalMachineTest, ChoosesAmongGpus) {
  Settings settings = default_settings();
  settings.devices = {"Apple M2 Ultra", "Apple M4"};
  reset(settings);
  EXPECT_EQ(MetalDevice(options()).info().name, "Apple M2 Ultra");
  EXPECT_EQ(MetalDevice(options("1")).info().name, "Apple M4");
  EXPECT_EQ(MetalDevice(options("M4")).info().name, "Apple M4");
  EXPECT_EQ(MetalDevice(options("Apple")).info().name, "Apple M2 Ultra");
  ASSERT_EQ(metal_devices().size(), 2u);
  EXPECT_EQ(metal_devices()[1].name, "Apple M4");
  for (const char* which : {"2", "M1", "99999999999999999999"}) {
    const std::string message = refusal(settings, which);
    EXPECT_NE(message.find("there are: metal:0 'Apple M2 Ultra', metal:1 'Apple M4'"), std::string::npos) << message;
  }
}

TEST_F(MetalMachineTest, TakesTheFirstOfAllWhereNoneIsTheDefault) {
  Settings settings = metal_double::settings_of("nil-default");
  settings.devices = {"Apple M3 Max", "Apple M4"};
  reset(settings);
  EXPECT_EQ(MetalDevice(options()).info().name, "Apple M3 Max");
  EXPECT_EQ(MetalDevice(options("M4")).info().name, "Apple M4");
  EXPECT_EQ(make_backend("auto")->device().name, "Apple M3 Max");
  settings.devices = {};
  EXPECT_NE(refusal(settings).find("no GPU"), std::string::npos);
  settings.devices = {"Intel UHD Graphics 630"};
  settings.family = 1006;
  EXPECT_NE(refusal(settings).find("M1 or newer"), std::string::npos);
}

TEST_F(MetalMachineTest, TheBestDeviceThatOpensIsTaken) {
  metal_double::fail_compile("program_source:1:1: error: this compiler is new");
  const std::unique_ptr<Backend> backend = make_backend("auto");
  EXPECT_NE(backend->device().backend, "metal");
  const std::string warning = backend->warning();
  EXPECT_NE(warning.find("metal 'Apple M3 Max' cannot be opened: "), std::string::npos) << warning;
  EXPECT_NE(warning.find("this compiler is new"), std::string::npos) << warning;
  EXPECT_NE(warning.find("The device is " + backend->device().backend + "."), std::string::npos) << warning;
  EXPECT_EQ(make_backend("auto")->warning(), "");
  // A named device is that one or none.
  metal_double::fail_compile("error");
  error_of(ErrorKind::device, [] { make_backend("metal"); });
  // A tuning is for one device.
  metal_double::fail_compile("error");
  error_of(ErrorKind::device, [] { make_backend("auto", "some_file.json"); });
}

// Threadgroup memory counts twice, so a kernel that needs more than half does not fit.
TEST_F(MetalMachineTest, NamesAKernelWithoutRoomUnderValidation) {
  Settings settings = metal_double::settings_of("validation");
  settings.threadgroup_bytes = 4096;
  reset(settings);
  MetalDevice device(options());
  const std::string message = error_of(ErrorKind::device, [&] { device.pipeline("top_k_f32"); });
  EXPECT_NE(message.find("'top_k_f32': Threadgroup memory size"), std::string::npos) << message;
  EXPECT_EQ(device.pipeline("add_f32").max_threads_per_threadgroup(), 512u);
}

TEST_F(MetalMachineTest, RefusesMachinesThatCannotRunTheKernels) {
  Settings none = default_settings();
  none.devices = {};
  EXPECT_NE(refusal(none).find("no GPU"), std::string::npos);
  EXPECT_NE(refusal(none, "0").find("there are: none"), std::string::npos);
  EXPECT_TRUE(metal_devices().empty());
  Settings old = default_settings();
  old.devices = {"Intel UHD Graphics 630"};
  old.family = 1006;
  EXPECT_NE(refusal(old).find("M1 or newer"), std::string::npos);
  EXPECT_TRUE(metal_devices().empty());
  Settings wide = default_settings();
  wide.simdgroup_width = 64;
  reset(wide);
  MetalDevice device(options());
  const std::string message = error_of(ErrorKind::device, [&] { device.pipeline("add_f32"); });
  EXPECT_NE(message.find("simdgroups of 64"), std::string::npos) << message;
}

TEST_F(MetalMachineTest, ReadsTheLimitsOfASmallerMachine) {
  Settings small = default_settings();
  small.max_threads = 512;
  small.pipeline_threads = 256;
  small.threadgroup_bytes = 16384;
  small.max_buffer_bytes = 1 << 20;
  small.working_set_bytes = 3 << 19;
  reset(small);
  MetalDevice device(options());
  EXPECT_EQ(device.limits().max_threads_per_threadgroup, 512u);
  EXPECT_EQ(device.limits().threadgroup_memory_bytes, 16384u);
  EXPECT_EQ(device.limits().max_buffer_bytes, 1u << 20);
  EXPECT_EQ(device.pipeline("add_f32").max_threads_per_threadgroup(), 256u);
  EXPECT_EQ(error_of(ErrorKind::memory, [&] { device.allocate((1 << 20) + 1, "x", false); }).find("There is no room"),
            0u);
  const auto first = device.allocate(1 << 20, "x", false);
  const std::string message = error_of(ErrorKind::memory, [&] { device.allocate(1 << 20, "y", false); });
  EXPECT_NE(message.find("are free"), std::string::npos) << message;
}

TEST_F(MetalMachineTest, AnErrorWhileMakingADeviceLeavesNothingBehind) {
  metal_double::fail_allocation(0);
  error_of(ErrorKind::memory, [] { MetalDevice{options()}; });
}

TEST_F(MetalMachineTest, IsWhatTheRegistryCallsMetal) {
  Settings settings = default_settings();
  settings.devices = {"Apple M2 Ultra", "Apple M4"};
  reset(settings);
  EXPECT_EQ(available_devices()[0].info.name, "Apple M2 Ultra");
  EXPECT_EQ(available_devices()[1].option, "metal:1");
  for (const auto& [which, name] :
       {std::pair{"metal", "Apple M2 Ultra"}, {"metal:M4", "Apple M4"}, {"auto", "Apple M2 Ultra"}}) {
    const std::unique_ptr<Backend> backend = make_backend(which);
    EXPECT_EQ(backend->device().name, name);
    const std::unique_ptr<Buffer> buffer = backend->allocate(64, "x");
    backend->run(Fill{.out = {*buffer, 0, DType::f32, {16}}, .value = 3.0f});
    backend->wait();
    EXPECT_EQ(floats(*buffer)[15], 3.0f);
  }
}

}  // namespace
}  // namespace mslt::msl::metal
