// The backend's operation for a configuration's activation.
#pragma once

#include "backend/backend.h"
#include "mslt/config.h"

namespace mslt {

inline Activation activation_of(const Config& config) {
  switch (config.activation) {
    case ActivationType::gelu:
      return Activation::gelu;
    case ActivationType::gelu_erf:
      return Activation::gelu_erf;
    case ActivationType::relu:
      return Activation::relu;
    case ActivationType::swiglu:
      return Activation::swiglu;
  }
  return Activation::none;
}

}  // namespace mslt
