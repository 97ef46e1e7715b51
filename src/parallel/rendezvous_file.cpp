// "mslt-rendezvous HOST PORT TOKEN" and a line feed.
#include "parallel/rendezvous_file.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <random>
#include <system_error>
#include <utility>

#include "base/fail.h"
#include "base/file.h"

namespace mslt {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view file_magic = "mslt-rendezvous ";
constexpr std::uint64_t longest_file = 1024;

std::string text_in(const fs::path& file) {
  try {
    return read_file(file, longest_file);
  } catch (const Error&) {
    return {};
  }
}

}  // namespace

std::string random_token() {
  std::random_device random;
  return fmt::format("{:08x}{:08x}{:08x}{:08x}", random(), random(), random(), random());
}

std::optional<Place> read_place(const fs::path& file) {
  std::string text = text_in(file);
  if (!text.starts_with(file_magic)) return std::nullopt;
  text.erase(0, file_magic.size());
  const std::size_t host_end = text.find(' ');
  const std::size_t port_end = text.find(' ', host_end + 1);
  if (host_end == std::string::npos || port_end == std::string::npos || text.back() != '\n') return std::nullopt;
  Place place;
  place.address.host = text.substr(0, host_end);
  place.token = text.substr(port_end + 1, text.size() - port_end - 2);
  const auto parsed = std::from_chars(text.data() + host_end + 1, text.data() + port_end, place.address.port);
  if (parsed.ec != std::errc()) return std::nullopt;
  return place;
}

RendezvousFile::RendezvousFile(fs::path path, const Place& place)
    : path_(std::move(path)),
      text_(fmt::format("{}{} {} {}\n", file_magic, place.address.host, place.address.port, place.token)) {
  std::error_code missing;
  const bool is_empty = fs::is_regular_file(path_, missing) && fs::file_size(path_, missing) == 0;
  if (fs::exists(path_, missing) && !is_empty && !text_in(path_).starts_with(file_magic)) {
    fail(ErrorKind::usage, "--rendezvous names {}, which exists and is no meeting of mslt; name a file to be made.",
         path_.string());
  }
  // Only its user may know the token.
  std::string temporary = path_.string() + ".XXXXXX";
  const int descriptor = ::mkstemp(temporary.data());
  errno = descriptor >= 0 ? 0 : errno;
  const bool is_written =
      descriptor >= 0 && ::write(descriptor, text_.data(), text_.size()) == static_cast<ssize_t>(text_.size());
  // Less was written where the disk is full.
  std::error_code failure;
  if (!is_written) failure = std::error_code(errno != 0 ? errno : ENOSPC, std::generic_category());
  if (descriptor >= 0) ::close(descriptor);
  if (is_written) fs::rename(temporary, path_, failure);
  if (!failure) return;
  ::unlink(temporary.c_str());
  fail(ErrorKind::io, "Rank 0 cannot write the file {} of --rendezvous: {}.", path_.string(), failure.message());
}

RendezvousFile::~RendezvousFile() {
  std::error_code ignored;
  if (text_in(path_) == text_) fs::remove(path_, ignored);
}

}  // namespace mslt
