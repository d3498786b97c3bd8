// A Communicator is one rank's seat in a group of ranks that run collectives together.
//
//   auto comm = gossamer::Communicator::from_environment();          // mpirun, srun, torchrun
//   std::vector<float> x(1000, 1.0F);
//   gossamer::Status done = comm.value()->all_reduce(std::span<float>(x));
//
// Threads    create() and friends block. Everything else may be called from any thread; ranks must
//            start their collectives in the same order. A blocking call, and Work::wait(), drive
//            the transports on the caller's own thread; a progress thread, started by the first
//            asynchronous call, drives only what nobody waits for and sleeps when nothing is open.
// Ownership  Callers own all buffers. From the call until its Work completes, a buffer is lent to
//            the library: do not write an input, do not touch an output.
// Units      Counts are elements, never bytes.
// Errors     The first failure is final for the communicator: later calls return it again. Abort
//            and failures spread to all ranks. Build a new communicator to go on.

#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "gossamer/export.h"
#include "gossamer/status.h"
#include "gossamer/types.h"

namespace gossamer {

// Where a group meets and the key that admits to it: made by one process, carried to the others by
// any means (a file, MPI_Bcast, a launcher). Holds an address and 32 random key bytes: a secret.
struct GOSSAMER_API UniqueId {
  std::array<std::byte, 128> bytes{};

  // Opens a rendezvous in this process that serves one group and then closes.
  //   kSystem           no usable interface, or no free port in GOSSAMER_PORT_RANGE
  static Result<UniqueId> create();
};

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
  class State;
  explicit Work(std::shared_ptr<State> state);
  std::shared_ptr<State> state_;
};

class GOSSAMER_API Communicator {
 public:
  struct Options {
    Rank rank = -1;  // 0 <= rank < size
    Rank size = 0;   // ranks in the group
    // Where to meet: "tcp://host:port" (rank 0 listens there), "file:///shared/path" (rank 0 writes
    // it), or empty when `id` is given.
    std::string rendezvous;
    const UniqueId* id = nullptr;
    std::string name;                // shown in logs and errors
    std::string transport = "auto";  // "auto", "shm", "tcp", "loopback"
    std::string algorithm;           // empty: by price; else a name, for experiments
    // For create() and for each collective; 0: GOSSAMER_TIMEOUT_MS, or 30 s.
    std::chrono::milliseconds timeout{0};
  };

  // Joins the group. Returns when every rank has joined.
  //   kInvalidArgument  rank is outside [0, size), or a name is unknown
  //   kUnavailable      the transport was not built in
  //   kTimeout          a rank did not join in time; the message names the lowest one
  //   kMismatch         ranks disagree on the size, or two claim the same rank
  static Result<std::unique_ptr<Communicator>> create(const Options& options);
  // Takes rank, size and rendezvous from the launcher: mpirun (Open MPI, MPICH), srun, torchrun, or
  // GOSSAMER_RANK, GOSSAMER_SIZE and GOSSAMER_RENDEZVOUS. One rank alone when there is no launcher.
  static Result<std::unique_ptr<Communicator>> from_environment();
  static Result<std::unique_ptr<Communicator>> from_environment(Options defaults);

  ~Communicator();  // leaves; does not wait for other ranks
  Communicator(const Communicator&) = delete;
  Communicator& operator=(const Communicator&) = delete;

  Rank rank() const;
  Rank size() const;
  const std::string& name() const;

  // output[i] = op over all ranks of their input[i], for i in [0, count): the same bits everywhere.
  // In place when input == output; no other overlap.
  //   kInvalidArgument  null buffer with count > 0, partial overlap, unknown type or operation
  //   kMismatch         ranks called with different count, type, operation or order
  //   kPeerLost, kTimeout, kAborted   output is unspecified; input is intact unless it was output
  Status all_reduce(const void* input, void* output, uint64_t count, DataType type,
                    Reduction reduction);
  Work start_all_reduce(const void* input, void* output, uint64_t count, DataType type,
                        Reduction reduction);

  // output[r * count + i] = rank r's input[i], for i in [0, count). In place when input ==
  // output + rank * count elements; no other overlap. Errors as for all_reduce.
  Status all_gather(const void* input, void* output, uint64_t count, DataType type);
  Work start_all_gather(const void* input, void* output, uint64_t count, DataType type);

  // In-place all-reduce of a vector.
  template <class T>
  Status all_reduce(std::span<T> values, Reduction reduction = ReduceOp::kSum);

  // Ends every collective in flight with kAborted, here and on the other ranks, and refuses new
  // ones. Any thread, any time, safe to call twice; always returns at once.
  void abort();

  // The failure that ended this communicator, or ok.
  Status status() const;

  // What the planner chose for a call of this shape, "two_shot x8 over shm", and its price in
  // microseconds. For logs, benchmarks and explain.
  struct Choice {
    std::string algorithm;
    std::string transport;
    uint32_t pieces = 1;
    double predicted_us = 0;
  };
  Result<Choice> explain(Collective collective, uint64_t count, DataType type, Reduction reduction,
                         bool in_place);

  // Since creation, this rank: what a schedule promises, counted by the engine.
  struct Counters {
    uint64_t operations = 0;
    uint64_t messages_sent = 0;
    uint64_t bytes_sent = 0;
    uint64_t plans_built = 0;
    uint64_t steps_run = 0;
  };
  Counters counters() const;

 private:
  friend class Work;
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
