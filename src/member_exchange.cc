#include "src/member_exchange.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "src/bootstrap.h"
#include "src/messages.h"

namespace gossamer {
namespace {

constexpr std::chrono::microseconds kAwake{100};  // then a rank sleeps

// What always travels: how many bytes there are, whether they say why a rank has failed, and the
// first of them, which are mostly all.
struct Heading {
  uint64_t bytes = 0;
  uint64_t failed = 0;
  std::array<std::byte, 2032> first{};
};

}  // namespace

Communicator::Impl::MemberExchange::MemberExchange(Impl* parent, std::vector<Rank> members,
                                                   const std::atomic<bool>* cancelled)
    : parent_(parent), members_(std::move(members)), cancelled_(cancelled) {
  const auto self = std::find(members_.begin(), members_.end(), parent_->rank);
  self_ = static_cast<size_t>(self - members_.begin());
}

Result<std::vector<std::string>> Communicator::Impl::MemberExchange::all_gather(
    const std::string& blob) {
  if (blob.size() > kBlobBytesMax) {
    return Status::error(Code::kInvalidArgument,
                         fmt::format("rank {} wants to tell {} bytes about itself; at most {} fit",
                                     parent_->rank, blob.size(), kBlobBytesMax),
                         parent_->rank);
  }
  return gather(blob, Status::ok());
}

void Communicator::Impl::MemberExchange::tell(const Status& why) {
  if (failure_) (void)gather("", why);
}

// One step: `out` to one rank while what another one has arrives. Empty ones do not travel.
Status Communicator::Impl::MemberExchange::pass(Rank to, std::span<const std::byte> out, Rank from,
                                                std::span<std::byte> in) {
  std::vector<Letter> letters;
  const auto add = [&](bool sends, Rank peer, std::span<const std::byte> bytes) {
    if (bytes.empty()) return;
    Letter& letter = letters.emplace_back();
    letter.sends = sends;
    letter.peer = peer;
    letter.count = bytes.size();
    letter.data = const_cast<std::byte*>(bytes.data());
  };
  add(true, to, out);
  add(false, from, in);
  // Ranks that make transports meanwhile need the processors more than those that wait for them.
  Limits limits = parent_->waiting_;
  limits.awake = std::min(limits.awake, kAwake);
  return parent_->exchange(letters, limits, cancelled_);
}

Status Communicator::Impl::MemberExchange::pass_body(Rank to, const std::vector<std::byte>& body,
                                                     Rank from, size_t blobs,
                                                     std::vector<std::byte>* arrived,
                                                     bool* failed) {
  Heading mine;
  Heading theirs;
  mine.bytes = body.size();
  mine.failed = failure_ ? 0 : 1;
  const size_t inside = mine.first.size();
  std::copy_n(body.begin(), std::min(body.size(), inside), mine.first.begin());
  const auto of = [](Heading* heading) { return std::as_writable_bytes(std::span(heading, 1)); };
  Status passed = pass(to, of(&mine), from, of(&theirs));
  if (!passed) return passed;
  if (theirs.bytes > blobs * (sizeof(uint32_t) + kBlobBytesMax)) {
    return Status::error(Code::kMismatch,
                         fmt::format("rank {} speaks another version of gossamer", from), from);
  }
  *failed = theirs.failed != 0;
  arrived->resize(theirs.bytes);
  std::copy_n(theirs.first.begin(), std::min(arrived->size(), inside), arrived->begin());
  // What does not fit comes after; one end may have more to send and the other nothing.
  const auto rest = [&](std::span<const std::byte> all) {
    return all.subspan(std::min(all.size(), inside));
  };
  std::span<std::byte> more = std::span(*arrived).subspan(std::min(arrived->size(), inside));
  return rest(body).empty() && more.empty() ? passed : pass(to, rest(body), from, more);
}

Result<std::vector<std::string>> Communicator::Impl::MemberExchange::gather(const std::string& blob,
                                                                            Status failure) {
  if (!failure_) return failure_;
  const size_t all = members_.size();
  failure_ = std::move(failure);
  std::vector<std::string> blobs{blob};  // [i]: of member self + i
  for (size_t distance = 1; distance < all; distance *= 2) {
    const size_t count = std::min(distance, all - distance);
    const Rank to = members_[(self_ + all - distance) % all];
    const Rank from = members_[(self_ + distance) % all];
    const std::vector<std::byte> body =
        failure_ ? encode_blobs(std::span(blobs).first(count)) : encode_failure(failure_);
    std::vector<std::byte> arrived;
    bool failed = false;
    const Status passed = pass_body(to, body, from, count, &arrived, &failed);
    if (!passed) return failure_ = passed;  // the communicator itself has failed
    if (!failure_) continue;
    if (failed) {
      failure_ = parse_failure(arrived).value_or(
          Status::error(Code::kPeerLost, fmt::format("rank {} has failed", from), from));
      continue;
    }
    const auto parsed = parse_blobs(arrived, count);
    if (!parsed) {
      failure_ = Status::error(Code::kMismatch,
                               fmt::format("rank {} sent a malformed message", from), from);
      continue;
    }
    blobs.insert(blobs.end(), parsed->begin(), parsed->end());
  }
  if (!failure_) return failure_;
  std::vector<std::string> ordered(all);
  for (size_t i = 0; i < all; ++i) ordered[(self_ + i) % all] = std::move(blobs[i]);
  return ordered;
}

}  // namespace gossamer
