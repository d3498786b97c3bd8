// Log lines to stderr: "gossamer rank 3 of 8 [name]: what happened". The level comes from
// GOSSAMER_DEBUG at first use: NONE, WARN (default), INFO or TRACE.
//
// Threads    Any. One write() per line, so lines of several ranks never mix.

#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "gossamer/types.h"

namespace gossamer {

enum class LogLevel : uint8_t { kNone, kWarn, kInfo, kTrace };

// Who speaks. Rank -1: no rank (yet); then "gossamer: ...".
struct LogIdentity {
  Rank rank = -1;
  Rank size = 0;
  std::string name;
};

bool log_enabled(LogLevel level);
void set_log_level(LogLevel level);  // overrides the environment; for tests and the command line
void log_line(LogLevel level, const LogIdentity& who, std::string_view message);

// Takes every enabled line instead of stderr; null: stderr again. Any thread calls it, also at
// once.
using LogSink = void (*)(LogLevel level, const LogIdentity& who, std::string_view message);
void set_log_sink(LogSink sink);

// The line as written, newline included. Control characters become '?': text from a peer must not
// forge lines or reach the terminal. Cut at 2000 bytes.
std::string format_log_line(const LogIdentity& who, std::string_view message);

}  // namespace gossamer
