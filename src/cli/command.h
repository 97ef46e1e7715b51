// Shared by all subcommands: their streams, the --json flag, and their registration.
#pragma once

#include <functional>
#include <iosfwd>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace CLI {  // NOLINT(readability-identifier-naming): not ours
class App;
}

namespace mslt {
class Communicator;
class Processes;
}  // namespace mslt

namespace mslt::cli {

// Lives as long as one run of the program. Results go to `out`; progress and messages to `err`.
struct Context {
  std::istream& in;
  std::ostream& out;
  std::ostream& err;
  bool err_is_terminal = false;
  bool json = false;
  int threads = 0;                    // of parallel loops; 0: the default
  std::function<void()> action = {};  // set by the chosen subcommand
  std::string program = "mslt";       // as the user called it, for suggested commands
  int status = 0;                     // of work that ends without an error; set by the action
  bool in_is_terminal = false;
  std::vector<std::string> arguments = {};  // of the program, without its name; set by run
  // Those that this one started to work with it. They end after the communicator.
  std::shared_ptr<Processes> processes = {};
  int local_rank = 0;  // of this process among those of its machine that work together
  // The processes that a launcher started together, for commands that work on several. It lives until the error that
  // ends the work has been told: its end ends the others. Set by the action.
  std::shared_ptr<Communicator> communicator = {};
  // Whether MPI's launcher, which ends all where one ends, started them.
  bool is_under_mpi = false;

  // Writes one JSON document and a line feed to `out`.
  void print_json(const nlohmann::ordered_json& document) const;
};

// Each adds one subcommand, whose callback sets context.action. `app` and `context` must outlive the parsing.
void add_tokenizer_command(CLI::App& app, Context& context);
void add_data_command(CLI::App& app, Context& context);
void add_train_command(CLI::App& app, Context& context);
void add_eval_command(CLI::App& app, Context& context);
void add_generate_command(CLI::App& app, Context& context);
void add_chat_command(CLI::App& app, Context& context);
void add_serve_command(CLI::App& app, Context& context);
void add_bench_command(CLI::App& app, Context& context);
void add_tune_command(CLI::App& app, Context& context);
void add_profile_command(CLI::App& app, Context& context);
void add_export_command(CLI::App& app, Context& context);
void add_info_command(CLI::App& app, Context& context);
void add_devices_command(CLI::App& app, Context& context);
void add_doctor_command(CLI::App& app, Context& context);

// Adds the subcommand called `only`, or all where none is. Most of the time to start is that of adding options.
void add_commands(CLI::App& app, Context& context, std::string_view only = {});

// A subcommand with the common parts: --json, --threads, --config FILE.toml, and examples below its help.
CLI::App* add_command(CLI::App& parent, Context& context, const std::string& name, const std::string& description,
                      const std::string& examples);

// Runs the program on its arguments, without the program's name. All output is written when it returns. Returns the
// exit status according to exit_status.h. Throws nothing.
int run(std::vector<std::string> arguments, Context& context);

}  // namespace mslt::cli
