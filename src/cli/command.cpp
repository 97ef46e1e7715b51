// Parsing the command line, running the chosen subcommand, and turning errors into messages and exit statuses.
#include "cli/command.h"

#include <fmt/format.h>
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <ostream>
#include <string_view>

#include "base/fail.h"
#include "base/parallel.h"
#include "cli/config_file.h"
#include "cli/exit_status.h"
#include "cli/failure.h"
#include "cli/numbers.h"
#include "cli/output_stream.h"
#include "cli/usage_error.h"

namespace mslt::cli {
namespace {

constexpr const char* footer =
    "Exit status: 0; 1 for a failure; 2 for bad usage; 3 for training stopped by a signal after saving;\n"
    "128 plus the signal's number for other work ended by a signal.\n"
    "Next, with README.md or any other text file:\n"
    "  {} tokenizer train --input README.md --vocab-size 512 --output tokenizer.json\n";

struct NamedCommand {
  std::string_view name;
  void (*add)(CLI::App&, Context&);
};

// In the order of the help.
constexpr std::array commands = {
    NamedCommand{"tokenizer", add_tokenizer_command}, NamedCommand{"data", add_data_command},
    NamedCommand{"train", add_train_command},         NamedCommand{"eval", add_eval_command},
    NamedCommand{"generate", add_generate_command},   NamedCommand{"chat", add_chat_command},
    NamedCommand{"serve", add_serve_command},         NamedCommand{"bench", add_bench_command},
    NamedCommand{"tune", add_tune_command},           NamedCommand{"profile", add_profile_command},
    NamedCommand{"export", add_export_command},       NamedCommand{"info", add_info_command},
    NamedCommand{"devices", add_devices_command},     NamedCommand{"doctor", add_doctor_command},
};

// Whether the arguments ask for JSON, for errors before or during parsing.
bool asks_for_json(const std::vector<std::string>& arguments) {
  return std::any_of(arguments.begin(), arguments.end(), [](const std::string& argument) {
    return argument == "--json" || argument == "--json=true" || argument == "--json=1";
  });
}

// Sets the number of threads of parallel loops until it goes out of scope; 0 leaves it alone.
class ThreadCount {
 public:
  explicit ThreadCount(int threads) {
    if (threads > 0) set_parallel_threads(threads);
  }
  ~ThreadCount() { set_parallel_threads(before_); }
  ThreadCount(const ThreadCount&) = delete;
  ThreadCount& operator=(const ThreadCount&) = delete;

 private:
  int before_ = parallel_threads();
};

// Parses, and runs the chosen command. Replaces `arguments` with those of the configuration file and its own.
int parse_and_run(std::vector<std::string>& arguments, Context& context) {
  CLI::App app("Train Transformer language models on your own text, and generate from them.", "mslt");
  app.require_subcommand(1);
  app.set_version_flag("--version", "mslt 0.1.0");
  app.footer(fmt::format(footer, context.program));
  add_commands(app, context, arguments.empty() ? std::string_view() : arguments.front());

  if (arguments.empty()) {
    context.err << app.help();
    return usage_status;
  }
  arguments = with_config_file(app, arguments);
  try {
    app.parse(std::vector<std::string>(arguments.rbegin(), arguments.rend()));
  } catch (const CLI::Success& asked) {
    return app.exit(asked, context.out, context.err);
  } catch (const CLI::ParseError& error) {
    fail(ErrorKind::usage, "{}", explain_usage_error(app, arguments, error));
  }
  const ThreadCount until_end(context.threads);
  context.action();
  return context.status;
}

}  // namespace

void Context::print_json(const nlohmann::ordered_json& document) const {
  out << document.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) << '\n';
}

void add_commands(CLI::App& app, Context& context, std::string_view only) {
  const bool is_known = std::ranges::find(commands, only, &NamedCommand::name) != commands.end();
  for (const NamedCommand& command : commands) {
    if (!is_known || command.name == only) command.add(app, context);
  }
}

CLI::App* add_command(CLI::App& parent, Context& context, const std::string& name, const std::string& description,
                      const std::string& examples) {
  CLI::App* command = parent.add_subcommand(name, description);
  command->option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast)->always_capture_default();
  add_switch(*command, "--json", context.json, "Print results as JSON on standard output");
  add_integer(*command, "--threads", context.threads, "Threads at most; 0 for OMP_NUM_THREADS, or one per core",
              {.most = 1024, .unit = "threads"});
  command->add_option("--config", "Read options from this TOML file; the command line wins")->type_name("FILE.toml");
  command->footer("Examples:\n" + examples);
  return command;
}

int run(std::vector<std::string> arguments, Context& context) {
  try {
    context.arguments = arguments;
    const int status = parse_and_run(arguments, context);
    finish_output(context.out);
    return status;
  } catch (...) {
    return report_failure(std::current_exception(), context.json || asks_for_json(arguments), context);
  }
}

}  // namespace mslt::cli
