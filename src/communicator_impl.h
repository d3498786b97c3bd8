// A communicator's inside: plans, one engine, and who drives it.
//
// Threads    `driver_` is held by whoever drives: a blocking call, a Work's waiter, or the progress
//            thread. Members are grouped by what guards them.

#pragma once

#include <unistd.h>

#include <array>
#include <atomic>
#include <condition_variable>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "gossamer/communicator.h"
#include "gossamer/compression.h"
#include "gossamer/transport.h"
#include "src/bootstrap.h"
#include "src/engine.h"
#include "src/futex_lock.h"
#include "src/log.h"
#include "src/patience.h"
#include "src/point_to_point.h"
#include "src/price.h"
#include "src/program.h"
#include "src/watch.h"

namespace gossamer {

struct PricedMessage;

// What is asked for as a transport and is two: shared memory inside hosts, tcp between them, as
// "auto" without RDMA devices.
inline constexpr const char* kSharedAndTcp = "shm+tcp";

struct PlanKey {
  Call call;
  std::shared_ptr<const Mixing> mixing = nullptr;  // keeps what call.mixing points to
  Compression compression = {};                    // of a call, not of a plan

  friend bool operator==(const PlanKey& a, const PlanKey& b) {
    return a.call.count == b.call.count && a.call.collective == b.call.collective &&
           a.call.type == b.call.type && a.call.op == b.call.op &&
           a.call.in_place == b.call.in_place && a.call.root == b.call.root &&
           a.call.graph == b.call.graph && a.call.round == b.call.round &&
           a.call.codec_identity == b.call.codec_identity;
  }
};

struct PlanKeyHash {
  size_t operator()(const PlanKey& key) const {
    const auto small = static_cast<uint64_t>(key.call.collective) << 16 |
                       static_cast<uint64_t>(key.call.type) << 8 |
                       static_cast<uint64_t>(key.call.op) << 1 | (key.call.in_place ? 1 : 0);
    const auto root = static_cast<uint64_t>(key.call.root) << 24;
    const uint64_t graph =
        (key.call.graph + key.call.round + key.call.codec_identity) * 0xC2B2AE3D27D4EB4FULL;
    return std::hash<uint64_t>{}(key.call.count * 0x9E3779B97F4A7C15ULL ^ small ^ root ^ graph);
  }
};

// A program ready to run again and again.
struct Plan {
  PlanKey key;
  Program program;
  Communicator::Choice choice;
  Fingerprint fingerprint = 0;       // without the sequence number
  uint64_t output_offset_bytes = 0;  // in place: where the output begins in the memory of both
  uint64_t scaled_count = 0;         // kPreMulSum: elements of the input that are scaled first
  uint64_t carried_count = 0;        // floats of a residual that this rank does not encode with
  bool open = false;                 // all of its links are
};

// One that was started and not driven by its caller: behind a Work, or a persistent collective,
// which is started again and again.
//
// Its state goes kIdle -> kStarted [-> kAsked] -> kDone -> kSeen [-> kStarted ...]. Whoever stores
// kDone touches it no more, so that its handle may free it then.
struct Operation {
  enum State : uint8_t {
    kIdle,
    kStarted,  // in the queue, or running
    kAsked,    // the same, and somebody may sleep until it is done: the progress thread was called
    kDone,
    kSeen,  // by wait() or test()
  };

  static Operation* failed(Status status);
  bool done() const { return state.load(std::memory_order_acquire) >= kDone; }
  bool under_way() const {
    const State now = state.load(std::memory_order_acquire);
    return now == kStarted || now == kAsked;
  }
  // Nobody restarts it while somebody else is still in wait() or test().
  void see() {
    if (state.load(std::memory_order_acquire) == kDone) {
      state.store(kSeen, std::memory_order_relaxed);
    }
  }

  Communicator::Impl* owner = nullptr;  // null: gone, or there never was one
  std::atomic<State> state{kIdle};
  std::atomic<Operation*> next{nullptr};  // in the queue; in the list of free ones
  std::atomic<bool> overlaps{false};      // the progress thread had to run it the last time
  PlanKey key;
  const std::byte* input = nullptr;
  std::byte* output = nullptr;
  Reduction reduction;
  std::shared_ptr<Plan> plan;  // of a persistent one; else looked up when it runs
  // Of a persistent one: what key.compression is read from at every start.
  const Compression* compression = nullptr;
  std::vector<Letter> letters;  // not empty: messages, and no collective
  uint32_t letters_left = 0;
  std::atomic<bool> gated{false};  // not to begin yet: its stream has other things to do first
  std::array<std::span<std::byte>, 2> pinned;
  Status result;  // written before kDone
  // guarded by the owner's mutex_: handles that exist
  Operation* newer = nullptr;
  Operation* older = nullptr;
};

class Communicator::Impl {
 public:
  static constexpr const char* kMessages = "messages between ranks";
  static constexpr const char* kRevoked =
      "this communicator was revoked; split() or shrink() it, and call on what they make";
  using Clock = std::chrono::steady_clock;

  // join.cc
  static Result<std::unique_ptr<Impl>> join(const Options& options);
  ~Impl();

  Status run(const CollectiveCall& call);
  Operation* start(const PlanKey& key, const void* input, void* output, const Reduction& reduction);
  // Carries all of them at the same time, and returns when all are done.
  Status exchange(std::span<Letter> letters);
  // The same, waiting as `limits` say, and no longer than until *cancelled is set, if it is not
  // null: then the communicator has failed.
  Status exchange(std::span<Letter> letters, const Limits& limits,
                  const std::atomic<bool>* cancelled);
  Status carry_out(std::span<Letter> letters);
  class LetterList;  // v_forms.cc
  Operation* start(std::span<const Letter> letters);
  // group.cc, stream.cc: operations that are queued later, or wait there for their stream.
  Status run_now(const PlanKey& key, const void* input, void* output, const Reduction& reduction);
  Operation* prepare(const PlanKey& key, const void* input, void* output,
                     const Reduction& reduction);
  Operation* prepare(std::span<const Letter> letters);
  void enqueue(Operation* operation);
  // Until all are done; the first failure among them. Any communicators, each with operations.
  static Status drive_together(std::span<Operation* const> operations);
  void open_gate(Operation* operation);
  void entered_stream();
  void left_stream();
  double price(std::vector<PricedMessage> messages) const;
  Result<Operation*> make_persistent(const PlanKey& key, const void* input, void* output,
                                     const Reduction& reduction);
  Status restart(Operation* operation);
  void ask(Operation* operation);
  Status wait(Operation* operation);
  Status wait_for(Operation* operation, std::chrono::nanoseconds timeout);
  void recycle(Operation* operation);   // a Work's, done
  void dissolve(Operation* operation);  // a persistent one
  Result<RegistrationId> register_memory(void* memory, uint64_t bytes);
  Status deregister_memory(RegistrationId registration);
  void abort();
  // split.cc, shrink.cc
  Result<std::unique_ptr<Impl>> split(int color, int key, const SplitOptions& options);
  Result<std::unique_ptr<Impl>> shrink(std::span<const Rank> excluded,
                                       const ShrinkOptions& options);
  // close_up.cc
  struct ClosedUp {
    std::unique_ptr<Impl> impl;
    std::vector<Rank> lost;
  };
  Result<ClosedUp> close_up(std::span<const Rank> suspected, const ShrinkOptions& options);
  void revoke();
  bool revoked() const { return revoked_.load(std::memory_order_relaxed); }
  std::vector<Rank> stuck_ranks() const { return watch_ ? watch_->stuck() : std::vector<Rank>(); }
  Status status() const;
  Result<Choice> explain(const PlanKey& key);
  Result<uint64_t> residual_count(const PlanKey& key);
  Result<PlanKey> key_of(const CollectiveCall& call, bool in_place) const;
  Counters counters();

  // One end of a message, validated.
  Result<Letter> letter(bool sends, const void* data, uint64_t count, DataType type,
                        Rank peer) const;
  Status check_shape(const Call& call) const;
  Call call_of(const CollectiveCall& asked) const;
  Status find_round(const CollectiveCall& asked, PlanKey* key) const;
  Status find_codec(const CollectiveCall& asked, PlanKey* key) const;
  void place(bool in_place, Call* call) const;
  // Validates a call and makes its key.
  Status check(const CollectiveCall& asked, PlanKey* key) const;
  CollectiveCall barrier_call();

  // constant after join()
  Rank rank = 0;
  Rank size = 1;
  std::string name;
  // Of the process that joined: in a forked child nothing here works, its threads are not there.
  const int process = getpid();

 private:
  Impl() = default;
  struct Peer;
  static Result<std::unique_ptr<Impl>> make(const Options& options);
  Status meet(const Options& options, BootstrapConfig meeting);
  Status form(const Options& options, Exchange* exchange);
  Result<std::vector<Peer>> introduce(const Options& options, Exchange* exchange) const;
  void arrange(const std::vector<Peer>& peers, const std::string& inside,
               const std::string& between, const struct LinkSpeed& speed);

  // watching.cc
  Status begin_watch();
  Status join_watch(const std::vector<Peer>& peers, Exchange* exchange);
  void on_watch(Rank who, WatchEvent event);
  bool lost_by_watch(Fault* fault) const;

  // open_transports.cc
  struct Opened;
  Status open_transports(const Options& options, const std::vector<Peer>& peers,
                         const TransportConfig& config, Exchange* exchange);
  Result<Opened> make_transport(const std::string& transport_name, bool optional,
                                const TransportConfig& config, Exchange* exchange) const;
  Result<std::vector<Opened>> choose_transports(const std::string& wanted,
                                                const std::vector<Peer>& peers,
                                                const TransportConfig& config,
                                                Exchange* exchange) const;

  // collectives.cc
  Status check_buffers(const CollectiveCall& asked, Call* call) const;

  // communicator.cc
  Status run_alone(const CollectiveCall& call);
  Status execute(const PlanKey& key, const std::byte* input, std::byte* output,
                 const Reduction& reduction);
  Status execute(Plan* plan, const std::byte* input, std::byte* output, const Reduction& reduction,
                 const Compression& compression);
  // One collective on its way.
  struct Running {
    std::shared_ptr<Plan> keep;  // unless the caller keeps the plan
    Plan* plan = nullptr;        // null: none
    Bindings bindings;
    bool started = false;  // in the engine
    bool moved = false;    // by the last advance()
    Clock::time_point give_up_at{};
  };
  Status begin(Plan* plan, const std::byte* input, std::byte* output, const Reduction& reduction,
               const Compression& compression, Running* run);
  Code advance(Running* run);
  Status drive(Running* run);
  Status drive(Running* run, Patience* patience);
  void count(uint64_t messages, uint64_t bytes, uint64_t steps);
  void count_run(const Program& program) {
    count(program.messages_sent, program.bytes_sent, program.ops.size());
  }
  Status give_up(Code code, const Call& call);
  Status give_up(Code code, const std::string& what);
  Status fail(const Fault& fault, const std::string& what);
  Status fail_stored(Status failure);

  // split.cc, shrink.cc
  class MemberExchange;
  struct Claim;
  struct Part;
  Options inherited(const SplitOptions& given) const;
  Result<Part> find_part(const Claim& mine, Exchange* exchange) const;
  Result<std::unique_ptr<Impl>> split_by_messages(const Claim& mine, const SplitOptions& options);
  Result<std::unique_ptr<Impl>> split_at_door(const Claim& mine, const SplitOptions& options);
  Result<Door> door_of(Rank owner, const std::string& purpose) const;
  Status check_left_out(std::span<const Rank> ranks, const ShrinkOptions& options) const;
  Result<std::unique_ptr<Impl>> without(std::span<const Rank> left_out, const std::string& purpose,
                                        Absence* absence, const ShrinkOptions& options) const;
  bool answers(Rank r, const std::atomic<bool>* cancelled) const;

  // compressed_calls.cc
  Status renew_compression(Operation* operation) const;
  CodingBindings bind_coding(const Plan& plan, const Compression& compression);
  static void carry_residual(const Plan& plan, const Compression& compression);

  // plans.cc
  Result<std::shared_ptr<Plan>> plan_for(const PlanKey& key);
  Result<std::shared_ptr<Plan>> build(const PlanKey& key) const;
  Status verify_live(const Call& call, const Algorithm& algorithm, uint32_t pieces,
                     std::span<const Rank> hosts) const;

  // persistent.cc
  Status pin(std::span<std::byte> span);
  void unpin(std::span<std::byte> span);

  // progress.cc
  Operation* take_handle();
  void list(Operation* operation);
  void unlist(Operation* operation);
  void call_thread(bool to_drive);
  void serve();
  struct Seen {  // by the progress thread, at its last look at the queue
    uint64_t ended = 0;
    bool waiting = false;  // there was something in it
  };
  bool look(bool called, Seen* before);
  void interrupt();

  // drive.cc
  Operation* first();
  void dequeue(Operation* operation);
  bool step();
  Code step_collective(Operation* operation);
  void post(Operation* operation);
  void conclude(Operation* operation, Status result);
  bool run_first();
  void count_letters(std::span<const Letter> letters);
  Status carry(std::span<Letter> letters, const Limits& limits, const std::atomic<bool>* cancelled);
  void issue_letters();
  template <class Done>
  void drive_until(const Done& done, const Limits& limits);
  void woken();
  void check_deadlines(Clock::time_point now);
  class Together;
  bool step_or_abort();
  std::string under_way() const;
  bool quiet();
  bool drive_alone();
  void take_driver();
  void release_driver();
  void heed_abort();

  // constant after join()
  LogIdentity identity_;
  Machine machine_;          // by position in order_, so that hosts ascend
  std::vector<Rank> order_;  // position in schedules -> rank; ranks of a host adjoin
  Rank position_ = 0;        // of this rank in order_
  bool renumbered_ = false;
  uint8_t lanes_ = 1;
  uint64_t eager_bytes_ = 0;
  TransportConfig config_;
  SocketAddress address_;           // at which others reach this rank
  Fd door_;                         // src/door.h
  std::vector<std::string> doors_;  // of all ranks
  std::string wanted_transport_;    // by name, or "auto"
  std::string algorithm_;           // override, or empty
  std::string transport_name_;      // for people: "shm", "tcp", "shm+tcp"
  std::chrono::milliseconds timeout_{30'000};
  Limits waiting_;       // how to wait: the least patient transport's; spins 0 when ranks
                         // outnumber cores on this host
  bool verify_ = false;  // GOSSAMER_VERIFY=1: prove each plan before it runs
  struct {
    bool on = false;
    std::chrono::milliseconds interval{0};
    std::chrono::milliseconds stuck_after{0};
  } watching_;
  std::unique_ptr<Watch> watch_;  // null: nobody watches
  int wake_fd_ = -1;              // eventfd: abort() interrupts a sleeping driver
  int sleep_fd_ = -1;             // epoll over wake_fd_ and the transports

  // guarded by driver_
  FutexLock driver_;
  std::vector<std::unique_ptr<Transport>> transports_;
  std::unique_ptr<Engine> engine_;
  std::list<std::shared_ptr<Plan>> plans_;  // most recently used first
  std::unordered_map<PlanKey, std::list<std::shared_ptr<Plan>>::iterator, PlanKeyHash> plan_index_;
  Plan* last_plan_ = nullptr;
  CollectiveCall last_call_;      // what last_plan_ ran for, and nothing was wrong with it
  bool repeats_checked_ = false;  // it was checked; no other has made last_plan_ another since
  std::vector<std::byte> scratch_;
  std::vector<std::byte> wide_;
  std::vector<std::byte> code_;
  std::vector<std::byte> workspace_;  // codecs'
  std::vector<float> staging_;        // what codecs take and give
  std::vector<float> numbers_;        // that ranks agree on
  std::vector<std::byte> scaled_;     // the input of a kPreMulSum that has no room for it elsewhere
  std::byte barrier_{};               // what barriers reduce
  std::map<RegistrationId, std::span<std::byte>> registrations_;
  RegistrationId last_registration_ = 0;
  Running running_;                // the first of the queue, when it has begun
  bool driven_by_thread_ = false;  // by the progress thread
  uint64_t sequence_ = 0;
  Status failure_;  // also readable once failed_

  // any thread
  std::atomic<bool> failed_{false};
  std::atomic<bool> abort_{false};
  std::atomic<bool> revoked_{false};
  std::atomic<Rank> lost_{-1};  // to the watch; the first
  std::atomic<uint64_t> splits_{0};
  std::atomic<bool> napping_{false};     // a driver sleeps that wants to hear of new operations
  std::atomic<int> sleepers_{0};         // who wait for somebody else to drive, or to stop driving
  std::atomic<uint32_t> travelling_{0};  // operations with letters under way, not in the queue
  std::atomic<uint64_t> operations_{0}, messages_{0}, bytes_{0}, built_{0}, steps_{0}, wakeups_{0};
  // What was started and is not done, oldest first. Any thread exchanges `tail_` and then links its
  // operation to the one before; `head_` is taken off with driver_ held. Null tail: empty.
  std::atomic<Operation*> tail_{nullptr};
  std::atomic<Operation*> head_{nullptr};
  std::atomic<uint64_t> ended_{0};          // operations that have left the queue
  std::atomic<bool> works_overlap_{false};  // Operation::overlaps, of all Works together
  std::atomic<bool> asleep_{true};          // the progress thread does not look by itself

  // guarded by mutex_
  mutable std::mutex mutex_;
  std::condition_variable called_;    // for the progress thread
  std::condition_variable finished_;  // an operation that was asked for; driving
  Operation* handles_ = nullptr;      // operations that users hold, newest first
  Operation* free_ = nullptr;
  Traffic traffic_;   // as of the last look
  int streamed_ = 0;  // operations that streams hold
  std::thread thread_;
  bool called_to_look_ = false;
  bool called_to_drive_ = false;
  bool leaving_ = false;

  bool yielded_ = false;  // the progress thread's own: somebody else wanted to drive
};

}  // namespace gossamer
