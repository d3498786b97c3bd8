// One bucket on its way: callbacks, the collective, averages written back.

#include <fmt/format.h>

#include <cmath>
#include <cstring>

#include "src/compress/hook/hook_impl.h"

namespace gossamer {
namespace {

// Sums of weights that differ from 1 by rounding alone.
constexpr double kWeightRounding = 1e-5;

}  // namespace

GradientHook::BucketView GradientHook::Impl::view_of(uint32_t bucket) const {
  const Bucket& of = buckets_[bucket];
  BucketView view;
  view.iteration = iteration_;
  view.index = bucket;
  view.bucket_count = static_cast<uint32_t>(buckets_.size());
  view.data = carriers_[bucket].memory.data();
  view.count = of.count;
  view.type = of.type;
  view.parts = carriers_[bucket].view;
  view.first_valid = share_of(of).first;
  view.valid_count = share_of(of).count;
  return view;
}

// The first failure is kept for the next vote; the bucket travels all the same, as others expect.
void GradientHook::Impl::call_back(uint32_t bucket, bool before) {
  const std::vector<Callbacks>& chain = options_.callbacks;
  Status failure;
  for (size_t i = 0; i < chain.size() && failure; ++i) {
    const Callbacks& link = before ? chain[i] : chain[chain.size() - 1 - i];
    const auto call = before ? link.pre : link.post;
    if (call != nullptr) failure = call(view_of(bucket), link.context);
  }
  if (!failure) fail(std::move(failure));
}

// The first one counts: it is told to the others when they vote.
void GradientHook::Impl::fail(Status failure) {
  const Lock lock(mutex_);
  if (now_.own_failure) now_.own_failure = std::move(failure);
}

Status GradientHook::Impl::explain(const Status& failure, uint32_t bucket) const {
  const Bucket& of = buckets_[bucket];
  return Status::error(
      failure.code(),
      fmt::format("iteration {} of the gradient hook, with '{}' and {} other parameters in bucket "
                  "{} of {}: {}",
                  iteration_, parameters_.key(of.parts[0].parameter), of.parts.size() - 1, bucket,
                  buckets_.size(), failure.message()),
      failure.rank());
}

// Whether one collective takes the bucket as it is to its end.
bool GradientHook::Impl::is_one_collective(uint32_t bucket) const {
  if (!encoders_.empty()) return false;
  if (policy_.in_collective(buckets_[bucket].group, iteration_)) return true;
  return codec_of(bucket) == nullptr && !is_low_rank(bucket);
}

// What was ready everywhere, one after another. While averages of one are written back, the next
// one is under way, but where callbacks expect one at a time.
Status GradientHook::Impl::exchange_launches() {
  Status done = launches_.empty() ? Status::ok() : begin_exchange(launches_[0]);
  for (size_t i = 0; i < launches_.size() && done; ++i) {
    const uint32_t bucket = launches_[i];
    const bool last = i + 1 == launches_.size();
    const bool both =
        !last && !calls_back_ && is_one_collective(bucket) && is_one_collective(launches_[i + 1]);
    if (both) done = begin_exchange(launches_[i + 1]);
    const Status ended = end_exchange(bucket, both ? launches_[i + 1] : bucket);
    if (done) done = ended;
    if (done) note_launched(bucket);
    if (done && !both && !last) done = begin_exchange(launches_[i + 1]);
    if (!done && both) (void)wait_for(launches_[i + 1]);
  }
  return done;
}

// Between parameters, where codes that mix neighbors have left something of them: it is not to
// travel, and callbacks are to see zeros.
void GradientHook::Impl::clear_gaps(uint32_t bucket) {
  const Bucket& of = buckets_[bucket];
  const uint64_t size = size_of(of.type);
  std::byte* const memory = carriers_[bucket].memory.data();
  for (size_t i = 0; i < of.parts.size(); ++i) {
    const uint64_t end = of.parts[i].first + of.parts[i].count;
    const uint64_t next = i + 1 < of.parts.size() ? of.parts[i + 1].first : of.count;
    std::memset(memory + end * size, 0, (next - end) * size);
  }
}

Status GradientHook::Impl::begin_exchange(uint32_t bucket) {
  Carrier& carrier = carriers_[bucket];
  if (calls_back_) {
    clear_gaps(bucket);
    for (GradientHook::Part& part : carrier.view) {
      part.contributes = votes_.contributes(comm_->rank(), part.parameter);
    }
    call_back(bucket, true);
  }
  unusable_ = false;
  if (!is_one_collective(bucket)) return Status::ok();
  Status begun;
  if (const Compression* const compression = compression_of(bucket); compression != nullptr) {
    clear_gaps(bucket);
    CollectiveCall call = call_of(buckets_[bucket], carrier.memory.data());
    call.compression = compression;
    carrier.compressed = comm_->start(call);
  } else {
    begun = carrier.exchange.start();
  }
  return begun ? begun : explain(begun, bucket);
}

Status GradientHook::Impl::wait_for(uint32_t bucket) {
  Carrier& carrier = carriers_[bucket];
  const Status compressed = carrier.compressed.wait();
  carrier.compressed = Work();
  const Status dense = carrier.exchange.wait();
  return compressed ? dense : compressed;
}

// A bucket is encoded as a whole: which of its parameters it was, nobody knows.
void GradientHook::Impl::look_at_encoded(uint32_t bucket) {
  if (std::exchange(carriers_[bucket].not_finite, 0) == 0) return;
  note_overflow(buckets_[bucket].parts[0].parameter);
}

// `next` is another bucket that was begun, or this one.
Status GradientHook::Impl::end_exchange(uint32_t bucket, uint32_t next) {
  // Below, the averages are back before a thread has woken.
  constexpr uint64_t kWorthAThread = 1 << 20;
  const bool one = is_one_collective(bucket);
  Status done;
  if (one) {
    done = wait_for(bucket);
    look_at_encoded(bucket);
  } else if (!encoders_.empty()) {
    done = exchange_messages(bucket, codec_of(bucket));
  } else if (is_low_rank(bucket)) {
    done = exchange_products(bucket);
  } else if (carriers_[bucket].part_bytes > 0) {
    done = exchange_parts(bucket, *codec_of(bucket));
  } else {
    done = exchange_codes(bucket, *codec_of(bucket));
  }
  if (!done) return explain(done, bucket);
  if (unusable_ || stays_in_place(bucket)) return done;
  if (next != bucket && buckets_[bucket].bytes() >= kWorthAThread) {
    (void)carriers_[next].compressed.test();  // has the communicator's thread carry it on
    (void)carriers_[next].exchange.test();
  }
  write_back(bucket, !one);
  return done;
}

// How much has come of each part is averaged as the values are: what a rank skips counts nowhere.
Status GradientHook::Impl::exchange_with_neighbors(uint32_t bucket) {
  Carrier& carrier = carriers_[bucket];
  const Bucket& of = buckets_[bucket];
  for (size_t i = 0; i < of.parts.size(); ++i) {
    const Slot& slot = slots_[of.parts[i].parameter];
    carrier.weights[i] = slot.contributes ? 1.0F : 0.0F;
    carrier.view[i].contributes = slot.contributes;
  }
  if (calls_back_) {
    clear_gaps(bucket);
    call_back(bucket, true);
  }
  const Codec* const codec = codec_of(bucket);
  if (codec != nullptr && policy_.choco(of.group) != nullptr) {
    if (Status done = exchange_differences(bucket, *codec); !done) return explain(done, bucket);
    write_back(bucket, false);
    return Status::ok();
  }
  float* const weights = carrier.weights.data();
  CollectiveCall call = call_of(of, carrier.memory.data());
  call.compression = compression_of(bucket);
  if (call.compression != nullptr) clear_gaps(bucket);
  Work first = start_neighbor_average(*comm_, weights, weights, carrier.weights.size(),
                                      DataType::kFloat32, *options_.graph, iteration_);
  Work second = comm_->start(call);
  Status done = first.wait();
  if (done) done = second.wait();
  if (!done) return explain(done, bucket);
  look_at_encoded(bucket);
  write_back(bucket, false);
  return done;
}

// Sums of wide floats are divided once, here; narrow ones come as averages over all ranks, for a
// sum may be more than they can hold.
Divisor GradientHook::Impl::divisor(uint32_t bucket, size_t part, bool averaged) const {
  const Bucket& of = buckets_[bucket];
  if (options_.exchange == Exchange::kGossip) {
    const double weight = carriers_[bucket].weights[part];
    if (weight < kWeightRounding) return {.divide = 0};
    return {.times = std::abs(weight - 1) < kWeightRounding ? 1 : 1 / weight};
  }
  const double contributors = votes_.contributors(of.parts[part].parameter);
  if (averaged && contributors > 0) return {};
  if (!is_narrow_float(of.type) || contributors == 0) return {.divide = contributors};
  return {.times = comm_->size() / contributors};
}

void GradientHook::Impl::write_back(uint32_t bucket, bool averaged) {
  const Bucket& of = buckets_[bucket];
  const uint64_t element = size_of(of.type);
  std::byte* const memory = carriers_[bucket].memory.data();
  const auto write = [&](size_t part, bool divides) {
    const Shard valid = clip(of, of.parts[part]);
    const Divisor by = divides ? divisor(bucket, part, averaged) : Divisor{};
    if (valid.count == 0 || by.divide == 0) return;
    const Slot& slot = slots_[of.parts[part].parameter];
    std::byte* const from = memory + valid.first * element;
    std::byte* into = from;
    if (slot.target != nullptr && (!divides || !calls_after_)) {
      into = slot.target + (valid.first - of.parts[part].first) * element;
    }
    if (divide_finite(of.type, into, from, valid.count, by)) return;
    note_result(of.parts[part].parameter);
  };
  for (size_t i = 0; i < of.parts.size(); ++i) write(i, true);
  if (!calls_after_) return;
  clear_gaps(bucket);
  call_back(bucket, false);
  for (size_t i = 0; i < of.parts.size(); ++i) {
    if (divisor(bucket, i, averaged).divide != 0) write(i, false);
  }
}

// An average that is not finite. All ranks see the same ones, but where each has a share of its own
// and tells the others.
void GradientHook::Impl::note_result(size_t parameter) {
  if (options_.exchange == Exchange::kAllReduce) return note_not_finite(-1, parameter);
  note_overflow(parameter);
}

// What this rank encoded was not finite, though gradients were: a sum, or one with what was kept of
// it. Its code says something else. The others hear of it when they vote.
void GradientHook::Impl::note_overflow(size_t parameter) {
  const Lock lock(mutex_);
  if (now_.spoiled == SIZE_MAX) now_.spoiled = parameter;
}

}  // namespace gossamer
