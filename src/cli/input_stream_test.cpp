// Tests of reading descriptors that fail, block and close.
#include "cli/input_stream.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <string>
#include <thread>

#include "mslt/error.h"

namespace mslt::cli {
namespace {

std::string refusal(int descriptor, bool is_closed) {
  InputStream in(descriptor, is_closed);
  try {
    read_all(in);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::io);
    return error.what();
  }
  return "nothing";
}

TEST(InputStream, ReadsToTheEndThoughTheDescriptorDoesNotBlock) {
  std::array<int, 2> ends{};
  ASSERT_EQ(::pipe(ends.data()), 0);
  ASSERT_EQ(::fcntl(ends[0], F_SETFL, O_NONBLOCK), 0);
  const std::string text = std::string(200'000, 'a') + '\xFF' + std::string(3, '\0');
  std::thread writer([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    for (std::size_t done = 0; done < text.size();) {
      const ssize_t count = ::write(ends[1], text.data() + done, text.size() - done);
      if (count <= 0) break;
      done += static_cast<std::size_t>(count);
    }
    ::close(ends[1]);
  });
  InputStream in(ends[0], false);
  EXPECT_EQ(read_all(in), text);
  writer.join();
  ::close(ends[0]);
}

TEST(InputStream, SaysThatItIsClosed) {
  const int null = ::open("/dev/null", O_RDONLY);
  EXPECT_NE(refusal(null, true).find("Standard input is closed"), std::string::npos) << refusal(null, true);
  EXPECT_EQ(refusal(null, false), "nothing");
  ::close(null);
}

TEST(InputStream, SaysThatItIsAFolderOrForWriting) {
  const int folder = ::open("/", O_RDONLY);
  EXPECT_NE(refusal(folder, false).find("it is a folder"), std::string::npos) << refusal(folder, false);
  ::close(folder);
  const int null = ::open("/dev/null", O_WRONLY);
  EXPECT_NE(refusal(null, false).find("not open for reading"), std::string::npos) << refusal(null, false);
  ::close(null);
}

}  // namespace
}  // namespace mslt::cli
