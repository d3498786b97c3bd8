// Processes as /proc shows them: who started this one, and since when it runs; and forking.
//
// Threads    any.

#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace gossamer {

struct ProcessInfo {
  pid_t pid = 0;
  pid_t parent = 0;
  std::string command;       // at most 15 characters, as the kernel keeps it
  uint64_t start_ticks = 0;  // since boot: with the pid, unique until the next boot
};
std::optional<ProcessInfo> process_info(pid_t pid);

// /proc/<pid>/stat's line; the command may contain spaces and parentheses.
std::optional<ProcessInfo> parse_process_stat(std::string_view line);

// The nearest ancestor whose command starts with `prefix` (a wrapper script may stand between);
// else the parent.
std::optional<ProcessInfo> launching_process(std::string_view prefix);

// Closes this socket in every process forked from now on: a peer sees the end of a connection only
// when its last copy is closed, so a child that outlives this process would hide its death.
void keep_from_children(int socket);

}  // namespace gossamer
