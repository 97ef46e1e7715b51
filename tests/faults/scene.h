// A small scene to break: a text, a tokenizer, a data folder, a finished run, and every command of mslt that uses them.
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

// Sanitizers reserve unlimited address space, slow everything down, and keep their own files open.
inline constexpr bool sanitized = sizeof(MSLT_SANITIZED) > 1;

// The model that all tests train.
std::vector<std::string> tiny_model();

// One call of mslt, in its own work folder.
struct Command {
  std::string name;
  std::vector<std::string> arguments;
  std::string input = {};                  // content of standard input
  std::string output = {};                 // its output in the work folder: a file, a folder, or nothing
  std::function<void()> before = nullptr;  // puts its inputs into the work folder
  bool measures = false;                   // takes a while, since it measures this machine

  void set_up() const {
    if (before) before();
  }
};

// A temporary folder with the inputs of every test, made by mslt itself. Removed with all its contents.
class Scene {
 public:
  // Makes text.txt, tokenizer.json and data/. Throws mslt's message if that fails.
  Scene();
  Scene(const Scene&) = delete;
  Scene& operator=(const Scene&) = delete;
  ~Scene();

  std::filesystem::path path(const std::string& name) const { return folder_ / name; }
  std::string string(const std::string& name) const { return path(name).string(); }

  // A run of `finished_steps` steps with all its checkpoints, every `save_every`; trained at the first call.
  std::filesystem::path finished_run();
  static constexpr int finished_steps = 12;
  static constexpr int save_every = 4;
  // The same run trained to `longer_steps` without a break.
  std::filesystem::path longer_run();
  static constexpr int longer_steps = 16;

  // The arguments that train such a run.
  std::vector<std::string> train(const std::filesystem::path& run, int steps = finished_steps) const;
  std::vector<std::string> resume(const std::filesystem::path& run, int steps = longer_steps) const;

  // Removes leftovers of tests: everything except what this class makes.
  void clear() const;

  // An empty folder of that name; removes an existing one.
  std::filesystem::path fresh(const std::string& name) const;
  // Copies a folder to another name, replacing an existing one.
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

// metrics.jsonl without durations: the computed values.
std::string losses(const std::filesystem::path& run);

// Fails if the two runs differ in the model or in the last checkpoint's optimiser.
void expect_same_model(const std::filesystem::path& run, const std::filesystem::path& undisturbed, int steps);
// The same, and if they differ in a loss or in any other member of a step in metrics.jsonl.
void expect_same_training(const std::filesystem::path& run, const std::filesystem::path& undisturbed, int steps);

// Whether `text` contains `part`, ignoring case.
bool contains(const std::string& text, const std::string& part);

}  // namespace mslt::faults
