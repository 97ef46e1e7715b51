// A child process under a fault: descriptors that are closed, full or abandoned by their reader; limits; reduced
// rights; a time limit.
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

// The destination of an output stream of the child.
enum class Stream {
  captured,      // a pipe read to its end
  closed,        // no descriptor at all
  full_device,   // /dev/full, which accepts nothing
  limited_file,  // a regular file with at most Launch::limits.file_size bytes
  leaving,       // a pipe whose reader closes it after the first line
  broken_pipe,   // a pipe whose reader has already closed it
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
  std::string input = {};                 // content of standard input
  std::filesystem::path input_path = {};  // replaces standard input, if not empty: a file, device or folder
  bool input_closed = false;
  Stream out = Stream::captured;
  Stream err = Stream::captured;
  std::filesystem::path out_file = {};  // for Stream::limited_file
  std::map<std::string, std::string> environment = {};
  std::filesystem::path folder = {};  // working folder
  Limits limits = {};
  Rights rights = Rights::inherited;
};

// The end of a child and its output.
struct Outcome {
  int status = -1;         // the exit status, or -1
  int signal = 0;          // that ended it, or 0
  bool timed_out = false;  // killed for taking too long
  bool executed = true;    // false if this machine does not allow the setup of the child; `error` says why
  std::string error = {};
  std::string out = {};
  std::string err = {};
  std::uint64_t most_memory = 0;  // most resident bytes

  // All of it, for messages of failed expectations.
  std::string describe() const;
};

// One child running the mslt of this build, or the program named by MSLT_FAULTS_PROGRAM. It is killed when the object
// goes out of scope, and by the system when this process dies. One thread at a time.
class Child {
 public:
  explicit Child(const Launch& launch);
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  ~Child();

  void send(int signal) const;
  pid_t id() const { return process_; }
  // Whether `text` appears on standard error; false if the child ends or `limit` passes before.
  bool wait_for_message(std::string_view text, std::chrono::milliseconds limit);
  // Whether standard output has at least so many bytes, as above.
  bool wait_for_output(std::size_t bytes, std::chrono::milliseconds limit);
  // Reads the child's output for that long; false if it ended before.
  bool listen(std::chrono::microseconds duration);
  // Waits for its end. Kills a child that takes longer than `limit`.
  Outcome wait(std::chrono::seconds limit = default_limit);

  static constexpr std::chrono::seconds default_limit{120};

 private:
  using Clock = std::chrono::steady_clock;
  void start(const Launch& launch);
  // Reads available output until `until`, or sooner at the end of both streams. Returns whether a stream is still open.
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
