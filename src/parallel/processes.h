// Processes of this program that are started by it, to work together on one machine.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <string>
#include <vector>

#include "parallel/launch.h"
#include "parallel/rendezvous_file.h"

namespace mslt {

// Ranks 1 and up; this process is rank 0. They write to the same standard output and error, have no input, and get the
// signals that a terminal sends. Where this process ends before they have met it, they end as well. Nothing is written
// to disk. Not for several threads.
class Processes {
 public:
  // Starts this program size - 1 times with these arguments (the first is its name) and the variables that find_launch
  // reads. Throws Error(io) where the system starts none.
  Processes(const std::vector<std::string>& arguments, int size);
  Processes(const Processes&) = delete;
  Processes& operator=(const Processes&) = delete;
  // Waits until all have ended; kills those that have not after a while.
  ~Processes();

  // How this process joins them.
  Launch launch();
  // To be called when it has: nobody else is let in.
  void have_met();
  // After an error the others wait to be ended: the destructor does not wait for long.
  void end_soon();

 private:
  // Throws Error(device) where one has ended.
  void require_all();
  void kill_all();

  Place place_;                  // where they meet
  int listener_ = -1;            // a socket that listens there
  std::vector<pid_t> children_;  // by rank, less 1; 0 for one that has ended
  std::chrono::milliseconds patience_{30'000};
};

}  // namespace mslt
