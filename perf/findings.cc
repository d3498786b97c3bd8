#include "perf/findings.h"

#include <dlfcn.h>
#include <fmt/format.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <fstream>

#include "perf/rdma_findings.h"
#include "perf/table.h"
#include "src/env.h"
#include "src/net.h"
#include "topology/machine.h"

namespace gossamer {
namespace {

std::string first_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

// The number a line begins with; 0 when there is none.
uint64_t number_in(const std::string& line) {
  uint64_t number = 0;
  std::from_chars(line.data(), line.data() + line.size(), number);
  return number;
}

Finding cores() {
  const int usable = usable_cores();
  const auto online = static_cast<int>(sysconf(_SC_NPROCESSORS_ONLN));
  Finding f{Grade::kGood, "cores", fmt::format("{} usable", usable), ""};
  if (usable < online) {
    f.grade = Grade::kNote;
    f.text += fmt::format(" of {} online (affinity or container limit)", online);
    f.fix = "start more ranks than cores only for tests, or widen the CPU set (taskset, --cpus)";
  }
  const std::string quota = first_line("/sys/fs/cgroup/cpu.max");
  const size_t space = quota.find(' ');
  if (!quota.empty() && !quota.starts_with("max") && space != std::string::npos) {
    const double share = static_cast<double>(number_in(quota)) /
                         std::max(1.0, static_cast<double>(number_in(quota.substr(space + 1))));
    if (share < usable) {
      f.grade = Grade::kHurts;
      f.text += fmt::format("; the container's quota is {:.1f} cores", share);
      f.fix = "raise the quota: a rank that is throttled stalls all others";
    }
  }
  return f;
}

Finding governor() {
  const std::string name = first_line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor");
  if (name.empty()) return {Grade::kGood, "clock governor", "set by the host or fixed", ""};
  if (name == "performance") return {Grade::kGood, "clock governor", name, ""};
  return {Grade::kNote, "clock governor", name + ": clocks ramp up late for short messages",
          "cpupower frequency-set -g performance"};
}

Finding shared_memory() {
  struct statvfs stat {};
  if (statvfs("/dev/shm", &stat) != 0)
    return {Grade::kHurts, "shared memory", "there is no /dev/shm",
            "mount -t tmpfs tmpfs /dev/shm; in a container --shm-size=2g"};
  const uint64_t size = static_cast<uint64_t>(stat.f_blocks) * stat.f_frsize;
  const uint64_t free = static_cast<uint64_t>(stat.f_bavail) * stat.f_frsize;
  Finding f{Grade::kGood, "shared memory",
            fmt::format("/dev/shm has {}, {} free", bytes_text(size), bytes_text(free)), ""};
  if (free < (uint64_t{256} << 20)) {
    f.grade = Grade::kHurts;
    f.text += "; ranks need a few MiB each, library-allocated buffers their whole size";
    f.fix = "mount -o remount,size=2g /dev/shm; in a container --shm-size=2g";
  }
  return f;
}

Finding huge_pages() {
  const std::string mode = first_line("/sys/kernel/mm/transparent_hugepage/shmem_enabled");
  if (mode.empty())
    return {Grade::kNote, "huge pages", "this kernel has none for shared memory", ""};
  for (const char* on : {"[always]", "[within_size]", "[advise]", "[force]"}) {
    if (mode.find(on) != std::string::npos)
      return {Grade::kGood, "huge pages", "for shared memory: " + mode, ""};
  }
  return {Grade::kNote, "huge pages",
          "off for shared memory: large library-allocated buffers take a page fault per 4 KiB once",
          "echo advise > /sys/kernel/mm/transparent_hugepage/shmem_enabled (as root)"};
}

Finding locked_memory() {
  rlimit limit{};
  getrlimit(RLIMIT_MEMLOCK, &limit);
  if (limit.rlim_cur == RLIM_INFINITY) return {Grade::kGood, "locked memory", "unlimited", ""};
  return {limit.rlim_cur < (uint64_t{64} << 20) ? Grade::kNote : Grade::kGood, "locked memory",
          bytes_text(limit.rlim_cur) + "; RDMA registers buffers by locking them",
          limit.rlim_cur < (uint64_t{64} << 20) ? "ulimit -l unlimited, or memlock in "
                                                  "/etc/security/limits.conf"
                                                : ""};
}

// Whether a process may read a sibling's memory, found out by doing it: the two settings that
// decide (Yama, a container's seccomp filter) cannot both be read.
bool can_read_sibling() {
  static int word = 7;
  int pipe_fds[2];
  if (pipe(pipe_fds) != 0) return false;
  const pid_t sibling = fork();
  if (sibling < 0) return false;
  if (sibling == 0) {
    char end = 0;
    close(pipe_fds[1]);
    static_cast<void>(!read(pipe_fds[0], &end, 1));  // until the parent closes
    _exit(0);
  }
  close(pipe_fds[0]);
  const pid_t reader = fork();
  if (reader == 0) {
    int copy = 0;
    const iovec into{&copy, sizeof copy};
    const iovec from{&word, sizeof word};
    _exit(process_vm_readv(sibling, &into, 1, &from, 1, 0) == sizeof copy && copy == 7 ? 0 : 1);
  }
  int how = 1;
  if (reader > 0) waitpid(reader, &how, 0);
  close(pipe_fds[1]);
  waitpid(sibling, nullptr, 0);
  return reader > 0 && WIFEXITED(how) && WEXITSTATUS(how) == 0;
}

Finding cross_memory() {
  if (can_read_sibling())
    return {Grade::kGood, "cross-memory attach", "ranks may read each other's buffers", ""};
  const std::string scope = first_line("/proc/sys/kernel/yama/ptrace_scope");
  return {Grade::kNote, "cross-memory attach",
          "not permitted" + (scope.empty() ? std::string() : " (ptrace_scope " + scope + ")") +
              ": large ordinary buffers are staged through shared memory instead",
          "sysctl kernel.yama.ptrace_scope=0; in a container --cap-add=SYS_PTRACE; or use "
          "library-allocated buffers"};
}

Finding memory_limit() {
  const std::string limit = first_line("/sys/fs/cgroup/memory.max");
  if (limit.empty() || limit == "max") return {Grade::kGood, "memory limit", "none", ""};
  const uint64_t bytes = number_in(limit);
  const bool small = bytes < (uint64_t{2} << 30);
  return {small ? Grade::kNote : Grade::kGood, "memory limit",
          "this container may use " + bytes_text(bytes) + "; shared memory counts",
          small ? "raise it (--memory) before measuring large buffers among many ranks" : ""};
}

Finding open_files() {
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  const bool few = limit.rlim_cur < 1024;
  return {
      few ? Grade::kHurts : Grade::kGood, "open files",
      fmt::format("{} per process; a rank needs about three per peer it talks to", limit.rlim_cur),
      few ? "ulimit -n 65536" : ""};
}

Finding interfaces() {
  const auto chosen = choose_interfaces(env_string("GOSSAMER_SOCKET_IFNAME"));
  if (!chosen)
    return {Grade::kHurts, "network", chosen.status().message(),
            "set GOSSAMER_SOCKET_IFNAME to an interface that is up"};
  std::string names;
  for (const Interface& i : *chosen) {
    names += (names.empty() ? "" : ", ") + i.name;
    const std::string speed = first_line("/sys/class/net/" + i.name + "/speed");
    if (number_in(speed) > 0) names += " (" + speed + " Mbit/s)";
  }
  const bool only_loopback = chosen->size() == 1 && chosen->front().name == "lo";
  return {only_loopback ? Grade::kNote : Grade::kGood, "network", "would use " + names,
          only_loopback ? "no other interface is up: other hosts cannot be reached" : ""};
}

Finding library(const char* name, const char* soname, const char* gives, const char* package) {
  // It stays loaded: UCX forgets memory of its own when it goes.
  void* handle = dlopen(soname, RTLD_LAZY | RTLD_LOCAL | RTLD_NODELETE);
  if (handle == nullptr)
    return {Grade::kNote, name, std::string("not installed: no ") + gives,
            std::string("install ") + package};
  dlclose(handle);
  return {Grade::kGood, name, std::string("installed: ") + gives, ""};
}

Finding settings() {
  const std::vector<std::string> unknown = unknown_env_variables();
  if (unknown.empty()) return {Grade::kGood, "environment", "no unknown GOSSAMER_ variable", ""};
  std::string all;
  for (const std::string& sentence : unknown) all += (all.empty() ? "" : "; ") + sentence;
  return {Grade::kHurts, "environment", all, "correct or unset it: it has no effect"};
}

}  // namespace

std::vector<Finding> examine_machine() {
  std::vector<Finding> all = {
      cores(),
      governor(),
      shared_memory(),
      huge_pages(),
      cross_memory(),
      locked_memory(),
      memory_limit(),
      open_files(),
      interfaces(),
      settings(),
      library("rdma-core", "libibverbs.so.1", "RDMA devices", "libibverbs1 ibverbs-providers"),
  };
  for (Finding& finding : rdma_findings()) all.push_back(std::move(finding));
  all.push_back(library("UCX", "libucp.so.0", "UCX devices", "libucx0"));
  return all;
}

}  // namespace gossamer
