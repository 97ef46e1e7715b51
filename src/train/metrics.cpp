// Writing and reading metrics.jsonl.
#include "train/metrics.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cmath>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>

#include "base/fail.h"
#include "base/file.h"
#include "base/json.h"

namespace mslt {
namespace {

// JSON has no NaN and no infinity.
std::string number(double value) {
  return std::isfinite(value) ? fmt::format("{}", value) : "null";
}

}  // namespace

MetricsLog::MetricsLog(const std::filesystem::path& path, std::uint64_t keep_bytes) : path_(path) {
  descriptor_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  struct stat status = {};
  if (descriptor_ < 0 || ::fstat(descriptor_, &status) != 0) {
    fail(ErrorKind::io, "Cannot write {}: {}.", path.string(), std::strerror(errno));
  }
  bytes_ = static_cast<std::uint64_t>(status.st_size);
  if (bytes_ <= keep_bytes) return;
  if (::ftruncate(descriptor_, static_cast<off_t>(keep_bytes)) != 0) {
    const int error = errno;
    ::close(descriptor_);
    fail(ErrorKind::io, "Cannot shorten {}: {}.", path.string(), std::strerror(error));
  }
  bytes_ = keep_bytes;
}

MetricsLog::~MetricsLog() {
  ::close(descriptor_);
}

void MetricsLog::write(std::string_view line) {
  while (!line.empty()) {
    const ssize_t written = ::write(descriptor_, line.data(), line.size());
    if (written < 0) {
      if (errno == EINTR) continue;
      fail(ErrorKind::io, "Cannot write {}: {}.", path_.string(), std::strerror(errno));
    }
    bytes_ += static_cast<std::uint64_t>(written);
    line.remove_prefix(static_cast<std::size_t>(written));
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

void MetricsLog::sample(const SampleEvent& event, double time) {
  const nlohmann::json text = event.text;
  write(fmt::format(R"({{"step":{},"sample":{},"time":{:.3f}}})"
                    "\n",
                    event.step, text.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace), time));
}

void MetricsLog::sync() {
  if (::fsync(descriptor_) != 0) {
    fail(ErrorKind::io, "Cannot flush {} to the disk: {}.", path_.string(), std::strerror(errno));
  }
}

MetricsHistory read_metrics(const std::filesystem::path& path) {
  const std::string text = read_file(path, std::uint64_t{1} << 32);
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
