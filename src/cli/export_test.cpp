// Tests of export: round trips of a trained model, and what is refused before work begins.
#include <csignal>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <streambuf>
#include <string>
#include <utility>

#include "cli/cli_fixture.h"

namespace mslt::cli {
namespace {

// Sends this program a signal at the first text.
class SignallingStreamBuffer : public std::streambuf {
 private:
  int_type overflow(int_type letter) override {
    signal();
    return traits_type::not_eof(letter);
  }
  std::streamsize xsputn(const char*, std::streamsize size) override {
    signal();
    return size;
  }
  void signal() {
    if (!std::exchange(done_, true)) std::raise(SIGTERM);
  }

  bool done_ = false;
};

class ExportTest : public CliTest {
 protected:
  // A Llama and its tokenizer.
  void train_model() {
    prepare_data();
    std::vector<std::string> arguments = train_arguments();
    for (const char* const argument : {"--position", "rope", "--norm", "rmsnorm", "--activation", "swiglu",
                                       "--qkv-bias", "false", "--attention-out-bias", "false", "--ffn-bias", "false"}) {
      arguments.emplace_back(argument);
    }
    const Outcome outcome = mslt(arguments);
    ASSERT_EQ(outcome.status, 0) << outcome.err;
    write_file(folder_ / "run" / "chat_template.jinja", "{{ messages }}");
    std::filesystem::create_directory(folder_ / "run" / "additional_chat_templates");
    write_file(folder_ / "run" / "additional_chat_templates" / "tool_use.jinja", "{{ tools }}");
  }

  Outcome exported(const std::string& from, const std::string& format, const std::string& to,
                   std::vector<std::string> more = {}) {
    more.insert(more.begin(), {"export", "--model", path(from), "--format", format, "--output", path(to)});
    Outcome outcome = mslt(more);
    EXPECT_EQ(outcome.status, 0) << outcome.err;
    return outcome;
  }

  std::string content(const std::string& name) const { return read_file(folder_ / name, 1 << 24); }
};

TEST_F(ExportTest, RoundTripsGiveTheSameFiles) {
  train_model();
  exported("run", "hf", "first");
  exported("first", "gguf", "model.gguf");
  const std::string said = exported("model.gguf", "hf", "second").out;
  EXPECT_NE(said.find("of F32 weights"), std::string::npos) << said;
  for (const char* const file : {"model.safetensors", "tokenizer.json", "generation_config.json", "config.json",
                                 "chat_template.jinja", "additional_chat_templates/tool_use.jinja"}) {
    EXPECT_EQ(content(std::string("second/") + file), content(std::string("first/") + file)) << file;
  }
  exported("second", "gguf", "new/folders/again.gguf");
  EXPECT_EQ(content("new/folders/again.gguf"), content("model.gguf"));
  // 16 bits, which the file then has.
  exported("run", "hf", "half", {"--dtype", "bf16"});
  exported("half", "gguf", "half.gguf");
  exported("half.gguf", "hf", "half_again");
  EXPECT_EQ(content("half_again/model.safetensors"), content("half/model.safetensors"));
}

TEST_F(ExportTest, QuantisedFilesGenerate) {
  train_model();
  const auto json = nlohmann::json::parse(exported("run", "gguf", "small.gguf", {"--quantize", "q8_0", "--json"}).out);
  EXPECT_EQ(json["bytes"], std::filesystem::file_size(path("small.gguf")));
  EXPECT_EQ(json["type"], "Q8_0");
  const Outcome text = mslt({"generate", "--model", path("small.gguf"), "--prompt", "The", "--max-new-tokens", "3"});
  EXPECT_EQ(text.status, 0) << text.err;
  // Rows of 16 elements are no whole blocks.
  const auto info = nlohmann::json::parse(mslt({"info", path("small.gguf"), "--json"}).out);
  EXPECT_TRUE(info["weights"].contains("F16"));
  EXPECT_TRUE(info["weights"].contains("Q8_0"));
}

TEST_F(ExportTest, InfoDescribesEveryKindOfFile) {
  train_model();
  exported("run", "gguf", "model.gguf", {"--dtype", "f16"});
  const auto info = [&](const std::string& name) {
    const Outcome shown = mslt({"info", path(name)});
    EXPECT_EQ(shown.status, 0) << shown.err;
    const Outcome outcome = mslt({"info", path(name), "--json"});
    EXPECT_EQ(outcome.status, 0) << outcome.err;
    return nlohmann::json::parse(outcome.out);
  };
  const auto file = info("model.gguf");
  const auto run = info("run");
  EXPECT_EQ(run["format"], "Hugging Face folder, of a run");
  EXPECT_EQ(info("run/checkpoints/step-6")["format"], "Hugging Face folder, a checkpoint of a run");
  for (const char* const member : {"family", "parameters", "context", "heads", "eos_token_ids", "chat_template"}) {
    EXPECT_EQ(file[member], run[member]) << member;
  }
  EXPECT_EQ(run["run_bytes"], run["parameters"].get<std::int64_t>() * 4);
  EXPECT_EQ(run["train_bytes"], run["parameters"].get<std::int64_t>() * 16);
  EXPECT_TRUE(file["weights"].contains("F16"));
  EXPECT_EQ(info("run/model.safetensors")["weights"], run["weights"]);
  const auto data = info("data");
  EXPECT_EQ(data["vocab_size"], 300);
  EXPECT_EQ(info("data/train_000000.bin")["tokens"], data["train_tokens"]);
  EXPECT_EQ(info("tokenizer.json")["special_tokens"]["[EOS]"], 2);
  EXPECT_EQ(info("tokenizer.json")["pattern"], "gpt2");
  write_file(folder_ / "model.pt", "PK\x03\x04");
  EXPECT_NE(mslt({"info", path("model.pt")}).err.find("is a PyTorch file"), std::string::npos);
  EXPECT_NE(mslt({"info", path("nothing")}).err.find("There is no"), std::string::npos);
}

TEST_F(ExportTest, SignalsLeaveNoFiles) {
  train_model();
  std::vector<std::string> other = train_arguments();
  other[4] = path("other");
  other.insert(other.end(), {"--norm-position", "post"});
  ASSERT_EQ(mslt(other).status, 0);
  const auto files = [&] {
    return std::distance(std::filesystem::directory_iterator(folder_), {});
  };
  const auto before = files();
  const auto stopped = [&](std::vector<std::string> arguments) {
    std::istringstream in;
    std::ostringstream out;
    SignallingStreamBuffer buffer;
    std::ostream err(&buffer);
    Context context{in, out, err};
    arguments.insert(arguments.begin(), {"export", "--json", "--output", path("out")});
    EXPECT_EQ(run(arguments, context), 128 + SIGTERM);
    const auto error = nlohmann::json::parse(out.str())["error"];
    EXPECT_EQ(error["kind"], "interrupted");
    EXPECT_EQ(error["message"], "Writing the model was stopped; nothing of it is left.");
    EXPECT_EQ(files(), before);
  };
  // Of each, a note is shown before the weights are written.
  stopped({"--model", path("run"), "--format", "gguf", "--quantize", "q4_0"});
  stopped({"--model", path("other"), "--format", "hf"});
}

TEST_F(ExportTest, RefusesBeforeItWorks) {
  train_model();
  const auto refusal = [&](std::vector<std::string> arguments, int status) {
    arguments.insert(arguments.begin(), "export");
    const Outcome outcome = mslt(arguments);
    EXPECT_EQ(outcome.status, status) << outcome.err;
    return outcome.err;
  };
  const auto contains = [](const std::string& message, const std::string& part) {
    EXPECT_NE(message.find(part), std::string::npos) << message;
  };
  const std::string run = path("run");
  const std::string text = path("text.txt");
  contains(refusal({"--model", run, "--format", "gguf", "--output", text}, 2), text + " exists already");
  contains(refusal({"--model", run, "--format", "hf", "--output", path("data")}, 2), "exists already");
  EXPECT_EQ(content("text.txt"), mslt::cli::text());
  const std::string out = path("out");
  contains(refusal({"--model", run, "--format", "onnx", "--output", out}, 2), "valid are hf and gguf");
  contains(refusal({"--model", run, "--format", "gguf", "--quantize", "q3", "--output", out}, 2),
           "valid are q4_0, q4_1, q5_0, q5_1, q8_0");
  contains(refusal({"--model", run, "--format", "hf", "--quantize", "q8_0", "--output", out}, 2), "--format hf");
  contains(refusal({"--model", run, "--format", "gguf", "--dtype", "f64", "--output", out}, 2), "f64");
  contains(refusal({"--model", run, "--format", "gguf", "--output", path("text.txt/where.gguf")}, 1),
           "Cannot create the folder " + text);
  contains(refusal({"--model", run, "--format", "gguf", "--output", ""}, 2), "--output is empty");
  contains(refusal({"--model", run, "--format", "hf", "--output="}, 2), "--output is empty");
  const std::string link = path("link");
  std::filesystem::create_symlink("nothing", link);
  for (const char* const format : {"gguf", "hf"}) {
    contains(refusal({"--model", run, "--format", format, "--output", link}, 2), link + " is a link to nothing");
  }
  EXPECT_TRUE(std::filesystem::is_symlink(link));
  // The original Transformer.
  std::vector<std::string> other = train_arguments();
  other[4] = path("other");
  other.insert(other.end(), {"--norm-position", "post"});
  ASSERT_EQ(mslt(other).status, 0);
  contains(refusal({"--model", path("other"), "--format", "gguf", "--output", out}, 1),
           "cannot be written as a GGUF file: no architecture of llama.cpp");
  EXPECT_FALSE(std::filesystem::exists(out));
}

}  // namespace
}  // namespace mslt::cli
