// Reads the launchers' environment variables.
#include "parallel/launch.h"

#include <unistd.h>

#include <charconv>
#include <chrono>
#include <cstdlib>
#include <limits>
#include <string_view>
#include <utility>

#include "base/fail.h"
#include "parallel/mpi_transport.h"
#include "parallel/nccl_communicator.h"
#include "parallel/tcp_transport.h"

namespace mslt {
namespace {

// Long enough for a host under load, short enough that all ranks end within a minute.
constexpr std::chrono::seconds patience{30};

// The number in a launcher's variable.
std::optional<int> number(const Environment& variable, const char* name, int least) {
  const std::optional<std::string> text = variable(name);
  if (!text) return std::nullopt;
  int value = 0;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), value);
  if (error == std::errc() && end == text->data() + text->size() && value >= least) return value;
  fail(ErrorKind::usage, "The variable {} is '{}'; it must be a whole number from {}.", name, *text, least);
}

struct Names {
  const char* size;
  const char* rank;
  const char* local_rank;
  bool numbers_lone_ones = false;  // a process that is alone may have rank 0, without a size
};
// Slurm sets SLURM_NTASKS and SLURM_PROCID in a batch script as well, where there is one process.
constexpr Names mpi_names[] = {{"OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_LOCAL_RANK"},
                               {"PMI_SIZE", "PMI_RANK", "MPI_LOCALRANKID"}};
constexpr Names other_names[] = {{"WORLD_SIZE", "RANK", "LOCAL_RANK"},
                                 {"SLURM_STEP_NUM_TASKS", "SLURM_PROCID", "SLURM_LOCALID", true}};

// What a launcher's variables tell of this process.
struct Told {
  int size = 1;
  int rank = 0;
};

// Nothing where none of them is set.
std::optional<Told> told_by(const Names& names, const Environment& variable) {
  const std::optional<int> size = number(variable, names.size, 1);
  const std::optional<int> rank = number(variable, names.rank, 0);
  if (!size && !rank) return std::nullopt;
  if (size == 1 && !rank) return Told{};
  if (names.numbers_lone_ones && !size && rank == 0) return std::nullopt;
  if (!size || !rank) {
    fail(ErrorKind::usage,
         "The variable {} is {}, but {} is not set. A process that is one of several needs both, {} from 0 to {} - 1; "
         "one that trains alone needs neither.",
         size ? names.size : names.rank, size ? *size : *rank, size ? names.rank : names.size, names.rank, names.size);
  }
  if (*rank >= *size) {
    fail(ErrorKind::usage, "The variable {} is {}, but {} says that there are {} processes, numbered from 0.",
         names.rank, *rank, names.size, *size);
  }
  return Told{*size, *rank};
}

// The rank; nothing where these variables tell of no other process.
std::optional<int> take(Launch& launch, const Names& names, const Environment& variable) {
  const std::optional<Told> told = told_by(names, variable);
  if (!told) return std::nullopt;
  launch.told_by = fmt::format("{} ({}) and {} ({})", names.size, told->size, names.rank, told->rank);
  if (told->size == 1) return std::nullopt;
  launch.size = told->size;
  launch.local_rank = number(variable, names.local_rank, 0).value_or(0);
  return told->rank;
}

// Ends the wait of a process whose parent, which is one of those that it waits for, has ended.
void end_with_parent(Launch& launch, const Environment& variable) {
  const std::optional<int> parent = number(variable, parent_variable, 1);
  if (!parent) return;
  launch.is_child = true;
  launch.rendezvous.look = [parent] {
    if (::getppid() == *parent) return;
    fail(ErrorKind::device, "The process {}, which started this one, has ended.", *parent);
  };
}

std::string token_from(const Environment& variable) {
  for (const char* name : {"MSLT_RUN_TOKEN", "TORCHELASTIC_RUN_ID"}) {
    if (std::optional<std::string> token = variable(name)) return *token;
  }
  return variable("SLURM_JOB_ID").value_or("") + "." + variable("SLURM_STEP_ID").value_or("");
}

// Where the launcher says that rank 0 listens.
Address master_address(const Environment& variable) {
  const std::optional<std::string> host = variable("MASTER_ADDR");
  const std::optional<int> port = number(variable, "MASTER_PORT", 1);
  if (!host || host->empty() || !port || *port > std::numeric_limits<std::uint16_t>::max()) {
    fail(ErrorKind::usage,
         "This process was started as one of several, but nothing says where they meet: give all of them the same "
         "--rendezvous HOST:PORT, where rank 0 can listen, or --rendezvous FILE, which all of them see, or set "
         "MASTER_ADDR and MASTER_PORT.");
  }
  // torchrun itself listens there.
  const bool is_taken = variable("TORCHELASTIC_USE_AGENT_STORE") == "True";
  const int free_port = is_taken ? *port % std::numeric_limits<std::uint16_t>::max() + 1 : *port;
  return {*host, static_cast<std::uint16_t>(free_port)};
}

// A name with a colon, or numbers with dots, is hardly meant as a file's.
bool looks_like_address(const std::string& place) {
  if (place.find('/') != std::string::npos) return place.find("://") != std::string::npos;
  const bool is_number =
      place.find('.') != std::string::npos && place.find_first_not_of("0123456789.") == std::string::npos;
  return is_number || place.find(':') != std::string::npos;
}

bool says_one_host(const Environment& variable) {
  return variable("LOCAL_WORLD_SIZE") && variable("LOCAL_WORLD_SIZE") == variable("WORLD_SIZE");
}

}  // namespace

std::optional<std::string> environment_variable(const char* name) {
  const char* const text = std::getenv(name);
  if (text == nullptr) return std::nullopt;
  return text;
}

Launch find_launch(const std::string& rendezvous, const Environment& variable) {
  const std::string place = rendezvous.empty() ? variable("MSLT_RENDEZVOUS").value_or("") : rendezvous;
  Launch launch;
  std::optional<int> rank;
  for (const Names& names : mpi_names) {
    rank = take(launch, names, variable);
    if (!rank) continue;
    launch.through = place.empty() ? Launch::Through::mpi : Launch::Through::tcp;
    break;
  }
  for (const Names& names : other_names) {
    if (rank) break;
    rank = take(launch, names, variable);
    if (rank) launch.through = Launch::Through::tcp;
  }
  if (!rank && !place.empty() && launch.told_by.empty()) {
    fail(ErrorKind::usage,
         "{} is for one of several processes, but no variable tells this one's number: a launcher sets RANK and "
         "WORLD_SIZE, or SLURM_PROCID and SLURM_STEP_NUM_TASKS.",
         rendezvous.empty() ? "The variable MSLT_RENDEZVOUS" : "--rendezvous");
  }
  if (launch.through != Launch::Through::tcp) return launch;
  launch.rendezvous.rank = *rank;
  launch.rendezvous.size = launch.size;
  launch.rendezvous.token = token_from(variable);
  launch.rendezvous.on_one_host = says_one_host(variable);
  end_with_parent(launch, variable);
  if (const std::optional<Address> address = address_from(place)) {
    launch.rendezvous.address = *address;
  } else if (looks_like_address(place)) {
    fail(
        ErrorKind::usage,
        "--rendezvous {} is no address: HOST:PORT needs a host, and a port from 1 to 65535; [::1]:4000 is one of IPv6. "
        "A file of such a name is given as ./{}.",
        place, place);
  } else if (!place.empty()) {
    launch.rendezvous.file = place;
  } else {
    launch.rendezvous.address = master_address(variable);
  }
  return launch;
}

std::unique_ptr<Communicator> make_communicator(const Launch& launch) {
  switch (launch.through) {
    case Launch::Through::nothing:
      return make_lone_communicator();
    case Launch::Through::mpi:
      return make_device_communicator(make_mpi_transport(patience));
    case Launch::Through::tcp:
      return make_device_communicator(make_tcp_transport(launch.rendezvous, patience));
  }
  return make_lone_communicator();
}

}  // namespace mslt
