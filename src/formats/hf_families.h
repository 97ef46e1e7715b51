// What hf_config.cpp is made of: each family's config.json, read and written.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "formats/hf_config.h"
#include "formats/json_members.h"

namespace mslt {

// The names of transformers' activations, of which the first for a type is the one that is written. Throws Error(input)
// naming the member.
ActivationType activation_of(const JsonMembers& json, std::string_view member, std::string_view usual);
std::string_view activation_name(ActivationType type);

// The double with the fewest digits that is this float, so that 1e-5f is written as 1e-05.
double shortest_double(float value);

// rope_scaling of config.json: how frequencies are rescaled, "default" where they are not.
nlohmann::ordered_json rope_settings(const RopeScaling& scaling);

// Sets window_from and full_attention_every so that exactly the layers that slide, one or more, have the window; false
// if no numbers do that. The same layers always give the same two numbers.
bool slide_in(const std::vector<bool>& slides, Config& config);

// What yarn multiplies rotated queries and keys by where a model's files do not say.
double usual_yarn_factor(double factor);
// The same for longrope, in a model for `growth` times as many positions as the `original` ones.
double usual_longrope_factor(double growth, std::int64_t original);

// partial_rotary_factor: the part of a head's channels of which readers find so many, whatever rounding does.
double rotary_part(std::int64_t channels, std::int64_t head_size);

// Gemma's query_pre_attn_scalar: the number whose inverse root is the scale of attention; 0 if no whole number is.
std::int64_t pre_attention_scalar(const Config& config);

// The configuration in `object`, the config.json of a model of this family; adds a sentence to `notes` for what is read
// although it has no effect. Throws as parse_hf_config, except for what Config::validate() finds.
Config read_family(ModelFamily family, const nlohmann::json& object, std::string_view source,
                   std::vector<std::string>& notes);

// The members of config.json that say what a model of this family computes.
nlohmann::ordered_json write_family(ModelFamily family, const Config& config);

}  // namespace mslt
