// Describes a loaded model to the API.
#pragma once

#include <cstdint>
#include <string>

#include "mslt/model.h"
#include "serve/served_model.h"

namespace mslt::serve {

// `id` is the name for clients. The model must outlive the result. Throws Error(input) if the model has no tokenizer or
// its chat template is not valid.
ServedModel make_served_model(const Model& model, std::string id, std::int64_t max_prompt_tokens);

}  // namespace mslt::serve
