// Merging pieces part by part: what no rule joins is merged apart, and most pairs of characters without a search.
#include <algorithm>
#include <array>
#include <cstring>

#include "text/bpe_encode.h"
#include "text/bpe_workspace.h"

namespace mslt {
namespace {

// From this length on, the rank queue is faster than scanning for the lowest rank.
constexpr std::size_t long_piece = BpeEncoder::max_few;

// Ids are copied so many at a time, also where fewer are needed.
constexpr std::size_t copied_ids = 16;
static_assert(copied_ids <= CharacterTokens::Symbols::spare);

// More symbols are not kept for the next call.
constexpr std::size_t max_kept_positions = std::size_t{1} << 18;

// Places of symbols that a rule may join with the one before, in rising order; those with unknown links are marked.
struct JoinedPlaces {
  static constexpr std::uint16_t is_unknown = 0x8000;
  static_assert(CharacterTokens::Symbols::size < is_unknown);

  std::array<std::uint16_t, CharacterTokens::Symbols::size + 1> places;
  std::size_t count = 0;
};

// Merges each pair of symbols whose link is that of a rule of these two, and lower than the links on both sides: no
// rule of a lower rank joins either with another symbol. The others move up; returns how many symbols there are then.
// Without branches, as what merges is hard to guess.
std::size_t merge_surely(CharacterTokens::Symbols& symbols, std::size_t begin, std::size_t end, JoinedPlaces& joined) {
  using Link = CharacterLinks::Link;
  symbols.links[end] = CharacterLinks::none;
  symbols.links[end + 1] = CharacterLinks::none;
  std::size_t count = 0;
  std::size_t joined_count = 0;
  std::uint32_t stays = 1;  // 0 if the symbol was merged into the one before
  Link link = CharacterLinks::none;
  Link next = symbols.links[begin + 1];
  for (std::size_t i = begin; i < end; ++i) {
    const Link after = symbols.links[i + 2];
    const std::uint32_t merges =
        std::uint32_t{CharacterLinks::is_of_two(next)} & std::uint32_t{next < link} & std::uint32_t{next < after};
    const TokenId symbol = symbols.symbols[i];
    symbols.symbols[count] = symbol ^ ((symbol ^ CharacterLinks::token_of(next)) & (0 - merges));
    const std::uint32_t mark = std::uint32_t{link == CharacterLinks::unknown} * JoinedPlaces::is_unknown;
    joined.places[joined_count] = static_cast<std::uint16_t>(count | mark);
    joined_count += stays & std::uint32_t{link != CharacterLinks::none};
    count += stays;
    stays = merges ^ 1;
    link = next;
    next = after;
  }
  joined.count = joined_count;
  return count;
}

// Drops places where no rule joins what the symbols have become, and starts to load the rules of the others.
void drop_apart(const CharacterTokens::Symbols& symbols, const CharacterTokens& characters, const MergeTable& table,
                JoinedPlaces& joined) {
  std::size_t kept = 0;
  for (std::size_t i = 0; i < joined.count; ++i) {
    const std::size_t place = joined.places[i] % JoinedPlaces::is_unknown;
    const std::size_t unknown = joined.places[i] / JoinedPlaces::is_unknown;
    const TokenId left = symbols.symbols[place - 1];
    const TokenId right = symbols.symbols[place];
    table.prefetch(left, right);
    joined.places[kept] = static_cast<std::uint16_t>(place);
    kept += std::size_t{characters.may_join(left, right)} | unknown;
  }
  joined.count = kept;
  joined.places[kept] = 0;
}

}  // namespace

void BpeEncoder::merge(std::string_view piece, Workspace& workspace, IdBlock& block) const {
  CharacterTokens::Symbols& symbols = workspace.characters;
  if (piece.size() <= CharacterTokens::Symbols::size) [[likely]] {
    CharacterTokens::Place place;
    symbols.count = 0;
    character_tokens_->append(piece, place, symbols);
    merge_linked(0, symbols.count, workspace, block);
    return;
  }
  std::vector<TokenId>& open = workspace.symbols;  // of a part that goes on in the next block of symbols
  open.clear();
  for (CharacterTokens::Place place; place.byte < piece.size();) {
    symbols.count = 0;
    character_tokens_->append(piece, place, symbols);
    const auto links = std::span(symbols.links).first(symbols.count);
    const auto first = static_cast<std::size_t>(std::ranges::find(links, CharacterLinks::none) - links.begin());
    open.insert(open.end(), symbols.symbols.begin(), symbols.symbols.begin() + first);
    if (first == symbols.count) continue;
    merge_symbols(workspace, block);
    std::size_t last = symbols.count;
    if (place.byte < piece.size()) {
      while (links[--last] != CharacterLinks::none) {
      }
    }
    merge_linked(first, last, workspace, block);
    open.assign(symbols.symbols.begin() + last, symbols.symbols.begin() + symbols.count);
  }
  merge_symbols(workspace, block);
}

// Merges whole parts, the symbols from `begin` to `end`, which it may overwrite.
void BpeEncoder::merge_linked(std::size_t begin, std::size_t end, Workspace& workspace, IdBlock& block) const {
  if (begin == end) return;
  CharacterTokens::Symbols& symbols = workspace.characters;
  JoinedPlaces joined;
  const std::size_t count = merge_surely(symbols, begin, end, joined);
  drop_apart(symbols, *character_tokens_, table_, joined);
  TokenId* first = block.room(count + copied_ids);
  TokenId* ids = first;
  std::size_t at = 0;
  const auto copy_until = [&](std::size_t place) {
    for (std::size_t i = at; i < place; i += copied_ids) {
      std::memcpy(ids + (i - at), symbols.symbols.data() + i, copied_ids * sizeof(TokenId));
    }
    ids += place - at;
  };
  for (std::size_t i = 0; i < joined.count;) {
    const std::size_t start = joined.places[i] - std::size_t{1};
    copy_until(start);
    do {
      at = joined.places[i++] + std::size_t{1};
    } while (joined.places[i] == at);
    const auto part = std::span(symbols.symbols).subspan(start, at - start);
    if (part.size() == 2) {
      const MergeTable::Merge rule = table_.find(part.front(), part.back());
      const bool merges = rule.rank != MergeTable::no_rank;
      ids[1] = part.back();
      ids[0] = merges ? rule.result : part.front();
      ids += merges ? 1 : 2;
    } else if (part.size() < long_piece) {
      ids += merge_few(part, ids);
    } else {
      block.add(static_cast<std::size_t>(ids - first));
      workspace.symbols.assign(part.begin(), part.end());
      merge_symbols(workspace, block);
      first = ids = block.room(count - at + copied_ids);
    }
  }
  copy_until(count);
  block.add(static_cast<std::size_t>(ids - first));
}

void BpeEncoder::merge_symbols(Workspace& workspace, IdBlock& block) const {
  std::vector<TokenId>& symbols = workspace.symbols;
  if (symbols.empty()) return;
  if (symbols.size() < long_piece) {
    block.add(merge_few(symbols, block.room(symbols.size())));
  } else if (ranks_rise_) {
    merge_by_buckets(symbols, workspace.queue, block.flushed());
  } else {
    merge_by_heap(symbols, block.flushed());
  }
  symbols.clear();
  if (symbols.capacity() > max_kept_positions) symbols = {};
}

}  // namespace mslt
