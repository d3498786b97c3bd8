#include "perf/check_flags.h"

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "gossamer/codec.h"
#include "gossamer/feedback.h"
#include "gossamer/power_sgd.h"
#include "gossamer/schedule.h"

namespace gossamer {

Status check_algorithm(Collective collective, const std::string& name) {
  if (name.empty() || find_algorithm(collective, name) != nullptr) return Status::ok();
  std::string names;
  for (const Algorithm* a : algorithms()) {
    if (a->collective == collective) names += std::string(names.empty() ? "" : ", ") + a->name;
  }
  return Status::error(Code::kInvalidArgument, "'" + name + "' is no algorithm for " +
                                                   std::string(name_of(collective)) +
                                                   "; there are " + names);
}

Status check_rule_names(std::initializer_list<std::string> codecs, const std::string& feedback) {
  for (const std::string& codec : codecs) {
    if (codec.empty()) continue;
    const bool power = codec == "powersgd" || codec.starts_with("powersgd:");
    Status known = power ? PowerSgd::options(codec).status() : make_codec(codec).status();
    if (!known) return known;
  }
  if (feedback.empty()) return Status::ok();
  StateStore store;
  return make_feedback(feedback, store).status();
}

Status check_outputs(std::initializer_list<std::string> paths) {
  for (const std::string& path : paths) {
    if (path.empty()) continue;
    std::error_code unknown;
    const bool was_there = std::filesystem::exists(path, unknown);
    std::ofstream file(path, std::ios::app);
    if (!file) {
      return Status::error(Code::kSystem, "cannot write '" + path + "': " + std::strerror(errno));
    }
    file.close();
    if (!was_there) std::filesystem::remove(path, unknown);
  }
  return Status::ok();
}

}  // namespace gossamer
