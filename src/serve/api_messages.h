// Reading a conversation in the form of OpenAI's API into what chat templates take.
#pragma once

#include "serve/json_body.h"
#include "text/chat_template.h"

namespace mslt::serve {

// From messages, tools, documents and chat_template_kwargs. The text parts of a content become one text, joined by
// line feeds; the arguments of calls become objects, as templates expect. Throws ApiError(400) naming the member, for
// images and other parts as well.
ChatInput read_conversation(const Members& members);

}  // namespace mslt::serve
