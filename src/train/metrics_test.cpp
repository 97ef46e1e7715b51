// metrics.jsonl and TensorBoard files, read back.
#include "train/metrics.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <map>
#include <stdexcept>
#include <vector>

#include "mslt/error.h"
#include "train/tensorboard.h"
#include "train/test_file_size_limit.h"
#include "train/test_folder.h"

namespace mslt {
namespace {

StepEvent step_event(std::int64_t step, double loss) {
  StepEvent event;
  event.step = step;
  event.loss = loss;
  event.learning_rate = 1.0 / 3.0;
  event.gradient_norm = 0.1 + 0.2;
  event.tokens_per_second = 1234.56;
  return event;
}

TEST(Metrics, EveryNumberReadsBackWithTheSameBits) {
  const TestFolder folder;
  const auto path = folder.path() / "metrics.jsonl";
  {
    MetricsLog log(path, 0);
    log.step(step_event(1, 5.1234567890123456), 0.5);
    log.evaluation({1, std::nextafter(4.0, 5.0), 54.6, 2.5, true}, 0.75);
    log.sample({1, "A \"line\"\nand \xFF a byte"}, 0.8);
    log.step(step_event(2, 1e-300), 1.0);
    EXPECT_EQ(log.bytes(), std::filesystem::file_size(path));
  }
  const MetricsHistory history = read_metrics(path);
  ASSERT_EQ(history.steps.size(), 2u);
  EXPECT_EQ(history.steps[0].loss, 5.1234567890123456);
  EXPECT_EQ(history.steps[0].gradient_norm, 0.1 + 0.2);
  EXPECT_EQ(history.steps[0].learning_rate, 1.0 / 3.0);
  EXPECT_EQ(history.steps[1].loss, 1e-300);
  EXPECT_EQ(history.steps[1].time, 1.0);
  ASSERT_EQ(history.evaluations.size(), 1u);
  EXPECT_EQ(history.evaluations[0].loss, std::nextafter(4.0, 5.0));
  ASSERT_EQ(history.samples.size(), 1u);
  EXPECT_EQ(history.samples[0].text, "A \"line\"\nand \uFFFD a byte");
}

TEST(Metrics, IsCutToWhatACheckpointKnows) {
  const TestFolder folder;
  const auto path = folder.path() / "metrics.jsonl";
  std::uint64_t kept = 0;
  {
    MetricsLog log(path, 0);
    log.step(step_event(1, 5.0), 1.0);
    kept = log.bytes();
    log.step(step_event(2, 4.0), 2.0);
  }
  {
    MetricsLog log(path, kept);
    log.step(step_event(2, 3.0), 2.0);
  }
  const MetricsHistory history = read_metrics(path);
  ASSERT_EQ(history.steps.size(), 2u);
  EXPECT_EQ(history.steps[1].loss, 3.0);
}

TEST(Metrics, PassesOverALastLineCutShortAndRejectsNonsense) {
  const TestFolder folder;
  const auto path = folder.path() / "metrics.jsonl";
  spill(path, "{\"step\":1,\"loss\":2}\n{\"step\":2,\"lo");
  EXPECT_EQ(read_metrics(path).steps.size(), 1u);
  spill(path, "{\"step\":1,\"loss\":2}\nhello\n");
  EXPECT_THROW(read_metrics(path), Error);
  spill(path, "[1]\n");
  EXPECT_THROW(read_metrics(path), Error);
}

// A protobuf message as its fields, by number; nested messages and strings as bytes.
struct Field {
  std::uint64_t number = 0;
  std::string bytes;
};

std::uint64_t read_varint(std::string_view& text) {
  std::uint64_t value = 0;
  for (int shift = 0;; shift += 7) {
    if (text.empty()) throw std::runtime_error("truncated varint");
    const auto byte = static_cast<unsigned char>(text.front());
    text.remove_prefix(1);
    value |= static_cast<std::uint64_t>(byte & 0x7Fu) << shift;
    if (byte < 0x80) return value;
  }
}

std::multimap<int, Field> parse_message(std::string_view text) {
  std::multimap<int, Field> fields;
  while (!text.empty()) {
    const std::uint64_t key = read_varint(text);
    const auto type = key & 7u;
    Field field;
    std::size_t size = 0;
    if (type == 0) {
      field.number = read_varint(text);
    } else {
      size = type == 1 ? 8 : type == 5 ? 4 : read_varint(text);
      if (size > text.size()) throw std::runtime_error("truncated field");
      field.bytes = text.substr(0, size);
      text.remove_prefix(size);
    }
    fields.emplace(static_cast<int>(key >> 3), field);
  }
  return fields;
}

std::uint32_t plain_masked_crc(std::string_view text) {
  std::uint32_t crc = 0xFFFFFFFFu;
  for (const char c : text) {
    crc ^= static_cast<unsigned char>(c);
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1u) != 0 ? 0x82F63B78u : 0u);
  }
  crc = ~crc;
  return ((crc >> 15) | (crc << 17)) + 0xA282EAD8u;
}

template <class T>
T load(std::string_view bytes) {
  T value;
  std::memcpy(&value, bytes.data(), sizeof(T));
  return value;
}

std::vector<std::multimap<int, Field>> read_events(const std::filesystem::path& path) {
  const std::string file = slurp(path);
  std::string_view rest = file;
  std::vector<std::multimap<int, Field>> events;
  while (!rest.empty()) {
    const auto length = load<std::uint64_t>(rest);
    EXPECT_EQ(load<std::uint32_t>(rest.substr(8)), plain_masked_crc(rest.substr(0, 8)));
    const std::string_view payload = rest.substr(12, length);
    EXPECT_EQ(load<std::uint32_t>(rest.substr(12 + length)), plain_masked_crc(payload));
    events.push_back(parse_message(payload));
    rest.remove_prefix(length + 16);
  }
  return events;
}

TEST(TensorBoard, RecordsParse) {
  const TestFolder folder;
  std::filesystem::path path;
  {
    TensorBoardWriter writer(folder.path() / "tb");
    path = writer.path();
    writer.scalar(300, "loss/train", 2.5);
    writer.text(301, "sample", "one\ntwo");
  }
  EXPECT_EQ(path.filename().string().rfind("events.out.tfevents.", 0), 0u);
  const auto events = read_events(path);
  ASSERT_EQ(events.size(), 3u);
  EXPECT_EQ(events[0].find(3)->second.bytes, "brain.Event:2");
  EXPECT_EQ(events[1].find(2)->second.number, 300u);
  EXPECT_GT(load<double>(events[1].find(1)->second.bytes), 1.6e9);
  const auto scalar = parse_message(parse_message(events[1].find(5)->second.bytes).find(1)->second.bytes);
  EXPECT_EQ(scalar.find(1)->second.bytes, "loss/train");
  EXPECT_EQ(load<float>(scalar.find(2)->second.bytes), 2.5f);
  const auto text = parse_message(parse_message(events[2].find(5)->second.bytes).find(1)->second.bytes);
  EXPECT_EQ(parse_message(text.find(8)->second.bytes).find(8)->second.bytes, "    one\n    two");
  const auto plugin = parse_message(parse_message(text.find(9)->second.bytes).find(1)->second.bytes);
  EXPECT_EQ(plugin.find(1)->second.bytes, "text");
}

TEST(TensorBoard, AResumptionStartsASession) {
  const TestFolder folder;
  TensorBoardWriter first(folder.path());
  TensorBoardWriter second(folder.path(), 41);
  EXPECT_LT(first.path(), second.path());
  const auto events = read_events(second.path());
  ASSERT_EQ(events.size(), 2u);
  EXPECT_EQ(events[1].find(2)->second.number, 41u);
  EXPECT_EQ(parse_message(events[1].find(7)->second.bytes).find(1)->second.number, 1u);
}

TEST(TensorBoard, NamesTheFolderThatCannotBeWritten) {
  const TestFolder folder;
  spill(folder.path() / "file", "");
  EXPECT_THROW(TensorBoardWriter(folder.path() / "file"), Error);
}

TEST(Metrics, ADiskThatIsFullForAWhileCostsNoLine) {
  const TestFolder folder;
  const std::filesystem::path path = folder.path() / "metrics.jsonl";
  MetricsLog log(path, 0);
  StepEvent event;
  for (event.step = 1; event.step <= 6; ++event.step) {
    if (event.step < 3 || event.step > 4) {
      log.step(event, 0.5);
      continue;
    }
    const std::string before = slurp(path);
    const FileSizeLimit full(log.bytes() + 10);
    EXPECT_THROW(log.step(event, 0.5), Error);
    EXPECT_THROW(log.sync(), Error);
    EXPECT_EQ(slurp(path), before);
    EXPECT_EQ(log.bytes(), before.size());
  }
  const MetricsHistory history = read_metrics(path);
  ASSERT_EQ(history.steps.size(), 6u);
  for (std::size_t i = 0; i < 6; ++i) EXPECT_EQ(history.steps[i].step, static_cast<std::int64_t>(i) + 1);
  EXPECT_EQ(log.bytes(), std::filesystem::file_size(path));
}

TEST(Metrics, IsCutToWholeLinesAndKeepsWhatWasCut) {
  const TestFolder folder;
  const std::filesystem::path path = folder.path() / "metrics.jsonl";
  EXPECT_FALSE(keep_metrics_after(path, 0, 3));
  const std::string first = "{\"step\":1,\"text\":\"" + std::string(9000, 'x') + "\"}\n";
  spill(path, first + "{\"step\":2}\n{\"st");
  const auto kept = keep_metrics_after(path, first.size(), 1);
  ASSERT_TRUE(kept);
  EXPECT_EQ(kept->filename(), "metrics.jsonl.after-step-1");
  EXPECT_EQ(slurp(*kept), "{\"step\":2}\n{\"st");
  EXPECT_EQ(keep_metrics_after(path, first.size(), 1)->filename(), "metrics.jsonl.after-step-1-2");
  EXPECT_FALSE(keep_metrics_after(path, 1 << 20, 1));
  EXPECT_EQ(MetricsLog(path, 1 << 20).bytes(), first.size() + 11);
  EXPECT_EQ(slurp(path), first + "{\"step\":2}\n");
  EXPECT_EQ(MetricsLog(path, first.size() + 5).bytes(), first.size());
  EXPECT_EQ(MetricsLog(path, first.size() - 1).bytes(), 0u);
}

TEST(TensorBoard, AFullDiskLeavesWholeRecords) {
  const TestFolder folder;
  TensorBoardWriter writer(folder.path() / "tb");
  writer.scalar(1, "loss", 2.0);
  {
    const FileSizeLimit full(std::filesystem::file_size(writer.path()) + 7);
    EXPECT_THROW(writer.scalar(2, "loss", 1.0), Error);
  }
  writer.scalar(3, "loss", 0.5);
  EXPECT_EQ(read_events(writer.path()).size(), 3u);
}

}  // namespace
}  // namespace mslt
