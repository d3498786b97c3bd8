#include "src/member_exchange.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "src/bootstrap.h"
#include "src/messages.h"

namespace gossamer {
namespace {

// In front of the bytes: how many there are, and whether they say why a rank has failed.
struct Heading {
  uint64_t bytes = 0;
  uint64_t failed = 0;
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

// One step: `out` to one rank while what another one has arrives.
Status Communicator::Impl::MemberExchange::pass(Rank to, const std::vector<std::byte>& out,
                                                Rank from, std::vector<std::byte>* in) {
  const auto of = [](bool sends, Rank peer, const std::byte* data, uint64_t count) {
    Letter letter;
    letter.sends = sends;
    letter.peer = peer;
    letter.count = count;
    letter.data = const_cast<std::byte*>(data);
    return letter;
  };
  std::array<Letter, 2> letters = {of(true, to, out.data(), out.size()),
                                   of(false, from, in->data(), in->size())};
  return parent_->exchange(letters, cancelled_);
}

Result<std::vector<std::string>> Communicator::Impl::MemberExchange::gather(const std::string& blob,
                                                                            Status failure) {
  if (!failure_) return failure_;
  const size_t size = members_.size();
  failure_ = std::move(failure);
  std::vector<std::string> blobs{blob};  // [i]: of member self + i
  for (size_t distance = 1; distance < size; distance *= 2) {
    const size_t count = std::min(distance, size - distance);
    const Rank to = members_[(self_ + size - distance) % size];
    const Rank from = members_[(self_ + distance) % size];
    std::vector<std::byte> body =
        failure_ ? encode_blobs(std::span(blobs).first(count)) : encode_failure(failure_);
    const Heading mine{body.size(), failure_ ? 0U : 1U};
    std::vector<std::byte> heading(sizeof(Heading));
    std::vector<std::byte> arrived(sizeof(Heading));
    std::memcpy(heading.data(), &mine, sizeof(mine));
    Status passed = pass(to, heading, from, &arrived);
    Heading theirs;
    std::memcpy(&theirs, arrived.data(), sizeof(theirs));
    if (passed && theirs.bytes > count * (sizeof(uint32_t) + kBlobBytesMax)) {
      passed = Status::error(Code::kMismatch,
                             fmt::format("rank {} speaks another version of gossamer", from), from);
    }
    if (passed) {
      arrived.resize(theirs.bytes);
      passed = pass(to, body, from, &arrived);
    }
    if (!passed) return failure_ = passed;  // the communicator itself has failed
    if (!failure_) continue;
    if (theirs.failed != 0) {
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
  std::vector<std::string> ordered(size);
  for (size_t i = 0; i < size; ++i) ordered[(self_ + i) % size] = std::move(blobs[i]);
  return ordered;
}

}  // namespace gossamer
