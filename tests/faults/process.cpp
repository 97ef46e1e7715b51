// Children by fork and exec.
#include "tests/faults/process.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <grp.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <utility>

#include "tests/faults/system.h"

extern char** environ;

namespace mslt::faults {
namespace {

// A user of this test's own, because process limits count per user.
uid_t some_user() {
  return static_cast<uid_t>(20000 + ::getpid() % 40000);
}

[[noreturn]] void fail_setup(const char* what) {
  throw std::runtime_error(fmt::format("{}: {}", what, std::strerror(errno)));
}

int checked(int result, const char* what) {
  if (result < 0) fail_setup(what);
  return result;
}

// A pipe; both ends are closed on exec.
std::array<int, 2> make_pipe() {
  std::array<int, 2> ends{};
  checked(::pipe(ends.data()), "pipe");
  for (const int end : ends) checked(::fcntl(end, F_SETFD, FD_CLOEXEC), "fcntl");
  return ends;
}

// An unlinked file containing `text`, open at its beginning: unlike a pipe it never blocks its writer.
int file_holding(std::string_view text) {
  std::string pattern = (std::filesystem::temp_directory_path() / "mslt_input_XXXXXX").string();
  const int file = checked(::mkstemp(pattern.data()), "mkstemp");
  ::unlink(pattern.c_str());
  checked(::fcntl(file, F_SETFD, FD_CLOEXEC), "fcntl");
  while (!text.empty()) {
    const ssize_t count = ::write(file, text.data(), text.size());
    checked(static_cast<int>(count), "write");
    text.remove_prefix(static_cast<std::size_t>(count));
  }
  checked(static_cast<int>(::lseek(file, 0, SEEK_SET)), "lseek");
  return file;
}

int open_input(const Launch& launch) {
  if (launch.input_closed) return -1;
  if (launch.input_path.empty()) return file_holding(launch.input);
  return checked(::open(launch.input_path.c_str(), O_RDONLY | O_CLOEXEC), "open");
}

// The ends of one output stream: the child's, and the one this process reads, if any.
struct OutputEnds {
  int child = -1;
  int parent = -1;
};

OutputEnds open_output(Stream stream, const std::filesystem::path& path) {
  switch (stream) {
    case Stream::closed:
      return {};
    case Stream::full_device:
      return {checked(::open("/dev/full", O_WRONLY | O_CLOEXEC), "/dev/full"), -1};
    case Stream::limited_file:
      return {checked(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666), "open"), -1};
    case Stream::captured:
    case Stream::leaving:
    case Stream::broken_pipe:
      break;
  }
  const std::array<int, 2> ends = make_pipe();
  if (stream == Stream::broken_pipe) {
    ::close(ends[0]);
    return {ends[1], -1};
  }
  return {ends[1], ends[0]};
}

// Everything the child needs, made before fork: afterwards only async-signal-safe calls are made.
struct Prepared {
  std::vector<std::string> strings;
  std::vector<char*> argv;
  std::vector<char*> environment;
  std::string folder;
};

Prepared prepare(const Launch& launch) {
  Prepared prepared;
  const char* other = std::getenv("MSLT_FAULTS_PROGRAM");
  prepared.strings.emplace_back(other != nullptr ? other : MSLT_PROGRAM);
  for (const std::string& argument : launch.arguments) prepared.strings.push_back(argument);
  const std::size_t arguments = prepared.strings.size();
  // A model this small gains nothing from threads, which would wait for one another.
  std::map<std::string, std::string> environment = {{"OMP_NUM_THREADS", "1"}};
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text(*entry);
    const std::size_t equals = text.find('=');
    if (equals == std::string_view::npos) continue;
    environment.emplace(text.substr(0, equals), text.substr(equals + 1));
  }
  for (const auto& [name, value] : launch.environment) environment[name] = value;
  for (const auto& [name, value] : environment) prepared.strings.push_back(name + "=" + value);
  for (std::size_t i = 0; i < prepared.strings.size(); ++i) {
    (i < arguments ? prepared.argv : prepared.environment).push_back(prepared.strings[i].data());
  }
  prepared.argv.push_back(nullptr);
  prepared.environment.push_back(nullptr);
  prepared.folder = launch.folder.string();
  return prepared;
}

void limit(int resource, std::optional<std::uint64_t> most) {
  if (!most) return;
  const rlimit value{static_cast<rlim_t>(*most), static_cast<rlim_t>(*most)};
  // The macOS and Linux types of `resource` differ; both convert from the constants.
  if (::setrlimit(static_cast<decltype(RLIMIT_CORE)>(resource), &value) != 0) fail_setup("setrlimit");
}

void place(int descriptor, int target) {
  if (descriptor < 0) {
    ::close(target);
  } else if (::dup2(descriptor, target) < 0) {
    fail_setup("dup2");
  }
}

// In the child, until exec. Throws errors to be reported to the parent.
void become(const Launch& launch, const Prepared& prepared, uid_t user, int in, int out, int err) {
  ::signal(SIGPIPE, SIG_DFL);
  die_with_parent();
  if (!prepared.folder.empty() && ::chdir(prepared.folder.c_str()) != 0) fail_setup("chdir");
  const rlimit no_core{0, 0};
  ::setrlimit(RLIMIT_CORE, &no_core);
  limit(RLIMIT_FSIZE, launch.limits.file_size);
  limit(RLIMIT_NPROC, launch.limits.processes);
  if (launch.rights == Rights::obeying_modes && !obey_modes()) fail_setup("giving up the rights of root");
  if (launch.rights == Rights::another_user &&
      (::setgroups(0, nullptr) != 0 || ::setgid(user) != 0 || ::setuid(user) != 0)) {
    fail_setup("becoming another user");
  }
  place(in, STDIN_FILENO);
  place(out, STDOUT_FILENO);
  place(err, STDERR_FILENO);
  limit(RLIMIT_NOFILE, launch.limits.open_files);
  limit(RLIMIT_AS, launch.limits.address_space);
  ::execve(prepared.argv[0], prepared.argv.data(), prepared.environment.data());
  fail_setup(prepared.argv[0]);
}

void close_if_open(int& descriptor) {
  if (descriptor >= 0) ::close(descriptor);
  descriptor = -1;
}

}  // namespace

std::string Outcome::describe() const {
  const std::string end = !executed   ? "not run: " + error
                          : timed_out ? "killed for taking too long"
                          : signal    ? fmt::format("ended by signal {} ({})", signal, ::strsignal(signal))
                                      : fmt::format("exit status {}", status);
  const auto shortened = [](const std::string& text) {
    return text.size() <= 2000 ? text : text.substr(0, 1000) + "\n[...]\n" + text.substr(text.size() - 1000);
  };
  return fmt::format("{}\nstandard output: {}\nstandard error: {}", end, shortened(out), shortened(err));
}

Child::Child(const Launch& launch)
    : leaves_out_(launch.out == Stream::leaving), leaves_err_(launch.err == Stream::leaving) {
  start(launch);
}

void Child::start(const Launch& launch) {
  const Prepared prepared = prepare(launch);
  OutputEnds out = open_output(launch.out, launch.out_file);
  OutputEnds err = open_output(launch.err, launch.out_file);
  int in = open_input(launch);
  std::array<int, 2> trouble = make_pipe();
  const uid_t user = some_user();
  process_ = ::fork();
  checked(process_, "fork");
  if (process_ == 0) {
    // Descriptors 0 to 2 are replaced below, so the error pipe must not be among them.
    const int report = ::fcntl(trouble[1], F_DUPFD_CLOEXEC, 10);
    try {
      become(launch, prepared, user, in, out.child, err.child);
    } catch (const std::exception& error) {
      const ssize_t ignored = ::write(report, error.what(), std::strlen(error.what()));
      static_cast<void>(ignored);
    }
    ::_exit(127);
  }
  close_if_open(in);
  close_if_open(out.child);
  close_if_open(err.child);
  close_if_open(trouble[1]);
  out_ = out.parent;
  err_ = err.parent;
  // Ends at exec, which closes the other end.
  while (trouble[0] >= 0) receive(trouble[0], outcome_.error, false);
  outcome_.executed = outcome_.error.empty();
}

Child::~Child() {
  if (process_ > 0) wait(std::chrono::seconds(0));
}

void Child::send(int signal) const {
  if (process_ > 0) ::kill(process_, signal);
}

void Child::receive(int& descriptor, std::string& text, bool leaving) const {
  std::array<char, 4096> block{};
  const ssize_t count = ::read(descriptor, block.data(), block.size());
  if (count < 0 && errno == EINTR) return;
  if (count > 0) text.append(block.data(), static_cast<std::size_t>(count));
  if (count <= 0 || (leaving && text.find('\n') != std::string::npos)) close_if_open(descriptor);
}

bool Child::pump(Clock::time_point until) {
  std::array<pollfd, 2> waiting = {pollfd{out_, POLLIN, 0}, pollfd{err_, POLLIN, 0}};
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - Clock::now()).count();
  if (::poll(waiting.data(), waiting.size(), static_cast<int>(std::max<std::int64_t>(0, left))) > 0) {
    if (waiting[0].revents != 0) receive(out_, outcome_.out, leaves_out_);
    if (waiting[1].revents != 0) receive(err_, outcome_.err, leaves_err_);
  }
  return out_ >= 0 || err_ >= 0;
}

bool Child::wait_for_message(std::string_view text, std::chrono::milliseconds limit) {
  const Clock::time_point until = Clock::now() + limit;
  while (outcome_.err.find(text) == std::string::npos) {
    if (err_ < 0 || Clock::now() >= until) return false;
    pump(until);
  }
  return true;
}

bool Child::wait_for_output(std::size_t bytes, std::chrono::milliseconds limit) {
  const Clock::time_point until = Clock::now() + limit;
  while (outcome_.out.size() < bytes) {
    if (out_ < 0 || Clock::now() >= until) return false;
    pump(until);
  }
  return true;
}

bool Child::listen(std::chrono::microseconds duration) {
  const Clock::time_point until = Clock::now() + duration;
  bool runs = true;
  while (runs && until - Clock::now() > std::chrono::milliseconds(2)) {
    runs = pump(until - std::chrono::milliseconds(1));
  }
  const auto rest = std::chrono::duration_cast<std::chrono::microseconds>(until - Clock::now()).count();
  if (rest > 0) ::usleep(static_cast<useconds_t>(rest));
  return runs;
}

Outcome Child::wait(std::chrono::seconds limit) {
  if (process_ <= 0) return outcome_;
  const Clock::time_point until = Clock::now() + limit;
  int status = 0;
  rusage usage{};
  while (::wait4(process_, &status, WNOHANG, &usage) == 0) {
    if (Clock::now() >= until && !outcome_.timed_out) {
      outcome_.timed_out = true;
      ::kill(process_, SIGKILL);
    }
    // The end of a stream wakes nobody, so the child's own end is polled.
    pump(Clock::now() + std::chrono::milliseconds(out_ >= 0 || err_ >= 0 ? 20 : 1));
  }
  process_ = -1;
  const Clock::time_point end = Clock::now() + std::chrono::seconds(2);
  while ((out_ >= 0 || err_ >= 0) && Clock::now() < end) pump(end);
  close_if_open(out_);
  close_if_open(err_);
  outcome_.most_memory = static_cast<std::uint64_t>(usage.ru_maxrss) * resident_unit;
  if (WIFSIGNALED(status)) outcome_.signal = WTERMSIG(status);
  if (WIFEXITED(status)) outcome_.status = WEXITSTATUS(status);
  return outcome_;
}

Outcome run(const Launch& launch) {
  return Child(launch).wait();
}

Outcome run(std::vector<std::string> arguments, std::string input) {
  return run(Launch{.arguments = std::move(arguments), .input = std::move(input)});
}

}  // namespace mslt::faults
