// The members of tokenizer.json around the model: normalizer, pre_tokenizer, post_processor and decoder.
#pragma once

#include <nlohmann/json.hpp>
#include <string_view>

#include "text/json_member.h"
#include "text/tables.h"

namespace mslt {

// Reads the four members of the document's top level into `parts`. Throws Error(input) naming the member that is not
// supported and what would be.
void read_pipeline(const JsonMember& top, TokenizerParts& parts);
// Sets parts.text_prefix by the post_processor, once parts.tokens is complete. Throws Error(input) naming what stands
// for no token.
void read_text_prefix(const JsonMember& top, TokenizerParts& parts);

// The members to write, such that the tokenizers package does what we do. What was read is written back as it stood
// where it is not the usual form of what it means.
nlohmann::ordered_json normalizer_json(const TokenizerParts& parts);
nlohmann::ordered_json pre_tokenizer_json(const TokenizerParts& parts);
nlohmann::ordered_json post_processor_json(const TokenizerParts& parts);
nlohmann::ordered_json decoder_json();
// The post_processor that puts parts.text_prefix before each text, and nothing else. Its members are in alphabetical
// order, as a kept post-processor's are.
nlohmann::json template_processor_json(const TokenizerParts& parts);

}  // namespace mslt
