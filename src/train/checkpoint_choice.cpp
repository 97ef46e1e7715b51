// Choosing the checkpoint to go on from: doubt is a question to the user, never a reason to go back in silence.
#include "train/checkpoint_choice.h"

#include <fmt/ranges.h>

#include <algorithm>

#include "base/fail.h"

namespace mslt {
namespace {

using Findings = std::vector<CheckpointFinding>;

std::string describe(const CheckpointFinding& finding) {
  return fmt::format("{} {} ({})", finding.info.folder.string(),
                     finding.health == CheckpointHealth::damaged ? "is damaged" : "cannot be read", finding.problem);
}

std::string older_note(const CheckpointFinding& finding) {
  return fmt::format("The older checkpoint {}; it is kept.", describe(finding));
}

std::vector<std::int64_t> complete_steps(const Findings& findings) {
  std::vector<std::int64_t> steps;
  for (const CheckpointFinding& finding : findings) {
    if (finding.health == CheckpointHealth::complete) steps.push_back(finding.info.step);
  }
  return steps;
}

[[noreturn]] void refuse(const Findings& findings, std::int64_t newest_complete, bool discard_damaged) {
  std::vector<std::string> wrong;
  bool damaged = false;
  bool doubtful = false;
  for (const CheckpointFinding& finding : findings) {
    if (finding.info.step <= newest_complete || finding.health == CheckpointHealth::complete) continue;
    if (finding.health == CheckpointHealth::damaged && discard_damaged) continue;
    wrong.push_back(describe(finding));
    (finding.health == CheckpointHealth::damaged ? damaged : doubtful) = true;
  }
  const std::vector<std::int64_t> steps = complete_steps(findings);
  std::string choices;
  if (doubtful) choices += " Mend what keeps it from being read (permissions, descriptors, the disk) and try again.";
  if (!steps.empty()) {
    choices +=
        fmt::format(" To go on from a complete checkpoint, add --from-step with one of: {}.", fmt::join(steps, ", "));
  }
  if (damaged && !doubtful) {
    choices += fmt::format(" To keep the damaged under other names and go on from {}, add --discard-damaged.",
                           steps.empty() ? std::string("the first step") : fmt::format("step {}", steps.front()));
  }
  fail(doubtful ? ErrorKind::io : ErrorKind::input, "The run cannot go on from its newest checkpoint: {}.{} {}",
       fmt::join(wrong, "; "), choices, "Nothing was changed.");
}

// Every folder newer than the chosen one makes room, whatever its state.
CheckpointChoice choose_step(const Findings& findings, std::int64_t step) {
  CheckpointChoice choice;
  for (const CheckpointFinding& finding : findings) {
    if (finding.info.step == step && finding.health == CheckpointHealth::complete) choice.checkpoint = finding.info;
  }
  if (!choice.checkpoint) {
    const std::vector<std::int64_t> steps = complete_steps(findings);
    const auto same = std::find_if(findings.begin(), findings.end(),
                                   [&](const CheckpointFinding& finding) { return finding.info.step == step; });
    fail(ErrorKind::usage, "--from-step is {}, but {}; complete are: {}.", step,
         same == findings.end() ? std::string("there is no checkpoint of that step") : describe(*same),
         steps.empty() ? std::string("none") : fmt::format("{}", fmt::join(steps, ", ")));
  }
  for (const CheckpointFinding& finding : findings) {
    if (finding.info.step <= step) {
      if (finding.health != CheckpointHealth::complete) choice.notes.push_back(older_note(finding));
      continue;
    }
    choice.rewinds = true;
    const bool damaged = finding.health == CheckpointHealth::damaged;
    choice.aside.push_back({finding.info.folder, damaged ? "damaged" : "superseded"});
  }
  return choice;
}

}  // namespace

CheckpointChoice choose_checkpoint(const Findings& findings, std::optional<std::int64_t> from_step,
                                   bool discard_damaged) {
  if (from_step) return choose_step(findings, *from_step);
  CheckpointChoice choice;
  std::int64_t newest_complete = -1;
  for (const CheckpointFinding& finding : findings) {
    if (finding.health != CheckpointHealth::complete) continue;
    choice.checkpoint = finding.info;
    newest_complete = finding.info.step;
    break;
  }
  for (const CheckpointFinding& finding : findings) {
    if (finding.health == CheckpointHealth::complete) continue;
    const bool newer = finding.info.step > newest_complete;
    const bool discards = discard_damaged && finding.health == CheckpointHealth::damaged;
    if (newer && !discards) refuse(findings, newest_complete, discard_damaged);
    if (discards) {
      choice.aside.push_back({finding.info.folder, "damaged"});
      choice.rewinds = choice.rewinds || newer;
    } else {
      choice.notes.push_back(older_note(finding));
    }
  }
  return choice;
}

}  // namespace mslt
