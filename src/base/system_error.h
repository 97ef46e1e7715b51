// What the operating system's refusals mean to a person, and what to do about each.
#pragma once

#include <exception>
#include <filesystem>
#include <string>
#include <string_view>

namespace mslt {

// Why a system call failed, in words, followed by what helps where something does: for ENOSPC "the disk is full; make
// room on it or choose another folder". Begins in lower case and has no full stop at its end. `error` is a value of
// errno, or of a std::error_code of the system's or the generic category.
std::string explain_errno(int error);

// Throws Error(io): "Cannot {doing} {path}: {explanation}." For example fail_io("write", path, errno).
[[noreturn]] void fail_io(std::string_view doing, const std::filesystem::path& path, int error);

// The same with a sentence after it, which says what was kept or what to try.
[[noreturn]] void fail_io(std::string_view doing, const std::filesystem::path& path, int error,
                          std::string_view sentence);

// What an exception of any kind says to a person: an Error's own message, one of std::filesystem or of a system call
// with its paths and explain_errno, for std::bad_alloc which limit holds. A sentence.
std::string explain_exception(const std::exception& error);

}  // namespace mslt
