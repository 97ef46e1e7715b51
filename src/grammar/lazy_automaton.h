// LazyAutomaton: the states of a grammar that texts have reached, with their successors.
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

#include "grammar/json_automaton.h"

namespace mslt {

// A state is a set of places in the grammar, each with its stack of open calls. Stacks share their lower parts. A place
// is kept only if a text can end from there with the calls that are left, so every state but `dead` has a way to an
// end. Where a set would exceed a limit, places are left out, which only forbids texts. One thread at a time.
class LazyAutomaton {
 public:
  using StateId = std::uint32_t;
  static constexpr StateId dead = std::numeric_limits<StateId>::max();
  // New places that a walk may compute.
  static constexpr std::int64_t walk_budget = 1'000'000;

  // The automaton must outlive this.
  explicit LazyAutomaton(const JsonGrammar::Automaton& automaton);

  StateId start() const { return 0; }
  bool accepts(StateId state) const { return states_[state].accepts; }
  // Whether no byte can follow.
  bool is_last(StateId state) const { return states_[state].places.empty(); }

  // The state after one more byte. `budget` falls by the places computed; below 0, a successor that is not known yet
  // counts as dead.
  StateId next(StateId state, std::uint8_t byte, std::int64_t& budget) {
    const StateId known = states_[state].next[automaton_.class_of[byte]];
    return known != unknown ? known : find_next(state, byte, budget);
  }

  // The tokens that a state allows; empty until set.
  std::span<const std::uint32_t> mask(StateId state) const { return states_[state].mask; }
  void set_mask(StateId state, std::vector<std::uint32_t> mask);

  // Whether so much is known that it is time to start anew.
  bool is_full() const { return bytes_ > max_bytes; }
  // The state of another automaton of the same grammar.
  StateId copy_state(const LazyAutomaton& other, StateId state);

 private:
  static constexpr StateId unknown = dead - 1;
  static constexpr std::size_t max_bytes = std::size_t{32} << 20;
  static constexpr std::size_t max_places = 4'096;
  static constexpr std::size_t max_visits = 16'384;

  using FrameId = std::uint32_t;
  // An open call: where it goes on, and the call around it. Frame 0 is the whole text.
  struct Frame {
    NodeId next = ByteGrammar::none;
    FrameId parent = 0;
    std::uint32_t depth = 0;
  };
  struct Place {
    NodeId node = 0;
    FrameId frame = 0;
    auto operator<=>(const Place&) const = default;
  };
  struct State {
    std::vector<Place> places;  // with edges, ascending
    bool accepts = false;
    std::vector<StateId> next;
    std::vector<std::uint32_t> mask;
  };

  StateId find_next(StateId state, std::uint8_t byte, std::int64_t& budget);
  StateId close(std::vector<Place> from);
  StateId intern(std::vector<Place> places, bool accepts);
  FrameId frame(NodeId next, FrameId parent);
  bool lives(NodeId node, FrameId frame) const;

  const JsonGrammar::Automaton& automaton_;
  std::vector<Frame> frames_;
  std::unordered_map<std::uint64_t, FrameId> frame_ids_;
  std::vector<State> states_;
  std::unordered_multimap<std::uint64_t, StateId> state_ids_;  // by hash
  std::size_t bytes_ = 0;
};

}  // namespace mslt
