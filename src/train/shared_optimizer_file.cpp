// Parts of optimizer.safetensors.
#include "train/shared_optimizer_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <span>
#include <string>
#include <system_error>
#include <vector>

#include "base/fail.h"
#include "base/file.h"
#include "base/system_error.h"
#include "formats/safetensors.h"
#include "train/run_state.h"

namespace mslt {
namespace {

// A file that is written in places.
class FilePlaces {
 public:
  explicit FilePlaces(const std::filesystem::path& path)
      : path_(path), descriptor_(::open(path.c_str(), O_WRONLY | O_CLOEXEC)) {
    if (descriptor_ < 0) {
      fail_io("open", path_, errno,
              "With --zero, every process writes a part of a checkpoint: all need the run folder.");
    }
  }
  FilePlaces(const FilePlaces&) = delete;
  FilePlaces& operator=(const FilePlaces&) = delete;
  ~FilePlaces() { ::close(descriptor_); }

  void write(std::uint64_t offset, std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      const ssize_t written = ::pwrite(descriptor_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) fail_io("write", path_, errno);
      offset += static_cast<std::uint64_t>(written);
      bytes = bytes.subspan(static_cast<std::size_t>(written));
    }
  }
  void flush() {
    if (::fsync(descriptor_) != 0) fail_io("flush to the disk", path_, errno);
  }

 private:
  std::filesystem::path path_;
  int descriptor_;
};

}  // namespace

void begin_optimizer_file(const std::filesystem::path& path, const AdamW& optimizer) {
  std::vector<SafetensorsWriter::Declaration> declarations;
  std::uint64_t bytes = 0;
  optimizer.for_each_name([&](const std::string& name, const Shape& shape) {
    declarations.push_back({name, "F32", safetensors_shape(shape)});
    bytes += static_cast<std::uint64_t>(shape.elements()) * sizeof(float);
  });
  AtomicFile file(path);
  const SafetensorsWriter header(file, declarations);
  bytes += file.size();
  file.commit();
  std::error_code error;
  std::filesystem::resize_file(path, bytes, error);
  if (error) fail_io("make room in", path, error.value());
}

void write_optimizer_part(const std::filesystem::path& path, Backend& backend, const AdamW& optimizer,
                          bool with_shared) {
  FilePlaces places(path);
  const SafetensorsFile file(path);
  std::map<std::string, std::uint64_t> begins;
  for (const SafetensorsEntry& entry : file.entries()) {
    begins[entry.name] = static_cast<std::uint64_t>(file.bytes(entry).data() - file.bytes().data());
  }
  constexpr std::int64_t most = std::int64_t{1} << 20;
  std::vector<std::byte> staging;
  optimizer.for_each_part([&](const std::string& name, std::int64_t first, const Tensor& owned, bool is_shared) {
    if (is_shared && !with_shared) return;
    for (std::int64_t begin = 0; begin < owned.elements(); begin += most) {
      const Tensor part = owned.slice(begin, std::min(most, owned.elements() - begin));
      staging.resize(part.bytes());
      backend.download(part, staging);
      places.write(begins.at(name) + static_cast<std::uint64_t>(first + begin) * sizeof(float), staging);
    }
  });
  places.flush();
}

}  // namespace mslt
