// What the keys of a GGUF file say about its model.
#pragma once

#include "base/gguf.h"
#include "formats/hf_config.h"

namespace mslt {

// The configuration of a GGUF file, read as the config.json of the same model would be: the family that
// general.architecture names, whether the output head is tied (the file has no tensor of its own for it), and RoPE's
// scaling, which may be a tensor. Token ids are those of the tokenizer's keys that `config.vocab_size` allows. Throws
// Error(input) naming the file and the key, its value and what is supported.
HfConfig config_from_gguf(const Gguf& file);

}  // namespace mslt
