#include "src/nccl/debug.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <strings.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <climits>
#include <cstring>
#include <mutex>
#include <utility>

#include "src/env.h"
#include "src/nccl/environment.h"
#include "src/nccl/version.h"

namespace gossamer::nccl {
namespace {

constexpr size_t kSentenceBytes = 1024;
constexpr uint32_t kAll = UINT32_MAX;
constexpr uint32_t kByDefault = static_cast<uint32_t>(Subsystem::kInit) |
                                static_cast<uint32_t>(Subsystem::kBootstrap) |
                                static_cast<uint32_t>(Subsystem::kEnv);
constexpr std::array<std::pair<const char*, uint32_t>, 17> kSubsystems{{
    {"INIT", 0x1},
    {"COLL", 0x2},
    {"P2P", 0x4},
    {"SHM", 0x8},
    {"NET", 0x10},
    {"GRAPH", 0x20},
    {"TUNING", 0x40},
    {"ENV", 0x80},
    {"ALLOC", 0x100},
    {"CALL", 0x200},
    {"PROXY", 0x400},
    {"NVLS", 0x800},
    {"BOOTSTRAP", 0x1000},
    {"REG", 0x2000},
    {"PROFILE", 0x4000},
    {"RAS", 0x8000},
    {"ALL", kAll},
}};

std::atomic<int> level_now{static_cast<int>(LogLevel::kNone)};
std::atomic<uint32_t> subsystems_now{kByDefault};
std::atomic<bool> version_wanted{false};
std::atomic<int> file_now{STDOUT_FILENO};

// Never destroyed: threads may still warn while the process ends.
std::mutex& sentence_mutex() {
  static auto* const kMutex = new std::mutex;
  return *kMutex;
}
std::array<char, kSentenceBytes> last_sentence{};  // guarded by sentence_mutex()

std::string host_name() {
  std::array<char, HOST_NAME_MAX + 1> name{};
  if (::gethostname(name.data(), name.size() - 1) != 0) return "localhost";
  return name.data();
}

const char* name_of_subsystem(Subsystem subsystem) {
  for (const auto& [name, bit] : kSubsystems) {
    if (bit == static_cast<uint32_t>(subsystem)) return name;
  }
  return "ALL";
}

void write_line(LogLevel level, const char* subsystem, const LogIdentity& who,
                std::string_view message) {
  std::string line = fmt::format("{}:{}:{} [{}] NCCL {} {}{}", host_name(), ::getpid(),
                                 ::syscall(SYS_gettid), std::max(who.rank, 0),
                                 level == LogLevel::kWarn    ? "WARN"
                                 : level == LogLevel::kTrace ? "TRACE"
                                                             : "INFO",
                                 subsystem, *subsystem != '\0' ? " " : "");
  // The core's form knows how to say who speaks and keeps control characters out.
  std::string said = format_log_line(who, message);
  said.erase(0, std::strlen("gossamer"));
  if (said.starts_with(": ")) said.erase(0, 2);
  if (said.starts_with(' ')) said.erase(0, 1);
  line += said;
  // Nobody is left to tell when the file is closed.
  [[maybe_unused]] const ssize_t written =
      ::write(file_now.load(std::memory_order_relaxed), line.data(), line.size());
}

// Lines of the layers below: their level was checked there.
void take_line(LogLevel level, const LogIdentity& who, std::string_view message) {
  write_line(level, level == LogLevel::kWarn ? "" : "INIT", who, message);
}

void open_file(const std::string& pattern) {
  if (pattern.empty()) return;
  const std::string path = expand_debug_file(pattern, host_name(), ::getpid());
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (fd >= 0) {
    // An earlier file stays open: another thread may be writing to it.
    file_now.store(fd);
    return;
  }
  write_line(
      LogLevel::kWarn, "", {},
      fmt::format("NCCL_DEBUG_FILE={}: cannot open {}: {}; lines go to stdout", pattern, path,
                  std::strerror(errno)));  // NOLINT(concurrency-mt-unsafe): glibc's is safe
}

}  // namespace

uint32_t parse_subsystems(std::string_view text) {
  if (text.empty()) return kByDefault;
  const bool leaves_out = text.front() == '^';
  if (leaves_out) text.remove_prefix(1);
  uint32_t bits = 0;
  while (!text.empty()) {
    const size_t comma = std::min(text.find(','), text.size());
    const std::string word(text.substr(0, comma));
    for (const auto& [name, bit] : kSubsystems) {
      if (::strcasecmp(word.c_str(), name) == 0) bits |= bit;
    }
    text.remove_prefix(std::min(comma + 1, text.size()));
  }
  return leaves_out ? ~bits : bits;
}

std::string expand_debug_file(std::string_view pattern, std::string_view host, int pid) {
  std::string path;
  for (size_t i = 0; i < pattern.size(); ++i) {
    if (pattern[i] != '%' || i + 1 == pattern.size()) {
      path += pattern[i];
      continue;
    }
    const char what = pattern[++i];
    if (what == 'h') {
      path += host;
    } else if (what == 'p') {
      path += std::to_string(pid);
    } else if (what == '%') {
      path += '%';
    } else {
      path += '%';
      path += what;
    }
  }
  return path;
}

void read_debug_settings() {
  const std::string wanted = setting("NCCL_DEBUG");
  const auto is = [&](const char* name) { return ::strcasecmp(wanted.c_str(), name) == 0; };
  LogLevel level = LogLevel::kNone;
  bool known = wanted.empty() || is("NONE") || is("VERSION");
  if (is("WARN") || is("ABORT")) level = LogLevel::kWarn;
  if (is("INFO")) level = LogLevel::kInfo;
  if (is("TRACE")) level = LogLevel::kTrace;
  known = known || level != LogLevel::kNone;
  if (!known) level = LogLevel::kWarn;
  version_wanted.store(is("VERSION") || level != LogLevel::kNone);
  level_now.store(static_cast<int>(level));
  subsystems_now.store(parse_subsystems(setting("NCCL_DEBUG_SUBSYS")));
  if (!wanted.empty()) open_file(setting("NCCL_DEBUG_FILE"));
  if (!env_is_set("GOSSAMER_DEBUG")) {
    const bool init = (subsystems_now.load() & static_cast<uint32_t>(Subsystem::kInit)) != 0;
    set_log_level(init ? level : std::min(level, LogLevel::kWarn));
  }
  set_log_sink(take_line);
  if (!known) {
    print(LogLevel::kWarn, Subsystem::kEnv, {},
          fmt::format("NCCL_DEBUG={} is no level: use VERSION, WARN, INFO or TRACE", wanted));
  }
}

bool prints_version() {
  return version_wanted.load(std::memory_order_relaxed);
}

bool prints(LogLevel level, Subsystem subsystem) {
  if (static_cast<int>(level) > level_now.load(std::memory_order_relaxed)) return false;
  return level == LogLevel::kWarn ||
         (subsystems_now.load(std::memory_order_relaxed) & static_cast<uint32_t>(subsystem)) != 0;
}

void print(LogLevel level, Subsystem subsystem, const LogIdentity& who, std::string_view message) {
  if (!prints(level, subsystem)) return;
  write_line(level, level == LogLevel::kWarn ? "" : name_of_subsystem(subsystem), who, message);
}

void print_version() {
  static std::atomic<bool> printed{false};
  if (!prints_version() || printed.exchange(true)) return;
  const std::string line = fmt::format("NCCL version {}.{}.{} (Gossamer {})\n", kMajor, kMinor,
                                       kPatch, GOSSAMER_VERSION);
  [[maybe_unused]] const ssize_t written = ::write(file_now.load(), line.data(), line.size());
}

ncclResult_t refuse(ncclResult_t result, const std::string& sentence, const LogIdentity& who) {
  start_once();  // a call may go wrong before any has made something
  {
    const std::lock_guard lock(sentence_mutex());
    const size_t bytes = std::min(sentence.size(), kSentenceBytes - 1);
    std::memcpy(last_sentence.data(), sentence.data(), bytes);
    last_sentence.at(bytes) = '\0';
  }
  print(LogLevel::kWarn, Subsystem::kInit, who, sentence);
  return result;
}

const char* last_warning() {
  // Without a destructor: a thread may ask while it ends.
  thread_local std::array<char, kSentenceBytes> shown;
  const std::lock_guard lock(sentence_mutex());
  shown = last_sentence;
  return shown.data();
}

void lock_debug() {
  sentence_mutex().lock();
}
void unlock_debug() {
  sentence_mutex().unlock();
}

}  // namespace gossamer::nccl
