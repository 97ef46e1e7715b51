// What tests of runs to which something happens share: changing files of a run, and comparing it with one left alone.
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <string>

#include "base/json.h"
#include "data/shard.h"
#include "train/crc32c.h"
#include "train/trainer_fixture.h"

namespace mslt {

// Changes one byte in the middle.
inline void flip(const fs::path& path) {
  std::string bytes = slurp(path);
  bytes[bytes.size() / 2] ^= 1;
  spill(path, bytes);
}

// Every file under a folder with its content.
inline std::map<std::string, std::string> content_of(const fs::path& folder) {
  std::map<std::string, std::string> content;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    if (entry.is_regular_file()) content[fs::relative(entry.path(), folder).string()] = slurp(entry.path());
  }
  return content;
}

class TrainerFaultsTest : public TrainerTest {
 protected:
  TrainOptions resuming() const {
    TrainOptions now = options();
    now.resume = true;
    return now;
  }
  // What a run without any fault computes; the folder is gone afterwards.
  void train_whole() {
    train(options());
    whole_ = losses();
    weights_ = slurp(run_folder() / "model.safetensors");
    fs::remove_all(run_folder());
    forget();
  }
  void forget() {
    events_.clear();
    notes_.clear();
  }
  void expect_whole() const {
    EXPECT_EQ(losses(), whole_);
    EXPECT_TRUE(slurp(run_folder() / "model.safetensors") == weights_);
  }
  fs::path checkpoint(int step) const { return run_folder() / "checkpoints" / ("step-" + std::to_string(step)); }
  std::string warnings() const {
    std::string text;
    for (const NoteEvent& note : events<NoteEvent>()) {
      if (note.warning) text += note.text + "\n";
    }
    return text;
  }
  std::string all_notes() const {
    std::string text;
    for (const std::string& note : notes_) text += note + "\n";
    return text;
  }
  void at_step(std::int64_t step, std::function<void()> action) {
    on_event_ = [=](const TrainEvent& event) {
      const auto* one = std::get_if<StepEvent>(&event);
      if (one != nullptr && one->step == step) action();
    };
  }
  // Changes a member of a checkpoint's state.json and makes the manifest agree.
  void change_state(int step, const char* member, const nlohmann::json& value) const {
    nlohmann::json state = read_json_file(checkpoint(step) / "state.json");
    state[member] = value;
    spill(checkpoint(step) / "state.json", state.dump());
    nlohmann::json manifest = read_json_file(checkpoint(step) / "manifest.json");
    const FileSum sum = sum_file(checkpoint(step) / "state.json");
    manifest["files"]["state.json"] = {{"bytes", sum.bytes}, {"crc32c", fmt::format("{:08x}", sum.crc32c)}};
    spill(checkpoint(step) / "manifest.json", manifest.dump());
  }
  // Overwrites an id in place with one that no vocabulary has, and hides that from whoever looks at times.
  void ruin_shard(const fs::path& path, std::size_t token) const {
    const auto time = fs::last_write_time(path);
    std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
    file.seekp(static_cast<std::streamoff>(shard_header_bytes + 2 * token));
    file.write("\xFF\xFF", 2);
    file.close();
    fs::last_write_time(path, time);
  }

  std::string whole_;
  std::string weights_;
};

}  // namespace mslt
