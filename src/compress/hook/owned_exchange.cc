// A bucket on its way as codes that meet at owners: every rank has a part of each parameter, gets
// the codes of all ranks for it and sums what they say. By kAllReduce it encodes the sum once more,
// with a residual of its own, and everybody decodes that.
//
//   Message    To each rank: the codes of its parts, one after another, as long as the longest such
//              message. A rank that skips a parameter sends zeros for it, which nobody decodes.
//   Bytes      2 (N - 1) messages of an Nth of the bucket's code; by kReduceScatter half of that.
//   Bits       The same on all ranks: each part is summed in one place, in the order of ranks, and
//              all ranks decode the same code of it.
//   Source     Tang et al., "1-bit Adam: communication efficient large-scale training with Adam's
//              convergence speed", ICML 2021.

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "src/compress/hook/hook_impl.h"

namespace gossamer {

// By kReduceScatter owners lose nothing, and senders' feedback is all there is. What encode()
// changes all ranks get.
bool GradientHook::Impl::sums_by_owners(const Bucket& bucket) const {
  if (!encoders_.empty()) return false;
  if (options_.exchange == Exchange::kReduceScatter) {
    return comm_->size() > 1 && policy_.can_be_owned(bucket.group);
  }
  return policy_.owned(bucket.group);
}

// Elements of the parameter.
StatePiece GradientHook::Impl::part_of(const Bucket& bucket, const Bucket::Part& part,
                                       Rank rank) const {
  if (options_.exchange != Exchange::kReduceScatter) {
    return policy_.owned_part(part.parameter, rank);
  }
  const Shard shard = clip(bucket, part, rank);
  return {0, shard.first - part.first, shard.count};
}

uint64_t GradientHook::Impl::part_bytes(const Bucket& bucket) const {
  if (!sums_by_owners(bucket)) return 0;
  uint64_t most = 0;
  for (Rank r = 0; r < comm_->size(); ++r) {
    uint64_t bytes = 0;
    for (const Bucket::Part& part : bucket.parts) {
      bytes += policy_.code_bytes_max(bucket.group, part_of(bucket, part, r).count);
    }
    most = std::max(most, bytes);
  }
  return most;
}

// One bucket travels at a time: all use the same memory.
Status GradientHook::Impl::plan_parts() {
  const auto ranks = static_cast<uint64_t>(comm_->size());
  uint64_t most = 0;
  for (uint32_t b = 0; b < carriers_.size(); ++b) {
    carriers_[b].part_bytes = part_bytes(buckets_[b]);
    most = std::max(most, carriers_[b].part_bytes);
  }
  parts_out_.assign(most * ranks, std::byte{0});
  parts_in_.assign(most * ranks, std::byte{0});
  part_at_.resize(ranks);
  for (Carrier& carrier : carriers_) {
    const uint64_t bytes = carrier.part_bytes;
    if (bytes == 0) continue;
    Result<PersistentCollective> scatter =
        comm_->plan_all_to_all(parts_out_.data(), parts_in_.data(), bytes, DataType::kUint8);
    if (!scatter) return scatter.status();
    carrier.scatter = std::move(scatter).value();
    if (options_.exchange == Exchange::kReduceScatter) continue;
    Result<PersistentCollective> hand_out =
        comm_->plan_all_gather(parts_out_.data() + bytes * static_cast<uint64_t>(comm_->rank()),
                               parts_out_.data(), bytes, DataType::kUint8);
    if (!hand_out) return hand_out.status();
    carrier.hand_out = std::move(hand_out).value();
  }
  return Status::ok();
}

// Where a part is worked on in fp32: in the bucket itself where that is its type.
std::span<float> GradientHook::Impl::wide_part(uint32_t bucket, const Bucket::Part& part) {
  if (buckets_[bucket].type != DataType::kFloat32) return std::span(values_).first(part.count);
  auto* const memory = reinterpret_cast<float*>(carriers_[bucket].memory.data());
  return {memory + part.first, part.count};
}

void GradientHook::Impl::encode_parts(uint32_t bucket, const Codec& codec) {
  const Bucket& of = buckets_[bucket];
  const uint64_t stride = carriers_[bucket].part_bytes;
  Feedback& feedback = *policy_.feedback(of.group);
  for (size_t r = 0; r < part_at_.size(); ++r) part_at_[r] = r * stride;
  for (const Bucket::Part& part : of.parts) {
    const std::span<float> values = wide_part(bucket, part);
    const std::span<float> decoded = std::span(scratch_).first(part.count);
    const size_t place = policy_.place(part.parameter);
    const bool contributes = votes_.contributes(comm_->rank(), part.parameter);
    if (contributes) {
      if (of.type != DataType::kFloat32) {
        widen(of.type, carriers_[bucket].memory.data() + part.first * size_of(of.type), values);
      }
      feedback.compensate(place, values, values);
    }
    Draws draws = draws_of(part.parameter);
    for (Rank r = 0; r < comm_->size(); ++r) {
      const StatePiece piece = part_of(of, part, r);
      uint64_t& at = part_at_[static_cast<size_t>(r)];
      const std::span<std::byte> code(parts_out_.data() + at, codec.bytes_max(piece.count));
      at += code.size();
      if (!contributes) {
        std::fill(code.begin(), code.end(), std::byte{0});
      } else if (piece.count > 0) {
        draws.first = piece.first;
        const Encoded made =
            codec.encode(values.subspan(piece.first, piece.count), draws, code, workspace_);
        if (made.not_finite > 0) note_overflow(part.parameter);
        codec.decode(code, decoded.subspan(piece.first, piece.count));
      }
    }
    if (contributes) feedback.settle(place, values, decoded);
  }
}

// Of one parameter's part that is this rank's, whose codes begin there in every message.
Status GradientHook::Impl::sum_part(uint32_t bucket, size_t part, const Codec& codec, uint64_t at) {
  const Bucket& of = buckets_[bucket];
  const Bucket::Part& p = of.parts[part];
  const uint64_t stride = carriers_[bucket].part_bytes;
  const StatePiece piece = part_of(of, p, comm_->rank());
  const uint64_t bytes = codec.bytes_max(piece.count);
  const std::span<float> sum = wide_part(bucket, p).subspan(piece.first, piece.count);
  std::fill(sum.begin(), sum.end(), 0.0F);
  for (Rank r = 0; r < comm_->size(); ++r) {
    if (!votes_.contributes(r, p.parameter)) continue;
    const std::span<const std::byte> code(parts_in_.data() + static_cast<uint64_t>(r) * stride + at,
                                          bytes);
    if (Status sound = codec.check(code, piece.count); !sound) {
      return Status::error(sound.code(), fmt::format("rank {}'s code: {}", r, sound.message()), r);
    }
    codec.add(code, 1, sum);
  }
  if (Feedback* const feedback = policy_.owner_feedback(of.group); feedback != nullptr) {
    const size_t place = policy_.place(p.parameter);
    const std::span<std::byte> code(
        parts_out_.data() + static_cast<uint64_t>(comm_->rank()) * stride + at, bytes);
    const std::span<float> decoded = std::span(scratch_).first(piece.count);
    Draws draws = draws_of(p.parameter);
    draws.own = ~draws.own;  // others than this rank's own codes have drawn
    draws.first = piece.first;
    feedback->compensate(place, sum, sum);
    if (codec.encode(sum, draws, code, workspace_).not_finite > 0) note_overflow(p.parameter);
    codec.decode(code, decoded);
    feedback->settle(place, sum, decoded);
    return Status::ok();
  }
  const auto contributors = static_cast<float>(votes_.contributors(p.parameter));
  if (contributors != 1) {
    for (float& value : sum) value /= contributors;
  }
  if (of.type != DataType::kFloat32) {
    narrow(of.type, sum,
           carriers_[bucket].memory.data() + (p.first + piece.first) * size_of(of.type));
  }
  return Status::ok();
}

// What nobody contributed to is left out, and what is kept of it stays as it is.
Status GradientHook::Impl::sum_parts(uint32_t bucket, const Codec& codec) {
  const Bucket& of = buckets_[bucket];
  uint64_t at = 0;
  for (size_t i = 0; i < of.parts.size(); ++i) {
    const uint64_t count = part_of(of, of.parts[i], comm_->rank()).count;
    if (count > 0 && votes_.contributors(of.parts[i].parameter) > 0) {
      if (Status done = sum_part(bucket, i, codec, at); !done) return done;
    }
    at += codec.bytes_max(count);
  }
  return Status::ok();
}

// The averages, of what owners have encoded.
Status GradientHook::Impl::read_parts(uint32_t bucket, const Codec& codec) {
  const Bucket& of = buckets_[bucket];
  const uint64_t stride = carriers_[bucket].part_bytes;
  for (size_t r = 0; r < part_at_.size(); ++r) part_at_[r] = r * stride;
  for (const Bucket::Part& part : of.parts) {
    const std::span<float> values = wide_part(bucket, part);
    const uint32_t contributors = votes_.contributors(part.parameter);
    for (Rank r = 0; r < comm_->size(); ++r) {
      const StatePiece piece = part_of(of, part, r);
      uint64_t& at = part_at_[static_cast<size_t>(r)];
      const std::span<const std::byte> code(parts_out_.data() + at, codec.bytes_max(piece.count));
      at += code.size();
      if (contributors == 0 || piece.count == 0) continue;
      if (Status sound = codec.check(code, piece.count); !sound) {
        return Status::error(sound.code(),
                             fmt::format("rank {}'s code of a sum: {}", r, sound.message()), r);
      }
      codec.decode(code, values.subspan(piece.first, piece.count));
    }
    if (contributors == 0) continue;
    if (contributors != 1) {
      for (float& value : values) value /= static_cast<float>(contributors);
    }
    if (of.type != DataType::kFloat32) {
      narrow(of.type, values, carriers_[bucket].memory.data() + part.first * size_of(of.type));
    }
  }
  return Status::ok();
}

Status GradientHook::Impl::exchange_parts(uint32_t bucket, const Codec& codec) {
  Carrier& carrier = carriers_[bucket];
  encode_parts(bucket, codec);
  Status done = carrier.scatter.start();
  if (done) done = carrier.scatter.wait();
  if (!done) return done;
  Status sound = sum_parts(bucket, codec);
  if (options_.exchange != Exchange::kReduceScatter) {
    done = carrier.hand_out.start();
    if (done) done = carrier.hand_out.wait();
    if (!done) return done;
    if (sound) sound = read_parts(bucket, codec);
  }
  if (!sound) {
    unusable_ = true;
    fail(explain(sound, bucket));
  }
  return done;
}

}  // namespace gossamer
