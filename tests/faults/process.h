// A child process under a fault: chosen descriptors closed, full or left by their reader; limits; lesser rights; a time
// limit.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <csignal>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace mslt::faults {

// Where an output stream of the child leads.
enum class Stream {
  captured,      // a pipe that is read to its end
  closed,        // no descriptor at all
  full_device,   // /dev/full, which takes nothing
  limited_file,  // a regular file, which may grow no larger than Launch::limits.file_size
  leaving,       // a pipe whose reader closes it after the first line
  broken_pipe,   // a pipe whose reader has gone already
};

// Limits of the child; absent ones are inherited.
struct Limits {
  std::optional<std::uint64_t> file_size = std::nullopt;      // RLIMIT_FSIZE
  std::optional<std::uint64_t> open_files = std::nullopt;     // RLIMIT_NOFILE
  std::optional<std::uint64_t> address_space = std::nullopt;  // RLIMIT_AS
  std::optional<std::uint64_t> processes = std::nullopt;      // RLIMIT_NPROC; has effect with Rights::another_user
};

enum class Rights {
  inherited,
  obeying_modes,  // files of mode 000 cannot be read, even as root
  another_user,   // a user who owns nothing; needs root
};

struct Launch {
  std::vector<std::string> arguments = {};
  std::string input = {};                 // what standard input holds
  std::filesystem::path input_path = {};  // what standard input is instead, where not empty: a file, device or folder
  bool input_closed = false;
  Stream out = Stream::captured;
  Stream err = Stream::captured;
  std::filesystem::path out_file = {};  // of Stream::limited_file
  std::map<std::string, std::string> environment = {};
  std::filesystem::path folder = {};  // to work in
  Limits limits = {};
  Rights rights = Rights::inherited;
};

// How a child ended and what it said.
struct Outcome {
  int status = -1;         // the exit status, or -1
  int signal = 0;          // what ended it, or 0
  bool timed_out = false;  // it was killed for taking too long
  bool executed = true;    // false where this machine does not allow the child to be set up; `error` says why
  std::string error = {};
  std::string out = {};
  std::string err = {};
  std::uint64_t most_memory = 0;  // bytes resident at most

  // All of it, for the message of a failed expectation.
  std::string describe() const;
};

// One child running the mslt of this build, or the one that MSLT_FAULTS_PROGRAM names. It is killed when the object
// goes out of scope, and by the system when this process dies. One thread at a time.
class Child {
 public:
  explicit Child(const Launch& launch);
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  ~Child();

  void send(int signal) const;
  pid_t id() const { return process_; }
  // Whether standard error has come to contain `text`; false where the child ends or `limit` passes before.
  bool wait_for_message(std::string_view text, std::chrono::milliseconds limit);
  // Whether at least so many bytes have come on standard output, as above.
  bool wait_for_output(std::size_t bytes, std::chrono::milliseconds limit);
  // Takes what the child says for that long.
  void listen(std::chrono::microseconds duration);
  // Its end. A child that takes longer than `limit` is killed.
  Outcome wait(std::chrono::seconds limit = default_limit);

  static constexpr std::chrono::seconds default_limit{120};

 private:
  using Clock = std::chrono::steady_clock;
  void start(const Launch& launch);
  // Reads what is there until `until`, or sooner at the end of both streams. Returns whether a stream is still open.
  bool pump(Clock::time_point until);
  void receive(int& descriptor, std::string& text, bool leaving) const;

  pid_t process_ = -1;
  int out_ = -1;
  int err_ = -1;
  bool leaves_out_ = false;
  bool leaves_err_ = false;
  Outcome outcome_;
};

// The whole life of one child.
Outcome run(const Launch& launch);
Outcome run(std::vector<std::string> arguments, std::string input = {});

}  // namespace mslt::faults
