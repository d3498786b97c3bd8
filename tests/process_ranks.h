// Ranks as processes of one test: forked, reporting through shared memory, never left behind.
//
// Threads    Fork from a test without other threads.
// Ownership  A ProcessRanks kills and reaps what it started when it goes; its ranks die with the
//            test's process whatever happens to it.
// Blocking   wait() up to its limit.

#pragma once

#include <dirent.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "gossamer/communicator.h"
#include "tests/forked.h"
#include "tests/temporary_folder.h"

namespace gossamer {

using std::chrono::milliseconds;

inline int64_t now_us() {
  return std::chrono::duration_cast<std::chrono::microseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

// GOSSAMER_SOAK=1: the full numbers instead of a sample that fits into every test run.
inline bool soaking() {
  const char* value = std::getenv("GOSSAMER_SOAK");  // NOLINT(concurrency-mt-unsafe)
  return value != nullptr && *value != '\0' && *value != '0';
}
inline int times(int sample, int all) {
  return soaking() ? all : sample;
}

// What one rank reports to the test. Plain values are written before the stage that needs them.
struct Report {
  std::atomic<int> stage{0};  // how far it has come; the meaning is each test's
  std::atomic<int64_t> steps{0};
  std::array<std::atomic<int64_t>, 8> values{};
  Code code = Code::kOk;
  Rank at_fault = -1;
  int64_t at_us = 0;
  std::array<char, 400> text{};

  void keep(const Status& status) {
    at_us = now_us();
    code = status.code();
    at_fault = status.rank();
    std::snprintf(text.data(), text.size(), "%s", status.message().c_str());
  }
  std::string sentence() const { return text.data(); }
  bool says(const std::string& part) const { return sentence().find(part) != std::string::npos; }
};

class ProcessRanks {
 public:
  using Body = std::function<void(Rank rank, Report& report)>;

  // Forks `size` ranks that run `body` and end.
  ProcessRanks(Rank size, const Body& body) : pids_(static_cast<size_t>(size), -1) {
    const size_t bytes = sizeof(Report) * pids_.size();
    void* const memory =
        ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    EXPECT_NE(memory, MAP_FAILED);
    reports_ = static_cast<Report*>(memory);
    for (size_t i = 0; i < pids_.size(); ++i) new (&reports_[i]) Report;
    for (Rank rank = 0; rank < size; ++rank) {
      pids_[static_cast<size_t>(rank)] = forked(300, [&] {
        ::setenv("GOSSAMER_DEBUG", "NONE", 0);  // hundreds of lost peers are expected here
        body(rank, report(rank));
      });
    }
  }
  ProcessRanks(const ProcessRanks&) = delete;
  ProcessRanks& operator=(const ProcessRanks&) = delete;
  ~ProcessRanks() {
    for (Rank r = 0; r < size(); ++r) kill(r);
    for (Rank r = 0; r < size(); ++r) reap(r, true);
    ::munmap(reports_, sizeof(Report) * pids_.size());
  }

  Rank size() const { return static_cast<Rank>(pids_.size()); }
  Report& report(Rank rank) { return reports_[static_cast<size_t>(rank)]; }
  pid_t pid(Rank rank) const { return pids_[static_cast<size_t>(rank)]; }
  void signal(Rank rank, int number) {
    if (pid(rank) > 0) ::kill(pid(rank), number);
  }
  void kill(Rank rank) { signal(rank, SIGKILL); }

  // Waits until every rank but `except` has come to `stage`. False, with a failure that tells who
  // has not, when the time is up or one of them ended before.
  bool wait_stage(int stage, milliseconds limit, Rank except = -1) {
    const int64_t end = now_us() + limit.count() * 1000;
    for (Rank r = 0; r < size(); ++r) {
      if (r == except) continue;
      while (report(r).stage.load() < stage) {
        const bool ended = reap(r, false);
        if (ended && report(r).stage.load() >= stage) break;
        if (ended || now_us() > end) {
          ADD_FAILURE() << "rank " << r << (ended ? " ended" : " hangs") << " at stage "
                        << report(r).stage.load() << " of " << stage << ", step "
                        << report(r).steps.load() << ": " << report(r).sentence();
          return false;
        }
        std::this_thread::sleep_for(std::chrono::microseconds(200));
      }
    }
    return true;
  }

  // Waits until every rank but `except` has ended by itself, in good order.
  bool wait_end(milliseconds limit, Rank except = -1) {
    const int64_t end = now_us() + limit.count() * 1000;
    bool good = true;
    for (Rank r = 0; r < size(); ++r) {
      if (r == except) continue;
      while (!reap(r, false) && now_us() < end) {
        std::this_thread::sleep_for(std::chrono::microseconds(200));
      }
      if (pid(r) > 0) ADD_FAILURE() << "rank " << r << " has not ended: " << report(r).sentence();
      if (pid(r) > 0 || status_ != 0) good = false;
    }
    return good;
  }

  // True once the process is gone.
  bool reap(Rank rank, bool block) {
    pid_t& pid = pids_[static_cast<size_t>(rank)];
    if (pid <= 0) return true;
    int status = 0;
    if (::waitpid(pid, &status, block ? 0 : WNOHANG) != pid) return false;
    pid = -1;
    const bool killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
    if (killed || (WIFEXITED(status) && WEXITSTATUS(status) == 0)) return true;
    status_ = status;
    if (WIFSIGNALED(status)) {
      ADD_FAILURE() << "rank " << rank << " died of signal " << WTERMSIG(status);
    } else {
      ADD_FAILURE() << "rank " << rank << " ended with status " << WEXITSTATUS(status);
    }
    return true;
  }

 private:
  std::vector<pid_t> pids_;
  Report* reports_ = nullptr;
  int status_ = 0;  // of a rank that ended badly
};

// Entries of a folder of /proc, or of any other.
inline int count_entries(const char* path) {
  DIR* const folder = ::opendir(path);
  if (folder == nullptr) return -1;
  int count = 0;
  while (const dirent* entry = ::readdir(folder)) {
    if (entry->d_name[0] != '.') ++count;
  }
  ::closedir(folder);
  return count;
}

// What a process holds; compared before and after.
struct Holdings {
  int descriptors = 0;
  int threads = 0;
  int mappings = 0;  // of our shared memory
  static Holdings now() {
#ifdef __SANITIZE_THREAD__
    // With a process's first thread the sanitizer starts one of its own, which stays.
    static const bool started = (std::thread([] {}).join(), true);
    (void)started;
#endif
    Holdings h;
    h.descriptors = count_entries("/proc/self/fd");
    h.threads = count_entries("/proc/self/task");
    if (FILE* maps = std::fopen("/proc/self/maps", "re")) {
      char line[512];
      while (std::fgets(line, sizeof(line), maps) != nullptr) {
        if (std::strstr(line, "/memfd:gossamer") != nullptr) ++h.mappings;
      }
      std::fclose(maps);
    }
    return h;
  }
  friend bool operator==(const Holdings&, const Holdings&) = default;

  // What is held once it is as much as `expected`, or still after seconds of waiting: the system
  // lists a thread for a moment after it was joined, and a meeting point ends by itself.
  static Holdings settled(const Holdings& expected) {
    const int64_t end = now_us() + 10'000'000;
    Holdings h = now();
    while (h != expected && now_us() < end) {
      std::this_thread::sleep_for(milliseconds(2));
      h = now();
    }
    return h;
  }
};
inline void PrintTo(const Holdings& h, std::ostream* out) {
  *out << h.descriptors << " descriptors, " << h.threads << " threads, " << h.mappings
       << " mappings";
}

inline Communicator::Options options_of(Rank rank, Rank size, const std::string& rendezvous,
                                        const std::string& transport,
                                        milliseconds timeout = milliseconds(15'000)) {
  Communicator::Options options;
  options.rank = rank;
  options.size = size;
  options.rendezvous = rendezvous;
  options.transport = transport;
  options.timeout = timeout;
  return options;
}

}  // namespace gossamer
