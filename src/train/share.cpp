// Dividing a step among processes.
#include "train/share.h"

#include <numeric>

#include "base/fail.h"

namespace mslt {

Share share_of(const TrainOptions& options, bool drops, std::int64_t rank, std::int64_t ranks) {
  // So many parts of each batch make the number of parts a multiple of the ranks.
  const std::int64_t parts = ranks / std::gcd(options.grad_accum, ranks);
  if (drops && parts > 1) {
    fail(ErrorKind::usage,
         "--grad-accum is {}; with dropout, {} processes divide whole batches: it must be a multiple of {}, such as "
         "--grad-accum {} with --batch-size {}. With --dropout 0, batches are divided as well.",
         options.grad_accum, ranks, ranks, options.grad_accum * parts,
         options.batch_size % parts == 0 ? options.batch_size / parts : options.batch_size);
  }
  if (options.batch_size % parts != 0) {
    fail(ErrorKind::usage,
         "{} processes cannot divide the {} sequences of a step (--batch-size {}, --grad-accum {}) evenly: "
         "--batch-size must be a multiple of {}, or --grad-accum one of {}.",
         ranks, options.batch_size * options.grad_accum, options.batch_size, options.grad_accum, parts, ranks);
  }
  Share share;
  share.batch_size = options.batch_size / parts;
  share.batches = options.grad_accum * parts / ranks;
  share.first = rank * share.batches / parts;
  share.is_whole = parts == 1;
  share.rank = rank;
  share.ranks = ranks;
  return share;
}

}  // namespace mslt
