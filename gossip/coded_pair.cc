// Two ranks alone average their values, which travel as codes.
//
// What is sent is a header and the code: the codec's identity tells codes of one length apart.

#include <fmt/format.h>

#include <cmath>
#include <cstring>
#include <vector>

#include "gossamer/gossip_compressed.h"
#include "gossip/pair.h"
#include "src/reduce.h"

namespace gossamer {
namespace {

struct Header {
  uint64_t codec = 0;  // its identity
  uint64_t type = 0;
  uint64_t count = 0;
};

Status check_codec(const Compression& compression, uint64_t count) {
  const auto invalid = [](std::string text) {
    return Status::error(Code::kInvalidArgument, std::move(text));
  };
  if (compression.codec == nullptr) {
    return invalid("the compression has no codec; make_codec() makes one");
  }
  if (!compression.codec->traits().fixed_size) {
    return invalid(
        fmt::format("codes of {} differ in length, and both ends of a message have to know it; use "
                    "a codec whose codes have one length, as int8",
                    compression.codec->name()));
  }
  if (compression.codec->traits().votes) {
    return invalid(
        fmt::format("two ranks' votes of {} have no mean that is a vote; use all_reduce(), or a "
                    "codec that keeps magnitudes, like sign",
                    compression.codec->name()));
  }
  if (compression.codec->identity() == 0) {
    return invalid(
        "this codec has no name, by which ranks tell codecs apart; have it give one to Codec's "
        "constructor");
  }
  if (count > compression.codec->count_max()) {
    return invalid(fmt::format("{} encodes up to {} elements, and this call has {}",
                               compression.codec->name(), compression.codec->count_max(), count));
  }
  if (compression.residual != nullptr && compression.residual == compression.next_residual) {
    return invalid("residual and next_residual are the same memory; keep two, and swap them");
  }
  return Status::ok();
}

void to_floats(DataType type, const std::byte* from, std::span<float> into) {
  if (type == DataType::kFloat64) {
    for (size_t i = 0; i < into.size(); ++i) {
      double value = 0;
      std::memcpy(&value, from + i * sizeof(value), sizeof(value));
      into[i] = static_cast<float>(value);
    }
  } else if (type == DataType::kFloat32) {
    if (!into.empty()) std::memcpy(into.data(), from, into.size_bytes());
  } else {
    widen_kernel(type)(reinterpret_cast<std::byte*>(into.data()), from, into.size(), 1.0);
  }
}

void from_floats(DataType type, std::span<const float> from, std::byte* into) {
  if (type == DataType::kFloat64) {
    for (size_t i = 0; i < from.size(); ++i) {
      const auto value = static_cast<double>(from[i]);
      std::memcpy(into + i * sizeof(value), &value, sizeof(value));
    }
  } else if (type == DataType::kFloat32) {
    if (!from.empty()) std::memcpy(into, from.data(), from.size_bytes());
  } else {
    narrow_kernel(type)(into, reinterpret_cast<const std::byte*>(from.data()), from.size(), 1.0);
  }
}

// One end of the exchange.
class CodedPair {
 public:
  CodedPair(const Compression& compression, uint64_t count, DataType type)
      : compression_(compression),
        codec_(*compression.codec),
        header_{codec_.identity(), static_cast<uint64_t>(type), count},
        type_(type),
        mine_(sizeof(Header) + codec_.bytes_max(count)),
        theirs_(mine_.size()),
        values_(count) {}

  // Codes the input, and keeps what it decodes to.
  void encode(const std::byte* input, Rank rank) {
    to_floats(type_, input, values_);
    for (size_t i = 0; compression_.residual != nullptr && i < values_.size(); ++i) {
      values_[i] += compression_.residual[i];
    }
    std::memcpy(mine_.data(), &header_, sizeof(header_));
    const std::span<std::byte> code = std::span(mine_).subspan(sizeof(Header));
    std::vector<std::byte> workspace(codec_.workspace_bytes(values_.size()));
    Draws draws = compression_.draws;  // ranks draw different ones
    draws.own = (draws.own + 1) * 0x9E3779B97F4A7C15U + static_cast<uint64_t>(rank);
    const Encoded made = codec_.encode(values_, draws, code, workspace);
    if (compression_.not_finite != nullptr) *compression_.not_finite += made.not_finite;
    if (compression_.next_residual == nullptr) return codec_.decode(code, values_);
    std::vector<float> sent(values_.size());
    codec_.decode(code, sent);
    for (size_t i = 0; i < sent.size(); ++i) {
      const float lost = values_[i] - sent[i];
      compression_.next_residual[i] = std::isfinite(lost) ? lost : 0;
    }
    values_.swap(sent);
  }

  Status exchange(Communicator& comm, Rank peer) {
    Work arrives = comm.start_recv(theirs_.data(), theirs_.size(), DataType::kUint8, peer);
    const Status sent = comm.start_send(mine_.data(), mine_.size(), DataType::kUint8, peer).wait();
    const Status arrived = arrives.wait();
    if (!sent || !arrived) return explained(arrived ? sent : arrived);
    Header other;
    std::memcpy(&other, theirs_.data(), sizeof(other));
    if (other.codec != header_.codec || other.type != header_.type ||
        other.count != header_.count) {
      return explained(Status::error(
          Code::kMismatch, fmt::format("rank {} gave another count, type or codec", peer), peer));
    }
    const Status sound = codec_.check(code_of(theirs_), values_.size());
    if (sound) return sound;
    return Status::error(
        Code::kMismatch,
        fmt::format("what rank {} sent is no code of {}: {}", peer, codec_.name(), sound.message()),
        peer);
  }

  void average(std::byte* output) {
    std::vector<float> other(values_.size());
    codec_.decode(code_of(theirs_), other);
    for (size_t i = 0; i < other.size(); ++i) values_[i] = (values_[i] + other[i]) / 2;
    from_floats(type_, values_, output);
  }

 private:
  static std::span<const std::byte> code_of(const std::vector<std::byte>& message) {
    return std::span(message).subspan(sizeof(Header));
  }
  Status explained(const Status& status) const {
    if (status.code() != Code::kMismatch) return status;
    return Status::error(
        Code::kMismatch,
        fmt::format("pair_gossip of {} {} with codec {}: {}; both ranks give the same count, type "
                    "and codec",
                    header_.count, name_of(type_), codec_.name(), status.message()),
        status.rank());
  }

  const Compression& compression_;
  const Codec& codec_;
  const Header header_;
  const DataType type_;
  std::vector<std::byte> mine_, theirs_;
  std::vector<float> values_;  // what this rank's code decodes to; then the mean
};

}  // namespace

Status pair_gossip(Communicator& comm, const void* input, void* output, uint64_t count,
                   DataType type, Rank peer, const Compression& compression) {
  const auto* const mine = static_cast<const std::byte*>(input);
  auto* const mean = static_cast<std::byte*>(output);
  Status sound = check_pair(comm, mine, mean, count, type, peer);
  if (sound) sound = check_codec(compression, count);
  if (!sound) return sound;
  CodedPair pair(compression, count, type);
  pair.encode(mine, comm.rank());
  if (Status met = pair.exchange(comm, peer); !met) return met;
  pair.average(mean);
  return Status::ok();
}

}  // namespace gossamer
