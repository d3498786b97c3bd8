// Windows: gossip without rounds. A rank puts values into buffers at its neighbors, and takes what
// neighbors have put, whenever it likes; nobody waits for a slow rank unless it asks to.
//
//   auto window = gossamer::Window::create(comm, x, n, DataType::kFloat32, {.name = "weights"});
//   for (uint64_t round = 0; ; ++round) {
//     ...                                              // change x: a gradient step
//     window.value()->put(x, **graph, round);          // to all targets; returns at once
//     window.value()->wait_versions(**graph, round, at_least);  // if staleness shall be bounded
//     window.value()->set(x);
//     window.value()->update(x, **graph, round);       // own value mixed with what has come
//   }
//
// A window is, at every rank, an own value and one buffer per source, so that writers never meet.
// put() replaces the caller's buffer at a target and accumulate() adds to it; update() mixes the
// own value with the buffers and collect() does that and empties them; get() fetches another rank's
// own value while that rank computes. Names follow Bluefog's: its win_create, win_put,
// win_accumulate, win_get, win_update and win_update_then_collect.
//
// Versions   Each rank counts its calls of put() and accumulate(): its clock(). version(j) is the
//            clock that j had when it made what has come here last. It never goes back.
//            wait_versions() with clock() - s is the stale synchronous parallel model: no rank is
//            ever more than s + 1 calls ahead of those it waits for. Every rank owns its share;
//            there is no server.
// Whole      A reader sees a buffer as one put or accumulate left it, never parts of two. update()
//            and collect() take all buffers at one moment: what comes while they run is neither
//            seen nor lost, it is there for the next. get() too sees one own value.
// Memory     Bounded, whatever a target does: per target that was put to, one message under way
//            and one that waits. While a target is slow, a put() replaces what waits for it and an
//            accumulate() adds to that, so a target may see fewer, larger steps, in order and each
//            once. Buffers are made when they are first used: two per target, two per source, and
//            up to two more per rank for get(). The own value is a copy.
// Threads    Any thread may make any call at any time, but create(), free() and destruction come
//            alone. Each window has a communicator of its own and a thread that answers for it,
//            which sleeps while nothing comes.
// Ownership  Buffers are lent for the call. The communicator that a window was made from may be
//            destroyed before it, and used for anything meanwhile.
// Blocking   set(), value(), put(), accumulate(), update(), collect() and the counters wait for no
//            other rank. The others wait Options::timeout at most.
// Errors     Bad input is refused before anything is sent (kInvalidArgument).
//            A rank that died, or destroyed its window, is lost: what was on the way to or from it
//            is gone, what it has put stays in its buffers, and calls that touch it return
//            kPeerLost with its rank; so do those that wait for it. The others close up without it
//            and go on, with each message between them delivered once; meanwhile calls that do not
//            wait go on, and those that wait do so. Ranks keep their numbers. One that does not
//            help to close up within the timeout is lost too, and finds the others lost. If they
//            cannot close up, every later call that needs another rank returns why. A rank that is
//            stopped but alive is not lost by that: calls that need it return kTimeout.
//            An accumulate() towards a rank that dies may be applied there or not: push-sum's mass
//            goes with it.
// Codecs     None: what waits for a slow target is replaced or added up, which codes cannot be.
//            Compressed gossip without rounds: ChocoSgd, or pair_gossip() with a codec.
// Limits     A window through which nothing at all passes for 20 days ends with kTimeout.

#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "gossamer/communicator.h"
#include "gossamer/export.h"
#include "gossamer/gossip.h"

namespace gossamer {

class GOSSAMER_API Window {
 public:
  struct Options {
    std::string name = "window";           // shown in errors; the same on all ranks
    std::chrono::milliseconds timeout{0};  // of calls that wait; 0: GOSSAMER_TIMEOUT_MS, or 30 s
  };
  // Makes a window of `count` elements whose own value is `data`. Collective: every rank of `comm`
  // calls it, in one order with its other calls there.
  //   kInvalidArgument  null; no elements, or more than there is memory; a type that is no float;
  //                     a negative timeout. Refused here, so other ranks wait for this one until
  //                     their deadline
  //   kMismatch         ranks gave another count, type or name; the message names both
  //   kPeerLost, kTimeout, kAborted   as for Communicator::split()
  static Result<std::unique_ptr<Window>> create(Communicator& comm, const void* data,
                                                uint64_t count, DataType type);
  static Result<std::unique_ptr<Window>> create(Communicator& comm, const void* data,
                                                uint64_t count, DataType type,
                                                const Options& options);
  // Local: leaves, within the timeout, when what it has sent is taken. Others may go on.
  ~Window();
  Window(const Window&) = delete;
  Window& operator=(const Window&) = delete;

  // Collective among those that are not lost: flush(), and returns when all have come here. Only
  // value(), collect() and destruction make sense afterwards.
  //   kTimeout  a rank did not call it in time; the message names the lowest one
  //   kPeerLost as for flush(); all that live have come all the same
  Status free();

  // The own value: what update() starts from and others get().
  //   kInvalidArgument  null
  Status set(const void* value);
  Status value(void* out) const;

  // Replaces this rank's buffer at `to` by weight * value. Of a graph: at each target of the round,
  // whatever the graph's weights; readers weigh what they read. Returns at once.
  //   kInvalidArgument  null; no other rank; a graph of another size; a weight that is not finite
  //   kPeerLost         the target, or one of them, is lost: nothing was put to any
  //   otherwise         the failure that ended the window
  Status put(const void* value, Rank to, double weight = 1);
  Status put(const void* value, const Graph& graph, uint64_t round, double weight = 1);
  // Adds weight * value to this rank's buffer at `to`. Of a graph: at each target times the weight
  // that the target gives to this rank's value, so that with columns that sum to 1, and this rank
  // keeping its own share (set()), collect() makes push-sum of it. The push-sum weight travels as
  // one more element. Codes as for put().
  Status accumulate(const void* value, Rank to, double weight = 1);
  Status accumulate(const void* value, const Graph& graph, uint64_t round, double weight = 1);
  // Returns when all that was put or accumulated before is in its buffer at the targets.
  //   kTimeout   not in time; the message names the lowest target; it goes on
  //   kPeerLost  something towards this rank was dropped, since the last flush(), as it was lost
  Status flush();

  // out[i] = the own value of `from`, and *version, if not null, how often that has been set,
  // updated or collected; as of some moment within the call. The other rank does nothing for it.
  //   kTimeout   it did not answer in time: its process is stopped
  //   kPeerLost  it is lost
  Status get(void* out, Rank from, uint64_t* version = nullptr);

  // own = self_weight * own + sum over `sources` of their weight times their buffer; copied to
  // `out` unless that is null. A buffer into which nothing was put since create() or collect()
  // counts as the own value. Of a graph: with the weights of this rank's row in the round. 64-bit
  // floats are computed as they are, others in fp32 and rounded once. Lost ranks' buffers are as
  // any other.
  //   kInvalidArgument  a source that is no other rank, or comes twice; a weight that is not
  //                     finite; a graph of another size
  Status update(void* out, double self_weight, std::span<const Weight> sources);
  Status update(void* out, const Graph& graph, uint64_t round);
  // The same, but an empty buffer counts as zero, and those of `sources` are empty afterwards:
  // what is accumulated is taken once.
  Status collect(void* out, double self_weight, std::span<const Weight> sources);

  // This rank's calls of put() and accumulate() that were carried out, one to several targets
  // counted once.
  uint64_t clock() const;
  // The clock of `source` as of what came from it last; 0: nothing has, or there is no such rank.
  uint64_t version(Rank source) const;
  // Returns when version(j) >= at_least for all j of `sources`; of a graph: this rank's sources in
  // the round. A source that puts nothing to this rank never gets there.
  //   kInvalidArgument  a source that is no other rank; a graph of another size
  //   kTimeout          not in time; the message names the rank that is furthest behind
  //   kPeerLost         one that is not there yet is lost
  Status wait_versions(std::span<const Rank> sources, uint64_t at_least);
  Status wait_versions(std::span<const Rank> sources, uint64_t at_least,
                       std::chrono::nanoseconds timeout);
  Status wait_versions(const Graph& graph, uint64_t round, uint64_t at_least);

  Rank rank() const;
  Rank size() const;  // ranks when it was made
  uint64_t count() const;
  DataType type() const;
  const std::string& name() const;
  // Ranks that died or have left, ascending.
  std::vector<Rank> lost() const;
  // The failure that ended the window, or ok.
  Status status() const;

 private:
  class Impl;
  explicit Window(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace gossamer
