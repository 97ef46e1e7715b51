// Renders the templates of standard input: each line a JSON object with the template and its variables. Writes a line
// for each, {"text": ...} or {"error": ...}.
#include <exception>
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>

#include "mslt/error.h"
#include "text/chat_template.h"

namespace {

nlohmann::ordered_json render(const nlohmann::ordered_json& request) {
  try {
    const mslt::ChatTemplate parsed(request.at("template").get<std::string>());
    mslt::ChatInput input;
    input.messages = request.value("messages", nlohmann::ordered_json::array());
    input.tools = request.value("tools", nlohmann::ordered_json());
    input.documents = request.value("documents", nlohmann::ordered_json());
    input.add_generation_prompt = request.value("add_generation_prompt", false);
    input.variables = request.value("variables", nlohmann::ordered_json::object());
    input.now = request.value("now", std::time_t{0});
    return {{"text", parsed.render(input)}};
  } catch (const mslt::Error& error) {
    return {{"error", error.what()}};
  }
}

}  // namespace

int main() {
  try {
    std::string line;
    while (std::getline(std::cin, line)) std::cout << render(nlohmann::ordered_json::parse(line)).dump() << std::endl;
    return 0;
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
}
