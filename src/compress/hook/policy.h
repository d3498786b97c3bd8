// Rules at work: which parameters are compressed, by which codec in an iteration, and what feedback
// keeps of them.
//
// Threads    Constant after make(), but for the states of feedback, which one thread at a time
//            uses.
// Ownership  Owns codecs and states; the caller's own codecs are lent.

#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "gossamer/codec.h"
#include "gossamer/feedback.h"
#include "gossamer/power_sgd.h"
#include "src/compress/hook/buckets.h"
#include "src/compress/hook/choco.h"

namespace gossamer {

// Whether `text` is what `pattern` means, where * stands for any characters and ? for one.
bool matches(std::string_view pattern, std::string_view text);

class Policy {
 public:
  Policy() = default;
  Policy(Policy&&) = default;
  Policy& operator=(Policy&&) = default;

  //   kInvalidArgument  see GradientHook::create()
  static Result<Policy> make(std::span<const GradientHook::Rule> rules, uint64_t seed,
                             const ParameterList& parameters);

  bool compresses() const { return !rules_.empty(); }
  // Of each parameter: 0 for those that travel as they are, else a number for each rule. What is
  // in one group shares buckets.
  std::span<const uint32_t> groups() const { return groups_; }
  // Null: as they are, in this iteration.
  const Codec* codec(uint32_t group, uint64_t iteration) const;
  // Whether the codec of this iteration travels within the collective: a bucket's values are
  // encoded together, and once more where they are summed. Else every rank gets all codes.
  bool in_collective(uint32_t group, uint64_t iteration) const;
  // Whether that holds of all iterations.
  bool always_in_collective(uint32_t group) const;
  // Whether there is an iteration whose codes are votes.
  bool counts_votes(uint32_t group) const;
  // Whether the group's buckets travel as products of thin matrices, in this iteration; buckets of
  // such groups are stable.
  bool low_rank(uint32_t group, uint64_t iteration) const;
  std::span<const bool> stable() const { return {stable_.get(), rules_.size() + 1}; }
  // What does it, of one bucket; made when it is asked for first.
  Result<PowerSgd*> power(const Bucket& bucket, const ParameterList& parameters);
  // The most that any stage of the group's needs.
  uint64_t code_bytes_max(uint32_t group, uint64_t count) const;
  uint64_t workspace_bytes(uint32_t group, uint64_t count) const;
  // Null: nothing is kept. Its bucket of parameter p is place(p).
  Feedback* feedback(uint32_t group) const;
  size_t place(size_t parameter) const { return places_[parameter]; }
  // Where the codes of a group with feedback come together: on all ranks, all of them; or each
  // part's where its owner sums them, which encodes the sum and keeps what is lost of that too.
  // choose_sides() decides, for as long as the ranks are the same. A parameter's parts follow from
  // its size and place in the list alone, whatever its bucket is.
  bool owned(uint32_t group) const { return group != 0 && rules_[group - 1].owned; }
  // Whether it is for every iteration possible: codes have one length and are dense, and the rule
  // is ef14's.
  bool can_be_owned(uint32_t group) const;
  StatePiece owned_part(size_t parameter, Rank rank) const;
  // Of what this rank owns; its bucket of parameter p is place(p).
  Feedback* owner_feedback(uint32_t group) const;
  // A collective, when ranks are others than before: who owns what, and what was kept goes there.
  struct Choice {
    bool sums_everywhere = true;  // or shares are all that ranks get
    uint64_t bucket_bytes_max = 0;
    bool first = false;  // nothing has been kept yet
  };
  Status choose_sides(Communicator& comm, const ParameterList& parameters, const Choice& choice);
  // Null: what neighbors have of it is not kept.
  Choco* choco(uint32_t group) const;
  bool has_choco() const;
  // Of kGossip, a collective: copies are what their owners say.
  Status meet_neighbors(Communicator& comm, const Graph& graph);
  // A meeting that not all ranks came to the end of is taken back: what was handed out in it is
  // where it was. confirm(): all have.
  Status take_back();
  void confirm() { before_.clear(); }
  // Whether a parameter's mean is over all ranks, those that did not contribute too: they have an
  // estimate that did not change.
  bool divides_by_all(uint32_t group) const;

  bool has_state() const;
  void commit();
  void rollback();
  Status regroup(Communicator& comm);
  uint64_t digest() const { return digest_; }

  // What is kept of a parameter's gradients; empty: nothing.
  std::span<const float> residual(const std::string& key) const;
  // What is kept of the sums of the part that this rank owns.
  std::span<const float> owner_residual(const std::string& key, uint64_t first) const;
  // States are feedback's, by rule, then those of buckets that travel as products. Each is only
  // good for the same kind of feedback, choco's among the same neighbors, or for a bucket of the
  // same parameters: the digest tells, and describe_state() says what is wanted.
  size_t states() const { return states_.size() + powers_.size(); }
  uint64_t state_digest(size_t state) const;
  std::string describe_state(size_t state) const;
  std::vector<std::byte> save(size_t state) const { return store(state).save(); }
  Status load(size_t state, std::span<const std::byte> saved);
  // Between two ranks: see StateStore::hand_over().
  Status hand_over(Communicator& comm, Rank from, Rank to);

 private:
  struct Stage {
    uint64_t from_iteration = 0;
    const Codec* codec = nullptr;
    bool in_collective = false;
  };
  struct Rule {
    std::vector<Stage> stages;  // the last first
    size_t state = SIZE_MAX;
    bool owned = false;
    uint64_t line = 64;  // parts begin at multiples of it
    bool is_power = false;
    PowerSgd::Options power;
    uint64_t power_from = 0;
  };
  struct State {
    std::string kind;                    // of feedback: its name without parameters
    std::unique_ptr<StateStore> store;   // before what uses it
    std::unique_ptr<Feedback> feedback;  // null: choco's
    std::unique_ptr<Choco> choco;
    std::unique_ptr<Feedback> owner;  // null: never
    bool divides_by_all = false;
  };
  struct Power {
    uint32_t first_parameter = 0;
    uint64_t digest = 0;
    std::unique_ptr<PowerSgd> power;
  };
  // Of a group: none where it travels as it is.
  std::span<const Stage> stages(uint32_t group) const;
  const Stage* stage(uint32_t group, uint64_t iteration) const;
  StateStore& store(size_t state) const;
  Status add(const GradientHook::Rule& rule, uint64_t seed, const ParameterList& parameters);
  Status add_power(Rule* into, const GradientHook::Rule& rule, uint64_t seed) const;
  static Status check_lengths(const Rule& made, const GradientHook::Rule& rule,
                              const ParameterList& parameters, size_t parameter);
  Status add_stage(Rule* rule, uint64_t from, const std::string& text);
  Status add_feedback(Rule* into, const GradientHook::Rule& rule,
                      std::span<const StateBucket> buckets);
  Result<bool> owning_is_faster(Communicator& comm, uint32_t group, uint64_t count) const;
  Status arrange_owners(Communicator& comm, uint32_t group, const ParameterList& parameters);

  std::vector<uint32_t> groups_;
  std::vector<size_t> places_;
  std::vector<uint64_t> counts_;  // of elements, by parameter
  Rank size_ = 1;                 // ranks that own parts
  std::vector<Rule> rules_;       // group - 1
  std::vector<std::unique_ptr<Codec>> codecs_;
  std::vector<State> states_;
  std::vector<Power> powers_;
  std::vector<std::vector<std::byte>> before_;  // states, as they were before choose_sides()
  std::unique_ptr<bool[]> stable_;              // by group
  uint64_t digest_ = 0;
};

}  // namespace gossamer
