// Looking through the shards of a data folder.
#include "data/known_ids.h"

#include <algorithm>
#include <vector>

#include "base/fail.h"
#include "text/token_label.h"

namespace mslt {

void require_known_ids(const std::filesystem::path& folder, const DataInfo& info, const Tokenizer& tokenizer,
                       std::int64_t vocab_size, std::string_view model) {
  if (static_cast<std::int64_t>(info.vocab_size) <= vocab_size) return;
  constexpr std::uint64_t block = std::uint64_t{1} << 20;
  for (const std::string_view split : {"train", "val"}) {
    if ((split == "train" ? info.train : info.val).shards.empty()) continue;
    const TokenStream stream(folder, split);
    std::vector<std::int32_t> ids;
    for (std::uint64_t first = 0; first < stream.size(); first += block) {
      ids.resize(static_cast<std::size_t>(std::min(block, stream.size() - first)));
      stream.copy(first, ids);
      const auto unknown = std::find_if(ids.begin(), ids.end(), [&](std::int32_t id) { return id >= vocab_size; });
      if (unknown == ids.end()) continue;
      fail(ErrorKind::input,
           "The data in {} holds {}, but the vocabulary of {} ends at {}: it lacks {}. Prepare the data with that "
           "model's tokenizer.",
           folder.string(), token_label(tokenizer, static_cast<TokenId>(*unknown)), model, vocab_size,
           token_labels_from(tokenizer, static_cast<TokenId>(vocab_size)));
    }
  }
}

}  // namespace mslt
