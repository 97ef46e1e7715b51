// Checks of the loss.
#include "backend/operations/loss.h"

#include <cmath>

#include "backend/operations/checks.h"

namespace mslt {

void SoftCap::check(const Arguments& given) const {
  given.elements(in);
  given.vector(out, in.elements());
  given.require(cap > 0.0f && std::isfinite(cap), "the cap is {}, but must be a number above 0.", cap);
}

void CrossEntropy::check(const Arguments& given) const {
  check_logits(given, logits, vocab);
  given.vector(losses, logits.shape().rows());
  given.vector(targets, logits.shape().rows());
  if (loss_scale) given.vector(loss_scale, 1);
  given.require(softcap >= 0.0f && std::isfinite(softcap), "the soft cap is {}, but must be 0 or a number above it.",
                softcap);
}

void Sum::check(const Arguments& given) const {
  given.elements(in);
  given.vector(out, 1);
}

}  // namespace mslt
