// A bucket on its way as codes. Codecs that lose little, and whose codes have one length, travel in
// the collective itself. Else each parameter is encoded by itself, and either its parts are summed
// by owners (owned_exchange.cc), or every rank gets the codes of all, and adds what they decode to,
// in the order of ranks: the same bits everywhere.
//
//   Message    Where codes differ in length: the length of each part's, 4 bytes each. Then the
//              codes, one after another. A rank that skips a parameter has none of it where lengths
//              are told, and zeros elsewhere, which nobody decodes.
//   In place   Gradients are read, and averages written, where the caller has them, part by part in
//              the cache: no bucket is filled, unless somebody wants to see it or a share of it.
//   Bytes      (N - 1) messages are received. Two ranks more than the codec saves, and a dense
//              exchange were shorter.

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "src/compress/hook/hook_impl.h"
#include "src/compress/joined.h"
#include "src/reduce.h"

namespace gossamer {

// Where codes of a bucket have their place.
Status GradientHook::Impl::make_room(Carrier* carrier, const Bucket& bucket) {
  const bool by_messages = !encoders_.empty();
  if (bucket.group == 0 && !by_messages) return Status::ok();
  const bool wide = bucket.type == DataType::kFloat32;
  if (policy_.stable()[bucket.group]) {
    Result<PowerSgd*> power = policy_.power(bucket, parameters_);
    if (!power) return power.status();
    carrier->power = *power;
    carrier->gradients.resize(bucket.parts.size());
    carrier->means.resize(bucket.parts.size());
    if (!wide && values_.size() < (*power)->count()) values_.resize((*power)->count());
    return Status::ok();
  }
  if (policy_.choco(bucket.group) != nullptr) {
    make_choco_room(carrier, bucket);
    return Status::ok();
  }
  const auto ranks = static_cast<size_t>(comm_->size());
  if (policy_.always_in_collective(bucket.group) && !by_messages) return Status::ok();
  const Feedback* const feedback = policy_.feedback(bucket.group);
  const bool owned = sums_by_owners(bucket);
  uint64_t bytes = bucket.parts.size() * sizeof(uint32_t);
  for (const Bucket::Part& part : bucket.parts) {
    bytes += policy_.code_bytes_max(bucket.group, part.count);
    if (!wide && values_.size() < part.count) values_.resize(part.count);
    uint64_t scratch = owned                 ? part.count
                       : feedback == nullptr ? 0
                                             : feedback->scratch_count(part.count);
    if (policy_.counts_votes(bucket.group)) {  // a code of what most say
      const uint64_t code_bytes = policy_.code_bytes_max(bucket.group, part.count);
      scratch = std::max(scratch, (code_bytes + sizeof(float) - 1) / sizeof(float));
    }
    if (scratch_.size() < scratch) scratch_.resize(scratch);
    const uint64_t workspace = policy_.workspace_bytes(bucket.group, part.count);
    if (workspace_.size() < workspace) workspace_.resize(workspace);
  }
  if (owned) return Status::ok();
  // Before the first stage of a rule, and where there is none, elements travel as they are.
  if (by_messages) bytes = std::max(bytes, bucket.bytes());
  carrier->message_bytes_max = bytes;
  carrier->codes.resize(bytes * ranks);
  carrier->lengths.resize(ranks);
  carrier->displacements.resize(ranks);
  carrier->cursors.resize(ranks);
  carrier->part_codes.reserve(ranks);
  if (by_messages) make_message_room(*carrier);
  return Status::ok();
}

const Codec* GradientHook::Impl::codec_of(uint32_t bucket) const {
  return policy_.codec(buckets_[bucket].group, iteration_);
}

bool GradientHook::Impl::is_low_rank(uint32_t bucket) const {
  return policy_.low_rank(buckets_[bucket].group, iteration_);
}

// Null: the bucket's codes, if it has any, do not travel within the collective.
const Compression* GradientHook::Impl::compression_of(uint32_t bucket) {
  if (!policy_.in_collective(buckets_[bucket].group, iteration_)) return nullptr;
  Compression& compression = carriers_[bucket].compression;
  compression.codec = codec_of(bucket);
  compression.draws = draws_of(buckets_[bucket].parts[0].parameter);
  compression.not_finite = &carriers_[bucket].not_finite;
  return &compression;
}

Draws GradientHook::Impl::draws_of(size_t parameter) const {
  Digest shared;
  shared.add(options_.seed);
  shared.add(iteration_);
  shared.add(parameters_.key(parameter));
  Digest own = shared;
  own.add(static_cast<uint64_t>(comm_->rank()) + 1);
  return {.own = own.value(), .shared = shared.value()};
}

// Whether a bucket's gradients are encoded, and their averages written, where the caller has them.
bool GradientHook::Impl::stays_in_place(uint32_t bucket) const {
  return !calls_back_ && options_.exchange == Exchange::kAllReduce && !is_one_collective(bucket) &&
         carriers_[bucket].part_bytes == 0;
}

// Where a part's average is written.
std::byte* GradientHook::Impl::place_of(uint32_t bucket, const Bucket::Part& part) const {
  const Slot& slot = slots_[part.parameter];
  return slot.target != nullptr && stays_in_place(bucket) ? slot.target : slot.memory;
}

// This rank's message; its length.
uint64_t GradientHook::Impl::encode(uint32_t bucket, const Codec& codec, std::byte* message) {
  const Bucket& of = buckets_[bucket];
  Feedback* const feedback = policy_.feedback(of.group);
  const bool fixed = codec.traits().fixed_size;
  uint64_t at = fixed ? 0 : of.parts.size() * sizeof(uint32_t);
  for (size_t i = 0; i < of.parts.size(); ++i) {
    const Bucket::Part& part = of.parts[i];
    const uint64_t room = codec.bytes_max(part.count);
    uint64_t bytes = fixed ? room : 0;
    if (votes_.contributes(comm_->rank(), part.parameter)) {
      const std::byte* const source = slots_[part.parameter].source;
      std::span<const float> values(reinterpret_cast<const float*>(source), part.count);
      if (of.type != DataType::kFloat32) {
        const std::span<float> wide = std::span(values_).first(part.count);
        widen(of.type, source, wide);
        values = wide;
      }
      const std::span<std::byte> code(message + at, room);
      const Draws draws = draws_of(part.parameter);
      const Encoded made = feedback == nullptr
                               ? codec.encode(values, draws, code, workspace_)
                               : feedback->encode(policy_.place(part.parameter), values, codec,
                                                  draws, code, scratch_, workspace_);
      bytes = made.bytes;
      if (made.not_finite > 0) note_overflow(part.parameter);
    } else if (fixed) {
      std::memset(message + at, 0, room);
    }
    const auto length = static_cast<uint32_t>(bytes);
    if (!fixed) std::memcpy(message + i * sizeof length, &length, sizeof length);
    at += bytes;
  }
  return at;
}

Status GradientHook::Impl::exchange_codes(uint32_t bucket, const Codec& codec) {
  Carrier& carrier = carriers_[bucket];
  const auto rank = static_cast<size_t>(comm_->rank());
  std::byte* const all = carrier.codes.data();
  Status done;
  if (codec.traits().fixed_size) {
    uint64_t bytes = 0;
    for (const Bucket::Part& part : buckets_[bucket].parts) bytes += codec.bytes_max(part.count);
    std::fill(carrier.lengths.begin(), carrier.lengths.end(), bytes);
    for (size_t r = 0; r < carrier.displacements.size(); ++r) carrier.displacements[r] = r * bytes;
    encode(bucket, codec, all + rank * bytes);
    done = comm_->start_all_gather(all + rank * bytes, all, bytes, DataType::kUint8).wait();
  } else {
    for (size_t r = 0; r < carrier.displacements.size(); ++r) {
      carrier.displacements[r] = r * carrier.message_bytes_max;
    }
    uint64_t* const lengths = carrier.lengths.data();
    std::byte* const message = all + carrier.displacements[rank];
    lengths[rank] = encode(bucket, codec, message);
    done = comm_->start_all_gather(lengths + rank, lengths, 1, DataType::kUint64).wait();
    const Shares shares{carrier.lengths, carrier.displacements};
    for (size_t r = 0; r < carrier.lengths.size() && done; ++r) {
      if (lengths[r] <= carrier.message_bytes_max) continue;
      done = Status::error(Code::kMismatch,
                           fmt::format("rank {} announces {} bytes of codes where {} is the most",
                                       r, lengths[r], carrier.message_bytes_max),
                           static_cast<Rank>(r));
    }
    if (done) {
      done = comm_->all_gather_v(message, lengths[rank], all, shares, DataType::kUint8);
    }
  }
  if (!done) return done;
  if (Status sound = decode(bucket, codec); !sound) {
    unusable_ = true;
    fail(explain(sound, bucket));
  }
  return Status::ok();
}

// The code of the next part in rank r's message.
Result<std::span<std::byte>> GradientHook::Impl::next_code(uint32_t bucket, size_t part,
                                                           const Codec& codec, size_t r) {
  Carrier& carrier = carriers_[bucket];
  const Bucket& of = buckets_[bucket];
  const bool fixed = codec.traits().fixed_size;
  const std::span<std::byte> message =
      std::span(carrier.codes).subspan(carrier.displacements[r], carrier.lengths[r]);
  const uint64_t header = fixed ? 0 : of.parts.size() * sizeof(uint32_t);
  if (part == 0) carrier.cursors[r] = header;
  uint64_t bytes = codec.bytes_max(of.parts[part].count);
  if (!fixed && message.size() >= header) {
    uint32_t length = 0;
    std::memcpy(&length, message.data() + part * sizeof length, sizeof length);
    bytes = length;
  }
  uint64_t& at = carrier.cursors[r];
  if (message.size() < header || bytes > message.size() - at) {
    return Status::error(Code::kMismatch, fmt::format("rank {}'s codes end too early", r),
                         static_cast<Rank>(r));
  }
  const std::span<std::byte> code = message.subspan(at, bytes);
  at += bytes;
  return code;
}

// A rank that skips a parameter brings zeros, and what it kept, which is not lost; the mean is over
// those that contribute. Where nobody does, nobody takes the mean, and all keep what they had.
Status GradientHook::Impl::exchange_products(uint32_t bucket) {
  const Bucket& of = buckets_[bucket];
  Carrier& carrier = carriers_[bucket];
  const bool wide = of.type == DataType::kFloat32;
  const bool in_place = stays_in_place(bucket);
  uint64_t at = 0;
  for (size_t i = 0; i < of.parts.size(); ++i) {
    const Bucket::Part& part = of.parts[i];
    const std::byte* const source = slots_[part.parameter].source;  // zeros where it is skipped
    std::byte* const into = votes_.contributors(part.parameter) > 0 ? place_of(bucket, part)
                                                                    : slots_[part.parameter].memory;
    carrier.gradients[i] = reinterpret_cast<const float*>(source);
    carrier.means[i] = reinterpret_cast<float*>(into);
    if (wide) continue;
    const std::span<float> values = std::span(values_).subspan(at, part.count);
    widen(of.type, source, values);
    carrier.gradients[i] = carrier.means[i] = values.data();
    at += part.count;
  }
  Status done = carrier.power->stage(*comm_, carrier.gradients, carrier.means);
  if (!done) return done;
  for (size_t i = 0; i < of.parts.size(); ++i) {
    const Bucket::Part& part = of.parts[i];
    const uint32_t contributors = votes_.contributors(part.parameter);
    if (contributors == 0) {
      carrier.power->leave_out(i);
      continue;
    }
    const float factor = static_cast<float>(comm_->size()) / static_cast<float>(contributors);
    auto* const mean = reinterpret_cast<std::byte*>(carrier.means[i]);
    const bool again = factor != 1 || !carrier.power->means_are_finite();  // or which of them
    bool finite = !again || divide_finite(DataType::kFloat32, mean, mean, part.count,
                                          {.times = static_cast<double>(factor)});
    if (!wide) {
      std::byte* const into = place_of(bucket, part);
      narrow(of.type, {carrier.means[i], part.count}, into);
      finite = all_finite(of.type, into, part.count);
    }
    if (in_place && !finite) note_result(part.parameter);
  }
  return Status::ok();
}

// The means of what all ranks' codes say. A part with a code that is none is left as it is.
Status GradientHook::Impl::decode(uint32_t bucket, const Codec& codec) {
  const Bucket& of = buckets_[bucket];
  std::vector<std::span<std::byte>>& codes = carriers_[bucket].part_codes;
  for (size_t i = 0; i < of.parts.size(); ++i) {
    const Bucket::Part& part = of.parts[i];
    codes.clear();
    for (Rank r = 0; r < comm_->size(); ++r) {
      const auto code = next_code(bucket, i, codec, static_cast<size_t>(r));
      if (!code) return code.status();
      if (!votes_.contributes(r, part.parameter)) continue;
      if (Status sound = codec.check(*code, part.count); !sound) {
        return Status::error(sound.code(), fmt::format("rank {}'s code: {}", r, sound.message()),
                             r);
      }
      codes.push_back(*code);
    }
    if (!codes.empty()) average(bucket, part, codec);
  }
  return Status::ok();
}

// Of the codes of a part: added, divided and looked at while they are in the cache.
void GradientHook::Impl::average(uint32_t bucket, const Bucket::Part& part, const Codec& codec) {
  const Carrier& carrier = carriers_[bucket];
  const Bucket& of = buckets_[bucket];
  const bool wide = of.type == DataType::kFloat32;
  std::byte* const into = place_of(bucket, part);
  const std::span<float> mean = wide ? std::span(reinterpret_cast<float*>(into), part.count)
                                     : std::span(values_).first(part.count);
  // Of estimates: what feedback makes of the mean is another one.
  const bool by_all = policy_.divides_by_all(of.group);
  const Divisor divisor{.divide = static_cast<double>(by_all ? static_cast<size_t>(comm_->size())
                                                             : carrier.part_codes.size())};
  const auto finish = [&](uint64_t first, uint64_t count, const Divisor& by) {
    auto* const values = reinterpret_cast<std::byte*>(mean.data() + first);
    const bool finite = divide_finite(DataType::kFloat32, values, values, count, by);
    if (wide) return finite;
    std::byte* const narrowed = into + first * size_of(of.type);
    narrow(of.type, mean.subspan(first, count), narrowed);
    return all_finite(of.type, narrowed, count);
  };
  const bool fixed = codec.traits().fixed_size;
  const bool counts = codec.traits().votes;
  // Few values are divided as they are added. By a power of two that has the same bits.
  const size_t number = carrier.part_codes.size();
  const bool divides_few =
      codec.traits().sparse && codec.sums() == nullptr && !by_all && std::has_single_bit(number);
  const float factor = divides_few ? 1 / static_cast<float>(number) : 1;
  const uint64_t step = fixed ? part_count_of(codec, part.count) : part.count;
  bool finite = true;
  uint64_t code_at = 0;
  for (uint64_t at = 0; at < part.count; at += step) {
    const uint64_t count = std::min(step, part.count - at);
    const std::span<float> sum = mean.subspan(at, count);
    const uint64_t bytes = step < part.count ? codec.bytes_max(count) : std::dynamic_extent;
    if (divides_few) {
      std::fill(sum.begin(), sum.end(), 0.0F);
    } else {
      codec.decode(carrier.part_codes[0].subspan(code_at, bytes), sum);
    }
    for (size_t k = divides_few ? 0 : 1; k < number; ++k) {
      codec.add(carrier.part_codes[k].subspan(code_at, bytes), factor, sum);
    }
    if (counts) {  // what most say is what the code of the sum says
      const std::span<std::byte> code = std::as_writable_bytes(std::span(scratch_));
      const uint64_t made = codec.encode(sum, {}, code, workspace_).bytes;
      codec.decode(code.first(made), sum);
    }
    code_at += step < part.count ? bytes : 0;
    finite &= finish(at, count, counts || divides_few ? Divisor{} : divisor);
  }
  if (by_all) {
    policy_.feedback(of.group)->apply(policy_.place(part.parameter), mean, mean);
    finite = finish(0, part.count, {});
  }
  if (!finite && stays_in_place(bucket)) note_result(part.parameter);
}

}  // namespace gossamer
