#include "perf/spawn.h"

#include <sched.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "perf/commands.h"

namespace gossamer {
namespace {

using Clock = std::chrono::steady_clock;

sigset_t watched_signals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : {SIGCHLD, SIGINT, SIGTERM, SIGHUP}) sigaddset(&set, signal);
  return set;
}

// Two ranks that start on one core stay there for longer than many a measurement takes.
void bind_to_core(int rank, int ranks) {
  cpu_set_t usable;
  CPU_ZERO(&usable);
  if (sched_getaffinity(0, sizeof(usable), &usable) != 0 || CPU_COUNT(&usable) < ranks) return;
  for (int core = 0, nth = 0; core < CPU_SETSIZE; ++core) {
    if (!CPU_ISSET(core, &usable) || nth++ != rank) continue;
    cpu_set_t own;
    CPU_ZERO(&own);
    CPU_SET(core, &own);
    (void)sched_setaffinity(0, sizeof(own), &own);
    return;
  }
}

// A folder that is gone when the run is over.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    const char* base = std::getenv("TMPDIR");
    path_ = std::string(base != nullptr && *base != 0 ? base : "/tmp") + "/gossamer-XXXXXX";
    if (mkdtemp(path_.data()) == nullptr) path_.clear();
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    if (!path_.empty()) std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

struct Child {
  pid_t pid = -1;  // -1: has ended
};

class Ranks {
 public:
  explicit Ranks(const Spawn& spawn) : spawn_(spawn) {}

  Status start(const std::string& rendezvous, const sigset_t& signals_before) {
    const pid_t parent = getpid();
    for (int rank = 0; rank < spawn_.ranks; ++rank) {
      const pid_t pid = fork();
      if (pid == 0) become(rank, rendezvous, parent, signals_before);
      if (pid < 0) {
        const std::string reason = std::strerror(errno);
        signal_all(SIGKILL);
        while (running_ > 0) reap();
        return Status::error(Code::kSystem, "cannot start rank " + std::to_string(rank) + ": " +
                                                reason + "; ulimit -u limits processes");
      }
      children_.push_back({pid});
      ++running_;
    }
    return Status::ok();
  }

  // Until all have ended.
  int wait(const sigset_t& watched) {
    const auto overdue = Clock::now() + spawn_.deadline;
    auto next_kill = Clock::time_point::max();
    if (spawn_.deadline.count() > 0) next_kill = overdue;
    int stage = 0;  // 0: none, 1: SIGTERM sent, 2: SIGKILL sent
    while (running_ > 0) {
      const timespec slice{0, 200'000'000};
      const int signal = sigtimedwait(&watched, nullptr, &slice);
      if (signal > 0 && signal != SIGCHLD) signal_all(signal);
      const bool failed_before = exit_code_ != 0;
      reap();
      if (!failed_before && exit_code_ != 0 && stage == 0)
        next_kill = std::min(next_kill, Clock::now() + spawn_.grace);
      if (Clock::now() < next_kill || running_ == 0) continue;
      if (exit_code_ == 0) {
        std::fprintf(stderr, "gossamer: %d of %d ranks did not end in time\n", running_,
                     spawn_.ranks);
        exit_code_ = 124;
      }
      signal_all(stage == 0 ? SIGTERM : SIGKILL);
      stage = 1;
      next_kill = Clock::now() + spawn_.grace;
    }
    return exit_code_;
  }

 private:
  [[noreturn]] void become(int rank, const std::string& rendezvous, pid_t parent,
                           const sigset_t& signals_before) const {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(1);  // died between fork and prctl
    sigprocmask(SIG_SETMASK, &signals_before, nullptr);
    if (spawn_.bind) bind_to_core(rank, spawn_.ranks);
    setenv("GOSSAMER_RANK", std::to_string(rank).c_str(), 1);
    setenv("GOSSAMER_SIZE", std::to_string(spawn_.ranks).c_str(), 1);
    setenv("GOSSAMER_RENDEZVOUS", rendezvous.c_str(), 1);
    std::vector<char*> arguments;
    for (const std::string& a : spawn_.arguments) arguments.push_back(const_cast<char*>(a.c_str()));
    arguments.push_back(nullptr);
    execv(arguments[0], arguments.data());
    std::fprintf(stderr, "gossamer: cannot run %s: %s\n", arguments[0], std::strerror(errno));
    _exit(127);
  }

  void signal_all(int signal) {
    for (const Child& child : children_) {
      if (child.pid > 0) kill(child.pid, signal);
    }
  }

  // Notes every child that has ended, and says how the first one failed.
  void reap() {
    for (size_t rank = 0; rank < children_.size(); ++rank) {
      int how = 0;
      Child& child = children_[rank];
      if (child.pid < 0 || waitpid(child.pid, &how, WNOHANG) != child.pid) continue;
      child.pid = -1;
      --running_;
      const int code = WIFEXITED(how) ? WEXITSTATUS(how) : 128 + WTERMSIG(how);
      if (code == 0 || exit_code_ != 0) continue;
      exit_code_ = code;
      if (WIFSIGNALED(how))
        std::fprintf(stderr, "gossamer: rank %zu was killed by signal %d (%s)\n", rank,
                     WTERMSIG(how), strsignal(WTERMSIG(how)));
    }
  }

  const Spawn& spawn_;
  std::vector<Child> children_;
  int running_ = 0;
  int exit_code_ = 0;
};

}  // namespace

Result<int> spawn_ranks(const Spawn& spawn) {
  const TemporaryFolder folder;
  if (folder.path().empty())
    return Status::error(Code::kSystem,
                         "cannot make a temporary folder; set TMPDIR to one that "
                         "can be written");
  const sigset_t watched = watched_signals();
  sigset_t before;
  sigprocmask(SIG_BLOCK, &watched, &before);
  Ranks ranks(spawn);
  const Status started = ranks.start("file://" + folder.path() + "/rendezvous", before);
  const int code = started ? ranks.wait(watched) : 1;
  sigprocmask(SIG_SETMASK, &before, nullptr);
  if (!started) return started;
  return code;
}

std::vector<std::string> own_command_line() {
  char path[PATH_MAX] = "";
  const ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
  std::vector<std::string> words;
  std::ifstream file("/proc/self/cmdline", std::ios::binary);
  for (std::string word; std::getline(file, word, '\0');) words.push_back(word);
  if (words.empty()) words.emplace_back();
  words[0] = length > 0 ? std::string(path, static_cast<size_t>(length)) : "/proc/self/exe";
  return words;
}

int spawn_command(int ranks, bool bind) {
  Spawn spawn;
  spawn.ranks = ranks;
  spawn.bind = bind;
  spawn.arguments = own_command_line();
  const Result<int> code = spawn_ranks(spawn);
  return code ? *code : complain(code.status());
}

}  // namespace gossamer
