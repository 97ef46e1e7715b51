// Checks of the loss.
#include "backend/operations/loss.h"

#include "backend/operations/checks.h"

namespace mslt {

void CrossEntropy::check(const Arguments& given) const {
  check_logits(given, logits, vocab);
  given.vector(losses, logits.shape().rows());
  given.vector(targets, logits.shape().rows());
  if (loss_scale) given.vector(loss_scale, 1);
}

void Sum::check(const Arguments& given) const {
  given.elements(in);
  given.vector(out, 1);
}

}  // namespace mslt
