// Ranks of tests of libnccl.so.2, as threads and as processes, known by nccl.h alone.
//
// Threads    Fork from a test without other threads.
// Blocking   Everything, until the ranks have ended; a rank that hangs is ended by alarm().

#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "nccl/nccl.h"
#include "tests/forked.h"

// Success, or a failure with the library's own sentence.
#define NCCL_OK(call)                                                                     \
  do {                                                                                    \
    const ncclResult_t nccl_ok_result = (call);                                           \
    ASSERT_EQ(nccl_ok_result, ncclSuccess) << #call << ": " << ncclGetLastError(nullptr); \
  } while (false)
#define NCCL_IS(expected, call)                                                        \
  do {                                                                                 \
    const ncclResult_t nccl_is_result = (call);                                        \
    EXPECT_EQ(nccl_is_result, expected) << #call << ": " << ncclGetLastError(nullptr); \
  } while (false)

namespace gossamer::nccl_test {

using std::chrono::milliseconds;

inline milliseconds since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration_cast<milliseconds>(std::chrono::steady_clock::now() - start);
}
inline std::chrono::steady_clock::time_point now() {
  return std::chrono::steady_clock::now();
}
inline void nap(int ms) {
  std::this_thread::sleep_for(milliseconds(ms));
}

// For this test alone.
class Setting {
 public:
  Setting(const char* name, const std::string& value) : name_(name) {
    ::setenv(name, value.c_str(), 1);
  }
  Setting(const Setting&) = delete;
  Setting& operator=(const Setting&) = delete;
  ~Setting() { ::unsetenv(name_); }

 private:
  const char* name_;
};

using RankBody = std::function<void(ncclComm_t comm, int rank)>;

// Waits until a non-blocking communicator is no longer in progress.
inline ncclResult_t settle(ncclComm_t comm, int limit_ms = 30'000) {
  const auto start = now();
  ncclResult_t state = ncclInProgress;
  while (state == ncclInProgress && since(start).count() < limit_ms) {
    if (ncclCommGetAsyncError(comm, &state) != ncclSuccess) return ncclInternalError;
    std::this_thread::sleep_for(std::chrono::microseconds(200));
  }
  return state;
}

inline void not_blocking(ncclConfig_t& config) {
  config.blocking = 0;
}

// One thread per rank, joined; `configure` may change how each joins. Where it makes joining return
// at once, the rank waits until it has joined.
inline void on_threads(int size, const RankBody& body,
                       const std::function<void(ncclConfig_t&)>& configure = nullptr) {
  ncclUniqueId id;
  NCCL_OK(ncclGetUniqueId(&id));
  std::vector<std::thread> threads;
  for (int rank = 0; rank < size; ++rank) {
    threads.emplace_back([&, rank] {
      ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
      if (configure) configure(config);
      ncclComm_t comm = nullptr;
      const ncclResult_t begun = ncclCommInitRankConfig(&comm, size, id, rank, &config);
      NCCL_IS(config.blocking == 0 ? ncclInProgress : ncclSuccess, begun);
      ASSERT_NE(comm, nullptr);
      if (config.blocking == 0) NCCL_IS(ncclSuccess, settle(comm));
      body(comm, rank);
      NCCL_OK(ncclCommDestroy(comm));
    });
  }
  for (std::thread& thread : threads) thread.join();
}

// What the ranks of a test that are processes share with it and each other.
struct Board {
  std::atomic<int> stage{0};
  ncclUniqueId id{};
  std::atomic<bool> id_ready{false};
  std::array<std::atomic<int>, 16> values{};

  void await(int wanted) const {
    while (stage.load() < wanted) nap(1);
  }
};

// Forks ranks; each runs `body` without a communicator and ends.
class Processes {
 public:
  using Body = std::function<void(Board& board, int rank)>;

  Processes(int size, const Body& body, unsigned limit_s = 600)
      : board_(new (::mmap(nullptr, sizeof(Board), PROT_READ | PROT_WRITE,
                           MAP_SHARED | MAP_ANONYMOUS, -1, 0)) Board) {
    for (int rank = 0; rank < size; ++rank) {
      pids_.push_back(forked(limit_s, [&] { body(*board_, rank); }));
    }
  }
  Processes(const Processes&) = delete;
  Processes& operator=(const Processes&) = delete;
  ~Processes() {
    for (const pid_t pid : pids_) {
      if (pid > 0) {
        ::kill(pid, SIGKILL);
        ::waitpid(pid, nullptr, 0);
      }
    }
    ::munmap(board_, sizeof(Board));
  }

  Board& board() { return *board_; }
  void signal(int rank, int number) { ::kill(pids_[static_cast<size_t>(rank)], number); }
  // Waits for a rank. True: it ended by itself, without a failure.
  bool join(int rank) {
    pid_t& pid = pids_[static_cast<size_t>(rank)];
    int status = 0;
    const bool reaped = ::waitpid(pid, &status, 0) == pid;
    pid = -1;
    return reaped && WIFEXITED(status) && WEXITSTATUS(status) == 0;
  }
  void join_all() {
    for (size_t rank = 0; rank < pids_.size(); ++rank) {
      EXPECT_TRUE(join(static_cast<int>(rank))) << "rank " << rank << " failed";
    }
  }

 private:
  Board* board_;
  std::vector<pid_t> pids_;
};

// The id that rank 0 makes, on every rank.
inline ncclUniqueId share_id(Board& board, int rank) {
  if (rank == 0) {
    EXPECT_EQ(ncclGetUniqueId(&board.id), ncclSuccess) << ncclGetLastError(nullptr);
    board.id_ready.store(true);
  }
  while (!board.id_ready.load()) nap(1);
  return board.id;
}

// One process per rank, with a communicator.
inline void on_processes(int size, const RankBody& body) {
  Processes ranks(size, [&](Board& board, int rank) {
    const ncclUniqueId id = share_id(board, rank);
    ncclComm_t comm = nullptr;
    NCCL_OK(ncclCommInitRank(&comm, size, id, rank));
    body(comm, rank);
    NCCL_OK(ncclCommDestroy(comm));
  });
  ranks.join_all();
}

// A sum over all ranks that must come out right.
inline void expect_sum(ncclComm_t comm, int size, size_t count = 1000) {
  std::vector<float> in(count, 1.0F);
  std::vector<float> out(count);
  NCCL_OK(ncclAllReduce(in.data(), out.data(), count, ncclFloat, ncclSum, comm, nullptr));
  for (const float value : out) ASSERT_EQ(value, static_cast<float>(size));
}

// A rank of a group of processes that has been used once; null after a failure.
inline ncclComm_t joined(Board& board, int rank, int size) {
  const ncclUniqueId id = share_id(board, rank);
  ncclComm_t comm = nullptr;
  NCCL_IS(ncclSuccess, ncclCommInitRank(&comm, size, id, rank));
  expect_sum(comm, size);
  return comm;
}

// One of two ranks, of which the other never comes.
inline ncclComm_t half_made() {
  ncclUniqueId id{};
  NCCL_IS(ncclSuccess, ncclGetUniqueId(&id));
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  not_blocking(config);
  ncclComm_t comm = nullptr;
  NCCL_IS(ncclInProgress, ncclCommInitRankConfig(&comm, 2, id, 0, &config));
  return comm;
}

}  // namespace gossamer::nccl_test
