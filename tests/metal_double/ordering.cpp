// Comparing the accesses of unordered commands.
#include "tests/metal_double/ordering.h"

#include <fmt/format.h>

#include <utility>

namespace mslt::metal_double {
namespace {

bool disturb(const Access& a, const Access& b) {
  return a.buffer == b.buffer && (a.writes || b.writes) && a.begin < a.end && b.begin < b.end && a.begin < b.end &&
         b.begin < a.end;
}

std::string describe(const Command& command, const Access& access) {
  return fmt::format("{} {} '{}' [{}, {})", command.name, access.writes ? "writes" : "reads", access.name, access.begin,
                     access.end);
}

}  // namespace

void Ordering::Set::insert(std::uint64_t encoder) {
  if (contains(encoder)) return;
  more_.insert(encoder);
  while (!more_.empty() && *more_.begin() == through_ + 1) {
    more_.erase(more_.begin());
    ++through_;
  }
}

void Ordering::Set::insert_through(std::uint64_t encoder) {
  if (encoder <= through_) return;
  through_ = encoder;
  more_.erase(more_.begin(), more_.upper_bound(encoder));
}

void Ordering::Set::insert(const Set& other) {
  insert_through(other.through_);
  const std::set<std::uint64_t> more = other.more_;
  for (const std::uint64_t encoder : more) insert(encoder);
}

bool Ordering::Set::contains(std::uint64_t encoder) const {
  return encoder <= through_ || more_.contains(encoder);
}

std::uint64_t Ordering::begin_encoder() {
  encoders_[++last_].after = done_;
  return last_;
}

void Ordering::wait(std::uint64_t encoder, const void* fence) {
  Encoder& waiting = encoders_.at(encoder);
  if (!waiting.commands.empty()) problems_.push_back("An encoder waits for a fence after its first command.");
  if (waiting.updated.contains(fence)) problems_.push_back("An encoder waits for a fence that it has updated.");
  waiting.after.insert(fences_[fence]);
}

void Ordering::update(std::uint64_t encoder, const void* fence) {
  encoders_.at(encoder).updated.insert(fence);
}

void Ordering::barrier(std::uint64_t encoder) {
  Encoder& current = encoders_.at(encoder);
  current.since_barrier = current.commands.size();
}

void Ordering::add(std::uint64_t encoder, Command command) {
  Encoder& current = encoders_.at(encoder);
  for (std::size_t i = current.since_barrier; i < current.commands.size(); ++i) {
    compare(current.commands[i], command, "no barrier between them", false);
  }
  if (!current.updated.empty()) problems_.push_back(command.name + " comes after its encoder's update of a fence.");
  current.commands.push_back(std::move(command));
}

void Ordering::end_encoder(std::uint64_t encoder) {
  Encoder& current = encoders_.at(encoder);
  for (const auto& [number, other] : encoders_) {
    if (number >= encoder || current.after.contains(number)) continue;
    for (const Command& earlier : other.commands) {
      for (const Command& later : current.commands) compare(earlier, later, "no fence between their encoders", true);
    }
  }
  Set after = current.after;
  after.insert(encoder);
  for (const void* fence : current.updated) fences_[fence] = after;
  current.ended = true;
}

void Ordering::drop(std::uint64_t encoder) {
  encoders_.erase(encoder);
}

void Ordering::done_through(std::uint64_t encoder) {
  done_.insert_through(encoder);
  std::erase_if(encoders_, [encoder](const auto& entry) { return entry.first <= encoder && entry.second.ended; });
}

std::vector<std::string> Ordering::take_problems() {
  return std::exchange(problems_, {});
}

void Ordering::compare(const Command& earlier, const Command& later, const char* reason, bool encoders) {
  for (const Access& a : earlier.accesses) {
    for (const Access& b : later.accesses) {
      if ((encoders && a.tracked) || !disturb(a, b)) continue;
      problems_.push_back(fmt::format("{} while {}: there is {}.", describe(earlier, a), describe(later, b), reason));
      return;
    }
  }
}

}  // namespace mslt::metal_double
