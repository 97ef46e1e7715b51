// One of several processes under mpirun, which does what its argument says and prints what it found.
#include <fmt/format.h>

#include <csignal>
#include <cstdio>
#include <exception>
#include <string>
#include <string_view>
#include <vector>

#include "base/fail.h"
#include "base/philox.h"
#include "parallel/communicator.h"
#include "parallel/mpi_transport.h"

namespace mslt {
namespace {

// Sums of numbers that round, as bits of their own sum; more than one part of a few MiB, so that all ways are taken.
void print_sums(Communicator& communicator) {
  PhiloxStream stream(3, static_cast<std::uint32_t>(communicator.rank()), 0);
  std::vector<float> values((std::size_t{1} << 22) + 1001);
  for (float& value : values) value = static_cast<float>(stream.below(1u << 24)) * 0x1p-20f - 8.0f;
  communicator.sum(values);
  double sum = 0.0;
  for (const float value : values) sum += value;
  std::vector<std::string> found = communicator.gather(fmt::format("{:a}", sum));
  for (const std::string& one : found) {
    if (one != found[0]) fail(ErrorKind::numeric, "The ranks have other sums: {} and {}.", one, found[0]);
  }
  if (communicator.leads()) fmt::print("sum of {} ranks: {}\n", communicator.size(), found[0]);
}

void run(Communicator& communicator, std::string_view what) {
  if (what == "sums") return print_sums(communicator);
  communicator.barrier();
  const bool is_last = communicator.rank() == communicator.size() - 1;
  if (what == "dies" && is_last) std::raise(SIGKILL);
  if (what == "hangs" && is_last) std::raise(SIGSTOP);
  if (what == "fails" && is_last) fail(ErrorKind::io, "The disk is gone.");
  communicator.barrier();
}

int run_program(std::string_view what) {
  Communicator communicator(make_mpi_transport(std::chrono::milliseconds(1500)));
  try {
    run(communicator, what);
    return 0;
  } catch (const std::exception& error) {
    communicator.tell_failure(error);
    if (communicator.leads()) fmt::print("{}\n", error.what());
    std::fflush(stdout);
    return 1;
  }
}

}  // namespace
}  // namespace mslt

int main(int argc, char** argv) {
  return mslt::run_program(argc > 1 ? argv[1] : "");
}
