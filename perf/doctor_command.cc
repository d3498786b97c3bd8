// gossamer doctor: what of this machine helps or hurts, each finding with its fix.

#include <fmt/format.h>

#include <memory>

#include "perf/commands.h"
#include "perf/findings.h"

namespace gossamer {

void add_doctor_command(CLI::App& app, int* exit_code) {
  CLI::App* command =
      app.add_subcommand("doctor", "What of this machine helps or hurts, with the fix for each");
  command->callback([exit_code] {
    int hurts = 0;
    for (const Finding& finding : examine_machine()) {
      const char* mark = finding.grade == Grade::kGood   ? "good"
                         : finding.grade == Grade::kNote ? "note"
                                                         : "hurts";
      fmt::print("{:<6}{:<20}{}\n", mark, finding.subject, finding.text);
      if (!finding.fix.empty()) fmt::print("{:<26}fix: {}\n", "", finding.fix);
      if (finding.grade == Grade::kHurts) ++hurts;
    }
    if (hurts > 0)
      fmt::print("{} finding{} hurt{}\n", hurts, hurts == 1 ? "" : "s", hurts == 1 ? "s" : "");
    *exit_code = hurts == 0 ? 0 : kExitFailure;
  });
}

}  // namespace gossamer
