// The backtracking matcher, which remembers failures in texts that would make it repeat itself.
#include <algorithm>
#include <unordered_map>

#include "base/fail.h"
#include "text/expression.h"
#include "text/utf8.h"

namespace mslt {

// Remaining alternatives. Positions are those of the state's first try; `high` is the end of a loop.
struct ExpressionMatcher::Frame {
  enum class Kind : std::uint8_t {
    way,        // continue at `counter` and `low`
    loop,       // give back a character of [low, now)
    kept_loop,  // nothing to try: the loop at `counter` fails from every position in [low, high]
    mark,       // nothing to try: the split at `counter` fails at `low`
  };
  Kind kind = Kind::way;
  std::uint32_t counter = 0;
  std::size_t low = 0;
  std::size_t now = 0;
  std::size_t high = 0;
};

// Two bits for each state at each position: it fails, and a look-ahead succeeds from it.
struct ExpressionMatcher::Memory {
  static constexpr std::size_t page_positions = 256;

  explicit Memory(std::uint32_t count) : states(count) {}

  static std::uint64_t bit_of(std::size_t index) { return std::uint64_t{1} << (index % 64); }
  std::size_t index_of(std::uint32_t state, std::size_t position, bool success) const {
    return ((position % page_positions) * states + state) * 2 + (success ? 1 : 0);
  }

  bool has(std::uint32_t state, std::size_t position, bool success) const {
    const auto page = pages.find(position / page_positions);
    if (page == pages.end()) return false;
    const std::size_t index = index_of(state, position, success);
    return (page->second[index / 64] & bit_of(index)) != 0;
  }

  void set(std::uint32_t state, std::size_t position, bool success) {
    auto& page = pages[position / page_positions];
    if (page.empty()) page.resize((page_positions * states * 2 + 63) / 64);
    const std::size_t index = index_of(state, position, success);
    page[index / 64] |= bit_of(index);
  }

  // Nothing starts before `position` any more.
  void forget_before(std::size_t position) {
    const std::size_t page = position / page_positions;
    for (; first_page < page; ++first_page) pages.erase(first_page);
  }

  std::uint32_t states;
  std::size_t first_page = 0;
  std::unordered_map<std::size_t, std::vector<std::uint64_t>> pages;
};

ExpressionMatcher::ExpressionMatcher(const Expression& expression) : expression_(expression) {}

void ExpressionMatcher::start(std::string_view text, std::size_t limit) {
  text_ = text;
  limit_ = limit;
  reached_.reset();
  last_end_.reset();
  from_ = 0;
  furthest_ = 0;
  steps_ = 0;
  memory_.reset();
  frames_.clear();
  slow_down();
}

ExpressionMatcher::~ExpressionMatcher() = default;

ExpressionMatcher::Character ExpressionMatcher::at(std::size_t position) {
  if (position >= limit_ && !reached_) reached_ = attempt_;
  if (position >= text_.size()) return {0, 0};
  furthest_ = std::max(furthest_, position);
  const auto byte = static_cast<unsigned char>(text_[position]);
  if (byte < 0x80) return {byte, 1};
  // A character at the end of the text may be the start of a longer one.
  if (limit_ <= text_.size() && position + 4 > limit_ && !reached_) reached_ = attempt_;
  const Utf8Result result = decode_utf8(text_, position);
  if (result.status != Utf8Status::valid) return {replacement_character, 1};
  return {result.code_point, result.length};
}

void ExpressionMatcher::slow_down() {
  constexpr std::uint64_t free_steps = 4096;
  constexpr std::uint64_t steps_a_byte = 64;
  if (memory_) {
    fail(ErrorKind::input, "The expression {} takes more than {} steps on a text of {} bytes.", expression_.pattern(),
         steps_allowed_, text_.size());
  }
  const std::uint64_t explained = free_steps + steps_a_byte * (furthest_ + 1);
  if (steps_ <= explained) {
    steps_allowed_ = explained;
    return;
  }
  memory_ = std::make_unique<Memory>(expression_.states_);
  memory_->forget_before(from_);
  steps_allowed_ = steps_ + free_steps + steps_a_byte * expression_.program_.size() * (text_.size() + 1);
}

bool ExpressionMatcher::known_to_fail(std::uint32_t state, std::size_t position) const {
  return memory_ && memory_->has(state, position, false);
}

void ExpressionMatcher::remember_range(std::uint32_t state, std::size_t low, std::size_t high, bool success) {
  if (!memory_) return;
  // Positions inside a character are never queried.
  for (std::size_t position = low; position <= high; ++position) memory_->set(state, position, success);
}

// The end of the run of characters in the set.
std::size_t ExpressionMatcher::scan(const Expression::Instruction& instruction, std::size_t position) {
  const CharacterSet& set = expression_.sets_[instruction.set];
  const std::size_t start = position;
  while (true) {
    const Character character = at(position);
    if (character.length == 0 || !set.contains(character.code_point)) break;
    position += character.length;
    if (known_to_fail(instruction.state, position)) break;
  }
  count_steps((position - start) / 4);
  return position;
}

bool ExpressionMatcher::is_of(std::uint32_t set, std::size_t position) {
  const Character character = at(position);
  return character.length != 0 && expression_.sets_[set].contains(character.code_point);
}

bool ExpressionMatcher::holds(const Expression::Instruction& instruction, std::size_t position) {
  switch (instruction.assertion) {
    case Assertion::begin_line:
      // Ruby: not after a line feed at the end of the text.
      return position == 0 || (text_[position - 1] == '\n' && at(position).length != 0);
    case Assertion::end_line:
      return at(position).length == 0 || text_[position] == '\n';
    case Assertion::begin_text:
      return position == 0;
    case Assertion::end_text:
      return at(position).length == 0;
    case Assertion::end_text_or_last_line:
      return at(position).length == 0 || (text_[position] == '\n' && at(position + 1).length == 0);
    case Assertion::word_boundary:
    case Assertion::no_word_boundary:
      break;
  }
  const bool differ = (position > 0 && is_of(instruction.set, start_of_character_before(text_, position))) !=
                      is_of(instruction.set, position);
  return differ == (instruction.assertion == Assertion::word_boundary);
}

bool ExpressionMatcher::resume(std::size_t base, std::uint32_t& counter, std::size_t& position) {
  while (frames_.size() > base) {
    Frame& frame = frames_.back();
    switch (frame.kind) {
      case Frame::Kind::way:
        counter = frame.counter;
        position = frame.low;
        frames_.pop_back();
        return true;
      case Frame::Kind::loop:
        if (frame.now > frame.low) {
          frame.now = start_of_character_before(text_, frame.now);
          counter = frame.counter + 1;
          position = frame.now;
          return true;
        }
        [[fallthrough]];
      case Frame::Kind::kept_loop:
        remember_range(expression_.program_[frame.counter].state, frame.low, frame.high, false);
        frames_.pop_back();
        break;
      case Frame::Kind::mark:
        if (memory_) memory_->set(expression_.program_[frame.counter].state, frame.low, false);
        frames_.pop_back();
        break;
    }
  }
  return false;
}

void ExpressionMatcher::remember_success(std::size_t base) {
  if (!memory_) return;
  for (std::size_t i = base; i < frames_.size(); ++i) {
    const Frame& frame = frames_[i];
    const std::uint32_t state = expression_.program_[frame.counter].state;
    if (frame.kind == Frame::Kind::mark) memory_->set(state, frame.low, true);
    if (frame.kind == Frame::Kind::loop) remember_range(state, frame.low, frame.now, true);
    if (frame.kind == Frame::Kind::kept_loop) remember_range(state, frame.low, frame.high, true);
  }
}

// Runs the part that starts at `counter` up to its accept; returns its end, or nothing.
std::optional<std::size_t> ExpressionMatcher::run(std::uint32_t counter, std::size_t position, Purpose purpose) {
  using Operation = Expression::Operation;
  const std::size_t base = frames_.size();
  while (true) {
    count_steps(1);
    const Expression::Instruction& instruction = expression_.program_[counter];
    bool failed = false;
    bool succeeded = false;
    const bool has_state = instruction.operation == Operation::split || instruction.operation == Operation::loop ||
                           instruction.operation == Operation::keep_loop;
    if (has_state && memory_) {
      failed = memory_->has(instruction.state, position, false);
      succeeded = !failed && purpose == Purpose::look && memory_->has(instruction.state, position, true);
    }
    if (!failed && !succeeded) {
      switch (instruction.operation) {
        case Operation::accept:
          succeeded = true;
          break;
        case Operation::character: {
          const Character character = at(position);
          failed = character.length == 0 || !expression_.sets_[instruction.set].contains(character.code_point);
          position += character.length;
          ++counter;
          break;
        }
        case Operation::split:
          if (memory_) frames_.push_back({.kind = Frame::Kind::mark, .counter = counter, .low = position});
          frames_.push_back({.kind = Frame::Kind::way, .counter = instruction.b, .low = position});
          counter = instruction.a;
          break;
        case Operation::jump:
          counter = instruction.a;
          break;
        case Operation::loop: {
          std::size_t end = scan(instruction, position);
          const std::size_t high = end;
          // If the run ended because the rest fails, its end fails too.
          if (end > position && known_to_fail(instruction.state, end)) end = start_of_character_before(text_, end);
          frames_.push_back({.kind = Frame::Kind::loop, .counter = counter, .low = position, .now = end, .high = high});
          position = end;
          ++counter;
          break;
        }
        case Operation::keep_loop: {
          const std::size_t end = scan(instruction, position);
          failed = end > position && known_to_fail(instruction.state, end);
          frames_.push_back(
              {.kind = Frame::Kind::kept_loop, .counter = counter, .low = position, .now = end, .high = end});
          position = end;
          ++counter;
          break;
        }
        case Operation::atomic: {
          const auto end = run(instruction.a, position, Purpose::atomic);
          failed = !end;
          position = end.value_or(position);
          counter = instruction.b;
          break;
        }
        case Operation::look_ahead:
          failed = run(instruction.a, position, Purpose::look).has_value() == instruction.negative;
          counter = instruction.b;
          break;
        case Operation::look_behind: {
          const bool found = position > 0 && is_of(instruction.set, start_of_character_before(text_, position));
          failed = found == instruction.negative;
          ++counter;
          break;
        }
        case Operation::assertion:
          failed = !holds(instruction, position);
          ++counter;
          break;
      }
    }
    if (succeeded) {
      if (purpose == Purpose::look) remember_success(base);
      frames_.resize(base);
      return position;
    }
    if (failed && !resume(base, counter, position)) return std::nullopt;
  }
}

std::optional<ExpressionMatcher::Match> ExpressionMatcher::next() {
  while (from_ <= text_.size()) {
    std::optional<Match> match;
    if (memory_) memory_->forget_before(from_);
    for (std::size_t start = from_; start <= text_.size();) {
      attempt_ = start;
      const Character character = at(start);
      if (expression_.can_be_empty_ || (character.length != 0 && expression_.first_.contains(character.code_point))) {
        if (const auto end = run(0, start, Purpose::match)) {
          match = Match{start, *end};
          break;
        }
      }
      if (character.length == 0) break;
      start += character.length;
    }
    if (!match) {
      from_ = text_.size() + 1;
      return std::nullopt;
    }
    if (match->begin == match->end && last_end_ == match->end) {
      // No match here; continue after the next character.
      from_ += std::max<std::size_t>(1, at(from_).length);
      continue;
    }
    from_ = match->end;
    last_end_ = match->end;
    return match;
  }
  return std::nullopt;
}

}  // namespace mslt
