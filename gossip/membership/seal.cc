#include "gossip/membership/seal.h"

#include <cstring>

#include "gossip/membership/datagram.h"

namespace gossamer::swim {

Seal::Seal(const Key& key, uint64_t session) {
  constexpr std::string_view kPurpose = "gossamer membership datagrams 1";
  WireWriter message;
  message.text(kPurpose);
  message.u64(session);
  key_ = hmac_sha256(key, message.data());
}

void Seal::close(std::vector<std::byte>* datagram) const {
  const Key digest = hmac_sha256(key_, *datagram);
  datagram->insert(datagram->end(), digest.begin(), digest.begin() + kTagBytes);
}

std::span<const std::byte> Seal::open(std::span<const std::byte> datagram) const {
  if (datagram.size() < kHeaderBytes + kTagBytes || datagram.size() > kDatagramBytesMax) return {};
  const std::span<const std::byte> content = datagram.first(datagram.size() - kTagBytes);
  const Key digest = hmac_sha256(key_, content);
  return same_proof(std::span(digest).first(kTagBytes), datagram.last(kTagBytes))
             ? content
             : std::span<const std::byte>{};
}

bool ReplayGuard::is_new(MemberId from, uint64_t counter,
                         const std::function<bool(MemberId)>& is_member) {
  constexpr uint64_t kWindow = 64;
  const auto [at, is_first] = windows_.try_emplace(from);
  Window& window = at->second;
  if (is_first) {
    oldest_.push_back(from);
    window = {counter, 1};
    // Members' windows go back to the end of the line, each at most once per call.
    for (size_t tries = oldest_.size(); windows_.size() > kRememberedMax && tries > 0; --tries) {
      const MemberId id = oldest_.front();
      oldest_.pop_front();
      if (id == from || is_member(id)) {
        oldest_.push_back(id);
      } else {
        windows_.erase(id);
      }
    }
    return true;
  }
  if (counter > window.highest) {
    const uint64_t ahead = counter - window.highest;
    window.seen = ahead < kWindow ? window.seen << ahead : 0;
    window.seen |= 1;
    window.highest = counter;
    return true;
  }
  const uint64_t behind = window.highest - counter;
  if (behind >= kWindow || (window.seen >> behind & 1) != 0) return false;
  window.seen |= uint64_t{1} << behind;
  return true;
}

}  // namespace gossamer::swim
