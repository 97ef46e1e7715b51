// Explanations of operating system errors for people, and what to do about each.
#pragma once

#include <exception>
#include <filesystem>
#include <string>
#include <string_view>

namespace mslt {

// Why a system call failed, in words, followed by a remedy if there is one: for ENOSPC "the disk is full; make room on
// it or choose another folder". Begins in lower case, without a full stop. `error` is an errno value, or that of a
// std::error_code of the system's or the generic category.
std::string explain_errno(int error);

// Throws Error(io): "Cannot {doing} {path}: {explanation}." For example fail_io("write", path, errno).
[[noreturn]] void fail_io(std::string_view doing, const std::filesystem::path& path, int error);

// The same, followed by a sentence that says what was kept or what to try.
[[noreturn]] void fail_io(std::string_view doing, const std::filesystem::path& path, int error,
                          std::string_view sentence);

// An exception of any kind as a sentence for people: an Error's own message; for std::filesystem or a system call the
// paths and explain_errno; for std::bad_alloc the limit that applies.
std::string explain_exception(const std::exception& error);

}  // namespace mslt
