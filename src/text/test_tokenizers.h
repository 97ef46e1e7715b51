// Tokenizers for tests.
#pragma once

#include <nlohmann/json.hpp>

#include "mslt/tokenizer.h"

namespace mslt {

// Of a tokenizer.json, called "file.json" in errors.
inline Tokenizer read_tokenizer(const nlohmann::json& file) {
  return Tokenizer::from_json(file.dump(), "file.json");
}

}  // namespace mslt
