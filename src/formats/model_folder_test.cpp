// Tests of model folders: round trips, missing or mismatched parts, a full disk, models saved by transformers.
#include "formats/model_folder.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <csignal>
#include <cstring>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "backend/download_floats.h"
#include "backend/registry.h"
#include "base/fail.h"
#include "base/file.h"
#include "base/json.h"
#include "base/test_errors.h"
#include "base/test_gguf.h"
#include "formats/safetensors.h"
#include "formats/test_folders.h"
#include "formats/test_parameters.h"
#include "formats/token_names.h"
#include "model/inference_pass.h"
#include "mslt/model.h"

namespace mslt {
namespace {

using test::error_of;

Tokenizer small_tokenizer() {
  TokenizerTrainOptions options;
  options.vocab_size = 262;
  options.threads = 1;
  return Tokenizer::train_on_text("the cat and the hat and the bat and the rat the cat", options);
}

Config small_config() {
  Config config = preset("tiny");
  config.vocab_size = 270;
  config.max_positions = 16;
  config.layers = 1;
  config.channels = 16;
  config.heads = config.kv_heads = 2;
  config.head_size = 8;
  config.ffn_size = 24;
  return config;
}

class ModelFolder : public testing::Test {
 protected:
  std::unique_ptr<Backend> backend = make_backend("cpu");

  // A small model with its tokenizer under `name`.
  std::filesystem::path saved(const std::string& name) {
    const auto folder = fresh_folder("model_folder_" + name);
    const Tokenizer tokenizer = small_tokenizer();
    save_model_folder(folder, model(1), &tokenizer);
    return folder;
  }

  Transformer& model(std::uint64_t seed) {
    model_ = std::make_unique<Transformer>(*backend, small_config(), DType::f32);
    model_->initialize(seed);
    return *model_;
  }

 private:
  std::unique_ptr<Transformer> model_;
};

TEST_F(ModelFolder, RoundTrips) {
  const auto folder = saved("round") / "not" / "yet";
  const Tokenizer tokenizer = small_tokenizer();
  Transformer& original = model(5);
  SaveModelOptions options;
  options.generation.temperature = 0.5;
  save_model_folder(folder, original, &tokenizer, options);
  const LoadedModel loaded = load_model_folder(*backend, folder);
  EXPECT_EQ(loaded.transformer->config(), original.config());
  EXPECT_EQ(loaded.transformer->dtype(), DType::f32);
  EXPECT_EQ(parameter_bytes(*loaded.transformer), parameter_bytes(original));
  EXPECT_EQ(loaded.family, ModelFamily::gpt2);
  ASSERT_TRUE(loaded.tokenizer);
  EXPECT_EQ(loaded.tokenizer->encode("the bat"), tokenizer.encode("the bat"));
  EXPECT_EQ(loaded.generation.tokens, (ModelTokenIds{1, 0, {2}}));
  EXPECT_EQ(loaded.generation.temperature, 0.5);
  const auto config = read_json_file(folder / "config.json");
  EXPECT_EQ(config["eos_token_id"], 2);
  EXPECT_EQ(config["torch_dtype"], "float32");
  EXPECT_EQ(read_json_file(folder / "tokenizer_config.json")["model_max_length"], 16);
}

TEST_F(ModelFolder, TakesTheDtypeAskedFor) {
  const auto folder = saved("dtype");
  EXPECT_EQ(load_model_folder(*backend, folder, DType::bf16).transformer->dtype(), DType::bf16);
  SaveModelOptions options;
  options.dtype = DType::f16;
  save_model_folder(folder, model(1), nullptr, options);
  EXPECT_EQ(load_model_folder(*backend, folder).transformer->dtype(), DType::f16);
  EXPECT_EQ(read_json_file(folder / "config.json")["torch_dtype"], "float16");
}

TEST_F(ModelFolder, SaysWhatIsMissing) {
  EXPECT_NE(error_of(ErrorKind::io, [&] { load_model_folder(*backend, "/nonexistent"); }).find("There is no"),
            std::string::npos);
  EXPECT_NE(error_of(ErrorKind::io, [&] { load_model_folder(*backend, MSLT_TEST_DATA "/golden/split.json"); })
                .find("not a folder"),
            std::string::npos);
  for (const char* name : {"config.json", "model.safetensors"}) {
    const auto folder = saved("missing");
    std::filesystem::remove(folder / name);
    EXPECT_NE(error_of(ErrorKind::io, [&] { load_model_folder(*backend, folder); }).find(name), std::string::npos);
  }
  const auto folder = saved("bare");
  for (const char* name : {"tokenizer.json", "tokenizer_config.json", "generation_config.json"}) {
    std::filesystem::remove(folder / name);
  }
  const LoadedModel loaded = load_model_folder(*backend, folder);
  EXPECT_FALSE(loaded.tokenizer);
  EXPECT_EQ(loaded.generation.tokens.eos, (std::vector<std::uint32_t>{2}));
}

// Having tokens that the model lacks is allowed; using one is an error (see TextGenerator).
TEST_F(ModelFolder, TakesATokenizerLargerThanTheModel) {
  const auto folder = saved("vocabulary");
  TokenizerTrainOptions options;
  options.vocab_size = 271;
  options.threads = 1;
  options.special = {"[PAD]", "[BOS]", "[EOS]", "[A1]", "[A2]", "[A3]", "[A4]", "[A5]", "[A6]", "[A7]"};
  const Tokenizer larger =
      Tokenizer::train_on_text("the cat and the hat and the bat and the rat the cat and the hat", options);
  ASSERT_EQ(larger.vocab_size(), 271u);
  save_model_folder(folder, model(1), &larger);
  const LoadedModel loaded = load_model_folder(*backend, folder);
  EXPECT_EQ(loaded.tokenizer->vocab_size(), 271u);
  EXPECT_EQ(loaded.transformer->config().vocab_size, 270);
  EXPECT_EQ(loaded.generation.tokens, (ModelTokenIds{1, 0, {2}}));
}

TEST_F(ModelFolder, RefusesWeightsThatDoNotMatch) {
  const auto folder = saved("weights");
  auto config = nlohmann::json::parse(read_file(folder / "config.json", 10000));
  config["n_inner"] = 32;
  write_file(folder / "config.json", config.dump());
  const std::string message = error_of(ErrorKind::input, [&] { load_model_folder(*backend, folder); });
  EXPECT_NE(message.find("transformer.h.0.mlp.c_fc.weight has the shape [16, 24], expected is [16, 32]"),
            std::string::npos)
      << message;
  // A huge claimed size is refused by comparing with the file, before memory is allocated.
  config["n_inner"] = nullptr;
  config["vocab_size"] = 2'000'000'000;
  write_file(folder / "config.json", config.dump());
  EXPECT_NE(error_of(ErrorKind::input, [&] { load_model_folder(*backend, folder); }).find("[2000000000, 16]"),
            std::string::npos);
}

// A Llama's folder with two end-of-text tokens, sampling settings, a chat template and members that mslt does not use.
std::filesystem::path chat_model(const std::filesystem::path& folder) {
  const auto set = [&](const char* file, const std::function<void(nlohmann::ordered_json&)>& change) {
    auto json = nlohmann::ordered_json::parse(read_file(folder / file, 100000));
    change(json);
    write_file(folder / file, json.dump());
  };
  set("config.json", [](auto& json) { json["task_specific_params"] = {{"a", 1}}; });
  set("tokenizer_config.json", [](auto& json) { json["chat_template"] = "{{ messages }}"; });
  write_file(folder / "special_tokens_map.json", R"({"eos_token": {"content": "[EOS]"}})");
  write_file(folder / "chat_template.jinja", "{{ bos_token }}");
  std::filesystem::create_directory(folder / "additional_chat_templates");
  write_file(folder / "additional_chat_templates" / "tool_use.jinja", "{{ tools }}");
  write_file(folder / "generation_config.json",
             R"({"eos_token_id": [1, 2], "temperature": 0.6, "top_p": 0.9, "do_sample": true, "typical_p": 0.5})");
  return folder;
}

TEST_F(ModelFolder, CarriesOverWhatTrainingDoesNotChange) {
  const auto folder = chat_model(saved("chat"));
  const LoadedModel loaded = load_model_folder(*backend, folder);
  EXPECT_TRUE(loaded.notes.empty());
  const Tokenizer tokenizer = small_tokenizer();
  const auto trained = fresh_folder("model_folder_trained");
  save_model_folder(trained, model(9), &tokenizer, carried_over(loaded, &tokenizer));
  const auto generation = read_json_file(trained / "generation_config.json");
  EXPECT_EQ(generation["eos_token_id"], (std::vector<int>{1, 2}));
  EXPECT_EQ(generation["temperature"], 0.6);
  EXPECT_EQ(generation["top_p"], 0.9);
  EXPECT_EQ(generation["do_sample"], true);
  EXPECT_EQ(generation["typical_p"], 0.5);
  const auto config = read_json_file(trained / "config.json");
  EXPECT_EQ(config["eos_token_id"], (std::vector<int>{1, 2}));
  EXPECT_EQ(config["task_specific_params"]["a"], 1);
  for (const char* name : {"tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja",
                           "additional_chat_templates/tool_use.jinja"}) {
    EXPECT_EQ(read_file(trained / name, 100000), read_file(folder / name, 100000)) << name;
  }
  // The same again from the saved folder, as when a run is resumed.
  const LoadedModel again = load_model_folder(*backend, trained);
  EXPECT_EQ(again.generation, loaded.generation);
  EXPECT_EQ(carried_over(again, &tokenizer).files.at("tokenizer_config.json"),
            loaded.files.at("tokenizer_config.json"));
  // The list of files to copy covers everything in the folder.
  const std::vector<std::string> names = model_files_in(trained);
  EXPECT_EQ(names.back(), "config.json");
  for (const auto& entry : std::filesystem::recursive_directory_iterator(trained)) {
    if (entry.is_directory()) continue;
    const std::string name = std::filesystem::relative(entry.path(), trained).string();
    EXPECT_NE(std::find(names.begin(), names.end(), name), names.end()) << name;
  }
}

TEST_F(ModelFolder, TemplatesOfHostileNamesAreNotSaved) {
  const LoadedModel loaded = load_model_folder(*backend, chat_model(saved("hostile_names")));
  const Tokenizer tokenizer = small_tokenizer();
  SaveModelOptions options = carried_over(loaded, &tokenizer);
  for (const char* name : {"../x", "a/b", ".hidden", ""}) {
    options.files[std::string("additional_chat_templates/") + name + ".jinja"] = "{{ messages }}";
  }
  const auto folder = fresh_folder("model_folder_hostile_names_saved");
  save_model_folder(folder, model(9), &tokenizer, options);
  std::size_t templates = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    templates += entry.path().extension() == ".jinja" ? 1 : 0;
  }
  EXPECT_EQ(templates, 2u);
}

TEST_F(ModelFolder, AnotherTokenizersNamesAreNotCarriedOver) {
  const LoadedModel loaded = load_model_folder(*backend, chat_model(saved("other_tokens")));
  TokenizerTrainOptions options;
  options.vocab_size = 262;
  options.threads = 1;
  options.special = {"[EOS]"};
  const Tokenizer other = Tokenizer::train_on_text("the cat and the hat and the bat and the rat the cat", options);
  const auto trained = fresh_folder("model_folder_other_tokens_trained");
  save_model_folder(trained, model(9), &other, carried_over(loaded, &other));
  const auto generation = read_json_file(trained / "generation_config.json");
  EXPECT_EQ(generation["eos_token_id"], 0);
  EXPECT_EQ(generation["temperature"], 0.6);
  EXPECT_FALSE(read_json_file(trained / "tokenizer_config.json").contains("chat_template"));
  EXPECT_FALSE(std::filesystem::exists(trained / "chat_template.jinja"));
  EXPECT_FALSE(std::filesystem::exists(trained / "additional_chat_templates"));
}

TEST_F(ModelFolder, SettingsThatCannotBeUsedDoNotStopIt) {
  const auto folder = saved("quirks");
  write_file(folder / "generation_config.json",
             R"({"top_k": -1, "max_new_tokens": 0, "eos_token_id": [0, -1], "do_sample": 1, "bos_token_id": [0, 1]})");
  const LoadedModel loaded = load_model_folder(*backend, folder);
  EXPECT_EQ(loaded.generation.tokens.eos, std::vector<std::uint32_t>{0});
  EXPECT_EQ(loaded.generation.tokens.bos, 1u);  // config.json's
  std::string notes;
  for (const std::string& note : loaded.notes) notes += note + "\n";
  for (const char* name : {"'top_k' is -1", "'max_new_tokens' is 0", "'eos_token_id' is [0,-1]", "'do_sample'",
                           "'bos_token_id' is [0,1]"}) {
    EXPECT_NE(notes.find(name), std::string::npos) << notes;
  }
  write_file(folder / "generation_config.json", "{\"top_k\": NaN}");
  const LoadedModel without = load_model_folder(*backend, folder);
  ASSERT_EQ(without.notes.size(), 1u);
  EXPECT_NE(without.notes[0].find("Its settings are not used"), std::string::npos);
  EXPECT_EQ(without.generation.tokens.eos, std::vector<std::uint32_t>{2});
}

// The order is that of transformers: generation_config.json, config.json; then the tokenizer's files.
TEST_F(ModelFolder, FindsTheEndOfTextsWhereverItIsNamed) {
  const auto folder = saved("eos");
  TokenizerTrainOptions options;
  options.vocab_size = 262;
  options.threads = 1;
  options.special = {"<start>", "<stop>", "<halt>"};
  Tokenizer::train_on_text("the cat and the hat and the bat and the rat the cat", options)
      .save(folder / "tokenizer.json");
  const auto eos = [&] {
    return load_model_folder(*backend, folder).generation.tokens.eos;
  };
  using Ids = std::vector<std::uint32_t>;
  auto config = nlohmann::json::parse(read_file(folder / "config.json", 10000));
  for (const char* name : {"eos_token_id", "bos_token_id", "pad_token_id"}) config[name] = nullptr;
  write_file(folder / "config.json", config.dump());
  write_file(folder / "generation_config.json", "{}");
  write_file(folder / "tokenizer_config.json", "{}");
  EXPECT_EQ(eos(), Ids{});
  write_file(folder / "special_tokens_map.json", R"({"eos_token": "<stop>", "bos_token": {"content": "<start>"}})");
  EXPECT_EQ(load_model_folder(*backend, folder).generation.tokens, (ModelTokenIds{0, std::nullopt, {1}}));
  write_file(folder / "tokenizer_config.json", R"({"eos_token": {"__type": "AddedToken", "content": "<halt>"}})");
  EXPECT_EQ(eos(), Ids{2});
  config["eos_token_id"] = 1;
  write_file(folder / "config.json", config.dump());
  EXPECT_EQ(eos(), Ids{1});
  write_file(folder / "generation_config.json", R"({"eos_token_id": [2, 1]})");
  EXPECT_EQ(eos(), (Ids{2, 1}));
  Model model = Model::load(folder, {.device = "cpu", .dtype = "f32"});
  model.end_at("<start>");
  EXPECT_EQ(Ids(model.eos_ids().begin(), model.eos_ids().end()), Ids{0});
  const std::string message = error_of(ErrorKind::usage, [&] { model.end_at("<none>"); });
  EXPECT_NE(message.find("its special tokens are <start>, <stop>, <halt>"), std::string::npos) << message;
  // add_bos_token applies if the tokenizer's own file puts nothing before texts, as transformers does for vocab.json
  // and merges.txt.
  EXPECT_TRUE(model.text_prefix().empty());
  const auto prefix = [&] {
    return load_model_folder(*backend, folder).text_prefix;
  };
  write_file(folder / "tokenizer_config.json", R"({"add_bos_token": true, "bos_token": "<halt>"})");
  EXPECT_EQ(prefix(), Ids{2});
  write_file(folder / "tokenizer_config.json", R"({"add_bos_token": true})");
  EXPECT_EQ(prefix(), Ids{0});  // from special_tokens_map.json
  for (const char* text : {R"({"add_bos_token": false, "bos_token": "<halt>"})", R"({"bos_token": "<halt>"})",
                           R"({"add_bos_token": 1})", R"(["add_bos_token"])", "{"}) {
    write_file(folder / "tokenizer_config.json", text);
    EXPECT_EQ(prefix(), Ids{}) << text;
  }
  auto tokenizer_json = nlohmann::json::parse(read_file(folder / "tokenizer.json", 1 << 20));
  tokenizer_json["post_processor"] = {{"type", "BertProcessing"}, {"sep", {"<stop>", 1}}, {"cls", {"<stop>", 1}}};
  write_file(folder / "tokenizer.json", tokenizer_json.dump());
  write_file(folder / "tokenizer_config.json", R"({"add_bos_token": false, "bos_token": "<halt>"})");
  EXPECT_EQ(prefix(), Ids{1});
  // A name that is not a token is a note.
  write_file(folder / "tokenizer_config.json", R"({"eos_token": "<gone>", "pad_token": 7})");
  const auto notes = load_model_folder(*backend, folder).notes;
  ASSERT_EQ(notes.size(), 2u);
  EXPECT_NE(notes[0].find("'pad_token' is 7; valid is the text of a token"), std::string::npos) << notes[0];
  EXPECT_NE(notes[1].find("'eos_token' is \"<gone>\"; the tokenizer has no such token"), std::string::npos) << notes[1];
}

TEST_F(ModelFolder, TheEndOfDocumentsIsNamedBesideTheTokenizer) {
  TokenizerTrainOptions options;
  options.vocab_size = 262;
  options.threads = 1;
  options.special = {"<start>", "<stop>", "<halt>"};
  const Tokenizer tokenizer = Tokenizer::train_on_text("the cat and the hat and the bat and the rat the cat", options);
  const auto folder = fresh_folder("model_folder_eos_beside");
  std::vector<std::string> notes;
  const auto eos = [&] {
    return eos_beside(folder / "tokenizer.json", tokenizer, notes);
  };
  EXPECT_EQ(eos(), std::nullopt);
  write_file(folder / "generation_config.json", R"({"eos_token_id": [0, 1]})");
  EXPECT_EQ(eos(), 0u);
  write_file(folder / "config.json", R"({"eos_token_id": 1})");
  EXPECT_EQ(eos(), 1u);
  write_file(folder / "tokenizer_config.json", R"({"eos_token": "<halt>"})");
  EXPECT_EQ(eos(), 2u);
  EXPECT_TRUE(notes.empty());
  write_file(folder / "tokenizer_config.json", "no JSON");
  EXPECT_EQ(eos(), 1u);
  EXPECT_EQ(notes.size(), 1u);
  // A GGUF file names its own, whatever lies beside it.
  const auto gguf = folder / "model.gguf";
  for (const std::uint32_t id : {2U, 5000U}) {
    TestGguf file;
    file.number("tokenizer.ggml.eos_token_id", id);
    write_file(gguf, file.bytes());
    EXPECT_EQ(eos_beside(gguf, tokenizer, notes), id == 2 ? std::optional(id) : tokenizer.eos_id());
  }
}

// A file as written by other programs: doubles, wrapped names, only the head.
TEST_F(ModelFolder, ReadsWhatWrappersAndSaveModelLeave) {
  const auto folder = saved("wrapped");
  const auto expected = parameter_bytes(*load_model_folder(*backend, folder).transformer);
  const SafetensorsFile original(folder / "model.safetensors");
  std::vector<SafetensorsWriter::Declaration> declarations;
  std::vector<double> values;
  for (const SafetensorsEntry& entry : original.entries()) {
    const std::string name = entry.name == "transformer.wte.weight" ? "lm_head.weight" : entry.name;
    declarations.push_back({(declarations.size() % 2 == 0 ? "_orig_mod." : "module.") + name, "F64", entry.shape});
    const auto bytes = original.bytes(entry);
    for (std::size_t at = 0; at < bytes.size(); at += sizeof(float)) {
      float value = 0;
      std::memcpy(&value, bytes.data() + at, sizeof value);
      values.push_back(static_cast<double>(value));
    }
  }
  const auto other = fresh_folder("model_folder_wrapped_other");
  std::filesystem::copy_file(folder / "config.json", other / "config.json");
  AtomicFile file(other / "model.safetensors");
  SafetensorsWriter writer(file, declarations);
  writer.write(std::as_bytes(std::span(values)));
  writer.finish();
  file.commit();
  for (const WeightMemory memory : {WeightMemory::copied, WeightMemory::mapped}) {
    const LoadedModel loaded = load_model_folder(*backend, other, std::nullopt, memory);
    EXPECT_EQ(loaded.transformer->dtype(), DType::f32);
    EXPECT_EQ(parameter_bytes(*loaded.transformer), expected);
    EXPECT_EQ(loaded.notes.size(), 3u);
  }
}

TEST_F(ModelFolder, DropsTokenIdsOutsideTheVocabulary) {
  const auto folder = saved("ids");
  write_file(folder / "generation_config.json", R"({"bos_token_id": 50256, "eos_token_id": [50256, 7]})");
  const LoadedModel loaded = load_model_folder(*backend, folder);
  EXPECT_EQ(loaded.generation.tokens, (ModelTokenIds{1, 0, {7}}));
}

TEST_F(ModelFolder, AFullDiskKeepsThePreviousModel) {
  const auto folder = saved("full");
  const auto before = parameter_bytes(*load_model_folder(*backend, folder).transformer);
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) names.push_back(entry.path().filename());
  Transformer& other = model(2);
  ASSERT_NE(parameter_bytes(other), before);
  const Tokenizer tokenizer = small_tokenizer();
  rlimit old_limit{};
  getrlimit(RLIMIT_FSIZE, &old_limit);
  const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
  // First not enough for the weights, then enough for the weights but not for the tokenizer.
  for (const rlim_t limit : {rlim_t{4096}, rlim_t{std::filesystem::file_size(folder / "model.safetensors")}}) {
    const rlimit small{limit, old_limit.rlim_max};
    setrlimit(RLIMIT_FSIZE, &small);
    SaveModelOptions options;
    options.generation.tokens.eos.assign(static_cast<std::size_t>(limit), 2);
    EXPECT_THROW(save_model_folder(folder, other, &tokenizer, options), Error);
    setrlimit(RLIMIT_FSIZE, &old_limit);
    EXPECT_EQ(parameter_bytes(*load_model_folder(*backend, folder).transformer), before);
    EXPECT_EQ(static_cast<std::size_t>(std::distance(std::filesystem::directory_iterator(folder), {})), names.size());
  }
  std::signal(SIGXFSZ, old_handler);
}

TEST_F(ModelFolder, RefusesAFileInTheFoldersPlace) {
  const auto folder = fresh_folder("model_folder_file");
  write_file(folder / "f", "text");
  EXPECT_THROW(save_model_folder(folder / "f", model(1), nullptr), Error);
  EXPECT_THROW(load_model_folder(*backend, folder / "f"), Error);
}

// Each tests/golden/hf_* folder was saved by transformers, with the logits it computes for the ids in expected.json.
class SavedByTransformers : public testing::TestWithParam<std::string> {};

TEST_P(SavedByTransformers, GivesTheSameLogits) {
  const std::filesystem::path folder = golden_folder() / GetParam();
  Model model = Model::load(folder, {.device = "cpu", .dtype = "f32"});
  const auto expected = read_json_file(folder / "expected.json");
  const auto ids = expected["ids"].get<std::vector<std::int32_t>>();
  const auto logits = model.logits(ids);
  const auto values = expected["logits"].get<std::vector<float>>();
  ASSERT_EQ(logits.size(), values.size());
  float largest = 0;
  for (std::size_t i = 0; i < values.size(); ++i) largest = std::max(largest, std::abs(logits[i] - values[i]));
  // f32 on both sides, logits of order 1: only the order of sums differs.
  EXPECT_LT(largest, 2e-5f);
}

// Saved again here, it is the same model, and still of its family, or of one that computes the same.
TEST_P(SavedByTransformers, IsSavedAgain) {
  const std::filesystem::path folder = golden_folder() / GetParam();
  const auto expected = read_json_file(folder / "expected.json");
  const auto ids = expected["ids"].get<std::vector<std::int32_t>>();
  // Copies, since whether matrices are read transposed in place depends on where the file has them.
  const LoadOptions options = {.device = "cpu", .dtype = "f32", .quantize = "none"};
  Model model = Model::load(folder, options);
  const auto again = fresh_folder("model_folder_again_" + GetParam());
  model.save(again);
  Model saved = Model::load(again, options);
  EXPECT_EQ(saved.config(), model.config());
  EXPECT_EQ(saved.logits(ids), model.logits(ids));
  EXPECT_NE(read_json_file(again / "config.json")["model_type"], "mslt-transformer");
}

// expected.json of these has the 64 ids that follow greedily; here they come one by one over the cache.
class WrittenByTransformers : public testing::TestWithParam<std::string> {};

TEST_P(WrittenByTransformers, GoesOnAlike) {
  const std::filesystem::path folder = golden_folder() / GetParam();
  const auto expected = read_json_file(folder / "expected.json");
  const auto backend = make_backend("cpu");
  const LoadedModel loaded = load_model_folder(*backend, folder, DType::f32);
  KvCache cache(*backend, loaded.transformer->config(), DType::f32, 1, 96);
  InferencePass pass(*loaded.transformer, cache);
  auto next = expected["ids"].get<std::vector<std::int32_t>>();
  std::vector<std::int32_t> found;
  for (int i = 0; i < 64; ++i) {
    const std::array<int, 1> slots = {0};
    const std::array<std::span<const std::int32_t>, 1> rows = {next};
    const std::vector<float> logits = download_floats(*backend, pass.forward(slots, rows));
    next = {static_cast<std::int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin())};
    found.push_back(next[0]);
  }
  EXPECT_EQ(found, expected["greedy"].get<std::vector<std::int32_t>>());
}

INSTANTIATE_TEST_SUITE_P(Golden, SavedByTransformers,
                         testing::Values("hf_gpt2", "hf_gpt2_erf", "hf_llama", "hf_llama_tied", "hf_mistral",
                                         "hf_qwen2"));
const auto with_text =
    testing::Values("hf_llama_yarn", "hf_mistral_window", "hf_qwen2_window", "hf_qwen3", "hf_smollm3", "hf_phi3",
                    "hf_olmo2", "hf_gemma2", "hf_gemma3", "hf_phi3_longrope");
INSTANTIATE_TEST_SUITE_P(LongGolden, SavedByTransformers, with_text);
INSTANTIATE_TEST_SUITE_P(LongGolden, WrittenByTransformers, with_text);

// Its other frequencies.
TEST(Longrope, ShortTextsHaveTheirOwnFrequencies) {
  const std::filesystem::path folder = golden_folder() / "hf_phi3_longrope";
  const auto expected = read_json_file(folder / "expected.json");
  Model model = Model::load(folder, {.device = "cpu", .dtype = "f32"});
  const auto logits = model.logits(expected["short_ids"].get<std::vector<std::int32_t>>());
  const auto values = expected["short_logits"].get<std::vector<float>>();
  ASSERT_EQ(logits.size(), values.size());
  for (std::size_t i = 0; i < values.size(); ++i) ASSERT_NEAR(logits[i], values[i], 2e-5f) << i;
}

TEST(Model, ChecksItsTokens) {
  const std::filesystem::path folder = golden_folder() / "hf_gpt2";
  Model model = Model::load(folder, {.device = "cpu", .dtype = ""});
  EXPECT_FALSE(model.has_tokenizer());
  EXPECT_THROW(model.tokenizer(), Error);
  EXPECT_THROW(model.logits(std::vector<std::int32_t>{0, -1}), Error);
  EXPECT_THROW(model.logits(std::vector<std::int32_t>{static_cast<std::int32_t>(model.config().vocab_size)}), Error);
  EXPECT_THROW(model.logits(std::vector<std::int32_t>(1000)), Error);
  EXPECT_TRUE(model.logits({}).empty());
  EXPECT_THROW(Model::load(folder, {.device = "cpu", .dtype = "i8"}), Error);
}

TEST(Model, SixteenBitLogitsAreClose) {
  const std::filesystem::path folder = golden_folder() / "hf_llama";
  const std::vector<std::int32_t> ids = {3, 1, 4, 1, 5, 9, 2, 6};
  const auto full = Model::load(folder, {.device = "cpu", .dtype = "f32"}).logits(ids);
  const auto half = Model::load(folder, {.device = "cpu", .dtype = "bf16"}).logits(ids);
  ASSERT_EQ(full.size(), half.size());
  double difference = 0;
  double norm = 0;
  for (std::size_t i = 0; i < full.size(); ++i) {
    difference += std::pow(full[i] - half[i], 2);
    norm += std::pow(full[i], 2);
  }
  EXPECT_LT(std::sqrt(difference / norm), 1e-2);
  EXPECT_GT(difference, 0);
}

}  // namespace
}  // namespace mslt
