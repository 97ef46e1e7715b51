// Computing states of a grammar when they are first reached.
#include "grammar/lazy_automaton.h"

#include <algorithm>
#include <bitset>
#include <unordered_set>

namespace mslt {

JsonGrammar::Automaton::Automaton(ByteGrammar finished) : grammar(std::move(finished)) {
  std::bitset<257> cuts;
  for (const ByteGrammar::Node& node : grammar.nodes()) {
    for (const ByteGrammar::Edge& edge : node.edges) {
      cuts.set(edge.first);
      cuts.set(edge.last + std::size_t{1});
    }
  }
  std::uint32_t last = 0;
  for (std::size_t byte = 0; byte < 256; ++byte) {
    if (byte > 0 && cuts[byte]) ++last;
    class_of[byte] = static_cast<std::uint8_t>(last);
  }
  classes = last + 1;
}

LazyAutomaton::LazyAutomaton(const JsonGrammar::Automaton& automaton) : automaton_(automaton) {
  frames_.emplace_back();
  close({{automaton_.grammar.rules()[0].start, 0}});
}

bool LazyAutomaton::lives(NodeId node, FrameId frame) const {
  return frames_[frame].depth + automaton_.grammar.nodes()[node].calls <= ByteGrammar::max_calls;
}

LazyAutomaton::FrameId LazyAutomaton::frame(NodeId next, FrameId parent) {
  const std::uint64_t key = (std::uint64_t{next} << 32) | parent;
  const auto [found, is_new] = frame_ids_.try_emplace(key, static_cast<FrameId>(frames_.size()));
  if (is_new) {
    frames_.push_back({next, parent, frames_[parent].depth + 1});
    bytes_ += sizeof(Frame) + 48;
  }
  return found->second;
}

LazyAutomaton::StateId LazyAutomaton::find_next(StateId state, std::uint8_t byte, std::int64_t& budget) {
  if (budget < 0) return dead;
  std::vector<Place> targets;
  const auto& nodes = automaton_.grammar.nodes();
  for (const Place& place : states_[state].places) {
    for (const ByteGrammar::Edge& edge : nodes[place.node].edges) {
      if (edge.first <= byte && byte <= edge.last) targets.push_back({edge.target, place.frame});
    }
  }
  const StateId found = targets.empty() ? dead : close(std::move(targets));
  // A state costs something even if it is small.
  if (found != dead) budget -= static_cast<std::int64_t>(states_[found].places.size()) + 16;
  states_[state].next[automaton_.class_of[byte]] = found;
  return found;
}

LazyAutomaton::StateId LazyAutomaton::close(std::vector<Place> from) {
  const auto& nodes = automaton_.grammar.nodes();
  std::unordered_set<std::uint64_t> seen;
  std::vector<Place> places;
  bool accepts = false;
  std::reverse(from.begin(), from.end());
  while (!from.empty() && seen.size() < max_visits && places.size() < max_places) {
    const Place place = from.back();
    from.pop_back();
    if (!lives(place.node, place.frame)) continue;
    if (!seen.insert((std::uint64_t{place.node} << 32) | place.frame).second) continue;
    const ByteGrammar::Node& node = nodes[place.node];
    if (!node.edges.empty()) places.push_back(place);
    for (auto target = node.also.rbegin(); target != node.also.rend(); ++target) from.push_back({*target, place.frame});
    if (node.rule != ByteGrammar::none && lives(node.next, place.frame)) {
      const NodeId start = automaton_.grammar.rules()[node.rule].start;
      if (frames_[place.frame].depth + 1 + nodes[start].calls <= ByteGrammar::max_calls) {
        from.push_back({start, frame(node.next, place.frame)});
      }
    }
    if (node.returns) {
      if (place.frame == 0) {
        accepts = true;
      } else {
        from.push_back({frames_[place.frame].next, frames_[place.frame].parent});
      }
    }
  }
  if (places.empty() && !accepts) return dead;
  std::sort(places.begin(), places.end());
  return intern(std::move(places), accepts);
}

LazyAutomaton::StateId LazyAutomaton::intern(std::vector<Place> places, bool accepts) {
  std::uint64_t hash = accepts ? 1 : 2;
  for (const Place& place : places) {
    hash = (hash ^ place.node) * 0x9E3779B97F4A7C15U;
    hash = (hash ^ (hash >> 29) ^ place.frame) * 0xBF58476D1CE4E5B9U;
  }
  const auto [first, last] = state_ids_.equal_range(hash);
  for (auto known = first; known != last; ++known) {
    const State& state = states_[known->second];
    if (state.accepts == accepts && state.places == places) return known->second;
  }
  const auto id = static_cast<StateId>(states_.size());
  bytes_ += sizeof(State) + 64 + places.size() * sizeof(Place) + automaton_.classes * sizeof(StateId);
  states_.push_back({std::move(places), accepts, std::vector<StateId>(automaton_.classes, unknown), {}});
  state_ids_.emplace(hash, id);
  return id;
}

void LazyAutomaton::set_mask(StateId state, std::vector<std::uint32_t> mask) {
  bytes_ += mask.size() * sizeof(std::uint32_t);
  states_[state].mask = std::move(mask);
}

LazyAutomaton::StateId LazyAutomaton::copy_state(const LazyAutomaton& other, StateId state) {
  std::vector<Place> places;
  for (const Place& place : other.states_[state].places) {
    std::vector<NodeId> calls;
    for (FrameId at = place.frame; at != 0; at = other.frames_[at].parent) calls.push_back(other.frames_[at].next);
    FrameId copied = 0;
    for (auto next = calls.rbegin(); next != calls.rend(); ++next) copied = frame(*next, copied);
    places.push_back({place.node, copied});
  }
  std::sort(places.begin(), places.end());
  return intern(std::move(places), other.states_[state].accepts);
}

}  // namespace mslt
