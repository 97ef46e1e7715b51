// Tests that a GGUF file serves wherever a model folder or a tokenizer does.
#include <nlohmann/json.hpp>

#include <fstream>
#include <string>
#include <vector>

#include "base/test_gguf.h"
#include "cli/cli_fixture.h"
#include "mslt/tokenizer.h"

namespace mslt::cli {
namespace {

class GgufTest : public CliTest {
 protected:
  // A Llama of one layer with the tokenizer of the text.
  GgufTest() {
    train_tokenizer();
    const auto document = nlohmann::json::parse(Tokenizer::load(path("tokenizer.json")).to_json());
    const auto& vocabulary = document["model"]["vocab"];
    std::vector<std::string> tokens(vocabulary.size());
    for (const auto& [name, id] : vocabulary.items()) tokens[id] = name;
    std::vector<std::int32_t> types(tokens.size(), 1);
    for (const auto& token : document["added_tokens"]) types[token["id"]] = 3;
    std::vector<std::string> merges;
    for (const auto& pair : document["model"]["merges"]) {
      merges.push_back(pair[0].get<std::string>() + " " + pair[1].get<std::string>());
    }
    TestGguf file;
    file.text("general.architecture", "llama").number("llama.block_count", 1).number("llama.context_length", 32);
    file.number("llama.embedding_length", 32).number("llama.feed_forward_length", 32);
    file.number("llama.attention.head_count", 2).real("llama.attention.layer_norm_rms_epsilon", 1e-5f);
    file.text("tokenizer.ggml.model", "gpt2").text("tokenizer.ggml.pre", "gpt-2");
    file.texts("tokenizer.ggml.tokens", tokens).integers("tokenizer.ggml.token_type", types);
    file.texts("tokenizer.ggml.merges", merges).number("tokenizer.ggml.eos_token_id", 2);
    unsigned seed = 5;
    const auto matrix = [&](const std::string& name, std::uint64_t rows) {
      std::string blocks;
      for (std::uint64_t row = 0; row < rows; ++row) {
        blocks += TestGguf::raw(std::uint16_t{0x1400});  // 2^-10
        for (int i = 0; i < 32; ++i) {
          seed = seed * 1664525u + 1013904223u;
          blocks += static_cast<char>(seed >> 24);
        }
      }
      file.tensor(name, {rows, 32}, 8, blocks);
    };
    matrix("token_embd.weight", tokens.size());
    for (const char* name : {"attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"}) {
      matrix(std::string("blk.0.") + name + ".weight", 32);
    }
    for (const char* name : {"output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"}) {
      file.floats(std::string(name) + ".weight", {32}, std::vector<float>(32, 1.0f));
    }
    std::ofstream(folder_ / "model.gguf", std::ios::binary) << file.bytes();
  }

  static Outcome accepted(const std::vector<std::string>& arguments) {
    Outcome outcome = mslt(arguments);
    EXPECT_EQ(outcome.status, 0) << outcome.err;
    return outcome;
  }
};

TEST_F(GgufTest, ServesEveryCommand) {
  const std::string model = path("model.gguf");
  const auto encode = [&](const std::string& tokenizer) {
    return accepted({"tokenizer", "encode", "--tokenizer", tokenizer, "--input", path("text.txt")}).out;
  };
  EXPECT_EQ(encode(model), encode(path("tokenizer.json")));
  accepted({"data", "prepare", "--tokenizer", model, "--input", path("text.txt"), "--output", path("data")});
  const auto loss = [&](const std::string& of) {
    const Outcome outcome = accepted({"eval", "--model", of, "--data", path("data"), "--json"});
    EXPECT_EQ(outcome.err.find("cannot be checked"), std::string::npos) << outcome.err;
    return nlohmann::json::parse(outcome.out)["loss"].get<double>();
  };
  const double before = loss(model);
  const auto text = nlohmann::json::parse(accepted({"generate", "--model", model, "--prompt", "The king",
                                                    "--temperature", "0", "--max-new-tokens", "5", "--json"})
                                              .out);
  EXPECT_EQ(text["samples"][0]["tokens"].size(), 5U);
  accepted({"train", "--init-from", model, "--data", path("data"), "--output", path("run"), "--steps", "20", "--lr",
            "1e-2", "--batch-size", "4", "--seq-len", "16"});
  EXPECT_LT(loss(path("run")), before - 0.5);
  const auto info = nlohmann::json::parse(accepted({"info", model, "--json"}).out);
  EXPECT_EQ(info["format"], "GGUF version 3");
  EXPECT_EQ(info["weights"]["Q8_0"]["tensors"], 8);
  EXPECT_EQ(info["eos_token_ids"], nlohmann::json::array({2}));
  const std::string shown = accepted({"info", path("run")}).out;
  EXPECT_NE(shown.find("Format       Hugging Face folder, of a run\nFamily       llama\n"), std::string::npos) << shown;
  EXPECT_NE(shown.find("Context      32 tokens\nWeights      F32 in"), std::string::npos) << shown;
  EXPECT_NE(shown.find("end '[EOS]' (id 2)"), std::string::npos) << shown;
  // The run needs the file no longer.
  std::filesystem::remove(model);
  accepted({"train", "--resume", "--data", path("data"), "--output", path("run"), "--steps", "21"});
}

// What the file says is of use even if mslt cannot run it.
TEST_F(GgufTest, InfoDescribesWhatCannotRun) {
  const auto info = [&](const TestGguf& file) {
    std::ofstream(folder_ / "other.gguf", std::ios::binary) << file.bytes();
    return nlohmann::json::parse(accepted({"info", path("other.gguf"), "--json"}).out);
  };
  const auto empty = info(TestGguf());
  EXPECT_EQ(empty["keys"], 0);
  EXPECT_TRUE(empty["weights"].empty());
  EXPECT_NE(empty["unsupported"].get<std::string>().find("'general.architecture' is missing"), std::string::npos);
  TestGguf other;
  other.text("general.architecture", "mamba").text("general.name", "A name");
  other.floats("a.weight", {4}, {1, 2, 3, 4});
  const auto found = info(other);
  EXPECT_EQ(found["architecture"], "mamba");
  EXPECT_EQ(found["name"], "A name");
  EXPECT_EQ(found["weights"]["F32"]["bytes"], 16);
  const std::string shown = accepted({"info", path("other.gguf")}).out;
  EXPECT_NE(shown.find("Architecture mamba\n"), std::string::npos) << shown;
  EXPECT_NE(shown.find("Unsupported "), std::string::npos) << shown;
  TestGguf tokens;
  tokens.text("tokenizer.ggml.model", "gpt2").text("tokenizer.ggml.pre", "unheard-of");
  tokens.texts("tokenizer.ggml.tokens", {"a"});
  EXPECT_NE(info(tokens)["unsupported"].get<std::string>().find("tokenizer.ggml.pre"), std::string::npos);
}

}  // namespace
}  // namespace mslt::cli
