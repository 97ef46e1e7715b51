// mslt chat: a conversation with a model.
#include <CLI/CLI.hpp>
#include <csignal>
#include <istream>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <ostream>
#include <string>

#include "cli/chat_session.h"
#include "cli/chat_speaker.h"
#include "cli/command.h"
#include "cli/device_options.h"
#include "cli/interrupt.h"
#include "cli/line_reader.h"
#include "cli/numbers.h"
#include "cli/ranges.h"
#include "cli/sampling_options.h"
#include "formats/model_chat.h"
#include "formats/model_parts.h"
#include "mslt/model.h"

namespace mslt::cli {
namespace {

struct ChatArguments {
  std::string model;
  std::string system;
  LoadOptions load;
  GenerateOptions options;
};

// An interruption by Ctrl-C goes on with the conversation; another signal ends the program.
bool ends_program(const InterruptGuard& interrupt) {
  constexpr int base = 128;
  return interrupt.interrupted() && interrupt_status() != base + SIGINT;
}

// Lines of a terminal. A guard for each line, so that every Ctrl-C counts as the first.
void converse_at_terminal(ChatSession& session, const InterruptGuard*& current, Context& context) {
  LineReader reader;
  bool goes_on = true;
  while (goes_on) {
    const InterruptGuard interrupt;
    current = &interrupt;
    std::string line;
    const auto status =
        reader.read(session.is_continued() ? "... " : "> ", [&] { return interrupt.interrupted(); }, line);
    if (status == LineReader::Status::end) {
      context.err << '\n';
      session.finish();
      goes_on = false;
    } else if (status == LineReader::Status::line) {
      goes_on = session.take_line(line);
    } else if (!ends_program(interrupt)) {
      context.err << "\n(/exit or Ctrl-D ends the conversation)\n";
    }
    if (ends_program(interrupt)) {
      context.status = interrupt_status();
      goes_on = false;
    }
    current = nullptr;
  }
}

// Lines of a file or a pipe, where a signal ends the program after the answer under way.
void converse_with_stream(ChatSession& session, const InterruptGuard*& current, Context& context) {
  const InterruptGuard interrupt;
  current = &interrupt;
  std::string line;
  bool goes_on = true;
  while (goes_on && !interrupt.interrupted() && std::getline(context.in, line)) goes_on = session.take_line(line);
  if (goes_on && !interrupt.interrupted()) session.finish();
  if (interrupt.interrupted()) context.status = interrupt_status();
  current = nullptr;
}

void chat(const ChatArguments& arguments, const CLI::App& command, Context& context) {
  GenerateOptions options = arguments.options;
  options.validate();
  Model model = load_model(arguments.model, arguments.load, context);
  take_recommended(model, [&](const char* flag) { return command.count(flag) > 0; }, options.sampling, context);
  std::optional<ModelChat> template_of_model = ModelChat::of(model);
  if (!template_of_model) {
    context.err << "The model has no chat template: it continues your text instead of answering it.\n";
  }
  ModelSpeaker speaker(model, std::move(template_of_model));
  const InterruptGuard* current = nullptr;
  std::ostream nowhere(nullptr);
  ChatSession session(speaker, options, context.json ? nowhere : context.out, context.err,
                      [&] { return current != nullptr && current->interrupted(); });
  session.set_system(arguments.system);
  if (context.in_is_terminal) {
    context.err << "/help lists the commands.\n";
    converse_at_terminal(session, current, context);
  } else {
    converse_with_stream(session, current, context);
  }
  if (context.json) context.print_json({{"messages", session.messages()}});
}

}  // namespace

void add_chat_command(CLI::App& app, Context& context) {
  const auto arguments = std::make_shared<ChatArguments>();
  CLI::App* command = add_command(app, context, "chat", "Converse with a model",
                                  "  mslt chat --model model.gguf\n"
                                  "  mslt chat --model folder --system 'Answer in one sentence.' --temperature 0\n"
                                  "  printf 'Hello\\n/save talk.json\\n' | mslt chat --model model.gguf\n");
  GenerateOptions& options = arguments->options;
  constexpr float usual_temperature = 0.7F;
  constexpr float usual_top_p = 0.9F;
  options.sampling.temperature = usual_temperature;
  options.sampling.top_p = usual_top_p;
  options.max_new_tokens = 512;
  add_model_option(*command, arguments->model);
  command->add_option("--system", arguments->system, "Instructions for the model, from the start");
  add_load_options(*command, arguments->load);
  add_integer(*command, "--max-new-tokens", options.max_new_tokens, "Most tokens of an answer",
              {.least = 1, .unit = "tokens"});
  add_sampling_options(*command, options.sampling);
  command->callback([=, &context] {
    context.action = [=, &context] {
      chat(*arguments, *command, context);
    };
  });
}

}  // namespace mslt::cli
