// A training run in a separate process, for tests that kill it or fill its disk.
//   train_tool prepare FOLDER              writes FOLDER/data
//   train_tool run FOLDER RUN              trains into FOLDER/RUN, resuming what is there
//   train_tool fill-disk FOLDER RUN STEP   the same, but after STEP's checkpoint no file may grow past 8 KiB
#include <signal.h>
#include <sys/resource.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "mslt/error.h"
#include "train/test_run.h"

namespace {

int train(const std::filesystem::path& folder, const std::string& run, long full_after) {
  mslt::TrainOptions options = mslt::test_options(folder);
  options.output = folder / run;
  options.resume = true;
  options.dropout = 0.1f;
  options.grad_accum = 2;
  options.steps = 36;
  options.eval_every = 4;
  options.save_every = 3;
  mslt::TrainCallbacks callbacks;
  callbacks.event = [=](const mslt::TrainEvent& event) {
    const auto* saved = std::get_if<mslt::SaveEvent>(&event);
    if (saved == nullptr || saved->step != full_after) return;
    constexpr rlim_t most = 8192;
    const rlimit limit = {most, most};
    ::setrlimit(RLIMIT_FSIZE, &limit);
  };
  mslt::Trainer trainer(options, callbacks);
  trainer.run();
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  // A write past the limit then fails like on a full disk, instead of raising a signal.
  ::signal(SIGXFSZ, SIG_IGN);
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  try {
    if (arguments.size() == 2 && arguments[0] == "prepare") {
      mslt::make_test_data(arguments[1]);
      return 0;
    }
    if (arguments.size() == 3 && arguments[0] == "run") return train(arguments[1], arguments[2], -1);
    if (arguments.size() == 4 && arguments[0] == "fill-disk") {
      return train(arguments[1], arguments[2], std::strtol(arguments[3].c_str(), nullptr, 10));
    }
  } catch (const mslt::Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  std::fprintf(stderr, "usage: train_tool prepare|run|fill-disk FOLDER [RUN [STEP]]\n");
  return 2;
}
