// One of several processes, which does what its argument says and prints what it found.
#include <fmt/format.h>

#include <csignal>
#include <cstdio>
#include <exception>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "backend/registry.h"
#include "base/fail.h"
#include "base/philox.h"
#include "parallel/launch.h"
#include "parallel/mpi_transport.h"
#include "parallel/nccl_communicator.h"
#include "parallel/tcp_transport.h"

namespace mslt {
namespace {

constexpr std::chrono::milliseconds short_patience{1500};

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

// Collectives of tensors: whole numbers that every dtype adds up exactly.
class TensorCheck {
 public:
  TensorCheck(Communicator& communicator, Backend& backend, DType dtype, std::int64_t elements)
      : communicator_(communicator),
        backend_(backend),
        buffer_(backend.allocate(static_cast<std::size_t>(elements) * sizeof(float), "values")),
        values_(*buffer_, 0, dtype, {elements}),
        floats_buffer_(backend.allocate(static_cast<std::size_t>(elements) * sizeof(float), "floats")),
        floats_(*floats_buffer_, 0, DType::f32, {elements}) {}

  void run() {
    const int ranks = communicator_.size();
    const auto count = static_cast<std::size_t>(values_.elements());
    const Piece own = piece_of(count, communicator_.rank(), ranks);
    write();
    communicator_.sum(backend_, values_);
    expect("sum", {0, count}, true);
    write();
    communicator_.reduce_scatter(backend_, values_);
    expect("reduce_scatter", own, true);
    communicator_.all_gather(backend_, values_);
    expect("all_gather", {0, count}, true);
    write();
    communicator_.broadcast(backend_, values_);
    expect("broadcast", {0, count}, false);
    write();
    const std::int64_t half = values_.elements() / 2;
    communicator_.begin_sum(backend_, values_.slice(0, half));
    communicator_.begin_sum(backend_, values_.slice(half, values_.elements() - half));
    communicator_.finish(backend_);
    expect("begin_sum", {0, count}, true);
    write();
    communicator_.begin_reduce_scatter(backend_, values_);
    communicator_.finish(backend_);
    communicator_.begin_all_gather(backend_, values_);
    communicator_.finish(backend_);
    expect("begin_reduce_scatter", {0, count}, true);
  }

 private:
  static float value_at(std::size_t i, int rank) { return static_cast<float>((i * 7 + i / 13) % 11) + float(rank); }

  void write() {
    std::vector<float> values(static_cast<std::size_t>(values_.elements()));
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = value_at(i, communicator_.rank());
    backend_.upload(floats_, std::as_bytes(std::span(values)));
    backend_.run(Cast{.out = values_, .in = floats_});
  }

  void expect(std::string_view what, Piece piece, bool is_sum) {
    std::vector<float> found(static_cast<std::size_t>(values_.elements()));
    backend_.run(Cast{.out = floats_, .in = values_});
    backend_.download(floats_, std::as_writable_bytes(std::span(found)));
    for (std::size_t i = piece.first; i < piece.first + piece.count; ++i) {
      float expected = value_at(i, 0);
      for (int rank = 1; is_sum && rank < communicator_.size(); ++rank) expected += value_at(i, rank);
      if (found[i] == expected) continue;
      fail(ErrorKind::numeric, "{} of {} gave {} instead of {} in element {} of {}.", what, name_of(values_.dtype()),
           found[i], expected, i, found.size());
    }
  }

  Communicator& communicator_;
  Backend& backend_;
  std::unique_ptr<Buffer> buffer_;
  Tensor values_;
  std::unique_ptr<Buffer> floats_buffer_;
  Tensor floats_;
};

void check_tensors(Communicator& communicator, Backend& backend) {
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16}) {
    for (const std::int64_t elements : {2, 3, 1001, 1 << 20}) {
      TensorCheck(communicator, backend, dtype, elements).run();
    }
  }
  communicator.barrier();
  if (communicator.leads()) fmt::print("tensors on {} are as they should be\n", backend.device().backend);
}

// Sums without end: the last rank dies among them, and the others wait for the device.
void die_at_work(Communicator& communicator, Backend& backend) {
  const auto buffer = backend.allocate(std::size_t{1} << 22, "values");
  const Tensor values(*buffer, 0, DType::f32, {std::int64_t{1} << 20});
  for (int i = 0;; ++i) {
    if (i == 100 && communicator.rank() == communicator.size() - 1) std::raise(SIGKILL);
    communicator.sum(backend, values);
    backend.submit();
    backend.throttle(2);
  }
}

std::unique_ptr<Backend> make_own_backend(std::string_view device, int local_rank) {
  return make_backend(device == "cuda" ? fmt::format("cuda:{}", local_rank) : std::string(device), "none");
}

void run(Communicator& communicator, std::string_view what, std::string_view device, int local_rank) {
  if (what == "sums") return print_sums(communicator);
  if (what == "tensors") return check_tensors(communicator, *make_own_backend(device, local_rank));
  if (what == "dies-at-work") return die_at_work(communicator, *make_own_backend(device, local_rank));
  // Rank 1 comes too late.
  if (what == "waits" && communicator.rank() == 1) std::this_thread::sleep_for(std::chrono::seconds(6));
  communicator.barrier();
  const bool is_last = communicator.rank() == communicator.size() - 1;
  if (what == "dies" && is_last) std::raise(SIGKILL);
  if (what == "hangs" && is_last) std::raise(SIGSTOP);
  if (what == "fails" && is_last) fail(ErrorKind::io, "The disk is gone.");
  communicator.barrier();
}

std::unique_ptr<Transport> make_transport(Launch& launch) {
  if (launch.through == Launch::Through::mpi) return make_mpi_transport(short_patience);
  if (const auto patience = environment_variable("MEETING_MILLISECONDS")) {
    launch.rendezvous.patience = std::chrono::milliseconds(std::stoi(*patience));
  }
  return make_tcp_transport(launch.rendezvous, short_patience);
}

int run_program(std::string_view what, std::string_view device) {
  std::signal(SIGPIPE, SIG_IGN);
  std::unique_ptr<Communicator> communicator;
  try {
    Launch launch = find_launch("");
    communicator = make_device_communicator(make_transport(launch));
    run(*communicator, what, device, launch.local_rank);
    return 0;
  } catch (const std::exception& error) {
    if (communicator) communicator->tell_failure(error);
    if (!communicator || communicator->leads()) fmt::print("{}\n", error.what());
    std::fflush(stdout);
    // mpirun ends all when the first has ended.
    if (communicator && !communicator->leads()) std::this_thread::sleep_for(std::chrono::seconds(3));
    return 1;
  }
}

}  // namespace
}  // namespace mslt

int main(int argc, char** argv) {
  return mslt::run_program(argc > 1 ? argv[1] : "", argc > 2 ? argv[2] : "cpu");
}
