// The members of tokenizer.json around the model: normalizer, pre_tokenizer, post_processor and decoder.
#pragma once

#include <nlohmann/json.hpp>
#include <string_view>

#include "text/json_member.h"
#include "text/tables.h"

namespace mslt {

// Reads the four members of the document's top level into `parts`. Throws Error(input) naming the unsupported member
// and what would be supported.
void read_pipeline(const JsonMember& top, TokenizerParts& parts);
// Sets parts.text_prefix from the post_processor, once parts.tokens is complete. Throws Error(input) naming an entry
// that stands for no token.
void read_text_prefix(const JsonMember& top, TokenizerParts& parts);

// The members to write, so that the tokenizers package behaves the same. A member that was read is written back
// unchanged if it is not in the usual form of its meaning.
nlohmann::ordered_json normalizer_json(const TokenizerParts& parts);
nlohmann::ordered_json pre_tokenizer_json(const TokenizerParts& parts);
nlohmann::ordered_json post_processor_json(const TokenizerParts& parts);
nlohmann::ordered_json decoder_json(const TokenizerParts& parts);
// Steps of pre-tokenizers: bytes as characters (gpt2's pattern first with use_regex), the matches of an expression and
// what lies between, several steps, and those of a pattern other than gpt2 and none.
nlohmann::ordered_json byte_level_json(bool add_prefix_space, bool use_regex);
nlohmann::ordered_json split_json(std::string_view regex);
nlohmann::ordered_json sequence_json(const nlohmann::ordered_json& steps);
nlohmann::ordered_json pattern_json(SplitPattern pattern);
// The post_processor that only puts parts.text_prefix before each text. Its members are in alphabetical order, like
// those of a kept post-processor.
nlohmann::json template_processor_json(const TokenizerParts& parts);

}  // namespace mslt
