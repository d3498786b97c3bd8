// A communicator's inside: plans, one engine, and who drives it.
//
// Threads    `driver_` is held by whoever drives: a blocking call, a Work's waiter, or the progress
//            thread. Members are grouped by what guards them.

#pragma once

#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <deque>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "gossamer/communicator.h"
#include "gossamer/transport.h"
#include "src/engine.h"
#include "src/futex_lock.h"
#include "src/log.h"
#include "src/price.h"
#include "src/program.h"

namespace gossamer {

struct PlanKey {
  Call call;

  friend bool operator==(const PlanKey& a, const PlanKey& b) {
    return a.call.count == b.call.count && a.call.collective == b.call.collective &&
           a.call.type == b.call.type && a.call.op == b.call.op &&
           a.call.in_place == b.call.in_place;
  }
};

struct PlanKeyHash {
  size_t operator()(const PlanKey& key) const {
    const auto small = static_cast<uint64_t>(key.call.collective) << 16 |
                       static_cast<uint64_t>(key.call.type) << 8 |
                       static_cast<uint64_t>(key.call.op) << 1 | (key.call.in_place ? 1 : 0);
    return std::hash<uint64_t>{}(key.call.count * 0x9E3779B97F4A7C15ULL ^ small);
  }
};

// A program ready to run again and again.
struct Plan {
  PlanKey key;
  Program program;
  Communicator::Choice choice;
  Fingerprint fingerprint = 0;  // without the sequence number
  bool open = false;            // all of its links are
};

class Work::State {
 public:
  static std::shared_ptr<State> failed(Status status);

  Communicator::Impl* owner = nullptr;
  PlanKey key;
  const std::byte* input = nullptr;
  std::byte* output = nullptr;
  Reduction reduction;
  std::atomic<bool> done{false};
  Status result;  // written before `done`
};

class Communicator::Impl {
 public:
  using Clock = std::chrono::steady_clock;

  // join.cc
  static Result<std::unique_ptr<Impl>> join(const Options& options);
  ~Impl();

  Status run(const PlanKey& key, const void* input, void* output, const Reduction& reduction);
  Work start(const PlanKey& key, const void* input, void* output, const Reduction& reduction);
  Status wait(Work::State* work);
  Status wait_for(Work::State* work, std::chrono::nanoseconds timeout);
  void abort();
  Status status() const;
  Result<Choice> explain(const PlanKey& key);
  Counters counters() const;

  Status check_shape(const Call& call) const;
  // Validates a call and makes its key.
  Status check(const Call& call, const void* input, const void* output, const Reduction& reduction,
               PlanKey* key) const;

  // constant after join()
  Rank rank = 0;
  Rank size = 1;
  std::string name;
  // Of the process that joined: in a forked child nothing here works, its threads are not there.
  const int process = getpid();

 private:
  Impl() = default;
  struct Peer;
  Status connect(const Options& options);
  Status open_transports(const Options& options, const std::vector<Peer>& peers,
                         const TransportConfig& config, class Bootstrap* bootstrap);
  void arrange(const std::vector<Peer>& peers, const std::string& transport);

  // communicator.cc
  Status execute(const PlanKey& key, const std::byte* input, std::byte* output,
                 const Reduction& reduction);
  Status drive(Plan* plan, const Bindings& bindings);
  Status give_up(Code code, const Call& call);
  Status fail(const Fault& fault, const std::string& what);
  Status fail_stored(Status failure);

  // plans.cc
  Result<Plan*> plan_for(const PlanKey& key);
  Result<std::unique_ptr<Plan>> build(const PlanKey& key) const;
  Status verify_live(const PlanKey& key, const Algorithm& algorithm, uint32_t pieces,
                     std::span<const Rank> hosts) const;

  // progress.cc
  void serve();
  bool run_next();
  void interrupt();
  void heed_abort();

  // constant after join()
  LogIdentity identity_;
  Machine machine_;          // by position in order_, so that hosts ascend
  std::vector<Rank> order_;  // position in schedules -> rank; ranks of a host adjoin
  Rank position_ = 0;        // of this rank in order_
  bool renumbered_ = false;
  uint8_t lanes_ = 1;
  uint64_t eager_bytes_ = 0;
  std::string algorithm_;       // override, or empty
  std::string transport_name_;  // for people: "shm", "tcp", "shm+tcp"
  std::chrono::milliseconds timeout_{30'000};
  Limits waiting_;       // how to wait: the least patient transport's; spins 0 when ranks
                         // outnumber cores on this host
  bool verify_ = false;  // GOSSAMER_VERIFY=1: prove each plan before it runs
  int wake_fd_ = -1;     // eventfd: abort() interrupts a sleeping driver
  int sleep_fd_ = -1;    // epoll over wake_fd_ and the transports

  // guarded by driver_
  FutexLock driver_;
  std::vector<std::unique_ptr<Transport>> transports_;
  std::unique_ptr<Engine> engine_;
  std::list<std::unique_ptr<Plan>> plans_;  // most recently used first
  std::unordered_map<PlanKey, std::list<std::unique_ptr<Plan>>::iterator, PlanKeyHash> plan_index_;
  Plan* last_plan_ = nullptr;
  std::vector<std::byte> scratch_;
  std::vector<std::byte> wide_;
  uint64_t sequence_ = 0;
  Status failure_;  // also readable once failed_

  // any thread
  std::atomic<bool> failed_{false};
  std::atomic<bool> abort_{false};
  std::atomic<uint32_t> queued_{0};  // works not finished
  std::atomic<uint64_t> operations_{0}, messages_{0}, bytes_{0}, built_{0}, steps_{0};

  // guarded by mutex_
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::shared_ptr<Work::State>> queue_;
  std::thread thread_;
  bool leaving_ = false;
};

}  // namespace gossamer
