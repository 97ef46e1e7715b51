// Checks of the optimiser.
#include "backend/operations/optimizer.h"

#include "backend/operations/checks.h"

namespace mslt {
namespace {

void check_coefficient(const Arguments& given, float value, std::string_view name) {
  given.require(value >= 0.0f && value < 1.0f, "{} is {}, but must be in [0, 1).", name, value);
}

}  // namespace

void GlobalNorm::check(const Arguments& given) const {
  given.elements(gradients);
  given.vector(out, 1);
}

void AdamWUpdate::check(const Arguments& given) const {
  given.elements(parameters);
  const std::int64_t n = parameters.elements();
  given.vector(gradients, n);
  given.require(gradients.dtype() == DType::f32 || gradients.dtype() == parameters.dtype(),
                "parameters is {} and gradients is {}, but gradients must be f32 or of the same dtype.",
                parameters.describe(), gradients.describe());
  given.vector(first_moment, n);
  given.vector(second_moment, n);
  if (parameters.dtype() == DType::f32) {
    given.absent(master, "with f32 parameters");
  } else if (master) {
    given.vector(master, n);
  }
  if (random_state) {
    given.require(parameters.dtype() == DType::bf16, "parameters is {}, but random_state rounds to bf16 only.",
                  parameters.describe());
    given.absent(master, "with random_state");
    given.vector(random_state, 4);
    given.require(first >= 0 && first % 8 == 0, "first is {}, but must be a multiple of 8.", first);
  }
  given.vector(state, adamw_state_size);
  given.vector(norm, 1);
  check_coefficient(given, config.beta1, "beta1");
  check_coefficient(given, config.beta2, "beta2");
  given.require(config.epsilon >= 0.0f, "epsilon is {}, but must be at least 0.", config.epsilon);
  given.require(config.weight_decay >= 0.0f, "weight_decay is {}, but must be at least 0.", config.weight_decay);
}

}  // namespace mslt
