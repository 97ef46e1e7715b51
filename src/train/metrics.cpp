// Writing and reading metrics.jsonl.
#include "train/metrics.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <system_error>

#include "base/fail.h"
#include "base/file.h"
#include "base/file_copy.h"
#include "base/json.h"
#include "base/system_error.h"

namespace mslt {
namespace {

constexpr std::uint64_t most_metrics_bytes = std::uint64_t{1} << 32;

// JSON has no NaN and no infinity.
std::string number(double value) {
  return std::isfinite(value) ? fmt::format("{}", value) : "null";
}

// Where the last whole line among the first `size` bytes ends.
std::uint64_t end_of_last_line(int descriptor, std::uint64_t size, const std::filesystem::path& path) {
  std::string block(4096, '\0');
  while (size > 0) {
    const std::uint64_t begin = (size - 1) / block.size() * block.size();
    const ssize_t count =
        ::pread(descriptor, block.data(), static_cast<std::size_t>(size - begin), static_cast<off_t>(begin));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) fail_io("read", path, errno);
    const std::size_t newline = std::string_view(block.data(), static_cast<std::size_t>(count)).rfind('\n');
    if (newline != std::string_view::npos) return begin + newline + 1;
    size = begin;
  }
  return 0;
}

}  // namespace

MetricsLog::MetricsLog(const std::filesystem::path& path, std::uint64_t keep_bytes) : path_(path) {
  descriptor_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  if (descriptor_ < 0) fail_io("write", path, errno);
  try {
    struct stat status = {};
    if (::fstat(descriptor_, &status) != 0) fail_io("look at", path, errno);
    const auto size = static_cast<std::uint64_t>(status.st_size);
    bytes_ = end_of_last_line(descriptor_, std::min(size, keep_bytes), path);
    if (size > bytes_ && ::ftruncate(descriptor_, static_cast<off_t>(bytes_)) != 0) fail_io("shorten", path, errno);
  } catch (...) {
    ::close(descriptor_);
    throw;
  }
}

MetricsLog::~MetricsLog() {
  ::close(descriptor_);
}

void MetricsLog::write(std::string line) {
  waiting_.push_back(std::move(line));
  write_waiting();
}

void MetricsLog::write_waiting() {
  for (; !waiting_.empty(); waiting_.pop_front()) {
    std::string_view rest = waiting_.front();
    while (!rest.empty()) {
      const ssize_t written = ::write(descriptor_, rest.data(), rest.size());
      if (written >= 0) {
        rest.remove_prefix(static_cast<std::size_t>(written));
        continue;
      }
      if (errno == EINTR) continue;
      const int error = errno;
      // Part of a line would make the file unreadable; to shorten it takes no room.
      if (rest.size() < waiting_.front().size() && ::ftruncate(descriptor_, static_cast<off_t>(bytes_)) != 0) {
        fail_io("shorten", path_, errno);
      }
      fail_io("write", path_, error);
    }
    bytes_ += waiting_.front().size();
  }
}

void MetricsLog::step(const StepEvent& event, double time) {
  write(fmt::format(R"({{"step":{},"loss":{},"lr":{},"grad_norm":{},"tokens_per_s":{},"time":{:.3f}}})"
                    "\n",
                    event.step, number(event.loss), number(event.learning_rate), number(event.gradient_norm),
                    number(std::round(event.tokens_per_second * 10.0) / 10.0), time));
}

void MetricsLog::evaluation(const EvaluationEvent& event, double time) {
  write(fmt::format(R"({{"step":{},"val_loss":{},"val_perplexity":{},"val_bits_per_byte":{},"time":{:.3f}}})"
                    "\n",
                    event.step, number(event.loss), number(event.perplexity), number(event.bits_per_byte), time));
}

void MetricsLog::profile(std::int64_t step, const StepTimeline& timeline, double time) {
  std::string operations;
  for (const auto& [name, total] : timeline.totals()) {
    operations +=
        fmt::format(R"({}"{}":{{"calls":{},"seconds":{:.9f},"flops":{},"bytes":{}}})", operations.empty() ? "" : ",",
                    name, total.calls, total.seconds, number(total.work.flops), number(total.work.bytes));
  }
  write(fmt::format(R"({{"step":{},"profile":{{{}}},"profile_seconds":{:.9f},"time":{:.3f}}})"
                    "\n",
                    step, operations, timeline.seconds, time));
}

void MetricsLog::sample(const SampleEvent& event, double time) {
  const nlohmann::json text = event.text;
  write(fmt::format(R"({{"step":{},"sample":{},"time":{:.3f}}})"
                    "\n",
                    event.step, text.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace), time));
}

void MetricsLog::sync() {
  write_waiting();
  if (::fsync(descriptor_) != 0) fail_io("flush to the disk", path_, errno);
}

std::optional<std::filesystem::path> keep_metrics_after(const std::filesystem::path& path, std::uint64_t keep_bytes,
                                                        std::int64_t step) {
  std::error_code error;
  const std::uint64_t size = std::filesystem::file_size(path, error);
  if (error == std::errc::no_such_file_or_directory) return std::nullopt;
  if (error) fail_io("look at", path, error.value());
  if (size <= keep_bytes) return std::nullopt;
  const std::string text = read_file(path, most_metrics_bytes);
  const std::filesystem::path kept = unused_path(fmt::format("{}.after-step-{}", path.string(), step));
  write_file(kept, std::string_view(text).substr(keep_bytes));
  return kept;
}

MetricsHistory read_metrics(const std::filesystem::path& path) {
  const std::string text = read_file(path, most_metrics_bytes);
  MetricsHistory history;
  std::string_view rest = text;
  for (std::int64_t line_number = 1; !rest.empty(); ++line_number) {
    const std::size_t end = rest.find('\n');
    if (end == std::string_view::npos) break;
    const std::string source = fmt::format("{}, line {}", path.string(), line_number);
    const nlohmann::json line = parse_json(rest.substr(0, end), source);
    rest.remove_prefix(end + 1);
    const auto value = [&](const char* name) {
      const auto found = line.find(name);
      return found != line.end() && found->is_number() ? found->get<double>()
                                                       : std::numeric_limits<double>::quiet_NaN();
    };
    if (!line.is_object() || !line.contains("step") || !line["step"].is_number_integer()) {
      fail(ErrorKind::input, "{} is not an object with an integer \"step\".", source);
    }
    const auto step = line["step"].get<std::int64_t>();
    if (line.contains("loss")) {
      history.steps.push_back(
          {step, value("loss"), value("lr"), value("grad_norm"), value("tokens_per_s"), value("time")});
    } else if (line.contains("val_loss")) {
      history.evaluations.push_back(
          {step, value("val_loss"), value("val_perplexity"), value("val_bits_per_byte"), false});
    } else if (line.contains("sample") && line["sample"].is_string()) {
      history.samples.push_back({step, line["sample"].get<std::string>()});
    }
  }
  return history;
}

}  // namespace mslt
