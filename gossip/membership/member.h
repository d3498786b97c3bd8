// A member of a group without a centre as the others see it, and what can happen to it.
//
// Threads    plain values.

#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "src/net.h"

namespace gossamer {

// Drawn at random by every start of a member and never 0: a process that starts again at the same
// address is another member.
using MemberId = uint64_t;

// What is known of a member at one incarnation. Of two accounts of the same incarnation the later
// in this list holds; of two incarnations the higher. Only the member itself raises its own.
enum class MemberState : uint8_t { kAlive = 0, kSuspect = 1, kDead = 2, kLeft = 3 };
std::string_view name_of(MemberState state);

// Where a member receives datagrams: an address and a port in 19 bytes, without an IPv6 scope,
// which is a number of one host's own.
struct Endpoint {
  uint8_t family = 0;  // 4, 6, or 0: none
  std::array<uint8_t, 16> host{};
  uint16_t port = 0;

  static Endpoint of(const SocketAddress& address);
  SocketAddress socket_address() const;
  std::string to_string() const;
  friend bool operator==(const Endpoint&, const Endpoint&) = default;
};

// Of the application's own, carried to every member; more is refused.
inline constexpr size_t kMetadataBytesMax = 128;

struct Member {
  MemberId id = 0;
  std::string address;  // "10.0.0.1:4711"; empty where only its end was heard of
  std::string metadata;
  MemberState state = MemberState::kAlive;
  bool stuck = false;
  uint32_t incarnation = 0;
  uint64_t progress = 0;  // its counter, as last heard from itself
};

enum class MemberEventKind : uint8_t {
  kJoined,     // a member not heard of before
  kSuspected,  // somebody could not reach it; it has some time to object
  kRefuted,    // it has objected, and is alive
  kDied,       // it did not object in time, or its address is another process's now
  kLeft,       // it said so
  kReturned,   // it was taken for dead and is not; of oneself: the others took us for dead
  kStuck,      // alive, but its counter stands still while others' move
  kMoving,     // no longer stuck
  kUpdated,    // its metadata changed
};
std::string_view name_of(MemberEventKind kind);

struct MemberEvent {
  MemberEventKind kind;
  Member member;  // as it was right after the event
};

// How a group is kept. All members of one group should use the same values.
struct MembershipTiming {
  using Duration = std::chrono::microseconds;

  Duration probe_interval = std::chrono::milliseconds(1'000);  // one member is probed in each
  // For a direct answer; below probe_interval, whose rest is for the indirect ones.
  Duration probe_timeout = std::chrono::milliseconds(300);
  int indirect_probes = 3;       // members asked to probe whom we could not reach
  double retransmit_factor = 4;  // a rumour leaves each member ceil(factor * log10(n + 1)) times
  double suspicion_factor = 4;   // at least max(4, factor * log10(n)) intervals of suspicion
  int confirmations = 3;         // independent suspicions that bring it down to that
  double suspicion_spread = 6;   // without any: so many times as long
  Duration sync_interval = std::chrono::seconds(10);  // between comparing all with one member
  // How long the dead are remembered. A partition that lasts longer needs a join() to heal.
  Duration tombstone = std::chrono::hours(1);
  // How long a counter may stand still while others' move; longer than one step of the
  // application. 0: nobody is ever stuck.
  Duration progress_limit = std::chrono::seconds(30);
  size_t members_max = 65'536;  // members beyond that are not let in
  // False: plain SWIM, without local health, confirmations, nacks and telling suspects first.
  bool lifeguard = true;
};

}  // namespace gossamer
