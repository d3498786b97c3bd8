#include "src/process.h"

#include <fmt/format.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

#include <charconv>
#include <fstream>
#include <mutex>
#include <vector>

namespace gossamer {
namespace {

template <class T>
bool read_number(std::string_view text, T* value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *value);
  return error == std::errc{} && end == text.data() + text.size();
}

std::vector<std::string_view> split_words(std::string_view text) {
  std::vector<std::string_view> words;
  while (!text.empty()) {
    const size_t space = std::min(text.find(' '), text.size());
    if (space > 0) {
      words.push_back(text.substr(0, space));
    }
    text.remove_prefix(std::min(space + 1, text.size()));
  }
  return words;
}

// Sockets by descriptor; an entry counts only while the descriptor is still that socket.
struct Sockets {
  std::mutex mutex;
  std::vector<ino_t> inode_of;  // 0: none
};

// Never destroyed: forks may happen after static destruction.
Sockets& sockets() {
  static Sockets* const kSockets = [] {
    pthread_atfork([] { sockets().mutex.lock(); }, [] { sockets().mutex.unlock(); },
                   [] {
                     Sockets& all = sockets();
                     for (size_t fd = 0; fd < all.inode_of.size(); ++fd) {
                       struct stat info {};
                       const auto descriptor = static_cast<int>(fd);
                       if (all.inode_of[fd] != 0 && ::fstat(descriptor, &info) == 0 &&
                           info.st_ino == all.inode_of[fd]) {
                         ::close(descriptor);
                       }
                       all.inode_of[fd] = 0;
                     }
                     all.mutex.unlock();
                   });
    return new Sockets;
  }();
  return *kSockets;
}

}  // namespace

void keep_from_children(int socket) {
  struct stat info {};
  if (socket < 0 || ::fstat(socket, &info) != 0) return;
  Sockets& all = sockets();
  const std::lock_guard lock(all.mutex);
  const auto at = static_cast<size_t>(socket);
  if (all.inode_of.size() <= at) all.inode_of.resize(at + 1);
  all.inode_of[at] = info.st_ino;
}

std::optional<ProcessInfo> parse_process_stat(std::string_view line) {
  // pid (command) state parent ... and the start time is the 20th word after the command.
  constexpr size_t kParentAt = 1;
  constexpr size_t kStartAt = 19;
  const size_t open = line.find('(');
  const size_t close = line.rfind(')');
  if (open == std::string_view::npos || close == std::string_view::npos || close < open) {
    return std::nullopt;
  }
  ProcessInfo info;
  info.command = std::string(line.substr(open + 1, close - open - 1));
  const std::vector<std::string_view> before = split_words(line.substr(0, open));
  const std::vector<std::string_view> after = split_words(line.substr(close + 1));
  if (before.size() != 1 || after.size() <= kStartAt || !read_number(before[0], &info.pid) ||
      !read_number(after[kParentAt], &info.parent) ||
      !read_number(after[kStartAt], &info.start_ticks)) {
    return std::nullopt;
  }
  return info;
}

std::optional<ProcessInfo> process_info(pid_t pid) {
  std::ifstream file(fmt::format("/proc/{}/stat", pid));
  std::string line;
  std::getline(file, line);
  return parse_process_stat(line);
}

std::optional<ProcessInfo> launching_process(std::string_view prefix) {
  constexpr int kAncestorsMax = 32;
  std::optional<ProcessInfo> parent = process_info(::getppid());
  std::optional<ProcessInfo> ancestor = parent;
  for (int i = 0; i < kAncestorsMax && ancestor; ++i) {
    if (ancestor->command.starts_with(prefix)) {
      return ancestor;
    }
    ancestor = process_info(ancestor->parent);
  }
  return parent;
}

}  // namespace gossamer
