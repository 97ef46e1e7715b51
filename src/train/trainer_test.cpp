// Whole runs: that they learn, stop, save, resume and refuse as they should.
#include "mslt/trainer.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <sstream>
#include <tuple>
#include <utility>

#include "backend/cpu/cpu_backend.h"
#include "base/file.h"
#include "base/json.h"
#include "formats/model_parts.h"
#include "model/transformer.h"
#include "mslt/error.h"
#include "mslt/tokenizer.h"
#include "train/crc32c.h"
#include "train/metrics.h"
#include "train/run_options.h"
#include "train/trainer_fixture.h"

namespace mslt {
namespace {

// Steps that are timed operation by operation compute the same.
TEST_F(TrainerTest, ProfilesEveryFewSteps) {
  TrainOptions now = options();
  now.steps = 5;
  now.warmup = 0;
  const double plain = train(now).loss;
  fs::remove_all(run_folder());
  now.profile_every = 2;
  EXPECT_EQ(train(now).loss, plain);
  std::istringstream lines(slurp(run_folder() / "metrics.jsonl"));
  std::vector<std::int64_t> steps;
  for (std::string line; std::getline(lines, line);) {
    const nlohmann::json json = nlohmann::json::parse(line);
    if (!json.contains("profile")) continue;
    steps.push_back(json["step"]);
    double seconds = 0.0;
    for (const auto& [name, total] : json["profile"].items()) {
      EXPECT_GT(total["calls"].get<int>(), 0) << name;
      seconds += total["seconds"].get<double>();
    }
    EXPECT_TRUE(json["profile"].contains("attention_backward"));
    EXPECT_LE(seconds, json["profile_seconds"].get<double>() + 1e-6);
  }
  EXPECT_EQ(steps, (std::vector<std::int64_t>{2, 4}));
  EXPECT_EQ(read_metrics(run_folder() / "metrics.jsonl").steps.size(), 5u);
}

TEST_F(TrainerTest, LearnsAndLeavesACompleteRunFolder) {
  TrainOptions now = options();
  now.steps = 120;
  now.eval_every = 40;
  now.save_every = 50;
  now.sample_every = 60;
  const TrainResult result = train(now);
  EXPECT_EQ(result.step, 120);
  EXPECT_FALSE(result.interrupted);
  const auto steps = events<StepEvent>();
  ASSERT_EQ(steps.size(), 120u);
  EXPECT_NEAR(steps.front().loss, std::log(300.0), 0.1);
  EXPECT_LT(result.loss, 3.0);
  EXPECT_EQ(events<EvaluationEvent>().size(), 3u);
  ASSERT_TRUE(result.validation);
  EXPECT_LT(result.validation->loss, 3.0);
  EXPECT_NEAR(result.validation->perplexity, std::exp(result.validation->loss), 1e-9);
  EXPECT_GT(result.validation->bits_per_byte, 0.1);
  EXPECT_LT(result.validation->bits_per_byte, result.validation->loss / std::log(2.0));
  EXPECT_EQ(events<SampleEvent>().size(), 2u);
  EXPECT_EQ(events<SaveEvent>().size(), 3u);
  for (const char* name :
       {"config.json", "model.safetensors", "tokenizer.json", "generation_config.json", "report.html", "metrics.jsonl",
        "run.json", "checkpoints/step-120/state.json", "checkpoints/step-100/optimizer.safetensors"}) {
    EXPECT_TRUE(fs::exists(run_folder() / name)) << name;
  }
  const LoadedModel loaded = load_model_folder(backend_, run_folder());
  now.resume = true;
  EXPECT_EQ(loaded.transformer->config(),
            Trainer(std::make_unique<Trainer::Parts>(now, TrainCallbacks(), backend_)).plan().model);
  EXPECT_TRUE(contains(slurp(run_folder() / "report.html"), "sample of step 60"));
  EXPECT_FALSE(fs::is_empty(run_folder() / "tensorboard"));
}

TEST_F(TrainerTest, StoppingAndResumingChangesNoBit) {
  TrainOptions now = options();
  now.model.layers = 2;
  now.dropout = 0.1f;
  now.grad_accum = 2;
  now.sample_every = 10;
  train(now);
  const std::string whole = losses();
  const std::string weights = slurp(run_folder() / "model.safetensors");
  const std::string moments = slurp(run_folder() / "checkpoints/step-30/optimizer.safetensors");
  fs::remove_all(run_folder());

  // Stop after step 7, which is no step that saves, then after 20, which is one.
  on_event_ = [&](const TrainEvent& event) {
    const auto* step = std::get_if<StepEvent>(&event);
    if (step != nullptr && (step->step == 7 || step->step == 20)) stop_ = true;
  };
  TrainResult result = train(now);
  EXPECT_TRUE(result.interrupted);
  EXPECT_EQ(result.step, 7);
  EXPECT_TRUE(contains(result.how_to_resume, "--resume"));
  EXPECT_TRUE(fs::exists(run_folder() / "checkpoints/step-7"));
  // What the backward pass computes again is free to change.
  now.recompute = Recompute::layers;
  now.resume = true;
  stop_ = false;
  result = train(now);
  EXPECT_EQ(result.step, 20);
  now.recompute = Recompute::activations;
  stop_ = false;
  result = train(now);
  EXPECT_EQ(result.step, 30);
  EXPECT_FALSE(result.interrupted);
  EXPECT_EQ(losses(), whole);
  EXPECT_TRUE(slurp(run_folder() / "model.safetensors") == weights);
  EXPECT_TRUE(slurp(run_folder() / "checkpoints/step-30/optimizer.safetensors") == moments);

  events_.clear();
  EXPECT_EQ(train(now).step, 30);
  EXPECT_TRUE(events<StepEvent>().empty());
  EXPECT_TRUE(contains(notes_.back(), "has reached step 30 already"));
  EXPECT_EQ(losses(), whole);
}

TEST_F(TrainerTest, EvaluationsKeepToTheirBatchesAndEndWhenAsked) {
  TrainOptions now = options();
  now.batch_size = 2;
  train(now);
  const std::string whole = losses();
  const auto progress = events<EvaluationProgressEvent>();
  ASSERT_EQ(progress.size(), 6u);  // of three evaluations
  EXPECT_EQ(progress.back().step, 30);
  EXPECT_EQ(progress.back().done, 2);
  EXPECT_EQ(progress.back().batches, 2);
  fs::remove_all(run_folder());

  events_.clear();
  on_event_ = [&](const TrainEvent& event) {
    const auto* done = std::get_if<EvaluationProgressEvent>(&event);
    if (done != nullptr && done->step == 30) stop_ = true;
  };
  const TrainResult result = train(now);
  EXPECT_EQ(result.step, 30);
  EXPECT_EQ(events<EvaluationEvent>().size(), 2u);
  EXPECT_EQ(events<EvaluationProgressEvent>().size(), 5u);
  EXPECT_TRUE(fs::exists(run_folder() / "checkpoints/step-30"));
  EXPECT_NE(losses(), whole);
  stop_ = false;
  on_event_ = nullptr;
  now.resume = true;
  train(now);
  EXPECT_EQ(losses(), whole);
}

// As after a process that died between saving and pruning.
TEST_F(TrainerTest, ResumingRemovesWhatIsNoLongerKept) {
  TrainOptions now = options();
  now.steps = 40;
  now.eval_every = 0;
  now.save_every = 10;
  now.keep_checkpoints = 4;
  train(now);
  ASSERT_TRUE(fs::exists(run_folder() / "checkpoints/step-10"));
  now.resume = true;
  now.keep_checkpoints = 1;
  train(now);
  EXPECT_FALSE(fs::exists(run_folder() / "checkpoints/step-10"));
  EXPECT_TRUE(fs::exists(run_folder() / "checkpoints/step-40"));
}

TEST_F(TrainerTest, AccumulatingBatchesEqualsOneLargeBatch) {
  // The loader hands out the same windows in the same order, so the steps see the same text.
  TrainOptions now = options();
  now.steps = 8;
  now.warmup = 2;
  now.batch_size = 8;
  train(now);
  const auto large = read_metrics(run_folder() / "metrics.jsonl").steps;
  fs::remove_all(run_folder());
  now.batch_size = 2;
  now.grad_accum = 4;
  train(now);
  const auto small = read_metrics(run_folder() / "metrics.jsonl").steps;
  ASSERT_EQ(large.size(), small.size());
  for (std::size_t i = 0; i < large.size(); ++i) {
    EXPECT_NEAR(small[i].loss, large[i].loss, 2e-5 * large[i].loss);
    EXPECT_NEAR(small[i].gradient_norm, large[i].gradient_norm, 2e-4 * large[i].gradient_norm);
  }
}

TEST_F(TrainerTest, StopsWhenTheWeightsAreNoNumbers) {
  on_sample_ = [](Model& model, std::int64_t step) {
    if (step == 14) model.parts().loaded.transformer->parameters().tensor("final_norm.weight").host<float>()[3] = NAN;
    return std::string();
  };
  TrainOptions now = options();
  now.sample_every = 7;
  const std::string text = rejection(now, ErrorKind::numeric);
  EXPECT_TRUE(contains(text, "loss of step 15 is nan")) << text;
  EXPECT_TRUE(contains(text, "step-10 is good")) << text;
  EXPECT_TRUE(fs::exists(run_folder() / "checkpoints/step-10"));
  EXPECT_FALSE(fs::exists(run_folder() / "checkpoints/step-20"));
  // The poison was in memory only: the run goes on from the good checkpoint.
  on_sample_ = {};
  now.resume = true;
  EXPECT_EQ(train(now).step, 30);
}

TEST_F(TrainerTest, NeverSavesWeightsThatAStepRuined) {
  TrainOptions now = options();
  now.steps = 3;
  now.warmup = 0;
  now.schedule = Schedule::constant;
  now.lr = 1e38;
  now.save_every = 1;
  now.eval_every = 0;
  const std::string text = rejection(now, ErrorKind::numeric);
  EXPECT_TRUE(contains(text, "No checkpoint had been saved yet")) << text;
  EXPECT_TRUE(contains(text, "--lr")) << text;
  EXPECT_FALSE(fs::exists(run_folder() / "checkpoints/step-1"));
}

TEST_F(TrainerTest, RefusesAFolderThatHoldsARunOrAModel) {
  TrainOptions now = options();
  now.steps = 2;
  now.warmup = 0;
  train(now);
  EXPECT_TRUE(contains(rejection(now, ErrorKind::usage), "already holds a run. Add --resume"));
  now.output = folder_.path() / "other";
  fs::create_directories(now.output);
  spill(now.output / "model.safetensors", "someone's");
  EXPECT_TRUE(contains(rejection(now, ErrorKind::usage), "holds a model"));
  now.output = now.data;
  EXPECT_TRUE(contains(rejection(now, ErrorKind::usage), "a folder of its own"));
}

TEST_F(TrainerTest, RefusesAFolderThatAnotherRunWrites) {
  const Trainer first(std::make_unique<Trainer::Parts>(options(), TrainCallbacks(), backend_));
  TrainOptions now = options();
  now.resume = true;
  EXPECT_TRUE(contains(rejection(now, ErrorKind::io), "nother process"));
}

TEST_F(TrainerTest, ResumesOnlyTheSameModelAndData) {
  TrainOptions now = options();
  now.steps = 4;
  now.warmup = 0;
  train(now);
  now.resume = true;
  now.model.ffn_size = 48;
  now.batch_size = 8;
  const std::string text = rejection(now, ErrorKind::usage);
  EXPECT_TRUE(contains(text, "ffn_size 48 instead of 32")) << text;
  EXPECT_TRUE(contains(text, "batch_size 8 instead of 4")) << text;
  now = options();
  now.resume = true;
  now.steps = 3;
  now.warmup = 0;
  EXPECT_TRUE(contains(rejection(now, ErrorKind::usage), "at step 4 already"));
  now.steps = 6;
  now.lr = 5e-3;
  notes_.clear();
  EXPECT_EQ(train(now).step, 6);
  EXPECT_TRUE(contains(notes_.at(0), "lr 0.005 instead of 0.01")) << notes_.at(0);
  EXPECT_TRUE(contains(notes_.at(1), "steps 6 instead of 4")) << notes_.at(1);

  spill(folder_.path() / "text.txt", test_text(601));
  PrepareOptions preparation;
  preparation.inputs = {folder_.path() / "text.txt"};
  preparation.tokenizer = folder_.path() / "tokenizer.json";
  preparation.output = now.data;
  prepare_data(preparation);
  EXPECT_TRUE(contains(rejection(now, ErrorKind::usage), "data_train_tokens"));
}

TEST_F(TrainerTest, StartsFromAModelFolder) {
  TrainOptions now = options();
  const TrainResult first = train(now);
  now.init_from = run_folder();
  now.output = folder_.path() / "second";
  now.model.channels = 64;  // not looked at
  now.dropout = 0.05f;
  now.lr = 1e-4;
  now.steps = 2;
  now.warmup = 0;
  const TrainResult second = train(now);
  EXPECT_NEAR(second.loss, first.loss, 0.6);
  EXPECT_LT(second.loss, 5.0);
}

// Another tokenizer of the same size.
Tokenizer other_tokenizer() {
  TokenizerTrainOptions training;
  training.vocab_size = 300;
  training.min_frequency = 1;
  training.threads = 1;
  return Tokenizer::train_on_text("quite other words make other tokens, whichever of them happen to come first",
                                  training);
}

TEST_F(TrainerTest, RefusesDataWithAnotherTokenizerOfTheSameSize) {
  const fs::path path = folder_.path() / "data" / "tokenizer.json";
  TrainOptions now = options();
  now.steps = 10;
  train(now);
  other_tokenizer().save(path);
  now.output = folder_.path() / "second";
  EXPECT_TRUE(contains(rejection(now, ErrorKind::input), path.string()));
  now.output = run_folder();
  now.resume = true;
  now.steps = 12;
  EXPECT_TRUE(contains(rejection(now, ErrorKind::input), path.string()));
}

TEST_F(TrainerTest, RefusesToResumeACheckpointOfAnotherTokenizer) {
  TrainOptions now = options();
  now.steps = 10;
  train(now);
  // As where the checkpoint was put there from another run: its manifest is its own.
  const fs::path checkpoint = run_folder() / "checkpoints" / "step-10";
  const fs::path path = checkpoint / "tokenizer.json";
  other_tokenizer().save(path);
  fs::remove(checkpoint / "manifest.json");
  const FileSum sum = sum_file(path);
  nlohmann::json files = nlohmann::json::object();
  for (const auto& entry : fs::directory_iterator(checkpoint)) {
    const FileSum each = sum_file(entry.path());
    files[entry.path().filename().string()] = {{"bytes", each.bytes}, {"crc32c", fmt::format("{:08x}", each.crc32c)}};
  }
  EXPECT_EQ(files["tokenizer.json"]["bytes"].get<std::uint64_t>(), sum.bytes);
  const nlohmann::json manifest = {{"format", 1}, {"step", 10}, {"files", files}, {"validation_loss", nullptr}};
  write_file(checkpoint / "manifest.json", manifest.dump());
  now.resume = true;
  now.steps = 12;
  EXPECT_TRUE(contains(rejection(now, ErrorKind::input), checkpoint.string()));
}

TEST_F(TrainerTest, StartsFromAModelOfAnotherTokenizerOnlyWhereForced) {
  TrainOptions now = options();
  now.steps = 10;
  train(now);
  const fs::path model = folder_.path() / "model";
  fs::create_directories(model);
  for (const char* name : {"config.json", "model.safetensors"}) fs::copy_file(run_folder() / name, model / name);
  now.init_from = model;
  now.output = folder_.path() / "second";
  notes_.clear();
  train(now);
  ASSERT_EQ(notes_.size(), 1u);
  EXPECT_TRUE(contains(notes_[0], "has no tokenizer.json")) << notes_[0];

  // The tokenizer in its old files is one as well.
  const auto other = nlohmann::json::parse(other_tokenizer().to_json());
  spill(model / "vocab.json", other["model"]["vocab"].dump());
  spill(model / "merges.txt", "");
  now.output = folder_.path() / "third";
  const std::string named = rejection(now, ErrorKind::input);
  EXPECT_TRUE(contains(named, (model / "vocab.json").string())) << named;

  other_tokenizer().save(model / "tokenizer.json");
  const std::string refused = rejection(now, ErrorKind::input);
  EXPECT_TRUE(contains(refused, (model / "tokenizer.json").string())) << refused;
  EXPECT_TRUE(contains(refused, "--force-tokenizer")) << refused;
  now.force_tokenizer = true;
  notes_.clear();
  train(now);
  ASSERT_EQ(notes_.size(), 1u);
  EXPECT_TRUE(contains(notes_[0], "keeps its embedding but means another token")) << notes_[0];

  // What was decided at the beginning holds for the rest, also where the options are those that run.json holds.
  now = load_run_options(now.output);
  EXPECT_TRUE(now.force_tokenizer);
  now.resume = true;
  now.steps = 12;
  EXPECT_EQ(train(now).step, 12);
  // A run from before there was the flag has no such member.
  const fs::path record = now.output / "run.json";
  nlohmann::json older = read_json_file(record);
  older.erase("force_tokenizer");
  write_file(record, older.dump());
  now = load_run_options(now.output);
  EXPECT_FALSE(now.force_tokenizer);
  now.resume = true;
  now.steps = 14;
  EXPECT_EQ(train(now).step, 14);
}

// What training does not change of a model comes out as it went in, also after a resumption.
TEST_F(TrainerTest, CarriesOverWhatTheModelsFolderSays) {
  TrainOptions now = options();
  train(now);
  now.init_from = folder_.path() / "model";
  std::filesystem::create_directories(now.init_from);
  for (const std::string_view name : model_folder_files()) {
    if (std::filesystem::exists(run_folder() / name)) {
      std::filesystem::copy_file(run_folder() / name, now.init_from / name);
    }
  }
  spill(now.init_from / "generation_config.json",
        R"({"eos_token_id": [1, 2], "temperature": 0.6, "top_p": 0.9, "do_sample": true, "top_k": -1})");
  spill(now.init_from / "chat_template.jinja", "{{ messages }}");
  std::filesystem::create_directory(now.init_from / "additional_chat_templates");
  spill(now.init_from / "additional_chat_templates" / "tool_use.jinja", "{{ tools }}");
  now.output = folder_.path() / "second";
  now.warmup = 0;
  for (const std::int64_t steps : {2, 4}) {
    now.steps = steps;
    train(now);
    const auto generation = read_json_file(now.output / "generation_config.json");
    EXPECT_EQ(generation["eos_token_id"], (std::vector<int>{1, 2}));
    EXPECT_EQ(generation["temperature"], 0.6);
    EXPECT_EQ(generation["top_p"], 0.9);
    EXPECT_EQ(generation["do_sample"], true);
    EXPECT_EQ(read_json_file(now.output / "config.json")["eos_token_id"], (std::vector<int>{1, 2}));
    EXPECT_TRUE(std::filesystem::exists(now.output / "chat_template.jinja"));
    EXPECT_TRUE(std::filesystem::exists(now.output / "additional_chat_templates" / "tool_use.jinja"));
    const auto warned = [](const std::string& note) {
      return contains(note, "'top_k' is -1");
    };
    EXPECT_TRUE(std::any_of(notes_.begin(), notes_.end(), warned));
    notes_.clear();
    now.resume = true;
  }
}

TEST_F(TrainerTest, ResumesWithoutTheModelItStartedFrom) {
  TrainOptions now = options();
  now.steps = 2;
  now.warmup = 0;
  now.model.channels = 24;
  train(now);
  now.model = options().model;
  now.init_from = folder_.path() / "first";
  fs::rename(run_folder(), now.init_from);
  now.dropout = 0.1f;
  train(now);
  fs::remove_all(now.init_from);
  now.resume = true;
  now.steps = 4;
  EXPECT_EQ(train(now).step, 4);
  EXPECT_EQ(load_run_options(run_folder()).model.channels, 24);
  // Without a run there is nothing but the folder.
  now.output = folder_.path() / "other";
  EXPECT_TRUE(contains(rejection(now, ErrorKind::io), now.init_from.string()));
}

TEST_F(TrainerTest, SaysWhereAModelHasNoPublicForm) {
  TrainOptions now = options();
  now.steps = 1;
  now.warmup = 0;
  train(now);
  const auto warned = [](const std::string& note) {
    return contains(note, "transformers does not open");
  };
  EXPECT_TRUE(std::none_of(notes_.begin(), notes_.end(), warned));
  now.output = folder_.path() / "second";
  now.model.norm_position = NormPosition::post;
  train(now);
  EXPECT_TRUE(std::any_of(notes_.begin(), notes_.end(), warned));
}

// Data whose tokenizer has more tokens than the model is an error only where it uses them.
TEST_F(TrainerTest, TheDataMayHaveMoreTokensThanTheModelAsLongAsItUsesNone) {
  TrainOptions now = options();
  now.steps = 1;
  now.warmup = 0;
  train(now);
  now.init_from = run_folder();
  now.force_tokenizer = true;
  const auto prepare_with = [&](const std::string& name, const std::string& text) {
    auto json = read_json_file(folder_.path() / "tokenizer.json");
    json["added_tokens"].push_back({{"id", 300},
                                    {"content", "<|x|>"},
                                    {"single_word", false},
                                    {"lstrip", false},
                                    {"rstrip", false},
                                    {"normalized", false},
                                    {"special", false}});
    spill(folder_.path() / (name + ".json"), json.dump());
    spill(folder_.path() / (name + ".txt"), text);
    PrepareOptions prepare;
    prepare.inputs = {folder_.path() / (name + ".txt")};
    prepare.tokenizer = folder_.path() / (name + ".json");
    prepare.output = folder_.path() / name;
    prepare_data(prepare);
    now.data = prepare.output;
    now.output = folder_.path() / (name + "_run");
  };
  prepare_with("unused", test_text(300));
  EXPECT_EQ(train(now).step, 1);
  prepare_with("used", test_text(300) + "<|x|>");
  const std::string text = rejection(now, ErrorKind::input);
  EXPECT_TRUE(contains(text, "'<|x|>' (id 300)")) << text;
  EXPECT_TRUE(contains(text, "ends at 300")) << text;
}

// CPUs with instructions for it round the operands of products; parameters and files stay f32.
TEST_F(TrainerTest, TrainsWithProductsInBf16WhereTheCpuHasThem) {
  TrainOptions now = options();
  now.dtype = "bf16";
  if (!backend_.device().multiplies_bf16) {
    EXPECT_TRUE(contains(rejection(now, ErrorKind::usage), "neither AVX512-BF16 nor AMX"));
    return;
  }
  const double rounded = train(now).loss;
  fs::remove_all(run_folder());
  now.dtype = "f32";
  const double exact = train(now).loss;
  EXPECT_NE(rounded, exact);
  EXPECT_NEAR(rounded, exact, 0.02 * exact);
  fs::remove_all(run_folder());
  now.dtype = "bf16";
  now.master_weights = MasterWeights::none;
  EXPECT_TRUE(contains(rejection(now, ErrorKind::usage), "--master-weights none"));
}

TEST_F(TrainerTest, RejectsImpossibleOptions) {
  TrainOptions now = options();
  now.steps = 0;
  now.batch_size = 0;
  now.dtype = "f64";
  now.dropout = 1.0f;
  now.beta2 = 1.0;
  now.clip = -1.0;
  const std::string text = rejection(now, ErrorKind::usage);
  for (const char* flag :
       {"--steps is 0", "--batch-size is 0", "--dtype is f64", "--dropout is 1", "--beta2 is 1", "--clip is -1"}) {
    EXPECT_TRUE(contains(text, flag)) << flag << ": " << text;
  }
  now = options();
  now.seq_len = 17;
  EXPECT_TRUE(contains(rejection(now, ErrorKind::usage), "--seq-len is 17"));
  now = options();
  now.dtype = "f16";
  EXPECT_TRUE(contains(rejection(now, ErrorKind::usage), "trains in f32 only"));
  now = options();
  now.data = folder_.path() / "nowhere";
  rejection(now, ErrorKind::input);
  EXPECT_FALSE(fs::exists(run_folder()));
}

// References to every member. A new one does not compile here until it is named, and fails below until it is given a
// value of its own.
auto members_of(const TrainOptions& options) {
  const auto& [data, output, resume, from_step, discard_damaged, init_from, force_tokenizer, model, dropout, device,
               tuning, attention, products, dtype, recompute, master_weights, grad_dtype, zero, steps, batch_size,
               seq_len, grad_accum, seed, lr, min_lr_ratio, warmup, schedule, decay_fraction, beta1, beta2, epsilon,
               weight_decay, clip, eval_every, eval_batches, sample_every, sample_prompt, save_every, keep_checkpoints,
               profile_every, tensorboard, report] = options;
  return std::tie(data, output, resume, from_step, discard_damaged, init_from, force_tokenizer, model, dropout, device,
                  tuning, attention, products, dtype, recompute, master_weights, grad_dtype, zero, steps, batch_size,
                  seq_len, grad_accum, seed, lr, min_lr_ratio, warmup, schedule, decay_fraction, beta1, beta2, epsilon,
                  weight_decay, clip, eval_every, eval_batches, sample_every, sample_prompt, save_every,
                  keep_checkpoints, profile_every, tensorboard, report);
}

TEST(RunOptions, EveryMemberCanBeReadBack) {
  TrainOptions options;
  options.data = "d";
  options.output = "o";
  options.resume = true;
  options.from_step = 3;
  options.discard_damaged = true;
  options.init_from = "i";
  options.force_tokenizer = true;
  options.model.layers = 5;
  options.dropout = 0.125f;
  options.device = "metal:1";
  options.tuning = "t.json";
  options.attention = "msl";
  options.products = "cublas";
  options.dtype = "bf16";
  options.recompute = Recompute::layers;
  options.master_weights = MasterWeights::none;
  options.grad_dtype = GradientSums::f32;
  options.zero = 2;
  options.steps = 7;
  options.batch_size = 8;
  options.seq_len = 9;
  options.grad_accum = 10;
  options.seed = std::uint64_t{1} << 63;
  options.lr = 0.11;
  options.min_lr_ratio = 0.12;
  options.warmup = 13;
  options.schedule = Schedule::wsd;
  options.decay_fraction = 0.14;
  options.beta1 = 0.15;
  options.beta2 = 0.16;
  options.epsilon = 0.17;
  options.weight_decay = 0.18;
  options.clip = 0.19;
  options.eval_every = 20;
  options.eval_batches = 21;
  options.sample_every = 22;
  options.sample_prompt = "p";
  options.save_every = 23;
  options.keep_checkpoints = 24;
  options.profile_every = 26;
  options.tensorboard = false;
  options.report = false;
  const TrainOptions defaults;
  const auto differ = [&]<std::size_t... i>(std::index_sequence<i...>) {
    const auto given = members_of(options);
    const auto before = members_of(defaults);
    return std::vector<bool>{std::get<i>(given) != std::get<i>(before)...};
  };
  const auto all = differ(std::make_index_sequence<std::tuple_size_v<decltype(members_of(options))>>());
  for (std::size_t i = 0; i < all.size(); ++i) EXPECT_TRUE(all[i]) << "member " << i << " has its default";

  TrainOptions read = options_from_json(options_to_json(options), "test");
  // These belong to one start.
  read.resume = options.resume;
  read.from_step = options.from_step;
  read.discard_damaged = options.discard_damaged;
  EXPECT_EQ(read, options);
}

TEST_F(TrainerTest, OptionsOfARunCanBeReadBack) {
  TrainOptions now = options();
  now.steps = 2;
  now.warmup = 0;
  train(now);
  now.model.vocab_size = 300;
  EXPECT_EQ(load_run_options(run_folder()), now);
  EXPECT_THROW(load_run_options(folder_.path()), Error);
  nlohmann::json json = options_to_json(now);
  json.erase("lr");
  EXPECT_THROW(options_from_json(json, "test"), Error);
}

TEST_F(TrainerTest, ThePlanAddsUpTheMemory) {
  const Trainer trainer(std::make_unique<Trainer::Parts>(options(), TrainCallbacks(), backend_));
  const MemoryEstimate& memory = trainer.plan().memory;
  EXPECT_GE(memory.parameters, static_cast<std::size_t>(trainer.plan().parameter_count) * 4);
  EXPECT_EQ(memory.gradients, memory.parameters);
  EXPECT_EQ(memory.moments, 2 * memory.parameters);
  EXPECT_EQ(memory.master_weights, 0u);
  EXPECT_GT(memory.activations, 0u);
  EXPECT_GT(memory.scratch, 0u);
  EXPECT_EQ(memory.total(), 4 * memory.parameters + memory.activations + memory.scratch);
  EXPECT_TRUE(contains(memory.describe(), "Scratch"));
  EXPECT_TRUE(contains(memory.describe(), "Together"));
}

}  // namespace
}  // namespace mslt
