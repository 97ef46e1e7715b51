// The cleaning steps as small state machines.
#include "data/clean.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <utility>

#include "base/fail.h"
#include "base/suggest.h"
#include "text/lowercase_table.h"
#include "text/normalize.h"
#include "text/utf8.h"

namespace mslt {

class Cleaner::Step {
 public:
  Step() = default;
  Step(const Step&) = delete;
  Step& operator=(const Step&) = delete;
  virtual ~Step() = default;
  virtual void push(std::string_view piece, std::string& output) = 0;
  // Appends what is held back and returns to the state of a new document.
  virtual void finish(std::string& output) = 0;
};

namespace {

class WhitespaceStep final : public Cleaner::Step {
 public:
  void push(std::string_view piece, std::string& output) override {
    for (const char character : piece) put(character, output);
  }

  void finish(std::string& output) override {
    if (state_.pending_c2) put_visible('\xC2', output);
    state_ = {};
  }

 private:
  struct State {
    bool pending_c2 = false;  // the first byte of U+0080 to U+00BF, whose second one decides
    bool after_cr = false;
    bool space = false;  // a run of spaces that is written only when something follows it on the line
    int line_ends = 1;   // in a row up to here; the start of a document counts as one
  };

  void put(char character, std::string& output) {
    const auto byte = static_cast<unsigned char>(character);
    if (state_.pending_c2) {
      state_.pending_c2 = false;
      if (byte >= 0x80 && byte < 0xA0) return;
      put_visible('\xC2', output);
    }
    if (byte == '\n') {
      if (!state_.after_cr) put_line_end(output);
      state_.after_cr = false;
    } else if (byte == '\r') {
      put_line_end(output);
      state_.after_cr = true;
    } else if (byte == ' ' || byte == '\t') {
      state_.space = true;
      state_.after_cr = false;
    } else if (byte == 0xC2) {
      state_.pending_c2 = true;
    } else if (byte >= 0x20 && byte != 0x7F) {
      put_visible(character, output);
    }
  }

  void put_line_end(std::string& output) {
    // The second line end in a row closes a blank line; any further one would close another.
    if (state_.line_ends < 2) output.push_back('\n');
    state_.line_ends = std::min(state_.line_ends + 1, 2);
    state_.space = false;
  }

  void put_visible(char character, std::string& output) {
    if (state_.space) output.push_back(' ');
    output.push_back(character);
    state_.space = false;
    state_.after_cr = false;
    state_.line_ends = 0;
  }

  State state_;
};

class LowercaseStep final : public Cleaner::Step {
 public:
  void push(std::string_view piece, std::string& output) override {
    if (pending_.empty()) {
      convert(piece, output);
      return;
    }
    const std::string joined = std::exchange(pending_, {}).append(piece);
    convert(joined, output);
  }

  void finish(std::string& output) override {
    output += pending_;
    pending_.clear();
  }

 private:
  void convert(std::string_view text, std::string& output) {
    std::size_t position = 0;
    while (position < text.size()) {
      const char character = text[position];
      if (static_cast<unsigned char>(character) < 0x80) {
        const bool upper = character >= 'A' && character <= 'Z';
        output.push_back(upper ? static_cast<char>(character + ('a' - 'A')) : character);
        ++position;
        continue;
      }
      const Utf8Result decoded = decode_utf8(text, position);
      if (decoded.status == Utf8Status::incomplete) break;
      if (decoded.status == Utf8Status::valid) {
        append_utf8(output, lowercase_of(decoded.code_point));
      } else {
        output.append(text, position, decoded.length);
      }
      position += decoded.length;
    }
    pending_ = text.substr(position);
  }

  std::string pending_;  // an incomplete character
};

class NfcStep final : public Cleaner::Step {
 public:
  void push(std::string_view piece, std::string& output) override {
    // Nothing composes an ASCII character with what stands before it, so a document may be cut before one.
    std::size_t cut = piece.size();
    while (cut > 0 && static_cast<unsigned char>(piece[cut - 1]) >= 0x80) --cut;
    if (cut == 0) {
      pending_ += piece;
      return;
    }
    --cut;
    pending_ += piece.substr(0, cut);
    output += normalize_nfc(pending_);
    pending_ = piece.substr(cut);
  }

  void finish(std::string& output) override {
    output += normalize_nfc(pending_);
    pending_.clear();
  }

 private:
  std::string pending_;  // from the last ASCII character on
};

constexpr std::array<std::string_view, 3> step_names = {"whitespace", "lowercase", "nfc"};

std::unique_ptr<Cleaner::Step> make_step(std::string_view name) {
  if (name == "whitespace") return std::make_unique<WhitespaceStep>();
  if (name == "lowercase") return std::make_unique<LowercaseStep>();
  if (name == "nfc") return std::make_unique<NfcStep>();
  fail(ErrorKind::usage, "'{}' is no cleaning step; valid are {}.{}", name, fmt::join(step_names, ", "),
       near_name_hint(name, step_names));
}

}  // namespace

Cleaner::Cleaner(std::span<const std::string> steps) {
  for (auto step = steps.begin(); step != steps.end(); ++step) {
    if (std::find(steps.begin(), step, *step) != step) {
      fail(ErrorKind::usage, "The cleaning step '{}' is given twice.", *step);
    }
    steps_.push_back(make_step(*step));
  }
}

Cleaner::Cleaner(Cleaner&&) noexcept = default;
Cleaner& Cleaner::operator=(Cleaner&&) noexcept = default;
Cleaner::~Cleaner() = default;

void Cleaner::run_from(std::size_t first, std::string_view piece, bool last, std::string& output) {
  if (first == steps_.size()) {
    output += piece;
    return;
  }
  std::string cleaned;
  steps_[first]->push(piece, cleaned);
  if (last) steps_[first]->finish(cleaned);
  run_from(first + 1, cleaned, last, output);
}

void Cleaner::push(std::string_view piece, std::string& output) {
  run_from(0, piece, false, output);
}

void Cleaner::finish(std::string& output) {
  run_from(0, {}, true, output);
}

}  // namespace mslt
