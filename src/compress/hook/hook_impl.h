// A gradient hook's inside: slots that gradients are put into, carriers that take them to the other
// ranks, and who conducts that.
//
// Threads    One thread at a time conducts: a waiting caller, or the hook's own. What only it
//            touches needs no lock; slots and counts of the present iteration are guarded by
//            mutex_. Carriers, plans and the list are changed between iterations only.

#pragma once

#include <unistd.h>

#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "gossamer/compression.h"
#include "gossamer/gradient_hook.h"
#include "src/compress/hook/buckets.h"
#include "src/compress/hook/policy.h"
#include "src/compress/hook/values.h"
#include "src/compress/hook/vote.h"

namespace gossamer {

// Memory of a bucket: shared among ranks of one host where that can be had.
class BucketMemory {
 public:
  BucketMemory() = default;
  explicit BucketMemory(uint64_t bytes);  // zeros
  BucketMemory(BucketMemory&& other) noexcept;
  BucketMemory& operator=(BucketMemory&& other) noexcept;
  ~BucketMemory();
  std::byte* data() const { return shared_ != nullptr ? shared_ : own_; }

 private:
  std::byte* shared_ = nullptr;
  std::byte* own_ = nullptr;
};

class GradientHook::Impl {
 public:
  static Result<std::unique_ptr<Impl>> make(Communicator& comm, std::vector<Parameter> parameters,
                                            const Options& options);
  ~Impl();
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  const ParameterList& parameters() const { return parameters_; }
  // intake.cc
  Status take(size_t parameter, void* target, bool contributes);
  void* memory(size_t parameter) const { return slots_[parameter].memory; }
  // conduct.cc
  Result<Step> wait();
  Status wait(size_t parameter);
  uint64_t iteration() const;
  // shards.cc
  Result<Shard> shard(size_t parameter) const;
  Status gather(std::span<void* const> values);
  // meet.cc
  Status rebind(Communicator& comm, const Graph* graph);
  // layout.cc
  std::vector<std::vector<uint32_t>> buckets() const;
  // state.cc
  Result<std::span<const float>> residual(size_t parameter);
  Result<OwnerResidual> owner_residual(size_t parameter);
  Status hand_over(Rank from, Rank to);
  Result<std::vector<std::byte>> save();
  Status load(std::span<const std::byte> saved);

 private:
  enum class Stage : uint8_t { kMissing, kFilling, kReady };
  struct Slot {
    uint32_t carrier = 0;
    std::byte* memory = nullptr;        // in the carrier's
    std::byte* target = nullptr;        // the caller's
    const std::byte* source = nullptr;  // one of them: what travels
    Stage stage = Stage::kMissing;
    bool contributes = false;
  };
  // A bucket with what it travels in.
  struct Carrier {
    BucketMemory memory;
    std::vector<GradientHook::Part> view;  // for callbacks
    std::vector<float> weights;            // by kGossip: how much of each part has come
    PersistentCollective exchange;
    Work compressed;  // instead
    // Of buckets that may be compressed: messages of all ranks, and where they are.
    uint64_t message_bytes_max = 0;
    std::vector<std::byte> codes;
    std::vector<uint64_t> lengths;
    std::vector<uint64_t> displacements;
    std::vector<uint64_t> cursors;
    std::vector<std::span<std::byte>> part_codes;  // of one part, by those who contribute
    std::vector<const float*> gradients;           // of those that may travel as products
    std::vector<float*> means;
    // Of those whose sums are made by the parts' owners: a message to and from each rank, of so
    // many bytes, in the hook's memory; 0: of none.
    uint64_t part_bytes = 0;
    PersistentCollective scatter;
    PersistentCollective hand_out;  // none by kReduceScatter
    Compression compression;        // of those whose codes travel within the collective
    uint64_t not_finite = 0;        // values that this rank encoded in it
    PowerSgd* power = nullptr;      // of those that may travel as products
    uint32_t missing = 0;           // parts; guarded by mutex_
    bool done = false;              // written back; guarded by mutex_
  };
  // An iteration, guarded by mutex_ but for what only the conductor reads.
  struct Progress {
    size_t unready = 0;  // parameters
    size_t filling = 0;  // of these, being copied
    uint32_t next = 0;   // the first bucket that has not travelled
    uint32_t arrivals = 0;
    size_t not_finite = SIZE_MAX;  // a parameter of this rank
    size_t spoiled = SIZE_MAX;     // one whose average here is not finite
    bool over = false;
    Status failure;      // over: what it failed by
    Status own_failure;  // to be told to the others
    Step step;
  };

  explicit Impl(Options options) : options_(std::move(options)) {}
  // meet.cc
  static Status check(const Options& options, const Graph* graph, const Communicator& comm);
  static Status check_rules(const Options& options, const Policy& policy, const Graph* graph);
  Status meet(Communicator& comm);
  Status compare_lists(Communicator& comm, uint64_t count_at_0) const;
  uint64_t digest() const;
  Status learn_order();
  Status take_order(Communicator& comm, std::vector<uint32_t> order);
  // layout.cc
  Status build();
  CollectiveCall call_of(const Bucket& bucket, std::byte* memory) const;
  Status plan(Carrier* carrier, const Bucket& bucket) const;
  void begin_iteration();
  // conduct.cc
  using Lock = std::unique_lock<std::mutex>;
  void serve();
  bool can_step() const;
  void conduct(Lock* lock);
  template <class Done>
  void await(Lock* lock, const Done& done);
  void give_up();
  void step();
  Status step_by_vote();
  Status step_with_neighbors();
  Status vote(bool last);
  bool needs_last_vote() const;
  void note_launched(uint32_t bucket);
  void note_not_finite(Rank rank, size_t parameter);
  void finish(Status result);
  // exchange.cc
  bool is_one_collective(uint32_t bucket) const;
  Status exchange_launches();
  void clear_gaps(uint32_t bucket);
  Status begin_exchange(uint32_t bucket);
  Status wait_for(uint32_t bucket);
  void look_at_encoded(uint32_t bucket);
  Status end_exchange(uint32_t bucket, uint32_t next);
  Status exchange_with_neighbors(uint32_t bucket);
  void call_back(uint32_t bucket, bool before);
  void fail(Status failure);
  Status explain(const Status& failure, uint32_t bucket) const;
  Divisor divisor(uint32_t bucket, size_t part, bool averaged) const;
  void write_back(uint32_t bucket, bool averaged);
  void note_result(size_t parameter);
  void note_overflow(size_t parameter);
  // coded_exchange.cc
  Status make_room(Carrier* carrier, const Bucket& bucket);
  bool stays_in_place(uint32_t bucket) const;
  const Codec* codec_of(uint32_t bucket) const;
  bool is_low_rank(uint32_t bucket) const;
  Draws draws_of(size_t parameter) const;
  std::byte* place_of(uint32_t bucket, const Bucket::Part& part) const;
  uint64_t encode(uint32_t bucket, const Codec& codec, std::byte* message);
  Status exchange_codes(uint32_t bucket, const Codec& codec);
  Result<std::span<std::byte>> next_code(uint32_t bucket, size_t part, const Codec& codec,
                                         size_t r);
  Status decode(uint32_t bucket, const Codec& codec);
  void average(uint32_t bucket, const Bucket::Part& part, const Codec& codec);
  Status exchange_products(uint32_t bucket);
  // choco_exchange.cc
  void make_choco_room(Carrier* carrier, const Bucket& bucket);
  uint64_t encode_differences(uint32_t bucket, const Codec& codec, Choco* choco);
  Status pass_differences(uint32_t bucket, uint64_t bytes, bool fixed,
                          std::span<const Rank> sources);
  Status hear_differences(uint32_t bucket, size_t k, const Codec& codec, Choco* choco);
  Status exchange_differences(uint32_t bucket, const Codec& codec);
  // message_exchange.cc
  static Status check_encoders(const Options& options);
  uint64_t message_bytes_max(const Carrier& carrier, size_t links) const;
  void make_message_room(const Carrier& carrier);
  uint64_t run_encoders(uint32_t bucket, std::span<const std::byte> message,
                        std::span<std::byte> into);
  Result<std::span<const std::byte>> run_decoders(uint32_t bucket, Rank rank,
                                                  std::span<const std::byte> message);
  Status read_messages(uint32_t bucket, bool coded);
  void add_messages(uint32_t bucket);
  Status exchange_messages(uint32_t bucket, const Codec* codec);
  // owned_exchange.cc
  bool sums_by_owners(const Bucket& bucket) const;
  StatePiece part_of(const Bucket& bucket, const Bucket::Part& part, Rank rank) const;
  uint64_t part_bytes(const Bucket& bucket) const;
  std::span<float> wide_part(uint32_t bucket, const Bucket::Part& part);
  Status plan_parts();
  void encode_parts(uint32_t bucket, const Codec& codec);
  Status sum_parts(uint32_t bucket, const Codec& codec);
  Status sum_part(uint32_t bucket, size_t part, const Codec& codec, uint64_t at);
  Status read_parts(uint32_t bucket, const Codec& codec);
  Status exchange_parts(uint32_t bucket, const Codec& codec);
  const Compression* compression_of(uint32_t bucket);
  // state.cc
  void commit_pending();
  void drop_pending();
  Status check_between() const;
  BucketView view_of(uint32_t bucket) const;
  Shard share_of(const Bucket& bucket, Rank rank) const;
  Shard share_of(const Bucket& bucket) const { return share_of(bucket, comm_->rank()); }
  Shard clip(const Bucket& bucket, const Bucket::Part& part, Rank rank) const;
  Shard clip(const Bucket& bucket, const Bucket::Part& part) const {
    return clip(bucket, part, comm_->rank());
  }

  // constant between iterations
  const int process_ = getpid();
  Options options_;
  ParameterList parameters_;
  Communicator* comm_ = nullptr;
  bool calls_back_ = false;
  bool calls_after_ = false;                // some callback has a post()
  std::vector<const Callbacks*> encoders_;  // those that have an encode(), in options_
  std::vector<uint32_t> order_;
  bool learned_ = false;  // order_ is that of an iteration
  std::vector<Bucket> buckets_;
  std::vector<Carrier> carriers_;
  uint64_t layout_ = 0;
  VoteBoard votes_;
  PersistentCollective vote_;

  // conductor
  std::vector<bool> launched_;
  std::vector<uint32_t> launches_;
  bool reordered_ = false;      // buckets_ are of another order
  Policy policy_;               // its states too
  std::vector<float> values_;   // parameters that are no fp32
  std::vector<float> scratch_;  // what was decoded
  std::vector<std::byte> workspace_;
  std::vector<std::byte> parts_out_;  // codes to each rank, or of each rank's sums
  std::vector<std::byte> parts_in_;   // codes from each rank
  std::vector<uint64_t> part_at_;     // where in a rank's message
  std::vector<std::byte> messages_;   // what encode() made, of all ranks
  std::vector<uint64_t> message_lengths_;
  std::vector<std::byte> between_[2];  // two callbacks
  std::vector<Work> letters_;          // to and from neighbors
  bool unusable_ = false;              // what has come of the bucket that travels
  bool pending_ = false;               // the last iteration's states are staged and good
  bool revertible_ = true;             // they are, or there are none
  uint64_t meetings_ = 0;              // of create() and rebind(), that came to their end here

  // guarded by mutex_
  mutable std::mutex mutex_;
  std::condition_variable changed_;  // for those who wait
  std::condition_variable work_;     // for the thread
  std::vector<Slot> slots_;
  std::vector<uint32_t> arrival_;  // of each parameter: how many came before
  Progress now_;
  uint64_t iteration_ = 0;
  bool conducting_ = false;
  bool leaving_ = false;
  Status broken_;  // no iteration may begin until rebind()
  std::thread thread_;
};

}  // namespace gossamer
