#include <cstdio>

#include "perf/commands.h"

namespace gossamer {

int complain(const Status& status, int code) {
  std::fflush(stdout);
  // the sentence alone where the user's own words are at fault, the kind of failure before others
  const std::string text =
      status.code() == Code::kInvalidArgument ? status.message() : status.to_string();
  std::fprintf(stderr, "gossamer: %s\n", text.c_str());
  return code;
}

}  // namespace gossamer
