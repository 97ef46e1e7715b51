// Making the scene.
#include "tests/faults/scene.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>
#include <stdexcept>

namespace mslt::faults {
namespace {

namespace fs = std::filesystem;

void must_run(const std::vector<std::string>& arguments) {
  const Outcome outcome = run(arguments);
  if (outcome.status != 0) throw std::runtime_error("mslt " + arguments[0] + ": " + outcome.describe());
}

// Enough structure for a vocabulary of 300.
std::string text() {
  std::string result;
  for (int i = 0; i < 400; ++i) {
    result += fmt::format("The {} said unto the people of the city number {}, behold the river and the mountain.\n",
                          i % 3 == 0 ? "king" : "prophet", i * 37 % 101);
  }
  return result;
}

std::vector<std::string> joined(std::vector<std::string> first, const std::vector<std::string>& second) {
  first.insert(first.end(), second.begin(), second.end());
  return first;
}

}  // namespace

std::vector<std::string> tiny_model() {
  return {"--preset", "tiny", "--layers",        "1",  "--channels",   "16",
          "--heads",  "2",    "--max-positions", "32", "--batch-size", "2"};
}

Scene::Scene() {
  std::string pattern = (fs::temp_directory_path() / "mslt_faults_XXXXXX").string();
  if (::mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("cannot make " + pattern);
  folder_ = pattern;
  fs::permissions(folder_, fs::perms(0755));
  spill(path("text.txt"), text());
  must_run({"tokenizer", "train", "--force", "--input", string("text.txt"), "--vocab-size", "300", "--output",
            string("tokenizer.json")});
  must_run({"data", "prepare", "--force", "--tokenizer", string("tokenizer.json"), "--input", string("text.txt"),
            "--val-fraction", "0.2", "--shard-tokens", "4000", "--output", string("data")});
}

Scene::~Scene() {
  std::error_code ignored;
  fs::remove_all(folder_, ignored);
}

std::vector<std::string> Scene::train(const fs::path& run, int steps) const {
  return joined({"train",
                 "--data",
                 string("data"),
                 "--output",
                 run.string(),
                 "--steps",
                 fmt::to_string(steps),
                 "--lr",
                 "1e-2",
                 "--eval-batches",
                 "0",
                 "--eval-every",
                 "4",
                 "--save-every",
                 fmt::to_string(save_every),
                 "--keep-checkpoints",
                 "9",
                 "--warmup",
                 "2",
                 "--schedule",
                 "constant"},
                tiny_model());
}

std::vector<std::string> Scene::resume(const fs::path& run, int steps) const {
  return {"train", "--data", string("data"), "--output", run.string(), "--resume", "--steps", fmt::to_string(steps)};
}

void Scene::train_reference(const fs::path& run, int steps) const {
  if (!fs::exists(run)) must_run(train(run, steps));
}

fs::path Scene::finished_run() {
  train_reference(path("finished"), finished_steps);
  return path("finished");
}

fs::path Scene::longer_run() {
  train_reference(path("longer"), longer_steps);
  return path("longer");
}

void Scene::clear() const {
  const std::set<std::string> own = {"text.txt", "tokenizer.json", "data", "finished", "longer"};
  for (const auto& entry : fs::directory_iterator(folder_)) {
    if (!own.contains(entry.path().filename().string())) fs::remove_all(entry.path());
  }
}

fs::path Scene::fresh(const std::string& name) const {
  fs::remove_all(path(name));
  fs::create_directories(path(name));
  return path(name);
}

fs::path Scene::copy(const fs::path& from, const std::string& to) const {
  fs::remove_all(path(to));
  fs::create_directories(path(to).parent_path());
  fs::copy(from, path(to), fs::copy_options::recursive | fs::copy_options::copy_symlinks);
  // A run's model is the same file as that of its last checkpoint.
  const fs::path model = path(to) / "model.safetensors";
  const fs::path checkpoint = path(to) / fmt::format("checkpoints/step-{}/model.safetensors", finished_steps);
  std::error_code error;
  if (fs::exists(checkpoint) &&
      fs::equivalent(from / "model.safetensors",
                     from / fmt::format("checkpoints/step-{}/model.safetensors", finished_steps), error)) {
    fs::remove(model);
    fs::create_hard_link(checkpoint, model);
  }
  return path(to);
}

std::vector<Command> Scene::commands(const fs::path& work) {
  const fs::path model = finished_run();
  const auto at = [&](const char* name) {
    return (work / name).string();
  };
  const std::vector<std::string> size = tiny_model();
  std::vector<Command> all = {
      {"help", {"--help"}},
      {"help of a command", {"train", "--help"}},
      {"version", {"--version"}},
      {"tokenizer train",
       {"tokenizer", "train", "--force", "--input", string("text.txt"), "--vocab-size", "300", "--output",
        at("t.json")},
       {},
       "t.json"},
      {"tokenizer encode", {"tokenizer", "encode", "--tokenizer", string("tokenizer.json")}, slurp(path("text.txt"))},
      {"tokenizer encode --json",
       {"tokenizer", "encode", "--tokenizer", string("tokenizer.json"), "--json"},
       slurp(path("text.txt"))},
      {"tokenizer encode to a file",
       {"tokenizer", "encode", "--tokenizer", string("tokenizer.json"), "--output", at("ids.txt"), "--json"},
       slurp(path("text.txt")),
       "ids.txt"},
      {"tokenizer encode to a shard",
       {"tokenizer", "encode", "--tokenizer", string("tokenizer.json"), "--output", at("ids.bin"), "--json"},
       slurp(path("text.txt")),
       "ids.bin"},
      {"tokenizer decode", {"tokenizer", "decode", "--tokenizer", string("tokenizer.json")}, "12 100 33"},
      {"tokenizer decode to a file",
       {"tokenizer", "decode", "--tokenizer", string("tokenizer.json"), "--output", at("text.txt"), "--json"},
       "12 100 33",
       "text.txt"},
      {"data prepare",
       {"data", "prepare", "--force", "--tokenizer", string("tokenizer.json"), "--input", string("text.txt"),
        "--output", at("data")},
       {},
       "data"},
      {"train", train(work / "run"), {}, "run"},
      {"train --json", joined(train(work / "run"), {"--json"}), {}, "run"},
      {"train --resume",
       resume(work / "run"),
       {},
       "run",
       [=, this] {
         copy(model, fs::relative(work / "run", folder_).string());
       }},
      {"eval", {"eval", "--model", model.string(), "--data", string("data")}},
      {"eval --json", {"eval", "--model", model.string(), "--data", string("data"), "--json"}},
      {"generate", {"generate", "--model", model.string(), "--prompt", "The", "--max-new-tokens", "8"}},
      {"generate two",
       {"generate", "--model", model.string(), "--prompt", "-", "--max-new-tokens", "8", "--num", "2"},
       "The"},
      {"generate --json",
       {"generate", "--model", model.string(), "--prompt", "The", "--max-new-tokens", "8", "--json"}},
      {"profile", joined({"profile", "train", "--predict", "m3-max"}, size)},
      {"profile --json", joined({"profile", "train", "--predict", "m3-max", "--json"}, size)},
      {"devices", {"devices"}},
      {"devices --json", {"devices", "--json"}},
  };
  std::vector<Command> measuring = {
      {"bench train", joined({"bench", "train", "--device", "cpu", "--steps", "2"}, size)},
      {"bench generate",
       joined({"bench", "generate", "--device", "cpu", "--new-tokens", "4", "--prompt-tokens", "4"}, size)},
      {"bench kernels", joined({"bench", "kernels", "--device", "cpu"}, size)},
      {"bench tokenizer",
       {"bench", "tokenizer", "--input", string("text.txt"), "--vocab-size", "300", "--repeats", "1"}},
      {"tune",
       joined({"tune", "--device", "msl-host", "--repeats", "3", "--vocab-size", "300", "--output", at("tuning.json")},
              size),
       {},
       "tuning.json"},
  };
  for (Command& command : measuring) {
    command.measures = true;
    all.push_back(std::move(command));
  }
  return all;
}

std::string losses(const fs::path& run) {
  if (!fs::exists(run / "metrics.jsonl")) return "no metrics.jsonl";
  std::string text;
  std::istringstream lines(slurp(run / "metrics.jsonl"));
  for (std::string line; std::getline(lines, line);) {
    nlohmann::json event = nlohmann::json::parse(line, nullptr, false);
    if (event.is_discarded()) {
      text += "no JSON: " + line + "\n";
      continue;
    }
    event.erase("time");
    event.erase("tokens_per_s");
    // Numbers are written with all digits, so equal texts mean equal bits.
    text += event.dump() + "\n";
  }
  return text;
}

void expect_same_model(const fs::path& run, const fs::path& undisturbed, int steps) {
  for (const std::string& file :
       {std::string("model.safetensors"), fmt::format("checkpoints/step-{}/optimizer.safetensors", steps)}) {
    EXPECT_TRUE(fs::exists(undisturbed / file)) << undisturbed / file;
    EXPECT_TRUE(slurp(run / file) == slurp(undisturbed / file)) << run / file << " differs";
  }
}

void expect_same_training(const fs::path& run, const fs::path& undisturbed, int steps) {
  EXPECT_EQ(losses(run), losses(undisturbed));
  expect_same_model(run, undisturbed, steps);
}

bool contains(const std::string& text, const std::string& part) {
  const auto same = [](char a, char b) {
    return std::tolower(static_cast<unsigned char>(a)) == std::tolower(static_cast<unsigned char>(b));
  };
  return std::search(text.begin(), text.end(), part.begin(), part.end(), same) != text.end();
}

}  // namespace mslt::faults
