// Event and Summary messages by hand (field numbers from tensorflow/core/util/event.proto and framework/summary.proto).
#include "train/tensorboard.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <bit>
#include <cerrno>
#include <chrono>
#include <system_error>

#include "base/fail.h"
#include "base/system_error.h"
#include "train/crc32c.h"

namespace mslt {
namespace {

// Appends fields of a protobuf message in wire format.
class Message {
 public:
  void varint_field(int field, std::uint64_t value) {
    varint(static_cast<std::uint64_t>(field) << 3);
    varint(value);
  }
  void double_field(int field, double value) {
    varint(static_cast<std::uint64_t>(field) << 3 | 1u);
    fixed(std::bit_cast<std::uint64_t>(value), 8);
  }
  void float_field(int field, float value) {
    varint(static_cast<std::uint64_t>(field) << 3 | 5u);
    fixed(std::bit_cast<std::uint32_t>(value), 4);
  }
  void bytes_field(int field, std::string_view value) {
    varint(static_cast<std::uint64_t>(field) << 3 | 2u);
    varint(value.size());
    bytes_ += value;
  }
  void fixed(std::uint64_t value, int count) {
    for (int i = 0; i < count; ++i) bytes_ += static_cast<char>(value >> (8 * i) & 0xFFu);
  }
  const std::string& bytes() const { return bytes_; }

 private:
  void varint(std::uint64_t value) {
    for (; value >= 0x80u; value >>= 7) bytes_ += static_cast<char>(value | 0x80u);
    bytes_ += static_cast<char>(value);
  }
  std::string bytes_;
};

std::uint32_t masked_crc(std::string_view bytes) {
  const std::uint32_t crc = crc32c(std::as_bytes(std::span(bytes.data(), bytes.size())));
  return std::rotr(crc, 15) + 0xA282EAD8u;
}

double now() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

Message event_at(std::int64_t step) {
  Message event;
  event.double_field(1, now());
  event.varint_field(2, static_cast<std::uint64_t>(step));
  return event;
}

std::string host_name() {
  std::array<char, 256> name{};
  return ::gethostname(name.data(), name.size() - 1) == 0 && name[0] != '\0' ? name.data() : "localhost";
}

}  // namespace

TensorBoardWriter::TensorBoardWriter(const std::filesystem::path& folder, std::int64_t first_step) {
  std::error_code error;
  std::filesystem::create_directory(folder, error);
  const bool continues = first_step > 1 || !std::filesystem::is_empty(folder, error);
  // Readers take files in the order of their names, so that one started within the same second needs a later one.
  for (int attempt = 0;; ++attempt) {
    path_ = folder / fmt::format("events.out.tfevents.{:010}.{}.{}.{}", static_cast<std::int64_t>(now()), host_name(),
                                 ::getpid(), attempt);
    descriptor_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0666);
    if (descriptor_ >= 0) break;
    if (errno != EEXIST) fail_io("create", path_, errno);
  }
  Message version;
  version.double_field(1, now());
  version.bytes_field(3, "brain.Event:2");
  write_event(version.bytes());
  if (continues) {
    constexpr int session_start = 1;
    Message session;
    session.varint_field(1, session_start);
    Message event = event_at(first_step);
    event.bytes_field(7, session.bytes());
    write_event(event.bytes());
  }
}

TensorBoardWriter::~TensorBoardWriter() {
  ::close(descriptor_);
}

void TensorBoardWriter::write_event(const std::string& event) {
  Message record;
  record.fixed(event.size(), 8);
  record.fixed(masked_crc(record.bytes()), 4);
  std::string bytes = record.bytes() + event;
  Message footer;
  footer.fixed(masked_crc(event), 4);
  bytes += footer.bytes();
  std::string_view rest = bytes;
  while (!rest.empty()) {
    const ssize_t written = ::write(descriptor_, rest.data(), rest.size());
    if (written < 0) {
      if (errno == EINTR) continue;
      const int error = errno;
      // Readers stop at part of a record; to shorten the file takes no room.
      if (rest.size() < bytes.size() && ::ftruncate(descriptor_, static_cast<off_t>(bytes_)) != 0) {
        fail_io("shorten", path_, errno);
      }
      fail_io("write", path_, error);
    }
    rest.remove_prefix(static_cast<std::size_t>(written));
  }
  bytes_ += bytes.size();
}

void TensorBoardWriter::scalar(std::int64_t step, std::string_view tag, double value) {
  Message item;
  item.bytes_field(1, tag);
  item.float_field(2, static_cast<float>(value));
  Message summary;
  summary.bytes_field(1, item.bytes());
  Message event = event_at(step);
  event.bytes_field(5, summary.bytes());
  write_event(event.bytes());
}

void TensorBoardWriter::text(std::int64_t step, std::string_view tag, std::string_view text) {
  // The text tab renders Markdown; a code block keeps the sample as it is.
  std::string markdown = "    ";
  for (const char c : text) {
    markdown += c;
    if (c == '\n') markdown += "    ";
  }
  constexpr int string_type = 7;
  Message dimension;
  dimension.varint_field(1, 1);
  Message shape;
  shape.bytes_field(2, dimension.bytes());
  Message tensor;
  tensor.varint_field(1, string_type);
  tensor.bytes_field(2, shape.bytes());
  tensor.bytes_field(8, markdown);
  Message plugin;
  plugin.bytes_field(1, "text");
  Message metadata;
  metadata.bytes_field(1, plugin.bytes());
  Message item;
  item.bytes_field(1, tag);
  item.bytes_field(8, tensor.bytes());
  item.bytes_field(9, metadata.bytes());
  Message summary;
  summary.bytes_field(1, item.bytes());
  Message event = event_at(step);
  event.bytes_field(5, summary.bytes());
  write_event(event.bytes());
}

}  // namespace mslt
