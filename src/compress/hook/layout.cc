// Buckets laid out in memory, with their collectives planned; and the start of an iteration.

#include <cstdlib>
#include <new>

#include "gossamer/memory.h"
#include "src/compress/hook/hook_impl.h"

namespace gossamer {
namespace {

constexpr std::align_val_t kPage{4096};

}  // namespace

BucketMemory::BucketMemory(uint64_t bytes) {
  if (const Result<void*> made = allocate_memory(bytes)) {
    shared_ = static_cast<std::byte*>(*made);
    return;
  }
  own_ = static_cast<std::byte*>(::operator new(bytes, kPage));
  std::fill_n(own_, bytes, std::byte{0});
}

BucketMemory::BucketMemory(BucketMemory&& other) noexcept
    : shared_(std::exchange(other.shared_, nullptr)), own_(std::exchange(other.own_, nullptr)) {}

BucketMemory& BucketMemory::operator=(BucketMemory&& other) noexcept {
  std::swap(shared_, other.shared_);
  std::swap(own_, other.own_);
  return *this;
}

BucketMemory::~BucketMemory() {
  if (shared_ != nullptr) (void)free_memory(shared_);
  if (own_ != nullptr) ::operator delete(own_, kPage);
}

Status GradientHook::Impl::build() {
  BucketLimits limits;
  limits.bytes_max = options_.bucket_bytes_max;
  limits.first_bytes_max = options_.first_bucket_bytes_max;
  limits.stable = policy_.stable();
  if (options_.exchange == Exchange::kReduceScatter) {
    limits.share_count = static_cast<uint64_t>(comm_->size());
  }
  carriers_.clear();
  buckets_ = make_buckets(parameters_, policy_.groups(), order_, limits);
  Digest layout;
  layout.add(digest_of(buckets_));
  for (const Bucket& bucket : buckets_) layout.add(sums_by_owners(bucket) ? 1 : 0);
  layout_ = layout.value();
  launched_.assign(buckets_.size(), false);
  launches_.reserve(buckets_.size());
  for (uint32_t b = 0; b < buckets_.size(); ++b) {
    const Bucket& bucket = buckets_[b];
    Carrier& carrier = carriers_.emplace_back();
    carrier.memory = BucketMemory(bucket.bytes());
    carrier.weights.resize(bucket.parts.size());
    for (uint32_t i = 0; i < bucket.parts.size(); ++i) {
      const Bucket::Part& part = bucket.parts[i];
      carrier.view.push_back(
          {part.parameter, parameters_.key(part.parameter), part.first, part.count, true});
      Slot& slot = slots_[part.parameter];
      slot.carrier = b;
      slot.memory = carrier.memory.data() + part.first * size_of(bucket.type);
    }
    if (Status made = make_room(&carrier, bucket); !made) return made;
    if (Status planned = plan(&carrier, bucket); !planned) return planned;
  }
  return plan_parts();
}

// Without a codec; in place.
CollectiveCall GradientHook::Impl::call_of(const Bucket& bucket, std::byte* memory) const {
  CollectiveCall call;
  call.input = memory;
  call.output = memory;
  call.count = bucket.count;
  call.type = bucket.type;
  call.reduction = is_narrow_float(bucket.type) ? ReduceOp::kAvg : ReduceOp::kSum;
  if (options_.exchange == Exchange::kReduceScatter) {
    const Shard share = share_of(bucket);
    call.collective = Collective::kReduceScatter;
    call.output = memory + share.first * size_of(bucket.type);
    call.count = share.count;
  } else if (options_.exchange == Exchange::kGossip) {
    call.collective = Collective::kNeighborAverage;
    call.graph = options_.graph;
    call.round = iteration_;
  }
  return call;
}

Status GradientHook::Impl::plan(Carrier* carrier, const Bucket& bucket) const {
  if (options_.exchange == Exchange::kGossip) return Status::ok();
  Result<PersistentCollective> planned = comm_->plan(call_of(bucket, carrier->memory.data()));
  if (!planned) return planned.status();
  carrier->exchange = std::move(planned).value();
  return Status::ok();
}

void GradientHook::Impl::begin_iteration() {
  now_ = Progress();
  now_.unready = slots_.size();
  for (Slot& slot : slots_) {
    slot.stage = Stage::kMissing;
    slot.target = nullptr;
  }
  for (uint32_t b = 0; b < carriers_.size(); ++b) {
    carriers_[b].missing = static_cast<uint32_t>(buckets_[b].parts.size());
    carriers_[b].done = false;
    launched_[b] = false;
  }
}

std::vector<std::vector<uint32_t>> GradientHook::Impl::buckets() const {
  std::vector<std::vector<uint32_t>> all;
  for (const Bucket& bucket : buckets_) {
    std::vector<uint32_t>& into = all.emplace_back();
    for (const Bucket::Part& part : bucket.parts) into.push_back(part.parameter);
  }
  return all;
}

}  // namespace gossamer
