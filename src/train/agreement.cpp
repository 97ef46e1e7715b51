// Comparing what the ranks were given and what they computed.
#include "train/agreement.h"

#include <fmt/ranges.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <system_error>
#include <vector>

#include "base/fail.h"
#include "base/file.h"
#include "train/run_identity.h"
#include "train/run_options.h"

namespace mslt {
namespace {

void require_same(Communicator& communicator, const nlohmann::json& own, std::string_view what,
                  std::string_view advice) {
  if (communicator.is_alone()) return;
  const std::vector<std::string> texts = communicator.gather(own.dump());
  std::vector<std::string> problems;
  for (std::size_t rank = 1; rank < texts.size(); ++rank) {
    if (texts[rank] == texts[0]) continue;
    problems.push_back(fmt::format(
        "{} has {}", communicator.name_of(static_cast<int>(rank)),
        fmt::join(json_differences(nlohmann::json::parse(texts[rank]), nlohmann::json::parse(texts[0])), ", ")));
  }
  if (problems.empty()) return;
  fail(ErrorKind::usage, "The processes disagree on their {} with {}: {}. {}", what, communicator.name_of(0),
       fmt::join(problems, "; "), advice);
}

}  // namespace

void require_same_options(Communicator& communicator, const TrainOptions& options) {
  nlohmann::json own = options_to_json(options);
  for (const char* name : {"device", "tuning"}) own.erase(name);
  own["version"] = MSLT_VERSION;
  own["resume"] = options.resume;
  own["discard_damaged"] = options.discard_damaged;
  own["from_step"] = options.from_step.value_or(-1);
  require_same(communicator, own, "options", "Start the same program with the same command everywhere.");
}

void require_same_data(Communicator& communicator, const nlohmann::json& identity) {
  require_same(communicator, identity, "data", "Give all of them the same data folder.");
}

void require_same_folder(Communicator& communicator, const std::filesystem::path& folder) {
  if (communicator.is_alone()) return;
  std::filesystem::path mark;
  if (communicator.leads()) {
    mark = std::filesystem::absolute(folder) / fmt::format(".seen-by-all-{}", ::getpid());
    write_file(mark, "");
  }
  mark = communicator.broadcast(mark.string());
  std::error_code ignored;
  const std::vector<std::string> answers =
      communicator.gather(std::filesystem::exists(mark, ignored) ? "sees it" : "misses it");
  if (communicator.leads()) std::filesystem::remove(mark, ignored);
  std::vector<std::string> blind;
  for (std::size_t rank = 0; rank < answers.size(); ++rank) {
    if (answers[rank] == "misses it") blind.push_back(communicator.name_of(static_cast<int>(rank)));
  }
  if (blind.empty()) return;
  fail(ErrorKind::usage,
       "The run folder {} is not seen by {}. With --zero, every process reads and writes a part of each checkpoint: "
       "give all of them one folder, or leave --zero out.",
       mark.parent_path().string(), fmt::join(blind, ", "));
}

void require_same_parameters(Communicator& communicator, std::uint32_t sum, std::int64_t step) {
  if (communicator.is_alone()) return;
  const std::vector<std::string> sums = communicator.gather(fmt::format("{:08x}", sum));
  std::map<std::string, std::size_t> counts;
  for (const std::string& one : sums) ++counts[one];
  if (counts.size() == 1) return;
  // Of two that are as frequent, rank 0's counts as right.
  std::string right = sums[0];
  for (const auto& [one, count] : counts) {
    if (count > counts[right]) right = one;
  }
  std::vector<std::string> wrong;
  for (std::size_t rank = 0; rank < sums.size(); ++rank) {
    if (sums[rank] != right) wrong.push_back(communicator.name_of(static_cast<int>(rank)));
  }
  fail(ErrorKind::device,
       "After step {}, {} had other parameters than the other processes: a fault of memory or of the device there.",
       step, fmt::join(wrong, ", "));
}

}  // namespace mslt
