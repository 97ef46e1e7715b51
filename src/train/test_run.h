// A small data folder and options for tests that train.
#pragma once

#include <filesystem>
#include <string>

#include "base/philox.h"
#include "data/prepare.h"
#include "mslt/trainer.h"
#include "train/test_folder.h"

namespace mslt {

// Sentences with something to learn: subjects go with their verbs.
inline std::string test_text(int sentences) {
  constexpr const char* subjects[] = {"the river", "a traveller", "my brother", "the old king"};
  constexpr const char* verbs[] = {"runs down to the sea", "walks over the hill", "reads his letters",
                                   "counts his gold"};
  constexpr const char* times[] = {"at dawn", "in the evening", "every winter"};
  PhiloxStream stream(5, 0, 0);
  std::string text;
  for (int i = 0; i < sentences; ++i) {
    const auto who = stream.below(4);
    text += std::string(subjects[who]) + " " + verbs[who] + " " + times[stream.below(3)] + ".\n";
  }
  return text;
}

// Writes FOLDER/data from the text, with a vocabulary of 300.
inline void make_test_data(const std::filesystem::path& folder) {
  spill(folder / "text.txt", test_text(600));
  TokenizerTrainOptions training;
  training.vocab_size = 300;
  training.threads = 1;
  Tokenizer::train_on_text(test_text(600), training).save(folder / "tokenizer.json");
  PrepareOptions options;
  options.inputs = {folder / "text.txt"};
  options.tokenizer = folder / "tokenizer.json";
  options.output = folder / "data";
  options.val_fraction = 0.1;
  prepare_data(options);
}

inline TrainOptions test_options(const std::filesystem::path& folder) {
  TrainOptions options;
  options.data = folder / "data";
  options.output = folder / "run";
  options.device = "cpu";
  options.model.max_positions = 16;
  options.model.layers = 1;
  options.model.channels = 16;
  options.model.heads = 2;
  options.model.kv_heads = 2;
  options.model.head_size = 8;
  options.model.ffn_size = 32;
  options.steps = 30;
  options.batch_size = 4;
  options.seq_len = 16;
  options.lr = 1e-2;
  options.warmup = 5;
  options.eval_every = 10;
  options.eval_batches = 2;
  options.save_every = 10;
  return options;
}

}  // namespace mslt
