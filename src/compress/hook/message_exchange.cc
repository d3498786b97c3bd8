// A bucket on its way through the user's encode() and decode(): every rank's message, which is the
// bucket's elements or the codes of its parameters, is changed by each link of the chain, gathered,
// changed back, and added up in the order of ranks: the same bits everywhere.
//
//   Message    What the last encode() made; its length is gathered first. UINT64_MAX for a length:
//              a callback failed there.
//   Bytes      (N - 1) messages are received.

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "src/compress/hook/hook_impl.h"
#include "src/reduce.h"

namespace gossamer {
namespace {

constexpr uint64_t kFailed = UINT64_MAX;

Status wrote_too_much(const char* what, uint64_t bytes, uint64_t room) {
  return Status::error(
      Code::kInvalidArgument,
      fmt::format("{} of the gradient hook's callbacks says that it wrote {} bytes into {}; "
                  "bytes_max() is the most that encode() makes",
                  what, bytes, room));
}

}  // namespace

Status GradientHook::Impl::check_encoders(const Options& options) {
  for (const Callbacks& link : options.callbacks) {
    const int given = (link.bytes_max != nullptr ? 1 : 0) + (link.encode != nullptr ? 1 : 0) +
                      (link.decode != nullptr ? 1 : 0);
    if (given == 0) continue;
    if (given != 3) {
      return Status::error(Code::kInvalidArgument,
                           "encode(), decode() and bytes_max() of callbacks go together");
    }
    if (options.exchange == Exchange::kGossip) {
      return Status::error(Code::kInvalidArgument,
                           "encode() and decode() are for messages that all ranks get; with "
                           "neighbors give a rule a codec of your own");
    }
    for (const Rule& rule : options.rules) {
      if (!rule.codec.starts_with("powersgd")) continue;
      return Status::error(Code::kInvalidArgument,
                           "powersgd's products are summed on their way and encode() would not "
                           "see them; leave one of the two out");
    }
  }
  return Status::ok();
}

// The longest message after `links` of the chain.
uint64_t GradientHook::Impl::message_bytes_max(const Carrier& carrier, size_t links) const {
  uint64_t bytes = carrier.message_bytes_max;
  for (size_t i = 0; i < links; ++i) bytes = encoders_[i]->bytes_max(bytes, encoders_[i]->context);
  return bytes;
}

// One bucket travels at a time: all share what their messages need on their way.
void GradientHook::Impl::make_message_room(const Carrier& carrier) {
  const auto ranks = static_cast<uint64_t>(comm_->size());
  uint64_t most = carrier.message_bytes_max;
  for (size_t i = 1; i <= encoders_.size(); ++i) {
    most = std::max(most, message_bytes_max(carrier, i));
  }
  const uint64_t wire = message_bytes_max(carrier, encoders_.size()) * ranks;
  if (messages_.size() < wire) messages_.resize(wire);
  message_lengths_.resize(ranks);
  for (std::vector<std::byte>& buffer : between_) {
    if (buffer.size() < most) buffer.resize(most);
  }
}

// Through the chain into `into`; its length, or kFailed.
uint64_t GradientHook::Impl::run_encoders(uint32_t bucket, std::span<const std::byte> message,
                                          std::span<std::byte> into) {
  const Carrier& carrier = carriers_[bucket];
  for (size_t i = 0; i < encoders_.size(); ++i) {
    const Callbacks& link = *encoders_[i];
    const bool last = i + 1 == encoders_.size();
    const uint64_t room = message_bytes_max(carrier, i + 1);
    const std::span<std::byte> target = (last ? into : std::span(between_[i % 2])).first(room);
    uint64_t bytes = 0;
    Status done = link.encode(view_of(bucket), message, target, &bytes, link.context);
    if (done && bytes > room) done = wrote_too_much("encode()", bytes, room);
    if (!done) {
      fail(std::move(done));
      return kFailed;
    }
    message = target.first(bytes);
  }
  return message.size();
}

// The opposite, of what a rank sent: the message is in one of the buffers between.
Result<std::span<const std::byte>> GradientHook::Impl::run_decoders(
    uint32_t bucket, Rank rank, std::span<const std::byte> message) {
  const Carrier& carrier = carriers_[bucket];
  for (size_t i = encoders_.size(); i-- > 0;) {
    const Callbacks& link = *encoders_[i];
    const std::span<std::byte> target =
        std::span(between_[i % 2]).first(message_bytes_max(carrier, i));
    uint64_t bytes = 0;
    Status done = link.decode(view_of(bucket), rank, message, target, &bytes, link.context);
    if (done && bytes > target.size()) done = wrote_too_much("decode()", bytes, target.size());
    if (!done) return done;
    message = target.first(bytes);
  }
  return message;
}

// Every rank's message changed back, to where decode() and add_messages() look for it.
Status GradientHook::Impl::read_messages(uint32_t bucket, bool coded) {
  Carrier& carrier = carriers_[bucket];
  const uint64_t stride = message_bytes_max(carrier, encoders_.size());
  for (size_t r = 0; r < message_lengths_.size(); ++r) {
    const auto rank = static_cast<Rank>(r);
    const auto read =
        run_decoders(bucket, rank, std::span(messages_).subspan(r * stride, message_lengths_[r]));
    if (!read) return read.status();
    const std::span<std::byte> slot =
        std::span(carrier.codes).subspan(carrier.displacements[r], carrier.message_bytes_max);
    const uint64_t elements = buckets_[bucket].bytes();
    if (read->size() > slot.size() || (!coded && read->size() != elements)) {
      return Status::error(
          Code::kMismatch,
          fmt::format("decode() makes {} bytes of rank {}'s message, and {} are to "
                      "be there: are the chains of callbacks alike on all ranks?",
                      read->size(), r, coded ? slot.size() : elements),
          rank);
    }
    // What feedback keeps is what the codec lost, and nothing else may be.
    if (rank == comm_->rank() && policy_.feedback(buckets_[bucket].group) != nullptr &&
        (read->size() != carrier.lengths[r] ||
         std::memcmp(read->data(), slot.data(), read->size()) != 0)) {
      return Status::error(Code::kInvalidArgument,
                           "decode() does not give back what encode() was given; where a rule has "
                           "feedback, a codec alone may lose something");
    }
    carrier.lengths[r] = read->size();
    std::copy(read->begin(), read->end(), slot.begin());
  }
  return Status::ok();
}

// Elements as they are: averages over those that contribute.
void GradientHook::Impl::add_messages(uint32_t bucket) {
  const Bucket& of = buckets_[bucket];
  Carrier& carrier = carriers_[bucket];
  const uint64_t element = size_of(of.type);
  const bool narrow = is_narrow_float(of.type);
  const FoldKernel fold =
      narrow ? fold_wide_kernel(of.type, ReduceOp::kSum) : fold_kernel(of.type, ReduceOp::kSum);
  for (const Bucket::Part& part : of.parts) {
    const uint32_t contributors = votes_.contributors(part.parameter);
    if (contributors == 0) continue;
    std::byte* const into = carrier.memory.data() + part.first * element;
    std::byte* const sum = narrow ? reinterpret_cast<std::byte*>(values_.data()) : into;
    std::memset(sum, 0, part.count * (narrow ? sizeof(float) : element));
    for (Rank r = 0; r < comm_->size(); ++r) {
      if (!votes_.contributes(r, part.parameter)) continue;
      const uint64_t at = carrier.displacements[static_cast<size_t>(r)];
      fold(sum, sum, carrier.codes.data() + at + part.first * element, part.count);
    }
    (narrow ? narrow_divide_kernel(of.type) : divide_kernel(of.type))(into, sum, part.count,
                                                                      contributors);
  }
}

Status GradientHook::Impl::exchange_messages(uint32_t bucket, const Codec* codec) {
  Carrier& carrier = carriers_[bucket];
  const auto rank = static_cast<size_t>(comm_->rank());
  const uint64_t stride = message_bytes_max(carrier, encoders_.size());
  for (size_t r = 0; r < carrier.displacements.size(); ++r) {
    carrier.displacements[r] = r * carrier.message_bytes_max;
  }
  std::byte* const own = carrier.codes.data() + carrier.displacements[rank];
  if (codec != nullptr) {
    carrier.lengths[rank] = encode(bucket, *codec, own);
  } else {
    carrier.lengths[rank] = buckets_[bucket].bytes();
    std::memcpy(own, carrier.memory.data(), carrier.lengths[rank]);
  }
  const std::span<std::byte> sent = std::span(messages_).subspan(rank * stride, stride);
  message_lengths_[rank] = run_encoders(bucket, {own, carrier.lengths[rank]}, sent);
  uint64_t* const lengths = message_lengths_.data();
  Status done = comm_->start_all_gather(lengths + rank, lengths, 1, DataType::kUint64).wait();
  bool failed = false;
  for (size_t r = 0; r < message_lengths_.size() && done; ++r) {
    failed |= lengths[r] == kFailed;
    if (lengths[r] <= stride || lengths[r] == kFailed) continue;
    done = Status::error(
        Code::kMismatch,
        fmt::format("rank {} announces a message of {} bytes where {} is the most: are the chains "
                    "of callbacks alike on all ranks?",
                    r, lengths[r], stride),
        static_cast<Rank>(r));
  }
  unusable_ = failed;
  if (!done || failed) return done;  // it fails on all ranks, when they vote
  for (size_t r = 0; r < part_at_.size(); ++r) part_at_[r] = r * stride;
  done = comm_->all_gather_v(sent.data(), lengths[rank], messages_.data(),
                             {message_lengths_, part_at_}, DataType::kUint8);
  if (!done) return done;
  Status sound = read_messages(bucket, codec != nullptr);
  if (sound && codec != nullptr) sound = decode(bucket, *codec);
  if (sound && codec == nullptr) add_messages(bucket);
  if (!sound) {
    unusable_ = true;
    fail(explain(sound, bucket));
  }
  return done;
}

}  // namespace gossamer
