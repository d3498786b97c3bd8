// Environment variables: typed reading, and the table of all that Gossamer knows.
//
// A malformed value is an error that names the variable, the value and what is expected; it is
// never silently replaced by a default. An empty value counts as unset.
//
// Threads    Any; nothing here writes the environment.

#pragma once

#include <chrono>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "gossamer/status.h"

namespace gossamer {

struct EnvVariable {
  const char* name;
  const char* fallback;  // what holds when it is unset, as text
  const char* help;      // one line
};
// Every GOSSAMER_* variable, for the README and `gossamer doctor`.
std::span<const EnvVariable> env_variables();

// GOSSAMER_* variables that are set but not in the table (typing errors), as sentences with the
// closest known name.
std::vector<std::string> unknown_env_variables();

// What `name` is, for this process, where the environment does not set it: how a boundary hands on
// another library's variables and files. The functions below read it like the environment.
void set_env_fallback(const std::string& name, const std::string& value);

bool env_is_set(const char* name);
std::string env_string(const char* name, const std::string& fallback = "");
// A whole decimal number in [lowest, highest].
Result<int64_t> env_int(const char* name, int64_t fallback, int64_t lowest, int64_t highest);
// 1, true, yes, on / 0, false, no, off; upper case too.
Result<bool> env_bool(const char* name, bool fallback);
// Milliseconds; also "500ms", "30s", "2m".
Result<std::chrono::milliseconds> env_duration(const char* name,
                                               std::chrono::milliseconds fallback);

// The number that `text` is, all of it, in [lowest, highest]; `what` names it in the error.
Result<int64_t> parse_int(const std::string& text, int64_t lowest, int64_t highest,
                          const std::string& what);

}  // namespace gossamer
