// Tests of conversations with a speaker that needs no model.
#include "cli/chat_session.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <sstream>
#include <string>

#include "base/fail.h"
#include "base/file.h"

namespace mslt::cli {
namespace {

// Answers with the number of its tokens, one for each byte of the messages.
class CountingSpeaker : public ChatSpeaker {
 public:
  std::vector<TokenId> encode(const nlohmann::ordered_json& messages) const override {
    std::size_t bytes = 0;
    for (const auto& message : messages) {
      if (message["content"] == "refused") fail(ErrorKind::input, "The template refuses this.");
      bytes += message["content"].get_ref<const std::string&>().size();
    }
    return std::vector<TokenId>(bytes, 1);
  }
  std::int64_t context() const override { return 100; }
  ChatAnswer answer(const std::vector<TokenId>& prompt, const GenerateOptions& options,
                    const std::function<bool(std::string_view)>& on_text) override {
    seeds.push_back(options.sampling.seed);
    most_tokens = options.max_new_tokens;
    ChatAnswer answer;
    answer.reason = FinishReason::eos;
    answer.new_tokens = 2;
    answer.decode_seconds = 0.5;
    for (const std::string& piece : {std::to_string(prompt.size()), std::string(" tokens")}) {
      answer.text += piece;
      if (!on_text(piece)) {
        answer.reason = FinishReason::cancelled;
        break;
      }
    }
    return answer;
  }
  std::vector<std::uint64_t> seeds;
  std::int64_t most_tokens = 0;
};

class ChatSessionTest : public testing::Test {
 protected:
  std::string take(std::string_view line) {
    out_.str("");
    err_.str("");
    goes_on_ = session_.take_line(line);
    return out_.str();
  }
  std::string content(std::size_t i) const { return session_.messages().at(i).at("content"); }
  std::size_t count() const { return session_.messages().size(); }

  CountingSpeaker speaker_;
  std::ostringstream out_;
  std::ostringstream err_;
  bool interrupted_ = false;
  bool goes_on_ = true;
  ChatSession session_{speaker_, {}, out_, err_, [this] {
                         return interrupted_;
                       }};
};

TEST_F(ChatSessionTest, AnswersWithAllThatWasSaid) {
  EXPECT_EQ(take("hello"), "5 tokens\n");
  EXPECT_NE(err_.str().find("2 tokens, 2 tokens/s"), std::string::npos) << err_.str();
  EXPECT_EQ(take("you"), "16 tokens\n");
  ASSERT_EQ(count(), 4U);
  EXPECT_EQ(session_.messages()[3]["role"], "assistant");
  EXPECT_EQ(take("  \t"), "");
  EXPECT_EQ(count(), 4U);
}

TEST_F(ChatSessionTest, JoinsContinuedLines) {
  EXPECT_EQ(take("one\\"), "");
  EXPECT_TRUE(session_.is_continued());
  take("two");
  EXPECT_EQ(content(0), "one\ntwo");
  take("\"\"\"");
  take("/exit");
  take("end\"\"\"");
  EXPECT_EQ(content(2), "/exit\nend");
  take("\"\"\"alone\"\"\"");
  EXPECT_EQ(content(4), "alone");
  take("\"\"\"begun");
  session_.finish();
  EXPECT_EQ(content(6), "begun\n");
}

TEST_F(ChatSessionTest, KeepsTheSystemMessageFirst) {
  take("hi");
  take("/system be brief");
  EXPECT_EQ(session_.messages()[0]["role"], "system");
  take("/system other");
  EXPECT_EQ(content(0), "other");
  EXPECT_EQ(count(), 3U);
  take("/reset");
  EXPECT_EQ(count(), 1U);
  take("/system");
  EXPECT_EQ(count(), 0U);
}

TEST_F(ChatSessionTest, DropsTheOldestTurnsBeyondTheContext) {
  take("/system s");
  take("/set max_new_tokens 20");
  take(std::string(40, 'a'));
  take(std::string(40, 'b'));
  EXPECT_NE(err_.str().find("2 oldest messages are left out"), std::string::npos) << err_.str();
  EXPECT_EQ(content(0), "s");
  EXPECT_EQ(content(1), std::string(40, 'b'));
  EXPECT_EQ(speaker_.most_tokens, 20);
  take(std::string(200, 'c'));
  EXPECT_NE(err_.str().find("201 tokens; at most 80"), std::string::npos) << err_.str();
  EXPECT_EQ(content(1), std::string(40, 'b'));
}

TEST_F(ChatSessionTest, TellsARefusedMessageAndForgetsIt) {
  take("hi");
  take("refused");
  EXPECT_EQ(err_.str(), "The template refuses this.\n");
  EXPECT_EQ(count(), 2U);
}

TEST_F(ChatSessionTest, AnswersAnewWithAnotherSeed) {
  take("/regenerate");
  EXPECT_NE(err_.str().find("no answer yet"), std::string::npos);
  take("/set seed 5");
  take("hi");
  EXPECT_EQ(take("/regenerate"), "2 tokens\n");
  EXPECT_EQ(count(), 2U);
  EXPECT_EQ(speaker_.seeds, (std::vector<std::uint64_t>{5, 6}));
}

TEST_F(ChatSessionTest, SetsOptionsWithinTheirRanges) {
  take("/set temperature 0.25");
  take("/set top-k 3");
  take("/set");
  EXPECT_NE(err_.str().find("temperature 0.25, top_k 3,"), std::string::npos) << err_.str();
  take("/set top_p 7");
  EXPECT_NE(err_.str().find("top-p is 7"), std::string::npos) << err_.str();
  take("/set top_k 3x");
  EXPECT_NE(err_.str().find("'3x' is not a number"), std::string::npos) << err_.str();
  take("/set heat 1");
  EXPECT_NE(err_.str().find("no option 'heat'"), std::string::npos) << err_.str();
  take("/set");
  EXPECT_NE(err_.str().find("top_k 3, top_p 1,"), std::string::npos) << err_.str();
}

TEST_F(ChatSessionTest, CommandsThatChangeTheTalkSayWhatTheyDid) {
  take("/system be brief");
  EXPECT_EQ(err_.str(), "these instructions hold from now on\n");
  take("hi");
  err_.str("");
  take("/reset");
  EXPECT_EQ(err_.str(), "2 messages forgotten; the instructions of /system hold\n");
  err_.str("");
  take("/system");
  EXPECT_EQ(err_.str(), "no instructions from now on\n");
}

TEST_F(ChatSessionTest, SavesOverNoFileOfOthersUnasked) {
  const auto path = std::filesystem::path(testing::TempDir()) / "mslt_chat_session_keeps.txt";
  write_file(path, "precious");
  take("hi");
  err_.str("");
  take("/save " + path.string());
  EXPECT_EQ(err_.str(),
            path.string() + " exists, and is not of this talk; /save! " + path.string() + " replaces it.\n");
  EXPECT_EQ(read_file(path, 100), "precious");
  err_.str("");
  take("/save! " + path.string());
  EXPECT_EQ(err_.str(), "2 messages saved, in place of what was there\n");
  err_.str("");
  take("/save " + path.string());
  EXPECT_EQ(err_.str(), "2 messages saved, in place of what was there\n");
  std::filesystem::remove(path);
}

TEST_F(ChatSessionTest, SavesAndLoads) {
  const auto path = std::filesystem::path(testing::TempDir()) / "mslt_chat_session_saves.json";
  std::filesystem::remove(path);
  take("/system s");
  take("hi");
  const auto messages = session_.messages();
  take("/save " + path.string());
  take("/reset");
  take("/load " + path.string());
  EXPECT_EQ(session_.messages(), messages);
  write_file(path, R"([{"content": "c", "reasoning_content": "r", "role": "assistant"}])");
  take("/load " + path.string());
  EXPECT_EQ(session_.messages().dump(), R"([{"role":"assistant","content":"c","reasoning_content":"r"}])");
  take("/save " + path.string());
  take("/reset");
  take("/load " + path.string());
  const auto loaded = session_.messages();
  EXPECT_EQ(loaded.at(0).at("reasoning_content"), "r");
  write_file(path, "[{\"role\": 1}]");
  take("/load " + path.string());
  EXPECT_NE(err_.str().find("is not a conversation"), std::string::npos) << err_.str();
  std::filesystem::remove(path);
  take("/load " + path.string());
  EXPECT_FALSE(err_.str().empty());
  EXPECT_EQ(session_.messages(), loaded);
}

TEST_F(ChatSessionTest, StopsAnAnswerThatIsInterrupted) {
  interrupted_ = true;
  EXPECT_EQ(take("hi"), "2\n");
  EXPECT_NE(err_.str().find("stopped"), std::string::npos) << err_.str();
  EXPECT_TRUE(goes_on_);
  EXPECT_EQ(content(1), "2");
}

TEST_F(ChatSessionTest, EndsAndExplains) {
  take("/help");
  EXPECT_NE(err_.str().find("/regenerate"), std::string::npos);
  take("/nope");
  EXPECT_NE(err_.str().find("/help lists them"), std::string::npos);
  EXPECT_TRUE(goes_on_);
  take("/exit");
  EXPECT_FALSE(goes_on_);
}

}  // namespace
}  // namespace mslt::cli
