// Who sums and updates which elements of a model's arena, where several ranks train it.
#pragma once

#include <cstddef>
#include <vector>

#include "model/pass_parts.h"
#include "parallel/communicator.h"

namespace mslt {

// Consecutive elements that are reduced at once. The first `divided` of them fall into one piece of the same size for
// each rank, whose beginnings vectors of 8 elements can start at; the few that are left have no owner: every rank sums
// and updates them.
struct Bucket {
  std::size_t first = 0;
  std::size_t count = 0;
  std::size_t divided = 0;
};

// The buckets of a pass's parts.
std::vector<Bucket> buckets_of(const std::vector<PassPart>& parts, int ranks);

// Elements of which a rank has the optimiser's state.
struct OwnedPiece {
  std::size_t first = 0;
  std::size_t count = 0;
  bool is_shared = false;  // every rank has them
};

// What `rank` updates: its pieces of all buckets, then what has no owner. Nothing of it is empty.
std::vector<OwnedPiece> owned_pieces(const std::vector<Bucket>& buckets, int rank, int ranks);

// How many elements they have together.
std::size_t elements_of(const std::vector<OwnedPiece>& owned);

// Memory for the gradients of one pass in which buckets take turns: each of the last one's elements has its own, the
// others go to one of two places in turn.
struct BucketPlaces {
  ArenaLayout layout;
  std::vector<std::size_t> offsets;  // of the buckets, in bytes
};
BucketPlaces places_of(const ArenaLayout& layout, const std::vector<Bucket>& buckets);

}  // namespace mslt
