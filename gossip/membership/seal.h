// What makes a datagram one of this group's, sent now and to this member.
//
//   Tag        the first 16 bytes of HMAC-SHA256 under a key derived from the group's key and
//              session. A forger gets one guess per datagram, each right once in 2^128; nothing can
//              be tried without a member that answers, so that half of the hash is enough (RFC 2104
//              advises no less than half) and saves as much as another member's update.
//   Replay     Every datagram names its receiver, whose id is drawn anew by each start: what was
//              recorded in an earlier session, or on its way to another member, is addressed to
//              nobody here. Within a session the sender's counter shows what came before: a window
//              of 64 for datagrams that overtake each other. Windows of senders that are gone
//              are kept, the last kRememberedMax of them.
//   Threads    one thread per object.

#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <span>
#include <unordered_map>
#include <vector>

#include "gossip/membership/member.h"
#include "src/auth.h"

namespace gossamer::swim {

class Seal {
 public:
  Seal(const Key& key, uint64_t session);
  void close(std::vector<std::byte>* datagram) const;  // appends the tag
  // The bytes before the tag; empty when the tag is not theirs or there are too few or too many.
  std::span<const std::byte> open(std::span<const std::byte> datagram) const;

 private:
  Key key_;
};

class ReplayGuard {
 public:
  static constexpr size_t kRememberedMax = 65'536;

  // True once for each counter of a sender, false also for one that is older than its window.
  // `is_member` says whose window must be kept when there are too many.
  bool is_new(MemberId from, uint64_t counter, const std::function<bool(MemberId)>& is_member);
  size_t size() const { return windows_.size(); }

 private:
  struct Window {
    uint64_t highest = 0;
    uint64_t seen = 0;  // bit i: highest - i has come
  };
  std::unordered_map<MemberId, Window> windows_;
  std::deque<MemberId> oldest_;
};

}  // namespace gossamer::swim
