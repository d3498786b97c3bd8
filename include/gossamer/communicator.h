// A Communicator is one rank's seat in a group of ranks that run collectives together.
//
//   auto comm = gossamer::Communicator::from_environment();          // mpirun, srun, torchrun
//   std::vector<float> x(1000, 1.0F);
//   gossamer::Status done = comm.value()->all_reduce(std::span<float>(x));
//
// Threads    create() and friends block. Everything else may be called from any thread; ranks must
//            start their collectives in the same order. A blocking call, and Work::wait(), drive
//            the transports on the caller's own thread, and while they wait for a message they
//            carry those of other threads along; a progress thread, started by the first
//            asynchronous call, drives only what nobody waits for and sleeps when nothing is open.
//            An operation that is started and waited for at once costs no wake-up of that thread:
//            it looks by itself, some milliseconds later, whether somebody has come; a test(), a
//            wait() with a time limit, and an operation like one it had to run before, call it.
// Ownership  Callers own all buffers. From the call until its Work completes, a buffer is lent to
//            the library: do not write an input, do not touch an output. A persistent collective
//            borrows its buffers from start() to wait(), and they must stay where they are until it
//            is destroyed.
// Units      Counts are elements, never bytes.
// Errors     The first failure is final for the communicator: later calls return it again. Abort
//            and failures spread to all ranks. shrink() makes a new communicator to go on with.

#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "gossamer/export.h"
#include "gossamer/status.h"
#include "gossamer/traffic.h"
#include "gossamer/types.h"

namespace gossamer {

// Where a group meets and the key that admits to it: made by one process, carried to the others by
// any means (a file, MPI_Bcast, a launcher). Holds an address and 32 random key bytes: a secret.
struct GOSSAMER_API UniqueId {
  std::array<std::byte, 128> bytes{};

  // Opens a rendezvous in this process that serves one group and then closes.
  //   kSystem           no usable interface, or no free port in GOSSAMER_PORT_RANGE
  static Result<UniqueId> create();
  // Closes the rendezvous, if it was opened in this process and its group has not met: ranks that
  // still try to join fail. Without it an unused one stays open for four times
  // GOSSAMER_TIMEOUT_MS.
  void close() const;
};

class Graph;
struct Compression;

// A collective as data: what the named calls of Communicator are made of.
struct CollectiveCall {
  Collective collective = Collective::kAllReduce;
  const void* input = nullptr;
  void* output = nullptr;
  uint64_t count = 0;  // elements: of the buffers, or of one rank's share of them
  DataType type = DataType::kFloat32;
  Reduction reduction = ReduceOp::kSum;  // of those that reduce
  Rank root = 0;                         // of those that have one
  // Of those that have a graph (gossamer/gossip.h), which need not outlive the call.
  const Graph* graph = nullptr;
  uint64_t round = 0;
  // Messages are codes (gossamer/compression.h); null: they are elements.
  const Compression* compression = nullptr;
};

struct Operation;

// A running asynchronous operation. Movable; must not outlive its Communicator. Destroying an
// unfinished Work waits for it (within its deadline).
class GOSSAMER_API Work {
 public:
  Work() = default;  // already complete
  Work(Work&& other) noexcept;
  Work& operator=(Work&& other) noexcept;
  ~Work();

  // Whether it has finished, well or not. Never blocks.
  bool test();
  // Waits until it has finished, or for `timeout` at most (then kTimeout, and the operation goes
  // on); without an argument until the communicator's own deadline. Returns the operation's result.
  Status wait();
  Status wait(std::chrono::nanoseconds timeout);

 private:
  friend class Communicator;
  explicit Work(Operation* operation);
  Operation* operation_ = nullptr;
};

// A collective bound to its buffers, to be run again and again: what MPI-4 calls a persistent
// operation. Made by Communicator::plan() and the plan_ calls. The schedule is built
// and the buffers are registered when it is made; links open, and transports exchange addresses,
// during its first run. A later run allocates, registers and exchanges nothing.
//
//   auto sum = comm.plan_all_reduce(x, x, n, DataType::kFloat32, ReduceOp::kSum);
//   for (;;) {
//     ...                                    // write x
//     if (Status s = sum->start(); !s) ...   // several may be under way, in the same order
//     everywhere if (Status s = sum->wait(); !s) ...    // read x
//   }
//
// Movable. One run at a time; several threads may wait for it, and all of them have returned before
// it is started again. Destroying one that runs waits for it (within its deadline). It may outlive
// its Communicator, and is of no use then.
class GOSSAMER_API PersistentCollective {
 public:
  PersistentCollective() = default;  // of no use
  PersistentCollective(PersistentCollective&& other) noexcept;
  PersistentCollective& operator=(PersistentCollective&& other) noexcept;
  ~PersistentCollective();

  // Begins a run; returns at once. Ranks start collectives, persistent or not, in the same order.
  //   kInvalidArgument  it is running, or its end has been seen by neither wait() nor test(); it is
  //                     empty; its communicator is gone
  //   otherwise         the failure that ended the communicator
  Status start();
  // Whether the run has finished, well or not; true if none was started. Never blocks.
  bool test();
  // As Work::wait(), for the last run; the result is ok if none was started.
  Status wait();
  Status wait(std::chrono::nanoseconds timeout);

 private:
  friend class Communicator;
  explicit PersistentCollective(Operation* operation);
  void release();
  Operation* operation_ = nullptr;
};

// Shares of different lengths in one buffer: rank r's are the counts[r] elements from
// displacements[r] on. One entry per rank; lent for the call.
struct Shares {
  std::span<const uint64_t> counts = {};
  std::span<const uint64_t> displacements = {};
};

// Memory registered with a communicator; 0 is none.
using RegistrationId = uint64_t;

class GOSSAMER_API Communicator {
 public:
  struct Options {
    Rank rank = -1;  // 0 <= rank < size
    Rank size = 0;   // ranks in the group
    // Where to meet: "tcp://host:port" (rank 0 listens there), "file:///shared/path" (rank 0 writes
    // it), or empty when `id` is given.
    std::string rendezvous = {};
    const UniqueId* id = nullptr;
    // With `id`: where to meet when nobody serves it any more, tried in this order; the same on all
    // ranks. They must outlive create().
    std::span<const UniqueId> other_ids = {};
    std::string name = {};           // shown in logs and errors
    std::string transport = "auto";  // "auto", "shm", "verbs", "ucx", "tcp", "loopback"
    std::string algorithm = {};      // empty: by price; else a name, for experiments
    // For create() and for each collective; 0: GOSSAMER_TIMEOUT_MS, or 30 s.
    std::chrono::milliseconds timeout{0};
    // Ends create() with kAborted soon after another thread has set it. May be null; must outlive
    // create().
    const std::atomic<bool>* cancelled = nullptr;
    // Watches over all ranks beside the transports, over UDP, by a membership without a centre
    // (SWIM): a rank that is stopped, or whose host or network vanished without a word, ends the
    // communicator on all others with kPeerLost, about 10 intervals later, at most some 30. Else
    // the deadline of what waits for it does. One that wakes up again has lost its seat: it gets
    // kPeerLost with its own rank, with its next call at the latest. Each rank has one thread more,
    // which sends and answers a few datagrams per interval. Alike on all ranks; also by
    // GOSSAMER_MEMBERSHIP=1. split() and shrink() give it to the groups that they make, each its
    // own.
    bool membership = false;
    std::chrono::milliseconds probe_interval{0};  // 0: 1 s; at least 10 ms
    // Of a rank that answers but finishes no operation while others do: see stuck_ranks(). Longer
    // than a step of the application. 0: 30 s.
    std::chrono::milliseconds stuck_after{0};
  };

  // Joins the group. Returns when every rank has joined.
  //   kInvalidArgument  rank is outside [0, size), or a name is unknown
  //   kUnavailable      the transport was not built in
  //   kTimeout          a rank did not join in time; the message names the lowest one
  //   kMismatch         ranks disagree on the size, or two claim the same rank
  //   kAborted          *options.cancelled became true
  static Result<std::unique_ptr<Communicator>> create(const Options& options);
  // Takes rank, size and rendezvous from the launcher: mpirun (Open MPI, MPICH), srun, torchrun, or
  // GOSSAMER_RANK, GOSSAMER_SIZE and GOSSAMER_RENDEZVOUS. One rank alone when there is no launcher.
  static Result<std::unique_ptr<Communicator>> from_environment();
  static Result<std::unique_ptr<Communicator>> from_environment(Options defaults);

  // All `size` ranks of one group, in this process, in rank order; the rest of `options` holds for
  // all of them. Ranks may be used from one thread, inside groups, or from several.
  static Result<std::vector<std::unique_ptr<Communicator>>> create_all(Rank size);
  static Result<std::vector<std::unique_ptr<Communicator>>> create_all(Rank size, Options options);

  // What a communicator made from this one takes, instead of what this one has.
  struct SplitOptions {
    std::string name = {};                 // empty: this one's
    std::chrono::milliseconds timeout{0};  // 0: this one's
    // As in Options; a split that it ends ends this communicator too.
    const std::atomic<bool>* cancelled = nullptr;
  };
  struct ShrinkOptions {
    std::string name = {};
    std::chrono::milliseconds timeout{0};
    const std::atomic<bool>* cancelled = nullptr;
    bool abort = false;  // first end what is in flight on this communicator, as abort() does
    std::chrono::milliseconds call_timeout{0};  // of the new one's calls; 0: `timeout`
    std::vector<Rank> lost_before = {};  // close_up(): left out, whether they live again or not
  };

  // Parts the group by color: ranks of one color form a group, in order of `key` and, where keys
  // are alike, of their ranks here. kNoColor, and any other negative color: null, and no group.
  // Every rank calls it, in one order with its other calls on this communicator, which goes on. It
  // makes no connection but those of the new group's transports.
  //   kTimeout, kPeerLost, kAborted   as for all_reduce, and this communicator has failed
  static constexpr int kNoColor = -1;
  Result<std::unique_ptr<Communicator>> split(int color, int key);
  Result<std::unique_ptr<Communicator>> split(int color, int key, const SplitOptions& options);

  // The group without some ranks, which need not be there: the others call it, with the same ranks,
  // and close up. This communicator may have failed, and is of no use to the new one; it is to be
  // destroyed afterwards. Every rank listens at a socket of its own as long as its communicator
  // lives, so that the others can meet there: no server, and no rank that was excluded, is needed.
  //   kInvalidArgument  no rank is excluded, one twice, this one, or one that is not in the group
  //   kPeerLost         another rank is gone too: exclude it, and call it again
  //   kMismatch         ranks exclude different ranks: close_up() lets them
  //   kTimeout          a rank did not call it in time
  Result<std::unique_ptr<Communicator>> shrink(std::span<const Rank> excluded);
  Result<std::unique_ptr<Communicator>> shrink(std::span<const Rank> excluded,
                                               const ShrinkOptions& options);

  // The same when survivors may know of different losses, or of none: all that live call it, and go
  // on with all that do. Left out is who does not come within the timeout, which is waited for each
  // such rank anew; of those that are `suspected`, and of others that do not come, it is looked at
  // once whether anything of them is left, as a broken link may be of one that gave up because of a
  // third. Ranks that notice a death at different times find each other if all call it on the
  // communicator that they began with, which may have failed long ago.
  //   kInvalidArgument  as for shrink(), but nobody need be named
  //   kPeerLost         the others have gone on without this rank
  struct ClosedUp {
    std::unique_ptr<Communicator> comm;
    std::vector<Rank> lost;  // by their ranks here, ascending; the same on all that go on
  };
  Result<ClosedUp> close_up(std::span<const Rank> suspected);
  Result<ClosedUp> close_up(std::span<const Rank> suspected, const ShrinkOptions& options);

  // Ends what is in flight with kAborted, here and on the other ranks, as abort() does. Later calls
  // are refused with kInvalidArgument, but split(), shrink() and destruction work. Ranks that have
  // called it split by meeting at rank 0. Any thread, any time; returns at once.
  void revoke();
  bool revoked() const;

  ~Communicator();  // leaves; does not wait for other ranks
  Communicator(const Communicator&) = delete;
  Communicator& operator=(const Communicator&) = delete;

  Rank rank() const;
  Rank size() const;
  const std::string& name() const;

  // Any collective. Within a group (gossamer/group.h) or on a stream (gossamer/stream.h) every call
  // that would block is noted instead, and carried out later. The named calls below say what each
  // does; they differ in nothing else. run() returns when this rank's part is done, start() at
  // once, and plan() binds the call to its buffers and runs nothing (local: no other rank is asked;
  // every rank makes and starts the same ones in the same order). A transport that cannot register
  // a plan's buffers (memlock limit) is no error: it is logged, and the plan runs as ordinary calls
  // do.
  //   kInvalidArgument  a buffer that this rank uses is null with count > 0; partial overlap;
  //                     unknown collective, type or operation; a root that is no rank
  //   kMismatch         ranks called with different count, type, operation, root or order
  //   kPeerLost, kTimeout, kAborted   output is unspecified; input is intact unless it was output
  Status run(const CollectiveCall& call);
  Work start(const CollectiveCall& call);
  Result<PersistentCollective> plan(const CollectiveCall& call);

  // output[i] = op over all ranks of their input[i], for i in [0, count): the same bits everywhere.
  // In place when input == output; no other overlap.
  Status all_reduce(const void* input, void* output, uint64_t count, DataType type,
                    Reduction reduction);
  Work start_all_reduce(const void* input, void* output, uint64_t count, DataType type,
                        Reduction reduction);
  Result<PersistentCollective> plan_all_reduce(const void* input, void* output, uint64_t count,
                                               DataType type, Reduction reduction);

  // output[r * count + i] = rank r's input[i], for i in [0, count). In place when input ==
  // output + rank * count elements; no other overlap.
  Status all_gather(const void* input, void* output, uint64_t count, DataType type);
  Work start_all_gather(const void* input, void* output, uint64_t count, DataType type);
  Result<PersistentCollective> plan_all_gather(const void* input, void* output, uint64_t count,
                                               DataType type);

  // output[i] = the root's input[i], for i in [0, count). Other ranks' input is not looked at and
  // may be null. In place at the root when input == output.
  Status broadcast(const void* input, void* output, uint64_t count, DataType type, Rank root);
  Work start_broadcast(const void* input, void* output, uint64_t count, DataType type, Rank root);
  Result<PersistentCollective> plan_broadcast(const void* input, void* output, uint64_t count,
                                              DataType type, Rank root);

  // The root's output[i] = op over all ranks of their input[i], for i in [0, count). Other ranks'
  // output is not touched and may be null. In place at the root when input == output.
  Status reduce(const void* input, void* output, uint64_t count, DataType type, Reduction reduction,
                Rank root);
  Work start_reduce(const void* input, void* output, uint64_t count, DataType type,
                    Reduction reduction, Rank root);
  Result<PersistentCollective> plan_reduce(const void* input, void* output, uint64_t count,
                                           DataType type, Reduction reduction, Rank root);

  // output[i] = op over all ranks of their input[rank * count + i], for i in [0, count): every rank
  // gets its share of the sum. In place when output == input + rank * count elements; the rest of
  // the input is left as it was.
  Status reduce_scatter(const void* input, void* output, uint64_t count, DataType type,
                        Reduction reduction);
  Work start_reduce_scatter(const void* input, void* output, uint64_t count, DataType type,
                            Reduction reduction);
  Result<PersistentCollective> plan_reduce_scatter(const void* input, void* output, uint64_t count,
                                                   DataType type, Reduction reduction);

  // output[r * count + i] = rank r's input[rank * count + i], for i in [0, count). Never in place.
  Status all_to_all(const void* input, void* output, uint64_t count, DataType type);
  Work start_all_to_all(const void* input, void* output, uint64_t count, DataType type);
  Result<PersistentCollective> plan_all_to_all(const void* input, void* output, uint64_t count,
                                               DataType type);

  // The root's output[r * count + i] = rank r's input[i], for i in [0, count). Other ranks' output
  // is not touched and may be null. In place at the root when input == output + root * count.
  Status gather(const void* input, void* output, uint64_t count, DataType type, Rank root);
  Work start_gather(const void* input, void* output, uint64_t count, DataType type, Rank root);
  Result<PersistentCollective> plan_gather(const void* input, void* output, uint64_t count,
                                           DataType type, Rank root);

  // output[i] = the root's input[rank * count + i], for i in [0, count). Other ranks' input is not
  // looked at and may be null. In place at the root when output == input + root * count.
  Status scatter(const void* input, void* output, uint64_t count, DataType type, Rank root);
  Work start_scatter(const void* input, void* output, uint64_t count, DataType type, Rank root);
  Result<PersistentCollective> plan_scatter(const void* input, void* output, uint64_t count,
                                            DataType type, Rank root);

  // Returns when every rank has called it.
  Status barrier();
  Work start_barrier();

  // A message from this rank to `to`, which receives it with recv(): of the same type and count,
  // which may be 0. Messages from one rank to another arrive in their order. send() returns when
  // the data may be reused, which may be before it is received. Two ranks make all calls that
  // involve both, collectives and messages, in the same order. A message to oneself needs both of
  // its ends under way: start one of them, or put them into one group (gossamer/group.h).
  //   kInvalidArgument  null buffer with count > 0, unknown type, no such rank
  //   kMismatch         the two ends differ in count or type, or in the order of calls
  //   kPeerLost, kTimeout, kAborted   as for all_reduce
  Status send(const void* data, uint64_t count, DataType type, Rank to);
  Status recv(void* data, uint64_t count, DataType type, Rank from);
  Work start_send(const void* data, uint64_t count, DataType type, Rank to);
  Work start_recv(void* data, uint64_t count, DataType type, Rank from);
  // The next message that some rank has sent and that no receive posted before this one takes; its
  // rank. Receives posted after it wait until it has found one. Not within a group.
  Result<Rank> recv_any(void* data, uint64_t count, DataType type);

  // Collectives whose shares differ in length. These are messages between the ranks, not schedules:
  // ordered and counted as sends and receives are. Shares must not overlap, nor input and output,
  // but where it says so; what the two ends of a share say of its length must agree.
  //   kInvalidArgument  not one count and displacement per rank; this rank's own count is not what
  //                     `count` says; and as for send()
  //   kMismatch and others   as for send()
  //
  // Everywhere, rank r's share of the output is its input. In place when the input is this rank's
  // share of the output.
  Status all_gather_v(const void* input, uint64_t count, void* output, const Shares& shares,
                      DataType type);
  // This rank's share of rank r's input is rank r's share of its output.
  Status all_to_all_v(const void* input, const Shares& input_shares, void* output,
                      const Shares& output_shares, DataType type);
  // At the root, rank r's share of the output is its input. Elsewhere output and shares are not
  // looked at. In place at the root when the input is its share of the output.
  Status gather_v(const void* input, uint64_t count, void* output, const Shares& shares,
                  DataType type, Rank root);
  // The output is this rank's share of the root's input. Elsewhere input and shares are not looked
  // at. In place at the root when the output is its share of the input.
  Status scatter_v(const void* input, const Shares& shares, void* output, uint64_t count,
                   DataType type, Rank root);

  // Tells the transports that collectives will use [memory, memory + bytes) again and again, so
  // that they register it now and keep it registered. Local: ranks need not do the same, each
  // link uses what its two ends have. Waits while another thread drives an operation. Memory from
  // allocate_memory() is known to be shared without it.
  //   kInvalidArgument  null, or no bytes
  //   kSystem           a device refused; the message names the limit. Nothing is registered then
  Result<RegistrationId> register_memory(void* memory, uint64_t bytes);
  // Before the memory is freed, when no operation uses it. The communicator's end does it for all.
  //   kInvalidArgument  no registration of this communicator has this id
  Status deregister_memory(RegistrationId registration);

  // In-place all-reduce of a vector.
  template <class T>
  Status all_reduce(std::span<T> values, Reduction reduction = ReduceOp::kSum);

  // Ends every collective in flight with kAborted, here and on the other ranks, and refuses new
  // ones. Any thread, any time, safe to call twice; always returns at once.
  void abort();

  // The failure that ended this communicator, or ok.
  Status status() const;

  // With Options::membership: ranks, this one too, that are alive and hang: that have finished no
  // operation for Options::stuck_after while others have. Ascending. No failure; it is logged.
  std::vector<Rank> stuck_ranks() const;

  // What the planner chose for a call of this shape, "two_shot x8 over shm", and its price in
  // microseconds. For logs, benchmarks and explain.
  struct Choice {
    std::string algorithm;
    std::string transport;
    uint32_t pieces = 1;
    double predicted_us = 0;
  };
  Result<Choice> explain(Collective collective, uint64_t count, DataType type, Reduction reduction,
                         bool in_place, Rank root = 0);
  Result<Choice> explain(const CollectiveCall& call, bool in_place);  // its buffers do not matter

  // Floats that the residual of a call has on this rank, 0 without a codec. The call's buffers do
  // not matter.
  Result<uint64_t> residual_count(const CollectiveCall& call, bool in_place = false);

  // Since creation, this rank: what a schedule promises, counted by the engine, and what came of
  // it, counted by the transports. Never waits: while another thread drives an operation, `traffic`
  // is as of the last call that found nobody driving.
  struct Counters {
    uint64_t operations = 0;
    uint64_t messages_sent = 0;
    uint64_t bytes_sent = 0;
    uint64_t plans_built = 0;
    uint64_t steps_run = 0;
    uint64_t wakeups = 0;  // times a driving thread slept because nothing came, and woke
    Traffic traffic;       // of all transports together
  };
  Counters counters() const;

 private:
  friend class Work;
  friend class PersistentCollective;
  friend struct Operation;
  friend struct CallGroup;
  friend class Stream;
  class Impl;
  explicit Communicator(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

namespace detail {
template <class T>
inline constexpr DataType kTypeOf = [] {
  if constexpr (std::is_same_v<T, float>)
    return DataType::kFloat32;
  else if constexpr (std::is_same_v<T, double>)
    return DataType::kFloat64;
  else if constexpr (std::is_same_v<T, int8_t>)
    return DataType::kInt8;
  else if constexpr (std::is_same_v<T, uint8_t>)
    return DataType::kUint8;
  else if constexpr (std::is_same_v<T, int32_t>)
    return DataType::kInt32;
  else if constexpr (std::is_same_v<T, uint32_t>)
    return DataType::kUint32;
  else if constexpr (std::is_same_v<T, int64_t>)
    return DataType::kInt64;
  else
    return DataType::kUint64;
}();
}  // namespace detail

template <class T>
Status Communicator::all_reduce(std::span<T> values, Reduction reduction) {
  static_assert(std::is_arithmetic_v<T> && !std::is_same_v<T, bool> && !std::is_same_v<T, char>,
                "use the untyped call for this element type");
  return all_reduce(values.data(), values.data(), values.size(), detail::kTypeOf<T>, reduction);
}

}  // namespace gossamer
