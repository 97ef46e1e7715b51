// Parsing the command line, running the chosen subcommand, and turning errors into messages and exit statuses.
#include "cli/command.h"

#include <fmt/format.h>
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <new>
#include <ostream>

#include "cli/config_file.h"
#include "mslt/error.h"

namespace mslt::cli {
namespace {

constexpr int usage_status = 2;
constexpr int failure_status = 1;

int parse_and_run(std::vector<std::string> arguments, Context& context) {
  CLI::App app("Train Transformer language models on your own text, and generate from them.", "mslt");
  app.require_subcommand(1);
  app.set_version_flag("--version", "mslt 0.1.0");
  app.footer("Start with: mslt tokenizer train --help, then data prepare, train and generate.\n");
  app.failure_message(CLI::FailureMessage::simple);
  add_tokenizer_command(app, context);
  add_data_command(app, context);
  add_train_command(app, context);
  add_eval_command(app, context);
  add_generate_command(app, context);
  add_bench_command(app, context);
  add_tune_command(app, context);
  add_profile_command(app, context);
  add_devices_command(app, context);

  arguments = with_config_file(app, std::move(arguments));
  std::reverse(arguments.begin(), arguments.end());
  try {
    app.parse(std::move(arguments));
  } catch (const CLI::ParseError& error) {
    const int status = app.exit(error, context.out, context.err);
    return status == 0 ? 0 : usage_status;
  }
  context.action();
  return 0;
}

}  // namespace

void Context::print_json(const nlohmann::ordered_json& document) const {
  out << document.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) << '\n';
}

CLI::App* add_command(CLI::App& parent, Context& context, const std::string& name, const std::string& description,
                      const std::string& examples) {
  CLI::App* command = parent.add_subcommand(name, description);
  command->option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast)->always_capture_default();
  command->add_flag("--json", context.json, "Print results as JSON on standard output");
  command->add_option("--config", "Read options from this TOML file; those given here win")->type_name("FILE.toml");
  command->footer("Examples:\n" + examples);
  return command;
}

int run(std::vector<std::string> arguments, Context& context) {
  try {
    return parse_and_run(std::move(arguments), context);
  } catch (const Error& error) {
    context.err << "mslt: " << error.what() << '\n';
    return error.kind() == ErrorKind::usage ? usage_status : failure_status;
  } catch (const std::bad_alloc&) {
    context.err << "mslt: Out of memory. Use a smaller model, batch or sequence length.\n";
  } catch (const std::exception& error) {
    context.err << "mslt: " << error.what() << '\n';
  }
  return failure_status;
}

}  // namespace mslt::cli
