// Communicator: sums, copies and agreement among the processes that train one model together.
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "backend/backend.h"
#include "mslt/error.h"
#include "parallel/background.h"
#include "parallel/transport.h"

namespace mslt {

// Part of a row of elements.
struct Piece {
  std::size_t first = 0;
  std::size_t count = 0;
};

// What rank `rank` of `size` owns of `elements` that are shared out: contiguous, in rank order, sizes differ by at most
// one.
Piece piece_of(std::size_t elements, int rank, int size);

// All ranks call the same functions in the same order, with spans of the same size. Each sum is made in rank order,
// ((x0 + x1) + x2) + ..., in the element type: the same numbers on as many ranks give the same bits, on every rank.
// Every function that waits throws what Transport::exchange throws. One thread at a time.
class Communicator {
 public:
  explicit Communicator(std::unique_ptr<Transport> transport) : transport_(std::move(transport)) {}
  Communicator(const Communicator&) = delete;
  Communicator& operator=(const Communicator&) = delete;
  virtual ~Communicator() = default;

  int rank() const { return transport_->rank(); }
  int size() const { return transport_->size(); }
  bool is_alone() const { return size() == 1; }
  // Whether this process writes files and talks to the user.
  bool leads() const { return rank() == 0; }
  // "rank 1 on HOST"
  std::string name_of(int rank) const;

  // Replaces each value by its sum over all ranks: a reduce_scatter and an all_gather.
  void sum(std::span<float> values);
  double sum(double value);
  std::int64_t sum(std::int64_t value);
  // Whether it holds on any rank.
  bool any(bool value) { return sum(std::int64_t{value ? 1 : 0}) > 0; }

  // Copies every rank's own piece, piece_of(values.size(), rank(), size()), to all ranks.
  void all_gather(std::span<float> values);

  // Rank 0's bytes, on all ranks.
  void broadcast(std::span<std::byte> bytes);
  std::string broadcast(std::string text);
  // Every rank's text, in rank order, on all ranks.
  std::vector<std::string> gather(std::string_view text);
  // Returns when all ranks have called it.
  void barrier() { sum(std::int64_t{0}); }

  // The same for tensors of a backend, each after the work recorded so far. Sums of 16-bit elements are made in f32 and
  // rounded once. These go through host memory; a communicator between devices overrides them with work on the device's
  // own stream.
  virtual void sum(Backend& backend, const Tensor& values);
  virtual void broadcast(Backend& backend, const Tensor& values);
  // Puts the sums into piece_of(elements, rank(), size()) of the elements; the others are undefined then.
  virtual void reduce_scatter(Backend& backend, const Tensor& values);
  // Copies every rank's own piece, of whatever dtype, to all ranks.
  virtual void all_gather(Backend& backend, const Tensor& values);

  // The same without waiting: the work begins once what the backend was given so far is done, and goes on beside what
  // the backend is given next. Nothing may touch the tensor before finish(). Ranks begin the same works in the same
  // order. An error may come late, from finish(). Where the host reaches the tensor's memory, a thread of the
  // communicator does the work, for which all other functions that communicate wait; otherwise it is done at once.
  virtual void begin_sum(Backend& backend, const Tensor& values);
  virtual void begin_reduce_scatter(Backend& backend, const Tensor& values);
  virtual void begin_all_gather(Backend& backend, const Tensor& values);
  // What the backend is given next comes after all works begun.
  virtual void finish(Backend& backend);

  // Tells the other ranks of the exception that ends this one's work: they end with an Error that names this rank, its
  // host and the reason. Does nothing if they brought it about.
  virtual void tell_failure(const std::exception& error) noexcept;
  // The failure of another rank, once known.
  std::optional<PeerFailure> failure() const { return transport_->failure(); }

 private:
  // Sends out(other) to each other rank while in(other) is filled by what it sends; neither where there are no bytes.
  template <class Out, class In>
  void exchange_with_each(const Out& out, const In& in);
  // What follows does the work, on whichever thread.
  template <class T>
  void reduce_pieces(std::span<T> values);
  template <class T>
  void gather_pieces(std::span<T> values);
  template <class T>
  void sum_values(std::span<T> values);
  void broadcast_bytes(std::span<std::byte> bytes);
  // Lets `work` change the bytes of a tensor on the host, in the background where that can be.
  void begin_on_host(Backend& backend, const Tensor& values, std::function<void(std::span<std::byte>)> work);

  std::unique_ptr<Transport> transport_;
  std::vector<std::byte> received_;  // pieces of the other ranks
  std::vector<float> sums_;          // of 16-bit elements
  BackgroundWork background_;        // ends before what it uses
};

// Of a process that trains alone: every sum is the value itself.
std::unique_ptr<Communicator> make_lone_communicator();

}  // namespace mslt
