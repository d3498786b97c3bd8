// Decentralized training, one call per iteration: a local gradient step and some communication with
// few neighbors, instead of an exact average over all ranks.
//
//   auto graph = gossamer::make_graph("one_peer_exponential", comm.size());
//   auto method = gossamer::DecentralizedSgd::create({.count = n});
//   for (;;) {
//     ...                                             // g = gradient at x, on this rank's data
//     if (Status s = method.value()->step(comm, **graph, x, g, 0.1); !s) ...
//   }
//
// More of them are in gossip_overlap.h (push-sum that does not wait), gossip_bias_corrected.h
// (where ranks have different data) and gossip_groups.h (relays, groups, random peers).
//
// In the rules below i is this rank, j another, W the mixing matrix of the graph's round, w_ij what
// i gives to j's value, and g the rate.
//
// Common to all methods:
//
// Shapes     x, z and gradients hold `count` elements of `type` each, in buffers of their own.
//            `gradient` may be null: then nothing is added. It may be any update that an optimizer
//            computed; what is subtracted is rate times it.
// Threads    One thread at a time per method. step() is a collective of its communicator: every
//            rank calls it in the same order with the others. It blocks, within groups and on
//            streams too, no longer than the communicator's deadline.
// Ownership  Buffers are lent for the call. A method owns its state and holds no communicator.
// Memory     Allocated by create() and the first steps: once every round of a graph has been seen,
//            and where rounds repeat, step() allocates nothing.
// Errors     Bad input is refused before anything is sent or written (kInvalidArgument): a null
//            value buffer, buffers that overlap, a rate that is not finite, a graph of another
//            size, or whose sums or symmetry are not what the method needs (the message names
//            graph, round and ranks). Others are those of the collectives that are used (kMismatch,
//            kPeerLost, kTimeout, kAborted); then values and state are unspecified: load() what
//            was saved, on all ranks.
// Saving     save() returns this rank's state, load() takes it back into a method made with the
//            same options; values themselves are the caller's to keep. load() refuses, and changes
//            nothing, what save() did not write, what was cut off or damaged, and what was saved
//            with other options (kInvalidArgument).

#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "gossamer/codec.h"
#include "gossamer/gossip.h"

namespace gossamer {

// D-PSGD: values are averaged with neighbors in every iteration.
//
//   kAdaptThenCombine    x_i <- sum_j w_ij (x_j - g gradient_j)
//   kAdaptWhileCombine   x_i <- sum_j w_ij x_j - g gradient_i, which needs the gradient only when
//                        the messages have arrived: see begin()
//
// Sends      x, count elements, to each neighbor of the round.
// Needs      Rows and columns that sum to 1; symmetric or not.
// Keeps      The mean of x, but for the gradients. With a constant rate and gradients that differ
//            among ranks at the optimum it stays away from it by a distance proportional to the
//            rate.
// Source     Lian, Zhang, Zhang, Hsieh, Zhang and Liu, "Can decentralized algorithms outperform
//            centralized algorithms?", NeurIPS 2017. The orders: Sayed, "Adaptation, learning, and
//            optimization over networks", 2014.
class GOSSAMER_API DecentralizedSgd {
 public:
  enum class Order : uint8_t { kAdaptThenCombine = 0, kAdaptWhileCombine = 1 };
  struct Options {
    uint64_t count = 0;
    DataType type = DataType::kFloat32;  // any float
    Order order = Order::kAdaptThenCombine;
  };
  static Result<std::unique_ptr<DecentralizedSgd>> create(const Options& options);
  ~DecentralizedSgd();  // waits for what begin() began, within its deadline

  // Of kAdaptWhileCombine: begins to average x, which may be read but not written until step(),
  // called with the same x, ends it. Compute the gradient meanwhile. Without begin() the step
  // averages by itself. The communicator must live until then.
  //   kInvalidArgument  another order; it was called already
  Status begin(Communicator& comm, const Graph& graph, const void* x);
  Status step(Communicator& comm, const Graph& graph, void* x, const void* gradient, double rate);

  uint64_t round() const { return round_; }  // iterations so far
  std::vector<std::byte> save() const;
  Status load(std::span<const std::byte> saved);

 private:
  explicit DecentralizedSgd(const Options& options) : options_(options) {}
  Options options_;
  uint64_t round_ = 0;
  uint64_t admitted_ = 0;
  bool begun_ = false;
  std::vector<std::byte> mixed_;  // before work_, which may still write it
  Work work_;
};

// Push-sum, or stochastic gradient push: for directed graphs, where a rank knows whom it sends to
// and not who sends to it.
//
//   x_i <- x_i - g gradient_i;  x_i <- sum_j w_ij x_j;  w_i <- sum_j w_ij w_j;  z_i = x_i / w_i
//
// Sends      x and the weight w, count + 1 elements in one message, to each target of the round:
//            neither is ever taken without the other.
// Needs      Columns that sum to 1.
// Keeps      The sums over ranks of x, but for the gradients, and of w, which is the number of
//            ranks, each to the rounding of `type`. Messages are the communicator's: none is lost
//            or taken twice. Where they may be, see RunningPushSum.
// Source     Kempe, Dobra and Gehrke, "Gossip-based computation of aggregate information", FOCS
//            2003; Assran, Loizou, Ballas and Rabbat, "Stochastic gradient push for distributed
//            deep learning", ICML 2019.
class GOSSAMER_API PushSum {
 public:
  struct Options {
    uint64_t count = 0;
    DataType type = DataType::kFloat32;  // or kFloat64
  };
  static Result<std::unique_ptr<PushSum>> create(const Options& options);

  // z is the start value in the first call, and what was returned, unchanged, in later ones:
  // gradients are taken at it. It stays what it was where the rank's weight is 0.
  Status step(Communicator& comm, const Graph& graph, void* z, const void* gradient, double rate);

  double weight() const;  // w; 1 before the first step
  uint64_t round() const { return round_; }
  std::vector<std::byte> save() const;
  Status load(std::span<const std::byte> saved);

 private:
  explicit PushSum(const Options& options);
  Options options_;
  std::vector<std::byte> state_;  // x, then w
  uint64_t round_ = 0;
  uint64_t admitted_ = 0;
  bool started_ = false;
};

// Push-sum that survives lost, late, repeated and reordered messages: what travels on an edge is
// the sum of all that was ever pushed over it, so that the next message makes up for any before it.
//
//   push    x_i <- x_i - g gradient_i; for each target j of the round: sums_ij += w_ji (x_i, w_i);
//           (x_i, w_i) <- w_ii (x_i, w_i)
//   take    (x_i, w_i) += the sums of the packet - those last taken from that rank; packets that
//           are not newer are left
//   value   z_i = x_i / w_i
//
// step() does all three over a communicator. Elsewhere, over datagrams or between groups, carry
// packet() by any means to the rank it is for, and hand it to take() there.
//
// Sends      (2 + count) * 8 bytes to each target: version, sum of weights, sums of x, all 64 bits
//            wide, whatever `type` is: sums grow, and in 32 bits lose what is small beside them.
//            In the machine's byte order.
// Memory     A packet per rank that is pushed to and per rank that is taken from, made at the
//            first, and one per source of a round for step().
// Needs      Columns that sum to 1.
// Keeps      Sums over ranks of x and w, and of what was pushed and not yet taken.
// Source     Hadjicostis, Vaidya and Dominguez-Garcia, "Robust distributed average consensus via
//            exchange of running sums", IEEE Transactions on Automatic Control 61, 2016.
class GOSSAMER_API RunningPushSum {
 public:
  struct Options {
    Rank rank = -1;
    Rank size = 0;
    uint64_t count = 0;
    DataType type = DataType::kFloat32;  // of z and gradients; or kFloat64
  };
  static Result<std::unique_ptr<RunningPushSum>> create(const Options& options);

  // As PushSum::step(); pushes, sends, receives from this round's sources, takes. The
  // communicator's rank and size are those of the options.
  //   kMismatch  what a source sent is no packet of such a method
  Status step(Communicator& comm, const Graph& graph, void* z, const void* gradient, double rate);

  // The start value, with weight 1; step() does it by itself. Once.
  Status start(const void* z);
  // Before start(): kInvalidArgument, of push(), take() and value().
  Status push(const Graph& graph, const void* gradient, double rate);
  // What `to` should take; valid until the next push() or load(). Empty if nothing was ever pushed
  // to it.
  std::span<const std::byte> packet(Rank to) const;
  // Returns whether it was newer than all that were taken from this rank.
  //   kInvalidArgument  `from` is no other rank; a packet of another length; sums of weights that
  //                     are not finite or fall. Nothing is taken then
  Result<bool> take(Rank from, std::span<const std::byte> packet);
  // z, left as it is while the weight is 0.
  Status value(void* z) const;

  double weight() const { return mass_.empty() ? 1 : mass_[0]; }
  // Weight ever pushed to a rank, and taken from one: the difference is under way, or, if a rank is
  // gone, gone with it.
  double pushed(Rank to) const;
  double taken(Rank from) const;
  uint64_t round() const { return round_; }  // pushes so far
  std::vector<std::byte> save() const;
  Status load(std::span<const std::byte> saved);

 private:
  explicit RunningPushSum(const Options& options);
  Status check_graph_of(const Graph& graph);
  Options options_;
  // Sums of one edge: the version's bits, weight, x. mass_ is weight, x, and empty before start().
  using Sums = std::vector<double>;
  std::vector<double> mass_;
  std::vector<Sums> out_;  // by rank; empty where never used
  std::vector<Sums> in_;
  std::vector<Sums> arriving_;  // of step(), by source
  std::vector<Work> works_;     // during step() only
  uint64_t round_ = 0;
  uint64_t admitted_ = 0;
};

// Local SGD: gradient steps alone, and an average in every `interval`-th of them.
//
//   x_i <- x_i - g gradient_i; then, if the number of steps is a multiple of the interval,
//   x_i <- sum_j w_ij x_j, or x_i <- the mean of x over all ranks
//
// Sends      Nothing in most steps; in the others x to each neighbor of the graph's round, which
//            advances by one per average, or, without a graph, what an all-reduce sends.
// Needs      Rows and columns that sum to 1.
// Keeps      The mean of x, but for the gradients.
// Source     Stich, "Local SGD converges fast and communicates little", ICLR 2019.
class GOSSAMER_API LocalSgd {
 public:
  struct Options {
    uint64_t count = 0;
    DataType type = DataType::kFloat32;  // any float
    uint64_t interval = 1;               // steps from one average to the next
  };
  //   kInvalidArgument  an interval of 0, and as everywhere
  static Result<std::unique_ptr<LocalSgd>> create(const Options& options);

  Status step(Communicator& comm, const Graph& graph, void* x, const void* gradient, double rate);
  // Averages over all ranks, who all get the same bits.
  Status step(Communicator& comm, void* x, const void* gradient, double rate);

  uint64_t steps() const { return steps_; }
  std::vector<std::byte> save() const;
  Status load(std::span<const std::byte> saved);

 private:
  explicit LocalSgd(const Options& options) : options_(options) {}
  Options options_;
  uint64_t steps_ = 0;
  uint64_t admitted_ = 0;
};

// DiLoCo: local steps by any optimizer, and in every `interval`-th step an outer step with Nesterov
// momentum, in which the way that the ranks have gone on average is the gradient.
//
//   d <- the mean over ranks of (p - x_i);  u <- m u + d;  p <- p - v (d + m u);  x_i <- p
//
// with p the point where the last outer step ended, m the outer momentum, v the outer rate. With
// m = 0 and v = 1 it is local SGD.
//
// Sends      What an all-reduce of count elements sends, every `interval` steps. All ranks get the
//            same bits, so p and u are the same everywhere.
// Memory     Three vectors: p, u, d.
// Source     Douillard, Feng, Rusu, Chhaparia, Donchev, Kuncoro, Ranzato, Szlam and Shen, "DiLoCo:
//            distributed low-communication training of language models", 2023.
class GOSSAMER_API DiLoCo {
 public:
  struct Options {
    uint64_t count = 0;
    DataType type = DataType::kFloat32;  // or kFloat64
    uint64_t interval = 500;
    double outer_rate = 0.7;
    double outer_momentum = 0.9;
  };
  //   kInvalidArgument  an interval of 0; an outer rate that is not positive; a momentum outside
  //                     [0, 1)
  static Result<std::unique_ptr<DiLoCo>> create(const Options& options);

  // Once, before the first step, on all ranks: x becomes the mean of what the ranks bring, and the
  // point that the first outer step starts from.
  Status begin(Communicator& comm, void* x);
  // x is what the local optimizer has made of it, minus rate times the gradient where one is given.
  Status step(Communicator& comm, void* x, const void* gradient, double rate);

  uint64_t steps() const { return steps_; }
  std::vector<std::byte> save() const;
  Status load(std::span<const std::byte> saved);

 private:
  explicit DiLoCo(const Options& options) : options_(options) {}
  Options options_;
  std::vector<std::byte> point_;     // p; empty before begin()
  std::vector<std::byte> momentum_;  // u
  std::vector<std::byte> way_;       // d
  uint64_t steps_ = 0;
};

// CHOCO-Gossip and CHOCO-SGD: what travels is compressed, and the mean is reached all the same.
// Each rank keeps the copy of its values that the others have, and sends the compressed difference.
//
//   x_i <- x_i - g gradient_i;  q_i = C(x_i - h_i), sent to the neighbors;
//   h_i <- h_i + q_i;  s_i <- s_i + sum_j w_ij q_j;  x_i <- x_i + c (s_i - h_i)
//
// with h_i the copy, C the codec, c the consensus rate. Without gradients it is CHOCO-Gossip. What
// an unbiased codec decodes is divided by 1 + error_max(count), which makes it a contraction.
//
// Sends      A code to each neighbor: bytes_max(count) bytes; where the codec has no fixed size as
//            many as it has, after 8 that tell how many. In a method's first step also 8 that tell
//            the codec and the consensus rate.
// Memory     Two vectors of 64 bits, h and s, whatever `type` is: in 32 they would drift apart, and
//            the mean with them. Two of floats; bytes_max(count) per neighbor. With a codec that
//            has no fixed size step() allocates a few handles.
// Needs      A graph whose rounds are all the same, symmetric, with rows and columns that sum to 1;
//            always the same one. The same codec on all ranks. Every message: a lost one would
//            part h from its copies for ever, so after an error load() on all ranks.
// Keeps      The mean of x, but for the gradients. What is not finite in x stays where it is.
// Rate       Distances fall by 1 - c (1 - lambda_2) per step as long as c is below a limit that the
//            codec sets: for top-k about 3-4 times the ratio at 1 %, 2-3 times at 10 %; 1 for int8
//            and for QSGD with 127 levels. Above it values grow without bound. choco_rate() is
//            always below it, and far slower than need be.
// Source     Koloskova, Stich and Jaggi, "Decentralized stochastic optimization and gossip
//            algorithms with compressed communication", ICML 2019.
class GOSSAMER_API ChocoSgd {
 public:
  struct Options {
    uint64_t count = 0;                  // at most 2^32 - 1
    DataType type = DataType::kFloat32;  // or kFloat64; differences travel as floats either way
    double consensus_rate = 0;           // c, in (0, 1]
  };
  //   kInvalidArgument  a rate that is not in (0, 1]; no codec; as everywhere
  static Result<std::unique_ptr<ChocoSgd>> create(const Options& options,
                                                  std::unique_ptr<Codec> codec);

  //   kMismatch  a neighbor has another codec or consensus rate
  Status step(Communicator& comm, const Graph& graph, void* x, const void* gradient, double rate);

  const Codec& codec() const { return *codec_; }
  uint64_t round() const { return round_; }
  std::vector<std::byte> save() const;
  Status load(std::span<const std::byte> saved);

 private:
  ChocoSgd(const Options& options, std::unique_ptr<Codec> codec);
  Status check_graph_of(const Communicator& comm, const Graph& graph);
  Status meet(Communicator& comm, const Graph& graph, const std::vector<Rank>& sources);
  Status pass_codes(Communicator& comm, const Graph& graph, uint64_t bytes);
  Status exchange(Communicator& comm, const Graph& graph, void* x);
  Options options_;
  std::unique_ptr<Codec> codec_;
  double scale_ = 1;           // of what is decoded
  std::vector<double> copy_;   // h
  std::vector<double> mixed_;  // s
  std::vector<float> difference_;
  std::vector<float> decoded_;
  std::vector<std::byte> code_;
  std::vector<std::byte> workspace_;
  std::vector<Rank> sources_;       // neighbors
  std::vector<std::byte> arrived_;  // codes of the sources, in their order, bytes_max() apart
  std::vector<uint64_t> lengths_;   // of these codes
  uint64_t round_ = 0;
  uint64_t admitted_ = 0;
  bool met_ = false;    // neighbors have told that they do the same
  uint64_t graph_ = 0;  // identity of the one that s belongs to; 0 before the first step
};

// The delta of a codec for `count` elements: of what is decoded the squared error is at most 1 -
// delta times the squared norm, in expectation where the codec is unbiased. 0 where nothing is
// proved.
GOSSAMER_API double contraction(const Codec& codec, uint64_t count);

// The consensus rate that is proved to converge, for a codec of this delta:
// p^2 d / (16 p + p^2 + 4 b^2 + 2 p b^2 - 8 p d), with p the spectral gap of the graph and b the
// norm of I - W.
//   kInvalidArgument  the graph is not as ChocoSgd needs it, or has more than 1024 ranks; a delta
//                     that is not in (0, 1]
GOSSAMER_API Result<double> choco_rate(const Graph& graph, double delta);

// AD-PSGD: averages of two ranks at a time, with no round that all take part in. step() never waits
// for another rank, so a slow one slows nobody down.
//
// An exchange on the edge between i and j: i sends y = x_i; j answers with z = x_j, and
//   x_j <- x_j + (y - z) / 2 when it answers;  x_i <- x_i + (z - y) / 2 when the answer comes
// whatever either has added to its values meanwhile. The two changes are opposite, so an exchange
// moves the mean by nothing once both have made theirs, and it is (x_i + x_j) / 2 on both where
// nothing was added. Nobody holds a lock, and no rank waits for one that waits. Exchanges of an
// edge are numbered: a request that comes again is answered with the same values and changes
// nothing, of two that cross the higher rank's is dropped by both.
//
// step() takes what has arrived, answers, adds the gradient, and asks a random neighbor unless it
// owes an answer. finish() ends all exchanges. Elsewhere, over datagrams, carry request() to the
// peer, hand what comes to take(), carry reply() back, and do so again where nothing came.
//
// Sends      16 + count elements' bytes in a request, and as much in an answer; per step one
// request
//            at most.
// Death      Costs the exchanges with the rank that died. step() then fails with kPeerLost; x, and
//            what this rank knows of exchanges, are sound, and steps() tells whether the gradient
//            was added. See shrink().
// Memory     Three packets per neighbor, four after shrink().
// Needs      A graph whose rounds are all the same, symmetric; its weights do not matter. A
//            communicator that nothing else uses from the first step() to finish(): split() makes
//            one. A neighbor that sends nothing for as long as its timeout is lost.
// Keeps      The mean of x, but for the gradients and exchanges that are under way.
// Source     Lian, Zhang, Zhang and Liu, "Asynchronous decentralized parallel stochastic gradient
//            descent", ICML 2018; it averages under locks, in a bipartite graph.
class GOSSAMER_API PairwiseSgd {
 public:
  struct Options {
    Rank rank = -1;
    Rank size = 0;
    uint64_t count = 0;
    DataType type = DataType::kFloat32;  // or kFloat64
    uint64_t seed = 1;                   // of who is asked
  };
  static Result<std::unique_ptr<PairwiseSgd>> create(const Options& options);
  // Before the communicator is destroyed. Unless finish() was the last call, abort() the
  // communicator first: what neighbors have not sent is waited for, within its deadline.
  ~PairwiseSgd();

  // The gradient may have been taken at any earlier x.
  Status step(Communicator& comm, const Graph& graph, void* x, const void* gradient, double rate);
  // All ranks call it, after as many steps as each likes; returns when no exchange is under way.
  // step() may follow.
  Status finish(Communicator& comm, const Graph& graph, void* x);

  // Ranks are lost. Goes on over what Communicator::shrink() makes without the same ones, with a
  // graph for it in which those neighbors that are left still are: heal_graph() makes one. This
  // rank and the others take their new numbers, and open exchanges with the lost are forgotten.
  // Exchanges between the others, of which one side may have made its change and the other not,
  // are ended by the next steps and finish(): both make theirs, or neither. Called after the old
  // communicator has failed or was aborted, and before it is destroyed.
  //   kInvalidArgument  no rank is lost, one twice, this one, or one that is not in the group
  Status shrink(std::span<const Rank> lost);

  // Begins an exchange with `peer`, if none that this rank began with it is open: what to send it.
  // Else the same as before, for one that may have been lost. Valid until the next request to it.
  //   kInvalidArgument  it is no other rank
  Result<std::span<const std::byte>> request(Rank peer, const void* x);
  // What has come from `from`. Returns what to send back, which is empty where nothing is.
  //   kInvalidArgument  no other rank; not a packet of such a method. Nothing is changed then
  Result<std::span<const std::byte>> take(Rank from, std::span<const std::byte> packet, void* x);
  // Whether this rank waits for an answer of that one.
  bool open(Rank peer) const;

  uint64_t exchanges() const { return exchanges_; }  // that this rank has finished
  // With one other, whoever asked: the same on both sides where finish() was the last call.
  uint64_t exchanges(Rank peer) const;
  uint64_t steps() const { return steps_; }
  // The numbers of steps and, per edge, of exchanges; values are the caller's.
  //   kInvalidArgument  an exchange is open: finish() first
  Result<std::vector<std::byte>> save() const;
  Status load(std::span<const std::byte> saved);

 private:
  struct Edge;
  explicit PairwiseSgd(const Options& options);
  Status check_graph_of(const Communicator& comm, const Graph& graph);
  Status check_peer(Rank peer) const;
  Status serve(Communicator& comm, std::span<const Rank> neighbors, void* x, bool* moved);
  Status resume(Communicator& comm, Rank peer);
  Status serve_one(Communicator& comm, Rank peer, void* x, bool* moved);
  Status serve_until(Communicator& comm, std::span<const Rank> neighbors, void* x, bool ended);
  Options options_;
  std::vector<Edge> edges_;  // by rank
  uint64_t steps_ = 0;
  uint64_t exchanges_ = 0;
  uint64_t admitted_ = 0;
  bool shrunk_ = false;  // and no graph was seen since
};

}  // namespace gossamer
