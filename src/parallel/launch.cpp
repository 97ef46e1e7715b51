// Reads the launchers' environment variables.
#include "parallel/launch.h"

#include <charconv>
#include <chrono>
#include <cstdlib>
#include <cstring>

#include "parallel/mpi_transport.h"

namespace mslt {
namespace {

// Long enough for a host under load, short enough that all ranks end within a minute.
constexpr std::chrono::seconds patience{30};

}  // namespace

int launched_processes() {
  // Slurm sets its variable in a batch script as well, where PMI's are absent.
  for (const char* name : {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE"}) {
    const char* const text = std::getenv(name);
    if (text == nullptr) continue;
    int count = 0;
    const auto [end, error] = std::from_chars(text, text + std::strlen(text), count);
    if (error == std::errc() && count > 0) return count;
  }
  return 1;
}

std::unique_ptr<Communicator> make_communicator() {
  if (launched_processes() == 1) return make_lone_communicator();
  return std::make_unique<Communicator>(make_mpi_transport(patience));
}

}  // namespace mslt
