// One process with a thread per rank: each thread joins by itself and calls without groups. A
// watchdog thread looks for errors meanwhile and aborts, as frameworks do.
//
//   usage    threads [ranks]

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "example.h"

namespace {

// Looks at a communicator until `done`; ends what it is doing when something has gone wrong.
void watch(ncclComm_t comm, const std::atomic<bool>& done) {
  while (!done.load()) {
    ncclResult_t state = ncclSuccess;
    CHECK(ncclCommGetAsyncError(comm, &state));
    if (state != ncclSuccess && state != ncclInProgress) {
      CHECK(ncclCommAbort(comm));
      return;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

void run(const ncclUniqueId& id, int rank, int ranks, std::atomic<int>* right) {
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.commName = "threads";
  ncclComm_t comm = nullptr;
  CHECK(ncclCommInitRankConfig(&comm, ranks, id, rank, &config));
  std::atomic<bool> done{false};
  std::thread watchdog([&] { watch(comm, done); });
  std::vector<float> parameters(1000, static_cast<float>(rank));
  std::vector<float> shard(10);
  std::vector<float> all(static_cast<size_t>(ranks) * shard.size(), 1.0F);
  for (int step = 0; step < 10; ++step) {
    CHECK(ncclBroadcast(parameters.data(), parameters.data(), parameters.size(), ncclFloat, 0, comm,
                        nullptr));
    // a sharded optimizer's step: each rank gets its share of the sum, and all get all shares
    CHECK(ncclReduceScatter(all.data(), shard.data(), shard.size(), ncclFloat, ncclAvg, comm,
                            nullptr));
    CHECK(ncclAllGather(shard.data(), all.data(), shard.size(), ncclFloat, comm, nullptr));
  }
  done.store(true);
  watchdog.join();
  CHECK(ncclCommFinalize(comm));
  CHECK(ncclCommDestroy(comm));
  if (parameters[999] == 0 && all.back() == 1) right->fetch_add(1);
}

}  // namespace

int main(int argc, char** argv) {
  const int ranks = argc > 1 ? std::atoi(argv[1]) : 4;
  if (ranks < 1) {
    std::fprintf(stderr, "threads: there must be at least 1 rank\n");
    return 2;
  }
  ncclUniqueId id;
  CHECK(ncclGetUniqueId(&id));
  std::atomic<int> right{0};
  std::vector<std::thread> threads;
  for (int rank = 0; rank < ranks; ++rank) {
    threads.emplace_back([&, rank] { run(id, rank, ranks, &right); });
  }
  for (std::thread& thread : threads) thread.join();
  std::printf("%d of %d ranks are right\n", right.load(), ranks);
  return right.load() == ranks ? 0 : 1;
}
