// Dividing the arena among ranks (Rajbhandari et al., "ZeRO", 2020).
#include "train/shard_plan.h"

#include <algorithm>
#include <array>

namespace mslt {
namespace {

// Elements of a vector as kernels read it.
constexpr std::size_t vector_elements = 8;

}  // namespace

std::vector<Bucket> buckets_of(const std::vector<PassPart>& parts, int ranks) {
  const std::size_t unit = vector_elements * static_cast<std::size_t>(ranks);
  std::vector<Bucket> buckets;
  for (const PassPart& part : parts) buckets.push_back({part.first, part.count, part.count / unit * unit});
  return buckets;
}

std::vector<OwnedPiece> owned_pieces(const std::vector<Bucket>& buckets, int rank, int ranks) {
  std::vector<OwnedPiece> pieces;
  for (const Bucket& bucket : buckets) {
    const Piece own = piece_of(bucket.divided, rank, ranks);
    if (own.count > 0) pieces.push_back({bucket.first + own.first, own.count, false});
  }
  for (const Bucket& bucket : buckets) {
    const std::size_t left = bucket.count - bucket.divided;
    if (left > 0) pieces.push_back({bucket.first + bucket.divided, left, true});
  }
  return pieces;
}

std::size_t elements_of(const std::vector<OwnedPiece>& owned) {
  std::size_t elements = 0;
  for (const OwnedPiece& piece : owned) elements += piece.count;
  return elements;
}

BucketPlaces places_of(const ArenaLayout& layout, const std::vector<Bucket>& buckets) {
  const std::size_t width = size_of(layout.segments().front().dtype);
  std::array<std::size_t, 2> largest{};  // of the buckets in each place
  for (std::size_t i = 0; i + 1 < buckets.size(); ++i) {
    largest[i % 2] = std::max(largest[i % 2], buckets[i].count * width);
  }
  BucketPlaces places;
  for (std::size_t i = 0; i + 1 < buckets.size(); ++i) places.offsets.push_back(i % 2 * largest[0]);
  places.offsets.push_back(largest[0] + largest[1]);
  const auto place = [&](const Segment& segment) {
    const std::size_t element = segment.offset / width;
    std::size_t i = 0;
    while (element < buckets[i].first || element >= buckets[i].first + buckets[i].count) ++i;
    return places.offsets[i] + (element - buckets[i].first) * width;
  };
  places.layout = layout.placed(place, places.offsets.back() + buckets.back().count * width);
  return places;
}

}  // namespace mslt
