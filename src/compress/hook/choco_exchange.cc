// A bucket on its way by CHOCO: each parameter's difference to what the neighbors have, as a code.
//
//   Message    A number of 4 bytes per part: the length of its code and 1, or 0 where the rank has
//              nothing of it in this iteration, and nobody's copy changes. Then the codes; where
//              they have one length each has its place, also of parts that are left out.
//   Bytes      A message to each neighbor.

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "src/compress/hook/hook_impl.h"

namespace gossamer {
namespace {

// x[i] += change[i]
void add_to(DataType type, std::span<const float> change, std::byte* x, std::span<float> scratch) {
  if (type == DataType::kFloat64) {
    for (size_t i = 0; i < change.size(); ++i) {
      double value = 0;
      std::memcpy(&value, x + i * sizeof value, sizeof value);
      value += static_cast<double>(change[i]);
      std::memcpy(x + i * sizeof value, &value, sizeof value);
    }
    return;
  }
  widen(type, x, scratch);
  for (size_t i = 0; i < change.size(); ++i) scratch[i] += change[i];
  narrow(type, scratch, x);
}

uint32_t header_word(std::span<const std::byte> message, size_t part) {
  uint32_t word = 0;
  std::memcpy(&word, message.data() + part * sizeof word, sizeof word);
  return word;
}

}  // namespace

void GradientHook::Impl::make_choco_room(Carrier* carrier, const Bucket& bucket) {
  const size_t sources = policy_.choco(bucket.group)->sources().size();
  uint64_t bytes = bucket.parts.size() * sizeof(uint32_t);
  for (const Bucket::Part& part : bucket.parts) {
    bytes += policy_.code_bytes_max(bucket.group, part.count);
    if (values_.size() < part.count) values_.resize(part.count);
    if (scratch_.size() < part.count) scratch_.resize(part.count);
    const uint64_t workspace = policy_.workspace_bytes(bucket.group, part.count);
    if (workspace_.size() < workspace) workspace_.resize(workspace);
  }
  carrier->message_bytes_max = bytes;
  carrier->codes.resize(bytes * (sources + 1));           // its own first
  carrier->lengths.resize(std::max<size_t>(sources, 1));  // not null, alone too
  carrier->cursors.resize(sources);
  if (letters_.capacity() < 2 * sources) letters_.reserve(2 * sources);
}

uint64_t GradientHook::Impl::encode_differences(uint32_t bucket, const Codec& codec, Choco* choco) {
  const Bucket& of = buckets_[bucket];
  Carrier& carrier = carriers_[bucket];
  std::byte* const message = carrier.codes.data();
  const bool fixed = codec.traits().fixed_size;
  uint64_t at = of.parts.size() * sizeof(uint32_t);
  for (size_t i = 0; i < of.parts.size(); ++i) {
    const Bucket::Part& part = of.parts[i];
    const std::span<std::byte> room(message + at, codec.bytes_max(part.count));
    const size_t place = policy_.place(part.parameter);
    uint32_t word = 0;
    choco->begin(place);
    if (carrier.weights[i] != 0) {
      const std::span<float> difference = std::span(values_).first(part.count);
      const std::span<float> decoded = std::span(scratch_).first(part.count);
      widen(of.type, carrier.memory.data() + part.first * size_of(of.type), difference);
      choco->subtract(place, difference);
      const uint64_t bytes =
          codec.encode(difference, draws_of(part.parameter), room, workspace_).bytes;
      codec.decode(room.first(bytes), decoded);
      choco->told(place, codec, decoded);
      word = static_cast<uint32_t>(bytes) + 1;
    } else if (fixed) {
      std::fill(room.begin(), room.end(), std::byte{0});
    }
    std::memcpy(message + i * sizeof word, &word, sizeof word);
    if (fixed) {
      at += room.size();
    } else if (word > 0) {
      at += word - 1;
    }
  }
  return at;
}

// As ChocoSgd passes them: of one length by one exchange, others after their lengths.
Status GradientHook::Impl::pass_differences(uint32_t bucket, uint64_t bytes, bool fixed,
                                            std::span<const Rank> sources) {
  Carrier& carrier = carriers_[bucket];
  const uint64_t most = carrier.message_bytes_max;
  std::byte* const message = carrier.codes.data();
  std::byte* const arrived = message + most;
  const Graph& graph = *options_.graph;
  if (fixed) {
    std::fill_n(carrier.lengths.begin(), sources.size(), bytes);
    for (size_t k = 0; k < sources.size(); ++k) carrier.cursors[k] = k * bytes;
    return start_neighbor_all_gather(*comm_, message, arrived, bytes, DataType::kUint8, graph, 0)
        .wait();
  }
  Status done = start_neighbor_all_gather(*comm_, &bytes, carrier.lengths.data(), 1,
                                          DataType::kUint64, graph, 0)
                    .wait();
  if (!done) return done;
  for (size_t k = 0; k < sources.size(); ++k) {
    carrier.cursors[k] = k * most;
    if (carrier.lengths[k] <= most) continue;
    return Status::error(Code::kMismatch,
                         fmt::format("rank {} announces {} bytes of codes where {} is the most",
                                     sources[k], carrier.lengths[k], most),
                         sources[k]);
  }
  letters_.clear();
  for (size_t k = 0; k < sources.size(); ++k) {
    letters_.push_back(
        comm_->start_recv(arrived + k * most, carrier.lengths[k], DataType::kUint8, sources[k]));
    letters_.push_back(comm_->start_send(message, bytes, DataType::kUint8, sources[k]));
  }
  for (Work& work : letters_) {
    Status one = work.wait();
    if (done && !one) done = std::move(one);
  }
  letters_.clear();
  return done;
}

Status GradientHook::Impl::hear_differences(uint32_t bucket, size_t k, const Codec& codec,
                                            Choco* choco) {
  const Bucket& of = buckets_[bucket];
  const Carrier& carrier = carriers_[bucket];
  const Rank source = choco->sources()[k];
  const std::span<const std::byte> message = std::span(carrier.codes)
                                                 .subspan(carrier.message_bytes_max)
                                                 .subspan(carrier.cursors[k], carrier.lengths[k]);
  const bool fixed = codec.traits().fixed_size;
  uint64_t at = of.parts.size() * sizeof(uint32_t);
  for (size_t i = 0; i < of.parts.size(); ++i) {
    const Bucket::Part& part = of.parts[i];
    const uint32_t word = message.size() < at ? 0 : header_word(message, i);
    const uint64_t bytes = word == 0 ? 0 : word - 1;
    const uint64_t place_bytes = fixed ? codec.bytes_max(part.count) : bytes;
    if (message.size() < at || place_bytes > message.size() - at || bytes > place_bytes) {
      return Status::error(Code::kMismatch, fmt::format("rank {}'s codes end too early", source),
                           source);
    }
    if (word > 0) {
      const std::span<const std::byte> code = message.subspan(at, bytes);
      if (Status sound = codec.check(code, part.count); !sound) {
        return Status::error(sound.code(),
                             fmt::format("rank {}'s code: {}", source, sound.message()), source);
      }
      const std::span<float> decoded = std::span(scratch_).first(part.count);
      codec.decode(code, decoded);
      choco->heard(k, policy_.place(part.parameter), codec, decoded);
    }
    at += place_bytes;
  }
  return Status::ok();
}

Status GradientHook::Impl::exchange_differences(uint32_t bucket, const Codec& codec) {
  const Bucket& of = buckets_[bucket];
  Carrier& carrier = carriers_[bucket];
  Choco* const choco = policy_.choco(of.group);
  const uint64_t bytes = encode_differences(bucket, codec, choco);
  Status done = pass_differences(bucket, bytes, codec.traits().fixed_size, choco->sources());
  for (size_t k = 0; k < choco->sources().size() && done; ++k) {
    done = hear_differences(bucket, k, codec, choco);
  }
  if (!done) return done;
  for (size_t i = 0; i < of.parts.size(); ++i) {
    const Bucket::Part& part = of.parts[i];
    if (carrier.weights[i] == 0) continue;
    const std::span<float> change = std::span(values_).first(part.count);
    choco->approach(policy_.place(part.parameter), change);
    add_to(of.type, change, carrier.memory.data() + part.first * size_of(of.type),
           std::span(scratch_).first(part.count));
  }
  return done;
}

}  // namespace gossamer
