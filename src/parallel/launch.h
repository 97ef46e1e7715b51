// Finding out whether a launcher started this process together with others, and joining them.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "parallel/address.h"
#include "parallel/communicator.h"

namespace mslt {

// Which of the processes that were started together this one is.
struct Launch {
  enum class Through { nothing, mpi, tcp };  // what the processes exchange data through

  Through through = Through::nothing;
  int size = 1;
  int local_rank = 0;     // among those of this host
  Rendezvous rendezvous;  // with tcp
  std::string told_by;    // the variables that say so, for messages: "WORLD_SIZE (2) and RANK (0)"
  bool is_child = false;  // of a process of this program, as class Processes starts them
};

// An environment variable's text, if it is set: std::getenv's answer, except in tests.
using Environment = std::function<std::optional<std::string>(const char*)>;
std::optional<std::string> environment_variable(const char* name);

// What the launchers' variables say: those of Open MPI, MPICH and their kin; RANK and WORLD_SIZE, as torchrun sets
// them, with MASTER_ADDR and MASTER_PORT; SLURM_PROCID and SLURM_STEP_NUM_TASKS of srun. `rendezvous` is "HOST:PORT",
// or the path of a file that all processes see; without MPI it is needed where the variables name no address. An empty
// one is that of MSLT_RENDEZVOUS. MSLT_RUN_TOKEN, or else the launcher's name of the run, keeps others out. A process
// that another one of this program has started ends its wait for others when that one has ended. Throws Error(usage)
// for what cannot be, and where a launcher's variables are incomplete.
Launch find_launch(const std::string& rendezvous, const Environment& variable = environment_variable);

// The variable by which a process of this program tells its number to those that it starts.
inline constexpr const char* parent_variable = "MSLT_PARENT";

// A communicator of all processes that were started together; a lone one without others. Tensors of NVIDIA GPUs go
// through NCCL. Throws what make_mpi_transport and make_tcp_transport throw. Once in a process.
std::unique_ptr<Communicator> make_communicator(const Launch& launch);

}  // namespace mslt
