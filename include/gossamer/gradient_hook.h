// A GradientHook averages the gradients of a training step over all ranks while the rest of them is
// still being computed: what a framework's backward pass calls once per parameter.
//
//   std::vector<GradientHook::Parameter> model = {{"embed", {50'000, 512}}, {"out.bias", {512}}};
//   auto hook = gossamer::GradientHook::create(comm, model, {});
//   for (;;) {
//     ...                                          // backward pass; as each gradient is there:
//     if (Status s = (*hook)->ready("out.bias", gradient); !s) ...
//     auto step = (*hook)->wait();                 // all gradients are averages now, in place
//     if (step && step->finite) ...                // the optimizer's step
//   }
//
// Iterations An iteration begins with the first ready() or skip() after a wait(), has one of the
//            two for every parameter, in any order, and ends with wait(). Ranks need not keep the
//            same order, nor the same pace.
// Averages   are over the ranks that contributed: a rank may skip() a parameter, and still gets
//            the others' average of it. All ranks get the same bits, but by kGossip. Types of 16
//            and 8 bits are accumulated in fp32.
// Buckets    Gradients travel together, in buckets of parameters of one type, which are filled as
//            gradients become ready. Before the first iteration their order is taken to be the
//            reverse of the list's; after it, it is what it was on rank 0. What all ranks have
//            ready is agreed on before a bucket travels, so ranks start the same ones in one order.
// Priority   Of the buckets that are ready everywhere, the one that holds the parameter that comes
//            first in the list goes first: list parameters in the order in which the forward pass
//            uses them. A bucket on its way is not overtaken. wait(key) returns when that
//            parameter is done.
// Threads    ready(), skip() and wait(key) may be called by any thread, at the same time. wait() by
//            one, which may be waiting while others still call ready(). Others: one thread, between
//            iterations. Callbacks run on the thread that does the work: whoever waits, or the
//            hook's own. The communicator is the hook's alone while an iteration is under way:
//            Communicator::split() makes one for it.
// Ownership  A gradient is lent from ready() to the end of wait(); it is read until its bucket has
//            travelled, written when its average has come, and left as it is when that fails.
//            Communicator and graph outlive the hook, or the next rebind().
// Compression Rules say which parameters travel as codes of a codec (gossamer/codec.h), and what
//            feedback keeps of what was lost (gossamer/feedback.h). Codecs whose codes have one
//            length and that need no feedback, without any, travel in the collective
//            (gossamer/compression.h): a bucket is encoded as a whole, and once more where it was
//            summed. Otherwise each parameter is encoded by itself, in fp32. Where codes are dense
//            and of one length, and feedback is ef14's, it has owners: each rank sums what all
//            encoded of its part and encodes the sum, with a residual of its own. So it is if that
//            takes less time than the other way, by the planner's prices; "ef14:sides=1" and
//            "sides=2" say so either way. That is: every rank decodes and adds the codes of all,
//            and what ranks send grows with their number. By kReduceScatter owners keep the sum,
//            and nothing more is lost. When ranks are others than before, residuals of sums go to
//            the new owners, in rebind(): in sum over all ranks nothing is lost but what a rank
//            that died had. What is random differs from one iteration, parameter and rank to the
//            next, and is the same when an iteration is repeated.
// Memory     The size of all gradients once, in memory that ranks of one host share; with codecs,
//            the codes of all ranks, and what feedback keeps. Nothing is allocated after the second
//            iteration, but in the first one of a kind: another stage of a rule, an error.
// Deadlines  wait() waits Options::ready_timeout for parameters that nobody has made ready here,
//            and then gives up: on all ranks, whose sentence names rank and parameters. A rank
//            that does not come at all is named by the communicator, within its deadline.
// Errors     of the communicator are final: later calls return them until rebind(). After any other
//            the next iteration may begin, on all ranks. An iteration that failed has not been:
//            gradients that were averaged already stay so, everything that the hook keeps from one
//            iteration to the next is as it was, bit for bit, and it has the same number when it is
//            repeated.

#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "gossamer/codec.h"
#include "gossamer/communicator.h"
#include "gossamer/export.h"
#include "gossamer/gossip.h"

namespace gossamer {

class GOSSAMER_API GradientHook {
 public:
  struct Parameter {
    std::string key;              // names it in this and in later runs; no two alike
    std::vector<uint64_t> shape;  // empty: one number
    DataType type = DataType::kFloat32;
  };

  enum class Exchange : uint8_t {
    kAllReduce = 0,
    // Each rank gets the averages of its shards only (shards()), updates these, and gather() brings
    // everybody's together. Buckets keep the first order, so that shards stay where they are.
    kReduceScatter = 1,
    // Weighted averages with a graph's neighbors, of the round that is the iteration's number.
    // Nothing is agreed among all ranks: a parameter with values that are not finite, or that is
    // not ready in time, is taken as skipped, Step::finite is each rank's own, and an iteration in
    // which a callback failed counts. What is averaged may be parameters instead of gradients.
    kGossip = 2,
  };

  // A bucket, as callbacks see it.
  struct Part {
    uint32_t parameter = 0;  // its place in the list
    std::string_view key;
    uint64_t first = 0;  // in the bucket, elements
    uint64_t count = 0;
    bool contributes = true;  // in pre(): false if skipped here, and zero then
  };
  struct BucketView {
    uint64_t iteration = 0;
    uint32_t index = 0;
    uint32_t bucket_count = 0;
    void* data = nullptr;
    uint64_t count = 0;  // elements; those between parts are padding, and zero
    DataType type = DataType::kFloat32;
    std::span<const Part> parts;
    // In post(): where the averages are. The whole, or this rank's share by kReduceScatter.
    uint64_t first_valid = 0;
    uint64_t valid_count = 0;
  };
  // What the user does to buckets. Several work as a chain: pre() and then encode() in the order in
  // which they are given, decode() and then post() in reverse. A Status that is not ok fails the
  // iteration, on all ranks.
  struct Callbacks {
    // The values of this rank, before they are compressed or sent; may be changed.
    Status (*pre)(const BucketView& bucket, void* context) = nullptr;
    // The averages, before they are written to the gradients; may be changed, alike on all ranks.
    Status (*post)(const BucketView& bucket, void* context) = nullptr;
    void* context = nullptr;  // outlives the hook

    // What travels, changed byte by byte: all three or none. A bucket is a message, of its elements
    // or of the codes of its parameters; encode() writes what is sent instead of `from`, and in
    // *bytes how much that is; decode() makes of what `rank` sent what encode() was given. All
    // ranks then get the messages of all, and add them up in the order of ranks, this rank's own as
    // it came back too: what decode() makes of a message must be the same everywhere, but need not
    // be what encode() was given, unless a rule has feedback; then that is an error. Not for
    // kGossip and powersgd; feedback has one side then, and codes travel in no collective. Chains
    // are alike on all ranks.
    //
    // The most that encode() makes of so many bytes; more for more, and the same on all ranks.
    uint64_t (*bytes_max)(uint64_t bytes, void* context) = nullptr;
    Status (*encode)(const BucketView& bucket, std::span<const std::byte> from,
                     std::span<std::byte> into, uint64_t* bytes, void* context) = nullptr;
    // Whatever came: a Status that is not ok where it is no message of encode().
    Status (*decode)(const BucketView& bucket, Rank rank, std::span<const std::byte> from,
                     std::span<std::byte> into, uint64_t* bytes, void* context) = nullptr;
  };

  // Which parameters are compressed, and how. The first rule whose conditions hold decides;
  // parameters that none fits travel as they are. By kGossip codecs that travel in the collective
  // do without feedback, and any with "choco:rate=0.2": what travels is the code of what this
  // rank's values differ by from the copy that its neighbors have, and values go towards the
  // neighbors' copies by `rate` in a round. The mean stays what it was, and ranks come together
  // however much the codec loses, if the rate is low enough for it (ChocoSgd in
  // gossamer/gossip_methods.h has figures). It is for parameters, not gradients, on a symmetric
  // graph whose rounds are all alike. A parameter that is skipped stays as it is, `into` too. What
  // the neighbors have of this rank, and it of them, is saved; in rebind() each rank tells its
  // neighbors anew. After an error but a callback's, rebind() goes on.
  //
  // The codec "powersgd:rank=4" and alike (PowerSgd::options()) is none of make_codec(): a bucket's
  // parameters travel as products of thin matrices, in two all-reduces, and what is lost is always
  // kept; a rank that skips a parameter still brings what it kept of it.
  struct Stage {
    uint64_t from_iteration = 0;
    std::string codec;
  };
  struct Rule {
    std::string keys = "*";           // a pattern: * stands for any characters, ? for one
    uint64_t count_min = 1024;        // elements; smaller ones cost more than they save
    size_t dimensions_min = 2;        // 2: neither biases nor other vectors
    std::string codec = {};           // as make_codec() takes it
    std::string feedback = {};        // as make_feedback() takes it, or choco; empty: none
    uint64_t from_iteration = 0;      // before: as they are
    std::vector<Stage> warm_up = {};  // ascending, before from_iteration: milder codecs
    // The caller's own instead of `codec`, the same on all ranks, which compare its name if it has
    // one; outlives the hook.
    const Codec* own = nullptr;
  };

  struct Options {
    Exchange exchange = Exchange::kAllReduce;
    const Graph* graph = nullptr;  // of kGossip; rows that sum to 1
    uint64_t bucket_bytes_max = uint64_t{25} << 20;
    uint64_t first_bucket_bytes_max = uint64_t{1} << 20;  // so that the first one leaves early
    // Less than the communicator's own deadline, so that other ranks still hear why.
    std::chrono::milliseconds ready_timeout{10'000};
    // A thread of the hook communicates while the caller computes; else wait() does all of it.
    bool overlap = true;
    std::vector<Callbacks> callbacks = {};
    std::vector<Rule> rules = {};
    uint64_t seed = 1;  // of what codecs draw
  };

  // What an iteration came to.
  struct Step {
    uint64_t iteration = 0;  // counts from 0
    // False: some rank's gradient, or an average, is not finite, or what was encoded on the way: a
    // sum, or a gradient with what was kept of it. Skip the optimizer's step; all ranks hear the
    // same.
    bool finite = true;
    Rank rank = -1;        // whose it was; -1: finite gradients had a sum that is not
    std::string_view key;  // one such parameter, or of its bucket; as long as the hook lives
    size_t late = 0;       // by kGossip: parameters taken as skipped, for they came too late
  };

  // A collective: all ranks, with the same parameters and options, but for callbacks and overlap.
  //   kInvalidArgument  no parameters, two of one key, a type that is no float, too many elements,
  //                     or more than a rule's codec encodes; a limit of 0; no graph, or one of
  //                     another size; encode() without decode() and bytes_max(), by kGossip, or
  //                     with powersgd; a rule with no codec or feedback of this name, or with
  //                     stages out of order; by kGossip one whose codes do not travel in the
  //                     collective and that has no choco; choco by another exchange, or on a graph
  //                     that is not symmetric, or not the same in all rounds
  //   kMismatch         ranks differ; the message names the rank and the first parameter
  //   others            as for Communicator::all_reduce()
  static Result<std::unique_ptr<GradientHook>> create(Communicator& comm,
                                                      std::vector<Parameter> parameters,
                                                      const Options& options);
  // Waits for the part of an iteration that is on its way, within the communicator's deadline.
  ~GradientHook();
  GradientHook(const GradientHook&) = delete;
  GradientHook& operator=(const GradientHook&) = delete;

  // This rank's gradient, as many elements as the parameter has; becomes the average.
  //   kInvalidArgument  no parameter has this key; it was ready or skipped in this iteration; null
  //   otherwise         what this iteration failed by; wait() ends it all the same
  Status ready(std::string_view key, void* gradient);
  // This rank contributes nothing to the parameter in this iteration. `into`, if it is not null,
  // becomes the average of the others, and is left as it is where there are none.
  Status skip(std::string_view key, void* into = nullptr);
  // The same by place in the list.
  Status ready_at(size_t parameter, void* gradient);
  Status skip_at(size_t parameter, void* into = nullptr);

  // Where this parameter's gradient may be computed, in its bucket: ready() of this address copies
  // nothing, and the average appears there. After an iteration that failed it holds anything. It
  // moves, with the buckets, when the first iteration has ended (not by kReduceScatter), and in
  // load() and rebind().
  //   kInvalidArgument  no parameter has this key
  Result<void*> memory(std::string_view key);

  // Until the iteration has ended.
  //   kTimeout          parameters were not made ready in time, here or on another rank; the
  //                     message names them
  //   kAborted          a callback failed on the rank that is named; there wait() returns its
  //                     Status
  //   kPeerLost, kTimeout, kAborted, kMismatch   the communicator's; rebind() goes on
  Result<Step> wait();
  // Until this parameter has its average. Later ones may still turn out not to be finite.
  //   kInvalidArgument  it was not made ready or skipped in this iteration
  Status wait(std::string_view key);

  // Of kReduceScatter. The elements of a parameter that are this rank's: none, or a run.
  struct Shard {
    uint64_t first = 0;
    uint64_t count = 0;
  };
  Result<Shard> shard(std::string_view key) const;
  // values[i], of parameter i's count and type: what owners have in their shards, on all ranks.
  //   kInvalidArgument  another exchange; not one pointer per parameter; null; within an iteration
  Status gather(std::span<void* const> values);

  // Goes on among the ranks of another communicator, which shrink() or split() made: a collective
  // of it. What was under way is dropped. Ranks that had come further than others go back: all have
  // iteration() of the last one that every rank ended.
  //   kMismatch         as for create(); a rank is more than one iteration ahead: load() what all
  //                     ranks saved
  //   kInvalidArgument  by kGossip, the graph's size is another one: give one
  Status rebind(Communicator& comm, const Graph* graph = nullptr);

  // What feedback keeps on rank `from` becomes rank `to`'s, before `from` leaves: in sum over all
  // ranks nothing is lost, and `from` has zeros. Of sums that `from` owned, rebind() gives each
  // part to its new owner. Ranks that are neither return at once. On these two it makes the last
  // iteration final, as save() does. Estimates, momentum and choco's copies stay where they are:
  // rebind() makes them right. After an error each rule's is on one of the two, or on `from` still.
  //   kInvalidArgument  from or to is no rank, or they are one; within an iteration
  //   as Communicator::send()
  Status hand_over(Rank from, Rank to);

  uint64_t iteration() const;  // the number of the next, or present, one
  size_t size() const;         // parameters
  //   kInvalidArgument  no parameter has this key
  Result<size_t> find(std::string_view key) const;

  // What feedback keeps of this parameter's gradients that was not sent yet; empty where nothing
  // is kept. Valid until the next iteration, load() or rebind(). Like save() it makes the last
  // iteration final: rebind() does not take it back.
  //   kInvalidArgument  no parameter has this key; within an iteration
  Result<std::span<const float>> residual(std::string_view key);

  // Of rules with feedback on two sides: what is kept of the sums over ranks of the elements of
  // this parameter that this rank owns. It counts like a gradient of this rank's. As residual().
  struct OwnerResidual {
    uint64_t first = 0;  // the element that it begins with
    std::span<const float> values;
  };
  Result<OwnerResidual> owner_residual(std::string_view key);

  // How gradients are grouped, in the order in which buckets are expected; changes with the first
  // iteration.
  std::vector<std::vector<uint32_t>> buckets() const;

  // What is kept from one iteration to the next: its number, the order, and what feedback keeps.
  // Each rank saves and loads its own. load() takes it by key, whatever the order of the list, and
  // refuses, changing nothing, what save() did not write, what was damaged, and what is of other
  // parameters or of rules with other feedback; of powersgd, of other buckets too
  // (kInvalidArgument). All ranks load the same iteration, or none.
  //   kInvalidArgument  of save(): within an iteration
  Result<std::vector<std::byte>> save();
  Status load(std::span<const std::byte> saved);

 private:
  class Impl;
  explicit GradientHook(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace gossamer
