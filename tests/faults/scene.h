// A tiny world to break: a text, a tokenizer, a data folder, a finished run, and every command of mslt at work in it.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "tests/faults/process.h"
#include "tests/faults/snapshot.h"

namespace mslt::faults {

// Sanitizers reserve address space without limit, slow everything down, and keep open files of their own.
inline constexpr bool sanitized = sizeof(MSLT_SANITIZED) > 1;

// The model that all tests train.
std::vector<std::string> tiny_model();

// One way to call mslt, in a work folder of its own.
struct Command {
  std::string name;
  std::vector<std::string> arguments;
  std::string input = {};                  // what standard input holds
  std::string output = {};                 // what it writes in the work folder: a file, a folder, or nothing
  std::function<void()> before = nullptr;  // puts what it needs into the work folder
  bool measures = false;                   // takes a while, as it measures this machine

  void set_up() const {
    if (before) before();
  }
};

// A temporary folder with what every test needs, made by mslt itself. Removed with all it holds.
class Scene {
 public:
  // Makes text.txt, tokenizer.json and data/. Throws what mslt said where that fails.
  Scene();
  Scene(const Scene&) = delete;
  Scene& operator=(const Scene&) = delete;
  ~Scene();

  std::filesystem::path path(const std::string& name) const { return folder_ / name; }
  std::string string(const std::string& name) const { return path(name).string(); }

  // A run of `finished_steps` steps, with all of its checkpoints, every `save_every`: trained at the first call.
  std::filesystem::path finished_run();
  static constexpr int finished_steps = 12;
  static constexpr int save_every = 4;
  // The same run trained to `longer_steps` without a break.
  std::filesystem::path longer_run();
  static constexpr int longer_steps = 16;

  // The arguments that train such a run.
  std::vector<std::string> train(const std::filesystem::path& run, int steps = finished_steps) const;
  std::vector<std::string> resume(const std::filesystem::path& run, int steps = longer_steps) const;

  // Removes what tests have left: all but what this class makes.
  void clear() const;

  // An empty folder of that name, whatever was there before.
  std::filesystem::path fresh(const std::string& name) const;
  // A copy of a folder under another name, in the place of what was there.
  std::filesystem::path copy(const std::filesystem::path& from, const std::string& to) const;

  // Every command that reads, prints or writes, with its output in `work`.
  std::vector<Command> commands(const std::filesystem::path& work);

 private:
  void train_reference(const std::filesystem::path& run, int steps) const;

  std::filesystem::path folder_;
};

// Tests of one suite share a scene.
class SceneTest : public testing::Test {
 protected:
  static void SetUpTestSuite() { scene_ = std::make_unique<Scene>(); }
  static void TearDownTestSuite() { scene_.reset(); }
  static Scene& scene() { return *scene_; }
  void SetUp() override { scene().clear(); }

 private:
  static inline std::unique_ptr<Scene> scene_;
};

// metrics.jsonl without how long things took: what training computed.
std::string losses(const std::filesystem::path& run);

// Fails where the two runs differ in the model or in the last checkpoint's optimiser.
void expect_same_model(const std::filesystem::path& run, const std::filesystem::path& undisturbed, int steps);
// The same, and where they differ in a loss or in anything else that metrics.jsonl has of a step.
void expect_same_training(const std::filesystem::path& run, const std::filesystem::path& undisturbed, int steps);

// `text` without regard to upper and lower case.
bool contains(const std::string& text, const std::string& part);

}  // namespace mslt::faults
