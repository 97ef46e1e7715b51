// Explanations of errno values.
#include "base/system_error.h"

#include <cerrno>
#include <new>
#include <system_error>

#include "base/fail.h"
#include "base/printable.h"
#include "base/process_limits.h"

namespace mslt {
namespace {

// The system's own words, with a lower-case first letter so they can follow a colon.
std::string system_words(int error) {
  std::string words = std::generic_category().message(error);
  if (words.size() > 1 && words[0] >= 'A' && words[0] <= 'Z' && words[1] >= 'a') {
    words[0] = static_cast<char>(words[0] - 'A' + 'a');
  }
  return words;
}

std::string_view advice(int error) {
  switch (error) {
    case ENOSPC:
      return "make room on it or choose another folder";
    case EDQUOT:
      return "remove your files there or choose another folder";
    case EFBIG:
      return "the limit on file sizes is too low (ulimit -f) or the file system takes no larger files";
    case EACCES:
    case EPERM:
      return "change its permissions or owner, or choose another path";
    case EROFS:
      return "choose a folder that can be written";
    case ELOOP:
      return "its symbolic links lead back to themselves";
    case EMFILE:
      return "raise the limit with ulimit -n";
    case ENFILE:
      return "the whole machine has too many files open";
    case ENOMEM:
      return "the machine or a limit on this process (ulimit -v) leaves no more memory";
    case EIO:
      return "the disk or the network behind it may be failing";
    case ESTALE:
      return "the network file system has lost it";
    default:
      return {};
  }
}

}  // namespace

std::string explain_errno(int error) {
  const std::string words = error == ENOSPC ? "the disk is full" : system_words(error);
  const std::string_view help = advice(error);
  return help.empty() ? words : fmt::format("{}; {}", words, help);
}

void fail_io(std::string_view doing, const std::filesystem::path& path, int error) {
  fail(ErrorKind::io, "Cannot {} {}: {}.", doing, printable(path.string()), explain_errno(error));
}

void fail_io(std::string_view doing, const std::filesystem::path& path, int error, std::string_view sentence) {
  fail(ErrorKind::io, "Cannot {} {}: {}. {}", doing, printable(path.string()), explain_errno(error), sentence);
}

std::string explain_exception(const std::exception& error) {
  if (dynamic_cast<const Error*>(&error) != nullptr) return error.what();
  if (const auto* file = dynamic_cast<const std::filesystem::filesystem_error*>(&error)) {
    const std::string first = printable(file->path1().string());
    const std::string paths = file->path2().empty() ? first : fmt::format("{} and {}", first, file->path2().string());
    return fmt::format("Cannot use {}: {}.", printable(paths), explain_errno(file->code().value()));
  }
  if (const auto* system = dynamic_cast<const std::system_error*>(&error)) {
    // Codes of streams and futures are not errno values.
    const std::error_category& category = system->code().category();
    const bool is_errno = category == std::generic_category() || category == std::system_category();
    return is_errno ? fmt::format("The system refused: {}.", explain_errno(system->code().value()))
                    : fmt::format("The system refused: {}.", system->code().message());
  }
  if (dynamic_cast<const std::bad_alloc*>(&error) != nullptr) {
    return fmt::format("Out of memory: {}. Use a smaller model, batch or sequence length.", explain_out_of_memory());
  }
  return error.what();
}

}  // namespace mslt
