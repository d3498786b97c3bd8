#include "src/log.h"

#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cctype>
#include <optional>
#include <utility>

#include "src/env.h"

namespace gossamer {
namespace {

constexpr size_t kLineBytesMax = 2000;
constexpr std::array<std::pair<std::string_view, LogLevel>, 4> kLevels{{
    {"NONE", LogLevel::kNone},
    {"WARN", LogLevel::kWarn},
    {"INFO", LogLevel::kInfo},
    {"TRACE", LogLevel::kTrace},
}};

constexpr int kUnread = -1;
std::atomic<int> level_now{kUnread};
std::atomic<LogSink> sink_now{nullptr};

bool same_word(std::string_view a, std::string_view b) {
  if (a.size() != b.size()) {
    return false;
  }
  for (size_t i = 0; i < a.size(); ++i) {
    if (std::toupper(static_cast<unsigned char>(a[i])) != static_cast<unsigned char>(b[i])) {
      return false;
    }
  }
  return true;
}

void write_line(const std::string& line) {
  // Nobody is left to tell when stderr is closed.
  [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, line.data(), line.size());
}

int read_level() {
  const std::string value = env_string("GOSSAMER_DEBUG", "WARN");
  std::optional<LogLevel> found;
  for (const auto& [name, level] : kLevels) {
    if (same_word(value, name)) {
      found = level;
    }
  }
  int unread = kUnread;
  const int level = static_cast<int>(found.value_or(LogLevel::kWarn));
  if (level_now.compare_exchange_strong(unread, level) && !found) {
    write_line(format_log_line(
        {},
        fmt::format("GOSSAMER_DEBUG=\"{}\" is no level: use NONE, WARN, INFO or TRACE", value)));
  }
  return level_now.load();
}

}  // namespace

bool log_enabled(LogLevel level) {
  int now = level_now.load(std::memory_order_relaxed);
  if (now == kUnread) {
    now = read_level();
  }
  return level != LogLevel::kNone && static_cast<int>(level) <= now;
}

void set_log_level(LogLevel level) {
  level_now.store(static_cast<int>(level));
}

void log_line(LogLevel level, const LogIdentity& who, std::string_view message) {
  if (!log_enabled(level)) {
    return;
  }
  if (const LogSink sink = sink_now.load(std::memory_order_acquire); sink != nullptr) {
    sink(level, who, message);
  } else {
    write_line(format_log_line(who, message));
  }
}

void set_log_sink(LogSink sink) {
  sink_now.store(sink, std::memory_order_release);
}

std::string format_log_line(const LogIdentity& who, std::string_view message) {
  std::string line = "gossamer";
  if (who.rank >= 0) {
    line += fmt::format(" rank {} of {}", who.rank, who.size);
  }
  if (!who.name.empty()) {
    line += fmt::format(" [{}]", who.name);
  }
  line += ": ";
  line += message;
  if (line.size() > kLineBytesMax) {
    line.resize(kLineBytesMax - 3);
    line += "...";
  }
  for (char& c : line) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      c = '?';
    }
  }
  line += '\n';
  return line;
}

}  // namespace gossamer
