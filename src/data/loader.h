// Batches of token windows or padded examples from a data folder, in an order that can be saved and taken up again
// exactly.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "data/data_folder.h"

namespace mslt {

// Where a loader stands: `position` windows of epoch `epoch` have been handed out, on all ranks together.
struct LoaderState {
  std::uint64_t epoch = 0;
  std::uint64_t position = 0;
  bool operator==(const LoaderState&) const = default;
};

// {"epoch": e, "position": p}
nlohmann::json loader_state_to_json(const LoaderState& state);
// Throws Error(input) naming `source` and the member that is missing or wrong.
LoaderState loader_state_from_json(const nlohmann::json& json, std::string_view source);

enum class LoaderMode {
  endless,  // epoch after epoch; a batch may end one and begin the next
  once,     // one epoch, of every token: what is left of the last batch and of the last window counts nothing
};

struct LoaderOptions {
  std::int64_t batch = 1;    // windows a call, B
  std::int64_t seq_len = 1;  // positions a window, T
  std::uint64_t seed = 0;
  bool shuffle = true;  // the order of windows, anew each epoch; else the order of the text
  bool random_offset =
      false;  // begin each epoch at a random token below T, so that windows are cut elsewhere; `endless` only
  LoaderMode mode = LoaderMode::endless;
  std::int64_t rank = 0;      // this process ...
  std::int64_t world = 1;     // ... of so many that share every epoch
  std::int64_t prefetch = 0;  // batches made ahead by a thread of the loader's own; 0: none, made by next() itself
};

// The N tokens of a split are cut into windows. Window w covers tokens [o + w·T, o + w·T + T]; its last token is the
// first of window w + 1, so every token except the first is a target once per epoch. o is 0 or the epoch's random
// offset. An epoch has floor((N - 1 - o) / T) windows, or ceil((N - 1) / T) in mode `once`. Epoch e visits each once,
// in the order of Permutation(windows, seed, e). In a split of examples, window w is example w, cut after T + 1 tokens
// or padded; there is no offset. Row b of a batch of rank r is the window at position + r·B + b: the
// batches of all ranks, one after another, are the batch of B·world windows that one rank would get. Each batch
// advances the position by B·world.
//
// The result of next() depends only on data, options and state. One thread at a time may use a loader.
class BatchLoader {
 public:
  // Throws Error(usage) on an option that is out of range, Error(input) if the split holds fewer than T + 1 tokens
  // (2 in mode `once`), naming both numbers, and what TokenStream throws.
  BatchLoader(const std::filesystem::path& folder, std::string_view split, const LoaderOptions& options);
  // Windows over tokens that are open already; `source` names them in errors.
  BatchLoader(TokenStream tokens, std::string_view source, const LoaderOptions& options);
  BatchLoader(std::shared_ptr<const TokenStream> tokens, std::string_view source, const LoaderOptions& options);
  BatchLoader(const BatchLoader&) = delete;
  BatchLoader& operator=(const BatchLoader&) = delete;
  ~BatchLoader();

  // Fills tokens [B, T] and targets [B, T], the tokens one place later. Returns how many rows hold windows: B, in mode
  // `once` fewer at the end and 0 after it. Rows and positions without a window have token 0 and target -1. Throws
  // Error(usage) on spans of another size and Error(input) on an id outside the vocabulary, and leaves the state as it
  // was.
  std::int64_t next(std::span<std::int32_t> tokens, std::span<std::int32_t> targets);

  // After the batches handed out so far, without those made ahead. The position may be at the epoch's end.
  LoaderState state() const;
  // The next batch is the one that followed when state() was `state`, with the same data and options (of these, rank,
  // world, batch and prefetch may differ). Throws Error(input) if the epoch has fewer windows than the position.
  void restore(const LoaderState& state);

  // How many windows had been handed out since epoch 0 when state() was `state`. Throws Error(input) if its epoch has
  // fewer windows than its position or lies beyond `most` windows.
  std::uint64_t handed_out(const LoaderState& state, std::uint64_t most) const;

  std::uint64_t windows(std::uint64_t epoch) const;
  std::uint64_t batches(
      std::uint64_t epoch) const;  // calls of next() that an epoch begun at position 0 takes, rounded up

 private:
  class Source;
  class Prefetcher;
  void require_position(const LoaderState& state) const;

  std::unique_ptr<Source> source_;
  std::unique_ptr<Prefetcher> prefetcher_;
  LoaderState state_;
};

}  // namespace mslt
