// Ranks that are threads of one process, for tests.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/fail.h"
#include "parallel/communicator.h"

namespace mslt {

// What the threads share: messages on their way, and the first failure.
struct TestMail {
  std::mutex mutex;
  std::condition_variable arrived;
  std::map<std::pair<int, int>, std::deque<std::vector<std::byte>>> boxes;  // by sender and receiver
  std::set<int> ended;                                                      // ranks that send no more
  std::optional<PeerFailure> failure;
};

class TestTransport : public Transport {
 public:
  TestTransport(TestMail& mail, int rank, int size) : mail_(mail), rank_(rank), size_(size) {}
  int rank() const override { return rank_; }
  int size() const override { return size_; }
  std::string host(int rank) const override { return "host" + std::to_string(rank); }
  void exchange(std::span<const Outgoing> outgoing, std::span<const Incoming> incoming) override {
    std::unique_lock lock(mail_.mutex);
    for (const Outgoing& message : outgoing) {
      mail_.boxes[{rank_, message.to}].emplace_back(message.bytes.begin(), message.bytes.end());
    }
    mail_.arrived.notify_all();
    for (const Incoming& message : incoming) {
      auto& box = mail_.boxes[{message.from, rank_}];
      mail_.arrived.wait(lock, [&] { return !box.empty() || mail_.ended.contains(message.from); });
      if (box.empty()) {
        if (!mail_.failure) fail(ErrorKind::device, "Rank {} has ended without a message.", message.from);
        fail(mail_.failure->kind, "Rank {} on {}: {}", mail_.failure->rank, host(mail_.failure->rank),
             mail_.failure->reason);
      }
      if (box.front().size() != message.bytes.size()) fail(ErrorKind::device, "A message has another size.");
      std::ranges::copy(box.front(), message.bytes.begin());
      box.pop_front();
    }
  }
  void tell_failure(ErrorKind kind, const std::string& reason) noexcept override {
    const std::scoped_lock lock(mail_.mutex);
    if (!mail_.failure) mail_.failure = {rank_, kind, reason};
    mail_.arrived.notify_all();
  }
  std::optional<PeerFailure> failure() const override {
    const std::scoped_lock lock(mail_.mutex);
    if (mail_.failure && mail_.failure->rank != rank_) return mail_.failure;
    return std::nullopt;
  }

 private:
  TestMail& mail_;
  int rank_;
  int size_;
};

// Runs `work` on each of `size` ranks at the same time, each of which tells the others of an exception. Returns what
// each rank's error said, empty where there was none.
inline std::vector<std::string> on_ranks(int size, const std::function<void(Communicator&)>& work) {
  TestMail mail;
  std::vector<std::string> errors(static_cast<std::size_t>(size));
  std::vector<std::thread> threads;
  for (int rank = 0; rank < size; ++rank) {
    threads.emplace_back([&, rank] {
      Communicator communicator(std::make_unique<TestTransport>(mail, rank, size));
      try {
        work(communicator);
      } catch (const std::exception& error) {
        communicator.tell_failure(error);
        errors[static_cast<std::size_t>(rank)] = error.what();
      }
      const std::scoped_lock lock(mail.mutex);
      mail.ended.insert(rank);
      mail.arrived.notify_all();
    });
  }
  for (std::thread& thread : threads) thread.join();
  return errors;
}

}  // namespace mslt
