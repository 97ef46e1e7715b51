// Config as Hugging Face's config.json, in both directions.
#pragma once

#include <string>
#include <string_view>

#include "formats/generation_config.h"
#include "mslt/config.h"
#include "tensor/dtype.h"

namespace mslt {

// The model classes of transformers that a Config can be saved as. `mslt` is everything that none of them computes,
// such as post-norm and sinusoidal positions; transformers does not open it. phi3 is what has a longrope or rotates a
// part of each head; its other models compute what llama or mistral does.
enum class ModelFamily { gpt2, llama, qwen2, mistral, qwen3, smollm3, phi3, olmo2, gemma2, gemma3, mslt };

// What config.json calls model_type: the same names, but "gemma3_text" and "mslt-transformer".
std::string_view name_of(ModelFamily family);

// The first family, in the order above, that computes exactly what `config` says.
ModelFamily family_of(const Config& config);

// A sentence that says that `config` is saved in mslt's own form, and what no family of transformers has; empty where
// one computes it.
std::string own_form_note(const Config& config);

// What a config.json says.
struct HfConfig {
  Config config;
  ModelFamily family = ModelFamily::mslt;
  ModelTokenIds tokens;
  std::vector<std::string> notes;  // a sentence for each member that is read, but has no effect or cannot be used
};

// Reads one config.json; `source` names it in errors. Members that change what the model computes and that mslt does
// not support, or that are missing, throw Error(input) naming the file, the member, its value and what is supported;
// members that do not are ignored. The result has passed Config::validate(). Both forms of RoPE's settings are read
// (rope_theta with rope_scaling, and rope_parameters). The dropout of GPT-2 and Phi-3 is resid_pdrop, the others'
// attention_dropout. Token ids that cannot be used are left out with a note.
HfConfig parse_hf_config(std::string_view text, std::string_view source);

// `config` with the usual value of each setting that changes nothing: RoPE's settings that its kind does not use, a
// window that no layer has, and so on.
Config without_idle_settings(Config config);

// The config.json of a model of `dtype` parameters; ends with a newline. parse_hf_config gives back
// `config`, except for idle settings, as above. Of `others`, the object that the file held before, members that are not
// written otherwise are kept where the family is the same.
std::string format_hf_config(const Config& config, DType dtype, const ModelTokenIds& tokens,
                             const nlohmann::ordered_json& others);
// The same without others.
std::string format_hf_config(const Config& config, DType dtype, const ModelTokenIds& tokens);

}  // namespace mslt
