// A bucket on its way as codes. Codecs that lose little, and whose codes have one length, travel in
// the collective itself. Else each parameter is encoded by itself, every rank gets the codes of
// all, and adds what they decode to, in the order of ranks: the same bits everywhere.
//
//   Message    Where codes differ in length: the length of each part's, 4 bytes each. Then the
//              codes, one after another. A rank that skips a parameter has none of it where lengths
//              are told, and zeros elsewhere, which nobody decodes.
//   Bytes      (N - 1) messages are received. Two ranks more than the codec saves, and a dense
//              exchange were shorter.

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "src/compress/hook/hook_impl.h"
#include "src/reduce.h"

namespace gossamer {
namespace {

void widen(DataType type, const std::byte* from, std::span<float> into) {
  auto* const target = reinterpret_cast<std::byte*>(into.data());
  if (type == DataType::kFloat32) {
    std::memcpy(target, from, into.size_bytes());
  } else if (type != DataType::kFloat64) {
    widen_kernel(type)(target, from, into.size(), 1);
  } else {
    for (size_t i = 0; i < into.size(); ++i) {
      double value = 0;
      std::memcpy(&value, from + i * sizeof value, sizeof value);
      into[i] = static_cast<float>(value);
    }
  }
}

void narrow(DataType type, std::span<const float> from, std::byte* into) {
  const auto* const source = reinterpret_cast<const std::byte*>(from.data());
  if (type == DataType::kFloat32) {
    std::memcpy(into, source, from.size_bytes());
  } else if (type != DataType::kFloat64) {
    narrow_kernel(type)(into, source, from.size(), 1);
  } else {
    for (size_t i = 0; i < from.size(); ++i) {
      const double value = from[i];
      std::memcpy(into + i * sizeof value, &value, sizeof value);
    }
  }
}

}  // namespace

// Where codes of a bucket have their place.
Status GradientHook::Impl::make_room(Carrier* carrier, const Bucket& bucket) {
  if (bucket.group == 0) return Status::ok();
  if (policy_.stable()[bucket.group]) {
    Result<PowerSgd*> power = policy_.power(bucket, parameters_);
    if (!power) return power.status();
    carrier->power = *power;
    if (values_.size() < (*power)->count()) values_.resize((*power)->count());
    return Status::ok();
  }
  const auto ranks = static_cast<size_t>(comm_->size());
  if (policy_.always_in_collective(bucket.group)) return Status::ok();
  uint64_t bytes = bucket.parts.size() * sizeof(uint32_t);
  for (const Bucket::Part& part : bucket.parts) {
    bytes += policy_.code_bytes_max(bucket.group, part.count);
    if (values_.size() < part.count) {
      values_.resize(part.count);
      decoded_.resize(part.count);
    }
    const uint64_t workspace = policy_.workspace_bytes(bucket.group, part.count);
    if (workspace_.size() < workspace) workspace_.resize(workspace);
  }
  carrier->message_bytes_max = bytes;
  carrier->codes.resize(bytes * ranks);
  carrier->lengths.resize(ranks);
  carrier->displacements.resize(ranks);
  carrier->cursors.resize(ranks);
  return Status::ok();
}

const Codec* GradientHook::Impl::codec_of(uint32_t bucket) const {
  return policy_.codec(buckets_[bucket].group, iteration_);
}

// Null: the bucket's codes, if it has any, do not travel within the collective.
const Compression* GradientHook::Impl::compression_of(uint32_t bucket) {
  if (!policy_.in_collective(buckets_[bucket].group, iteration_)) return nullptr;
  Compression& compression = carriers_[bucket].compression;
  compression.codec = codec_of(bucket);
  compression.draws = draws_of(buckets_[bucket].parts[0].parameter);
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

// Where a part is worked on in fp32: in the bucket itself where that is its type.
std::span<float> GradientHook::Impl::wide_part(uint32_t bucket, const Bucket::Part& part) {
  if (buckets_[bucket].type != DataType::kFloat32) return std::span(values_).first(part.count);
  auto* const memory = reinterpret_cast<float*>(carriers_[bucket].memory.data());
  return {memory + part.first, part.count};
}

// This rank's message; its length.
uint64_t GradientHook::Impl::encode(uint32_t bucket, const Codec& codec, std::byte* message) {
  const Bucket& of = buckets_[bucket];
  const std::byte* const memory = carriers_[bucket].memory.data();
  Feedback* const feedback = policy_.feedback(of.group);
  const bool fixed = codec.traits().fixed_size;
  uint64_t at = fixed ? 0 : of.parts.size() * sizeof(uint32_t);
  for (size_t i = 0; i < of.parts.size(); ++i) {
    const Bucket::Part& part = of.parts[i];
    const uint64_t room = codec.bytes_max(part.count);
    uint64_t bytes = fixed ? room : 0;
    if (votes_.contributes(comm_->rank(), part.parameter)) {
      const std::span<float> values = wide_part(bucket, part);
      const std::span<float> decoded = std::span(decoded_).first(part.count);
      const std::span<std::byte> code(message + at, room);
      const size_t place = policy_.place(part.parameter);
      if (of.type != DataType::kFloat32) {
        widen(of.type, memory + part.first * size_of(of.type), values);
      }
      if (feedback != nullptr) feedback->compensate(place, values, values);
      bytes = codec.encode(values, draws_of(part.parameter), code, workspace_).bytes;
      if (feedback != nullptr) {
        codec.decode(code.first(bytes), decoded);
        feedback->settle(place, values, decoded);
      }
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
    const Lock lock(mutex_);
    if (now_.own_failure) now_.own_failure = explain(sound, bucket);
  }
  return Status::ok();
}

// The code of the next part in rank r's message.
Result<std::span<const std::byte>> GradientHook::Impl::next_code(uint32_t bucket, size_t part,
                                                                 const Codec& codec, size_t r) {
  Carrier& carrier = carriers_[bucket];
  const Bucket& of = buckets_[bucket];
  const bool fixed = codec.traits().fixed_size;
  const std::span<const std::byte> message =
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
  const std::span<const std::byte> code = message.subspan(at, bytes);
  at += bytes;
  return code;
}

// A rank that skips a parameter brings zeros, and what it kept, which is not lost; the mean is over
// those that contribute.
Status GradientHook::Impl::exchange_products(uint32_t bucket) {
  const Bucket& of = buckets_[bucket];
  std::byte* const memory = carriers_[bucket].memory.data();
  PowerSgd& power = *carriers_[bucket].power;
  const std::span<float> all = std::span(values_).first(power.count());
  uint64_t at = 0;
  for (const Bucket::Part& part : of.parts) {  // zeros where it is skipped
    widen(of.type, memory + part.first * size_of(of.type), all.subspan(at, part.count));
    at += part.count;
  }
  if (Status done = power.stage(*comm_, all, all); !done) return done;
  at = 0;
  for (const Bucket::Part& part : of.parts) {
    const std::span<float> mean = all.subspan(at, part.count);
    const uint32_t contributors = votes_.contributors(part.parameter);
    const float factor = contributors == 0
                             ? 1.0F
                             : static_cast<float>(comm_->size()) / static_cast<float>(contributors);
    for (float& value : mean) value *= factor;
    narrow(of.type, mean, memory + part.first * size_of(of.type));
    at += part.count;
  }
  return Status::ok();
}

// The means of what all ranks' codes say, into the bucket.
Status GradientHook::Impl::decode(uint32_t bucket, const Codec& codec) {
  const Bucket& of = buckets_[bucket];
  std::byte* const memory = carriers_[bucket].memory.data();
  Feedback* const feedback = policy_.feedback(of.group);
  const bool by_all = policy_.divides_by_all(of.group);
  for (size_t i = 0; i < of.parts.size(); ++i) {
    const Bucket::Part& part = of.parts[i];
    const std::span<float> sum = wide_part(bucket, part);
    std::fill(sum.begin(), sum.end(), 0.0F);
    uint32_t contributors = 0;
    for (Rank r = 0; r < comm_->size(); ++r) {
      const auto code = next_code(bucket, i, codec, static_cast<size_t>(r));
      if (!code) return code.status();
      if (!votes_.contributes(r, part.parameter)) continue;
      if (Status sound = codec.check(*code, part.count); !sound) {
        return Status::error(sound.code(), fmt::format("rank {}'s code: {}", r, sound.message()),
                             r);
      }
      codec.add(*code, 1, sum);
      ++contributors;
    }
    if (contributors == 0) continue;
    const auto divisor = static_cast<float>(by_all ? comm_->size() : contributors);
    if (divisor != 1) {
      for (float& value : sum) value /= divisor;
    }
    if (feedback != nullptr) feedback->apply(policy_.place(part.parameter), sum, sum);
    if (of.type != DataType::kFloat32) {
      narrow(of.type, sum, memory + part.first * size_of(of.type));
    }
  }
  return Status::ok();
}

}  // namespace gossamer
