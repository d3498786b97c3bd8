// Shares of buckets, for optimizers that keep a part of the model each.

#include <algorithm>
#include <cstring>

#include "src/compress/hook/hook_impl.h"

namespace gossamer {

// Of a bucket, the elements whose averages a rank gets.
GradientHook::Shard GradientHook::Impl::share_of(const Bucket& bucket, Rank rank) const {
  if (options_.exchange != Exchange::kReduceScatter) return {0, bucket.count};
  const uint64_t count = bucket.count / static_cast<uint64_t>(comm_->size());
  return {count * static_cast<uint64_t>(rank), count};
}

// Of these, the ones that belong to the part: elements of the bucket.
GradientHook::Shard GradientHook::Impl::clip(const Bucket& bucket, const Bucket::Part& part,
                                             Rank rank) const {
  const Shard share = share_of(bucket, rank);
  const uint64_t first = std::max(share.first, part.first);
  const uint64_t end = std::min(share.first + share.count, part.first + part.count);
  return first < end ? Shard{first, end - first} : Shard{part.first, 0};
}

Result<GradientHook::Shard> GradientHook::Impl::shard(size_t parameter) const {
  for (const Bucket& bucket : buckets_) {
    for (const Bucket::Part& part : bucket.parts) {
      if (part.parameter != parameter) continue;
      Shard found = clip(bucket, part);
      found.first -= part.first;
      return found;
    }
  }
  return Status::error(Code::kInvalidArgument, "the hook has no such parameter");
}

Status GradientHook::Impl::gather(std::span<void* const> values) {
  if (options_.exchange != Exchange::kReduceScatter) {
    return Status::error(Code::kInvalidArgument,
                         "parameters are gathered where they are sharded; create the hook with "
                         "Exchange::kReduceScatter");
  }
  const auto null = std::find(values.begin(), values.end(), nullptr);
  if (values.size() != parameters_.size() || null != values.end()) {
    return Status::error(
        Code::kInvalidArgument,
        values.size() != parameters_.size()
            ? "give one pointer per parameter, in the order of the list"
            : "the values of parameter " +
                  parameters_.describe(static_cast<size_t>(null - values.begin())) + " are null");
  }
  {
    const Lock lock(mutex_);
    if (!broken_) return broken_;
    if (Status sound = check_between(); !sound) return sound;
  }
  for (uint32_t b = 0; b < buckets_.size(); ++b) {
    const Bucket& bucket = buckets_[b];
    const uint64_t element = size_of(bucket.type);
    std::byte* const memory = carriers_[b].memory.data();
    const Shard share = share_of(bucket);
    for (const Bucket::Part& part : bucket.parts) {
      const Shard mine = clip(bucket, part);
      const auto* const from = static_cast<const std::byte*>(values[part.parameter]);
      std::memcpy(memory + mine.first * element, from + (mine.first - part.first) * element,
                  mine.count * element);
    }
    const Status done =
        comm_->start_all_gather(memory + share.first * element, memory, share.count, bucket.type)
            .wait();
    if (!done) {
      const Lock lock(mutex_);
      if (!comm_->status()) broken_ = done;
      return explain(done, b);
    }
    for (const Bucket::Part& part : bucket.parts) {
      std::memcpy(values[part.parameter], memory + part.first * element, part.count * element);
    }
  }
  return Status::ok();
}

}  // namespace gossamer
