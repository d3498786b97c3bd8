// Error feedback: what a lossy codec drops now is made up for in later iterations.
//
//   StateStore store;
//   auto feedback = make_feedback("ef14", store).value();
//   feedback->arrange({{{parameter_key("layer1.weight"), 0, 4096}, {parameter_key("b1"), 0, 64}}});
//   for (...) {
//     feedback->compensate(0, gradient, values);      // values = gradient + residual
//     codec->encode(values, ...); codec->decode(..., decoded);
//     feedback->settle(0, values, decoded);           // next residual = values - decoded
//     ...                                             // the mean of what all ranks decoded
//     feedback->apply(0, mean, output);
//     done ? store.commit() : store.rollback();
//   }
//
// A StateStore keeps the vectors, a Feedback the rule. State belongs to parameters, by key: how
// they are put together in buckets may change at any time. What an iteration writes is staged, and
// is not there until commit(); after rollback() every bit is what it was.
//
// Threads    Not synchronised. Different buckets may be worked on by different threads at the same
//            time, between two calls that concern all of them.
// Memory     Two vectors per bucket and role, made by arrange(); none later.
// Units      Counts are elements, of fp32.

#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "gossamer/codec.h"
#include "gossamer/export.h"
#include "gossamer/status.h"

namespace gossamer {

class Communicator;

using ParameterKey = uint64_t;
// Of a name; a number that is stable across runs will do as well.
GOSSAMER_API ParameterKey parameter_key(std::string_view name);

// What a vector of state is for.
enum class Role : uint32_t {
  kSender = 0,    // residual of what this rank encodes of its own gradient
  kOwner = 1,     // residual of what it encodes as the owner of a part, of all ranks' sum
  kMomentum = 2,  // DGC's and EF21-SGDM's
  kEstimate = 3,  // EF21: what the others know of this rank's gradient
  kMean = 4,      // EF21: the mean of all ranks' estimates
  kFactor = 5,    // PowerSGD: the right factor of the last step
  kHop = 256,     // hop_role()
  kCopy = 65536,  // CHOCO: what its neighbors have of this rank's values
};
// Residual of what this rank encodes in hop `hop` of a ring.
inline Role hop_role(uint32_t hop) {
  return static_cast<Role>(static_cast<uint32_t>(Role::kHop) + hop);
}

// CHOCO: what this rank has of rank `of`'s values.
inline Role copy_role(int32_t of) {
  return static_cast<Role>(static_cast<uint32_t>(Role::kCopy) + 1 + static_cast<uint32_t>(of));
}

// Elements [first, first + count) of a parameter: parameters may be cut, as owners' parts are.
struct StatePiece {
  ParameterKey key = 0;
  uint64_t first = 0;
  uint64_t count = 0;
};
// They lie one after another in memory.
using StateBucket = std::vector<StatePiece>;

class GOSSAMER_API StateStore {
 public:
  StateStore() = default;
  StateStore(const StateStore&) = delete;
  StateStore& operator=(const StateStore&) = delete;

  // Lays the vectors of a role out; values move with their keys. What is new is 0. What has no
  // place any more is parked: it is saved, given away, and comes back when it has a place again.
  //   kInvalidArgument  something is staged; an element is in two pieces
  Status arrange(Role role, std::span<const StateBucket> buckets);
  size_t buckets(Role role) const;

  // What the last commit() left, contiguous.
  std::span<const float> committed(Role role, size_t bucket) const;
  // Where to write what commit() will make of it: all of it, as it begins unspecified. The two are
  // what a compressed collective takes as residual and next residual.
  std::span<float> stage(Role role, size_t bucket);
  // Committed values of the piece that begins with this element; empty where none does.
  std::span<const float> of(Role role, ParameterKey key, uint64_t first = 0) const;
  const StateBucket& pieces(Role role, size_t bucket) const;

  bool has_staged() const;
  void commit();
  void rollback();
  uint64_t version() const { return version_; }  // commits so far, also before it was saved

  // Multiplies committed and parked values, as when the rate that they were multiplied by changes.
  //   kInvalidArgument  something is staged; a factor that is not finite
  Status scale(Role role, float factor);

  // All that is committed, and what is parked.
  std::vector<std::byte> save() const;
  // Instead of all there is; places are those of arrange(), before or later.
  //   kInvalidArgument  something is staged; not a saved store, of another format, damaged
  Status load(std::span<const std::byte> saved);

  enum class Give { kAll, kParked };
  // Takes residuals (kSender, kOwner, hops) out, for another rank to accept: all when this rank
  // leaves, what is parked when parts have changed owners. They are 0 here then; in sum over all
  // ranks they are what they were once they have been accepted.
  //   kInvalidArgument  something is staged
  Result<std::vector<std::byte>> give(Give what);
  // Adds what another rank gave. What has no place here is parked.
  //   kInvalidArgument  as load()
  Status accept(std::span<const std::byte> given);
  // Drops all that is kept under a role, and its places.
  //   kInvalidArgument  something is staged
  Status forget(Role role);
  // What is parked under `from` counts as `to`'s, as when parts have no owners any more.
  //   kInvalidArgument  something is staged
  Status reassign_parked(Role from, Role to);
  // A collective of all ranks, after parts have changed owners: residuals that are parked go to
  // ranks that have a place for them, to the first of several. After an error that this rank has
  // heard of it has what it had; others may have what it gave them.
  //   kInvalidArgument  something is staged
  //   kMismatch         what came is no state
  //   as Communicator::all_to_all_v()
  Status hand_out(Communicator& comm);
  // The same between two ranks of a communicator; ranks that are neither return at once. `from`
  // has zeros then; after an error it has what it had.
  //   kInvalidArgument  something is staged; from or to is no rank, or they are one
  //   kMismatch         what came is no state
  //   as Communicator::send()
  Status hand_over(Communicator& comm, int32_t from, int32_t to, Give what = Give::kAll);

 private:
  struct Placed {
    StateBucket pieces;
    std::vector<float> sides[2];
    uint8_t current = 0;
    bool staged = false;
    std::span<float> now() { return sides[current]; }
    std::span<const float> now() const { return sides[current]; }
  };
  struct Parked {
    Role role = Role::kSender;
    StatePiece piece;
    std::vector<float> values;
  };
  friend struct SavedState;

  Status check_idle(const char* what) const;
  const Placed& placed(Role role, size_t bucket) const;
  std::vector<Parked> listed(Role role, Give what) const;
  void place_parked(Role role);
  std::vector<std::byte> gift(Give what) const;
  void clear_residuals(Give what);

  std::map<Role, std::vector<Placed>> placed_;
  std::vector<Parked> parked_;
  uint64_t version_ = 0;
};

// The rule by which state and gradients become what is encoded. Buckets are those of arrange(); all
// spans of a call are as long as the bucket.
class GOSSAMER_API Feedback {
 public:
  virtual ~Feedback() = default;
  Feedback(const Feedback&) = delete;
  Feedback& operator=(const Feedback&) = delete;

  // With every parameter: "ef14:decay=1,sides=auto".
  const std::string& name() const { return name_; }
  StateStore& store() { return store_; }
  // Who is to keep what encoding loses, where parts of a vector have owners that sum what all ranks
  // encoded, and encode the sum: senders alone, or owners too, with a Feedback of Role::kOwner.
  // That is for who exchanges the codes to follow; a gradient hook does.
  enum class Sides : uint8_t { kAuto = 0, kSenders = 1, kBoth = 2 };
  Sides sides() const { return sides_; }

  //   kInvalidArgument  as StateStore::arrange()
  virtual Status arrange(std::span<const StateBucket> buckets) = 0;

  // What to encode. `values` may be `gradient`.
  virtual void compensate(size_t bucket, std::span<const float> gradient,
                          std::span<float> values) = 0;
  // `decoded` is what the others take from this rank's code of `values`.
  virtual void settle(size_t bucket, std::span<const float> values,
                      std::span<const float> decoded) = 0;
  // The three in one: this rank's code of the gradient, which is left as it is, and what is kept.
  // The same bits, in fewer passes over memory where the rule and the codec allow. `code` and
  // `workspace` are as Codec::encode() takes them, `scratch` has scratch_count() floats.
  virtual Encoded encode(size_t bucket, std::span<const float> gradient, const Codec& codec,
                         const Draws& draws, std::span<std::byte> code, std::span<float> scratch,
                         std::span<std::byte> workspace);
  virtual uint64_t scratch_count(uint64_t count) const { return 2 * count; }
  // What the optimiser takes, from the mean over ranks of what was decoded. `output` may be `mean`.
  virtual void apply(size_t bucket, std::span<const float> mean, std::span<float> output) = 0;

  // Where the optimiser multiplies by a learning rate what apply() gives, and the rate changes:
  // what was dropped counts with the rate it was dropped at. Where gradients come multiplied,
  // nothing is to be done.
  //   kInvalidArgument  something is staged; rates that are not positive
  virtual Status change_rate(double before, double after) = 0;
  // All ranks of a new communicator call it, after some have joined or left and before the next
  // iteration: agrees on what they have in common. Buckets are the same on all. EF21 in a run of
  // many thousands of iterations calls it now and then, as rounding errors add up.
  //   as Communicator::all_reduce(); nothing is changed then
  virtual Status regroup(Communicator& comm) = 0;

 protected:
  explicit Feedback(StateStore& store, Sides sides = Sides::kSenders)
      : store_(store), sides_(sides) {}
  StateStore& store_;

 private:
  friend struct FeedbackMaker;
  std::string name_;
  Sides sides_;
};

// The store must outlive it. Several may share one, under different roles: two-sided feedback is
// "ef14" for kSender and "ef14" for kOwner, per-hop feedback one for each hop_role().
//   ef14:decay=1,sides=auto    values = decay * residual + gradient; sides: see Feedback::sides()
//   ef21                       encodes the difference to an estimate; the optimiser takes the mean
//                              of all estimates. No residual; gradients without noise
//   ef21_sgdm:eta=0.1          the same with the gradients' running mean
//   dgc:momentum=0.9,clip=0,masking=on,nesterov=off
//                              momentum inside, before what is dropped; an optimiser without any
// A role other than kSender is for ef14 alone.
//   kInvalidArgument  no kind or parameter of this name; the message lists what there is
GOSSAMER_API Result<std::unique_ptr<Feedback>> make_feedback(const std::string& text,
                                                             StateStore& store,
                                                             Role role = Role::kSender);
GOSSAMER_API std::vector<CodecInfo> feedbacks();

// The part of elements to keep in stage `stage` = 0, 1, ... of a warm-up that ends with `ratio`:
// 25 %, 6.25 %, 1.5625 %, 0.39 %, ..., as in "Deep gradient compression".
GOSSAMER_API double warm_up_ratio(double ratio, uint64_t stage);

}  // namespace gossamer
