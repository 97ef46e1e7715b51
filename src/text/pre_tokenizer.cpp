// The steps of pre-tokenizers, one after another on all pieces.
#include "text/pre_tokenizer.h"

#include <algorithm>
#include <utility>

#include "text/normalizer.h"
#include "text/utf8.h"

namespace mslt {
namespace {

// A match, or the text before one. Positions are in the piece.
struct Span {
  std::size_t begin;
  std::size_t end;
  bool is_match;
};

std::string_view expression_of(SplitPattern pattern) {
  switch (pattern) {
    case SplitPattern::gpt2:
      return R"('(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
    case SplitPattern::llama3:
      return R"('(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+)";
    case SplitPattern::qwen2:
      return R"('(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+)";
    case SplitPattern::o200k:
      return R"([^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+('(?i:[sdmt]|ll|ve|re))?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s+)";
    case SplitPattern::none:
      break;
  }
  return "";
}

PreTokenizerStep split_by(Expression expression, SplitBehaviour behaviour, bool invert) {
  return {.expression = std::make_shared<const Expression>(std::move(expression)),
          .behaviour = behaviour,
          .invert = invert};
}

ExpressionNode one_of(CharacterSet set) {
  return {.kind = ExpressionNode::Kind::set, .set = std::move(set), .children = {}};
}

// Applies the behaviour of a step to spans that cover a piece.
void apply_behaviour(SplitBehaviour behaviour, std::vector<Span>& spans) {
  switch (behaviour) {
    case SplitBehaviour::isolated:
      break;
    case SplitBehaviour::removed:
      std::erase_if(spans, [](const Span& span) { return span.is_match; });
      break;
    case SplitBehaviour::contiguous:
    case SplitBehaviour::merged_with_previous: {
      const bool merges_matches = behaviour == SplitBehaviour::contiguous;
      std::size_t kept = 0;
      bool previous = false;
      for (const Span span : spans) {
        const bool joins = merges_matches ? span.is_match == previous : span.is_match && !previous;
        previous = span.is_match;
        if (joins && kept > 0) {
          spans[kept - 1].end = span.end;
        } else {
          spans[kept++] = span;
        }
      }
      spans.resize(kept);
      break;
    }
    case SplitBehaviour::merged_with_next: {
      std::vector<Span> reversed;
      bool next = false;
      for (auto span = spans.rbegin(); span != spans.rend(); ++span) {
        if (span->is_match && !next && !reversed.empty()) {
          reversed.back().begin = span->begin;
        } else {
          reversed.push_back(*span);
        }
        next = span->is_match;
      }
      spans.assign(reversed.rbegin(), reversed.rend());
      break;
    }
  }
  std::erase_if(spans, [](const Span& span) { return span.begin == span.end; });
}

bool starts_character(std::string_view text, std::size_t position) {
  return (static_cast<unsigned char>(text[position]) & 0xC0) != 0x80;
}

}  // namespace

PreTokenizerStep split_by_pattern(SplitPattern pattern) {
  return {.pattern = pattern, .expression = nullptr};
}

PreTokenizerStep split_by_expression(std::string_view pattern, SplitBehaviour behaviour, bool invert) {
  return split_by(Expression(pattern), behaviour, invert);
}

PreTokenizerStep split_by_text(std::string_view text, SplitBehaviour behaviour, bool invert) {
  return split_by(Expression::literal(text), behaviour, invert);
}

PreTokenizerStep digits_step(bool individual) {
  return split_by(Expression(one_of(CharacterSet::named("numeric")), "Digits"),
                  individual ? SplitBehaviour::isolated : SplitBehaviour::contiguous, false);
}

PreTokenizerStep punctuation_step(SplitBehaviour behaviour) {
  return split_by(Expression(one_of(CharacterSet::named("punctuation")), "Punctuation"), behaviour, false);
}

PreTokenizerStep white_space_split_step() {
  return split_by(Expression(one_of(CharacterSet::named("space")), "WhitespaceSplit"), SplitBehaviour::removed, false);
}

// \w+|[^\w\s]+ with Rust's \w; drops the rest.
PreTokenizerStep words_step() {
  const CharacterSet word = CharacterSet::named("rust word");
  ExpressionNode choice{.kind = ExpressionNode::Kind::choice, .set = {}, .children = {}};
  for (const CharacterSet& set : {word, word.united(CharacterSet::named("space")).complement()}) {
    ExpressionNode repeat{.kind = ExpressionNode::Kind::repeat, .least = 1, .most = no_most, .set = {}, .children = {}};
    repeat.children.push_back(one_of(set));
    choice.children.push_back(std::move(repeat));
  }
  return split_by(Expression(choice, "Whitespace"), SplitBehaviour::removed, true);
}

PreTokenizerStep prefix_space_step() {
  return {.kind = PreTokenizerStep::Kind::prefix_space, .expression = nullptr};
}

PreTokenizerStep metaspace_step(std::string_view sign, PreTokenizerStep::Prefix prefix, bool splits) {
  return {.kind = PreTokenizerStep::Kind::metaspace,
          .expression = nullptr,
          .sign = std::string(sign),
          .prefix = prefix,
          .splits = splits};
}

namespace {

// Applies a metaspace step. `starts`: the first piece is at the start of its text.
void apply_metaspace(const PreTokenizerStep& step, bool starts, bool continues, Pieces& pieces) {
  using Prefix = PreTokenizerStep::Prefix;
  std::vector<std::string_view> views;
  for (const std::string_view& view : pieces.views) {
    const bool is_first = &view == &pieces.views.front();
    std::string text = replace_text(view, " ", step.sign);
    const bool adds = step.prefix == Prefix::piece ? !(is_first && continues)
                                                   : step.prefix == Prefix::text && is_first && starts && !continues;
    if (adds && !text.starts_with(step.sign)) text.insert(0, step.sign);
    pieces.copies.push_back(std::move(text));
    std::string_view rest = pieces.copies.back();
    while (step.splits && !rest.empty()) {
      const std::size_t next = rest.find(step.sign, rest.starts_with(step.sign) ? step.sign.size() : 0);
      if (next == std::string_view::npos) break;
      views.push_back(rest.substr(0, next));
      rest.remove_prefix(next);
    }
    if (!rest.empty()) views.push_back(rest);
  }
  pieces.views = std::move(views);
}

}  // namespace

// Runs one split step on pieces, reusing its memory.
class PreTokenizer::Splitter {
 public:
  explicit Splitter(const PreTokenizerStep& step) : step_(step) {
    if (step.expression) {
      matcher_.emplace(*step.expression);
    } else {
      next_ = next_pretokens(step.pattern);
    }
  }

  // The spans of a piece whose bytes are certain below `limit`. Those before `certain()` are certain, and no other
  // match starts before `uncertain_from()`.
  const std::vector<Span>& spans_of(std::string_view piece, std::size_t limit) {
    spans_.clear();
    certain_ = piece.size();
    uncertain_from_ = piece.size();
    if (!matcher_) {
      split_by_pattern(piece, limit);
      return spans_;
    }
    std::size_t previous = 0;
    matcher_->start(piece, limit);
    while (const auto match = matcher_->next()) {
      if (matcher_->reached() && *matcher_->reached() <= match->begin && uncertain_from_ == piece.size()) {
        certain_ = previous;
        uncertain_from_ = *matcher_->reached();
      }
      if (match->begin > previous) spans_.push_back({previous, match->begin, step_.invert});
      spans_.push_back({match->begin, match->end, !step_.invert});
      previous = match->end;
    }
    if (previous < piece.size()) spans_.push_back({previous, piece.size(), step_.invert});
    if (matcher_->reached() && uncertain_from_ == piece.size()) {
      certain_ = previous;
      uncertain_from_ = *matcher_->reached();
    }
    return spans_;
  }

  std::size_t certain() const { return certain_; }
  std::size_t uncertain_from() const { return uncertain_from_; }

  // Appends the pieces of a piece to `views`.
  void split(std::string_view piece, std::vector<std::string_view>& views) {
    spans_of(piece, std::string_view::npos);
    apply_behaviour(step_.behaviour, spans_);
    for (const Span& span : spans_) views.push_back(piece.substr(span.begin, span.end - span.begin));
  }

  // For a piece whose end is unknown, appends the certain pieces. Returns the start of the rest; `limit` becomes the
  // first position where it may be cut.
  std::size_t split_open(std::string_view piece, std::size_t& limit, std::vector<std::string_view>& views) {
    spans_of(piece, limit);
    std::erase_if(spans_, [&](const Span& span) { return span.end > certain_; });
    std::size_t open = certain_;
    limit = std::min(limit, uncertain_from_);
    apply_behaviour(step_.behaviour, spans_);
    const bool is_local = step_.behaviour == SplitBehaviour::isolated || step_.behaviour == SplitBehaviour::removed;
    if (!is_local) {
      // The following text may still change the last two.
      spans_.resize(spans_.size() - std::min<std::size_t>(spans_.size(), 2));
      open = spans_.empty() ? 0 : spans_.back().end;
      limit = open;
    }
    for (const Span& span : spans_) views.push_back(piece.substr(span.begin, span.end - span.begin));
    return open;
  }

 private:
  void split_by_pattern(std::string_view piece, std::size_t limit) {
    if (limit < piece.size()) {
      certain_ = 0;
      uncertain_from_ = 0;
      const std::string_view known = piece.substr(0, limit);
      if (step_.pattern != SplitPattern::none && !known.empty()) {
        certain_ = mslt::safe_cut(known);
        uncertain_from_ = certain_;
      }
    } else if (limit != std::string_view::npos && step_.pattern != SplitPattern::none) {
      certain_ = piece.empty() ? 0 : mslt::safe_cut(piece);
      uncertain_from_ = certain_;
    } else if (limit != std::string_view::npos) {
      certain_ = 0;
      uncertain_from_ = limit;
    }
    for_each_pretoken(piece, next_, [&](std::size_t begin, std::size_t end) { spans_.push_back({begin, end, true}); });
  }

  const PreTokenizerStep& step_;
  std::optional<ExpressionMatcher> matcher_;
  NextPretokens next_ = nullptr;
  std::vector<Span> spans_;
  std::size_t certain_ = 0;
  std::size_t uncertain_from_ = 0;
};

PreTokenizer::PreTokenizer(std::vector<PreTokenizerStep> steps) : steps_(std::move(steps)) {
  std::size_t splits = 0;
  for (std::size_t i = 0; i < steps_.size(); ++i) {
    const PreTokenizerStep& step = steps_[i];
    if (step.kind == PreTokenizerStep::Kind::prefix_space) {
      (i == 0 ? starts_with_space_ : adds_spaces_later_) = true;
      expressions_.push_back(nullptr);
    } else if (step.kind == PreTokenizerStep::Kind::metaspace) {
      adds_spaces_later_ = true;
      expressions_.push_back(nullptr);
    } else {
      ++splits;
      expressions_.push_back(step.expression ? step.expression
                                             : std::make_shared<const Expression>(expression_of(step.pattern)));
    }
  }
  if (adds_spaces_later_ || splits > 1) return;
  if (splits == 0) {
    single_pattern_ = SplitPattern::none;
  } else if (!steps_.back().expression) {
    single_pattern_ = steps_.back().pattern;
  }
}

void PreTokenizer::split(std::string_view text, bool continues, Pieces& pieces) const {
  pieces.views.clear();
  pieces.copies.clear();
  if (text.empty()) return;
  pieces.views.push_back(text);
  std::vector<std::string_view> cut;
  bool starts = true;
  for (const PreTokenizerStep& step : steps_) {
    if (pieces.views.empty()) return;
    const bool is_first = &step == &steps_.front();
    if (step.kind == PreTokenizerStep::Kind::metaspace) {
      apply_metaspace(step, starts, continues, pieces);
      continue;
    }
    if (step.kind == PreTokenizerStep::Kind::prefix_space) {
      if (is_first && continues) continue;
      for (std::string_view& view : pieces.views) {
        if (view.starts_with(' ')) continue;
        pieces.copies.push_back(" " + std::string(view));
        view = pieces.copies.back();
      }
      continue;
    }
    Splitter splitter(step);
    cut.clear();
    for (const std::string_view view : pieces.views) splitter.split(view, cut);
    starts = starts && !cut.empty() && cut.front().data() == pieces.views.front().data();
    pieces.views.swap(cut);
  }
}

bool PreTokenizer::prefixes_only_texts() const {
  return std::ranges::find(steps_, PreTokenizerStep::Prefix::text, &PreTokenizerStep::prefix) != steps_.end();
}

bool PreTokenizer::replaces_spaces_by(std::string_view sign) const {
  return std::ranges::find(steps_, sign, &PreTokenizerStep::sign) != steps_.end();
}

bool PreTokenizer::keeps_apart(char32_t left, char32_t right) const {
  using Kind = PreTokenizerStep::Kind;
  const bool only_splits = std::ranges::all_of(steps_, [](const PreTokenizerStep& step) {
    return step.kind == Kind::split && step.expression && !step.expression->looks_ahead();
  });
  // A metaspace step by itself keeps a space apart from what is before it.
  return only_splits ? may_cut_between(left, right) : steps_.size() == 1 && steps_.front().kind == Kind::metaspace;
}

// Whether no step can match a text containing both characters. Steps then find the same matches on both sides of a cut
// between the two as in the whole; at most, a piece that spans the cut is cut in two.
bool PreTokenizer::may_cut_between(char32_t left, char32_t right) const {
  return std::none_of(expressions_.begin(), expressions_.end(), [&](const auto& expression) {
    return expression && (expression->looks_back() || expression->may_join(left, right));
  });
}

std::size_t PreTokenizer::safe_cut(std::string_view text, std::size_t limit, bool continues) const {
  const bool has_split = std::any_of(steps_.begin(), steps_.end(), [](const PreTokenizerStep& step) {
    return step.kind == PreTokenizerStep::Kind::split;
  });
  if (!has_split || adds_spaces_later_ || text.empty()) return 0;
  limit = std::min(limit, text.size());
  // A window at the end of the text, enlarged while it contains no place to cut.
  for (std::size_t reach = std::size_t{1} << 12;; reach *= 4) {
    std::size_t window = limit > reach ? limit - reach : 0;
    while (window > 0) {
      if (starts_character(text, window)) {
        const char32_t right = decode_utf8(text, window).code_point;
        if (may_cut_between(character_before(text, window), right)) break;
      }
      --window;
    }
    if (const std::size_t cut = cut_in_window(text, window, limit, continues); cut > 0) return cut;
    if (window == 0) return 0;
  }
}

std::size_t PreTokenizer::cut_in_window(std::string_view text, std::size_t window, std::size_t limit,
                                        bool continues) const {
  // At the text's start, the first step may add a space here.
  const std::string_view given = text.substr(window);
  std::string spaced;
  std::string_view whole = given;
  if (window == 0 && starts_with_space_ && !continues && !given.starts_with(' ')) {
    spaced = " " + std::string(given);
    whole = spaced;
  }
  const std::size_t added = whole.size() - given.size();

  std::vector<std::string_view> closed;
  std::vector<std::string_view> next;
  std::size_t open = 0;
  std::size_t certain = limit - window + added;
  for (const PreTokenizerStep& step : steps_) {
    if (step.kind == PreTokenizerStep::Kind::prefix_space) continue;
    Splitter splitter(step);
    next.clear();
    for (const std::string_view piece : closed) splitter.split(piece, next);
    std::size_t open_limit = certain - open;
    const std::size_t start = splitter.split_open(whole.substr(open), open_limit, next);
    certain = open + open_limit;
    open += start;
    certain = std::max(certain, open);
    closed.swap(next);
  }

  const auto position_of = [&](const char* at) {
    return static_cast<std::size_t>(at - whole.data());
  };
  int tries = 0;
  Pieces left;
  for (std::size_t count = closed.size(); count > 0 && tries < 16; --count) {
    const std::string_view last = closed[count - 1];
    const std::size_t cut = position_of(last.data() + last.size());
    if (cut <= added || cut >= limit - window + added) continue;
    if (!starts_character(whole, cut)) continue;
    if (!may_cut_between(character_before(whole, cut), decode_utf8(whole, cut).code_point)) continue;
    // The left side must be split the same way if it ends here.
    ++tries;
    split(whole.substr(0, cut), true, left);
    const bool same = std::equal(
        left.views.begin(), left.views.end(), closed.begin(), closed.begin() + static_cast<std::ptrdiff_t>(count),
        [](std::string_view a, std::string_view b) { return a.data() == b.data() && a.size() == b.size(); });
    if (same) return window + cut - added;
  }
  return 0;
}

}  // namespace mslt
