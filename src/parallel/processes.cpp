// Starting the program again, and seeing its processes end.
#include "parallel/processes.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <string_view>
#include <thread>
#include <utility>

#include "base/fail.h"
#include "base/system_error.h"
#include "parallel/reception.h"

// POSIX leaves the declaration to the program.
extern char** environ;  // NOLINT(readability-identifier-naming)

namespace mslt {
namespace {

constexpr std::chrono::milliseconds to_end_soon{1000};

// A socket that listens on loopback, at a port that the system chooses. No child has it.
int listen_on_loopback(Address& address) {
  namespace asio = boost::asio;
  asio::io_context io;
  asio::ip::tcp::acceptor acceptor(io);
  const boost::system::error_code error = listen_at(acceptor, {asio::ip::address_v4::loopback(), 0});
  if (error) fail(ErrorKind::io, "This process cannot listen on 127.0.0.1 for others: {}.", error.message());
  address = {"127.0.0.1", acceptor.local_endpoint().port()};
  const int listener = acceptor.release();
  ::fcntl(listener, F_SETFD, FD_CLOEXEC);
  return listener;
}

// What the program's file is found by, also where it was started by its name alone.
std::string own_program(const std::string& name) {
  constexpr const char* itself = "/proc/self/exe";
  return ::access(itself, X_OK) == 0 ? itself : name;
}

// Only the same user can read another process's variables.
std::vector<std::string> environment_of(int rank, int size, const Place& meeting) {
  const std::array<std::pair<std::string, std::string>, 7> own = {{{"RANK", std::to_string(rank)},
                                                                   {"WORLD_SIZE", std::to_string(size)},
                                                                   {"LOCAL_RANK", std::to_string(rank)},
                                                                   {"LOCAL_WORLD_SIZE", std::to_string(size)},
                                                                   {"MSLT_RENDEZVOUS", text_of(meeting.address)},
                                                                   {"MSLT_RUN_TOKEN", meeting.token},
                                                                   {parent_variable, std::to_string(::getpid())}}};
  std::vector<std::string> all;
  for (char** each = environ; *each != nullptr; ++each) {
    const std::string_view variable = *each;
    const bool is_replaced =
        std::ranges::any_of(own, [&](const auto& pair) { return variable.starts_with(pair.first + "="); });
    if (!is_replaced) all.emplace_back(variable);
  }
  for (const auto& [name, value] : own) all.push_back(name + "=" + value);
  return all;
}

std::vector<char*> pointers_to(std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  for (std::string& text : texts) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

// Input from nowhere, and signals as a program expects them.
class SpawnSettings {
 public:
  SpawnSettings() {
    posix_spawn_file_actions_init(&actions_);
    posix_spawn_file_actions_addopen(&actions_, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawnattr_init(&attributes_);
    sigset_t none;
    sigemptyset(&none);
    posix_spawnattr_setsigmask(&attributes_, &none);
    posix_spawnattr_setflags(&attributes_, POSIX_SPAWN_SETSIGMASK);
  }
  SpawnSettings(const SpawnSettings&) = delete;
  SpawnSettings& operator=(const SpawnSettings&) = delete;
  ~SpawnSettings() {
    posix_spawn_file_actions_destroy(&actions_);
    posix_spawnattr_destroy(&attributes_);
  }
  const posix_spawn_file_actions_t* actions() const { return &actions_; }
  const posix_spawnattr_t* attributes() const { return &attributes_; }

 private:
  posix_spawn_file_actions_t actions_{};
  posix_spawnattr_t attributes_{};
};

}  // namespace

Processes::Processes(const std::vector<std::string>& arguments, int size) : place_{{}, random_token()} {
  listener_ = listen_on_loopback(place_.address);
  std::vector<std::string> copies = arguments;
  const std::vector<char*> argument_pointers = pointers_to(copies);
  const std::string program = own_program(arguments.front());
  const SpawnSettings settings;
  for (int rank = 1; rank < size; ++rank) {
    std::vector<std::string> variables = environment_of(rank, size, place_);
    pid_t child = 0;
    const int error = ::posix_spawnp(&child, program.c_str(), settings.actions(), settings.attributes(),
                                     argument_pointers.data(), pointers_to(variables).data());
    if (error != 0) {
      kill_all();
      have_met();
      fail_io("start", program, error);
    }
    children_.push_back(child);
  }
}

Processes::~Processes() {
  const auto end = std::chrono::steady_clock::now() + patience_;
  const auto has_ended = [](pid_t child) {
    return child == 0 || ::waitpid(child, nullptr, WNOHANG) != 0;
  };
  while (std::chrono::steady_clock::now() < end) {
    std::erase_if(children_, has_ended);
    if (children_.empty()) break;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  kill_all();
  have_met();
}

Launch Processes::launch() {
  Launch launch;
  launch.through = Launch::Through::tcp;
  launch.size = static_cast<int>(children_.size()) + 1;
  launch.rendezvous.size = launch.size;
  launch.rendezvous.address = place_.address;
  launch.rendezvous.token = place_.token;
  launch.rendezvous.listener = listener_;
  launch.rendezvous.look = [this] {
    require_all();
  };
  return launch;
}

void Processes::have_met() {
  if (listener_ >= 0) ::close(listener_);
  listener_ = -1;
}

void Processes::end_soon() {
  patience_ = to_end_soon;
}

void Processes::require_all() {
  for (std::size_t i = 0; i < children_.size(); ++i) {
    int status = 0;
    if (children_[i] == 0 || ::waitpid(children_[i], &status, WNOHANG) != children_[i]) continue;
    children_[i] = 0;
    fail(ErrorKind::device, "The process of rank {} has ended before the work began, by {} {}.", i + 1,
         WIFSIGNALED(status) ? "signal" : "status", WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
  }
}

void Processes::kill_all() {
  for (const pid_t child : children_) {
    if (child == 0) continue;
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
  }
  children_.clear();
}

}  // namespace mslt
