// One member's part of the membership protocol, without sockets, clocks and threads: it is told the
// time and what arrived, and says what to send and when it wants to be called again. The same code
// runs over UDP (membership.h) and, thousands at once, in simulated time (tests/member_world.h).
//
//   Source     A. Das, I. Gupta, A. Motivala, "SWIM", DSN 2002; A. Dadgar, J. Phillips, J. Currey,
//              "Lifeguard", DSN workshops 2018
//   Probing    One member per interval, in shuffled order: ping; without an ack within the timeout,
//              ping requests through some others; without an ack by the end of the interval the
//              member is suspect. It is dead when it does not object in time (suspicion.h).
//   Rumours    ride on all of these messages. Accounts of a member are ordered (MemberState), and
//              taking the highest is all there is to merging them: order, loss and repetition of
//              datagrams do not matter.
//   Syncing    Now and then all is compared with one member, and once in a while with a dead one,
//              which heals what rumours missed, and partitions. A remote account of a death counts
//              only as a suspicion then: the other side of a partition holds all of ours for dead.
//   Order      Of calls: receive() for all that has arrived, then tick(), when next_tick() has
//              come; take_datagrams() and take_events() after any call.
//   Threads    one thread per object. Nothing blocks.
//   Limits     what is kept grows with the members known, at most timing.members_max, and what one
//              datagram adds is bounded by its size.

#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "gossip/membership/datagram.h"
#include "gossip/membership/local_health.h"
#include "gossip/membership/roster.h"
#include "gossip/membership/rumours.h"
#include "gossip/membership/seal.h"
#include "gossip/membership/suspicion.h"

namespace gossamer::swim {

class Protocol {
 public:
  struct Config {
    MembershipTiming timing;
    Key key{};
    uint64_t session = 0;
    MemberId id = 0;  // random, not 0
    uint64_t seed = 1;
    Endpoint address;      // where this member receives
    std::string metadata;  // at most kMetadataBytesMax
  };
  struct Datagram {
    Endpoint to;
    std::vector<std::byte> bytes;
  };
  struct Counters {
    uint64_t sent = 0;
    uint64_t received = 0;
    uint64_t refused_tags = 0;       // another key or session, altered, or noise
    uint64_t refused_malformed = 0;  // rightly tagged, and yet not ours: another version
    uint64_t refused_replays = 0;    // come before
    uint64_t refused_strays = 0;     // for another member, or an earlier start of this one
    uint64_t refused_members = 0;    // beyond members_max
  };

  Protocol(Config config, Instant now);
  Protocol(const Protocol&) = delete;
  Protocol& operator=(const Protocol&) = delete;

  void receive(Instant now, const Endpoint& from, std::span<const std::byte> datagram);
  void tick(Instant now);
  Instant next_tick() const;

  // Joins the group of whoever receives at `member`; tries until joined() or another join().
  void join(Instant now, const Endpoint& member);
  bool joined() const { return joined_; }
  void stop_joining() { join_.reset(); }

  // Tells the others, again and again until stop or left() says that enough of them know.
  void leave(Instant now);
  bool left() const;

  void set_progress(Instant now, uint64_t counter);
  void set_metadata(Instant now, std::string metadata);  // at most kMetadataBytesMax

  std::vector<Datagram> take_datagrams() { return std::exchange(datagrams_, {}); }
  std::vector<MemberEvent> take_events() { return std::exchange(events_, {}); }

  std::vector<Member> members() const;  // alive or suspect, this one included, by id
  Member self() const { return public_account(roster_.self()); }
  const Roster& roster() const { return roster_; }
  const Counters& counters() const { return counters_; }
  int local_health() const { return health_.level(); }

 private:
  struct Probe {
    MemberId target = 0;
    uint32_t sequence = 0;
    Instant direct_until{};
    bool asked = false;  // others to probe it too
    bool answered = false;
    std::vector<MemberId> helpers;
    std::vector<MemberId> nacks;
  };
  struct Suspicion {
    Instant started;
    Duration least;
    Duration most;
    int wanted;
    std::vector<MemberId> accusers;
    Instant ends() const {
      return started +
             suspicion_timeout(static_cast<int>(accusers.size()) - 1, wanted, least, most);
    }
  };
  struct Relay {  // a ping on behalf of another
    uint32_t sequence;
    MemberId asker;
    Endpoint asker_address;
    uint32_t asker_sequence;
    Instant nack_at;
    Instant ends;
    bool nacked = false;
  };
  struct Join {
    Endpoint through;
    MemberId peer = 0;  // once it has answered
    Endpoint peer_address;
    Instant next;
    int unanswered = 0;
    int rounds = 0;
    bool alone = true;  // brings no group of its own along
  };
  struct Leave {
    uint32_t sequence;
    Instant next;
    std::vector<MemberId> heard;
    int unanswered = 0;  // rounds of goodbyes since somebody was heard for the first time
  };

  // protocol.cc
  void send(Message message, const Endpoint& to);
  void pack_rumours(DatagramWriter* writer);
  void dispatch(Instant now, const Message& m, const Endpoint& from);
  void answer_stray(const Message& m, const Endpoint& from);
  void continue_leave(Instant now);
  void hear_while_leaving(const Message& m, const Endpoint& from);
  void wake_late(Instant now, Duration late);
  void judge_progress(Instant now);
  Member public_account(const Roster::Entry& entry) const;
  void emit(MemberEventKind kind, const Roster::Entry& entry);

  // probing.cc
  void begin_probe(Instant now);
  void ask_others();
  void end_probe(Instant now);
  void on_ack(const Message& m);
  void on_nack(const Message& m);
  void on_ping_request(Instant now, const Message& m, const Endpoint& from);
  void on_gone(Instant now, const Message& m, const Endpoint& from);
  void tick_relays(Instant now);

  // merging.cc
  void apply(Instant now, const Update& update, const Message& from);
  void apply_to_self(Instant now, const Update& update);
  void introduce(Instant now, const Update& update, Kind how, bool spread);
  void hear_alive(Instant now, const Update& update, const Roster::Entry& old, bool spread);
  void hear_suspect(Instant now, const Update& update, const Roster::Entry& old);
  void hear_end(Instant now, const Update& update, const Roster::Entry& old);
  void suspect(Instant now, MemberId id);
  void tick_suspicions(Instant now);
  void raise_incarnation(Instant now, Roster::Entry self, uint32_t above);
  Update rumour_of(const Roster::Entry& entry) const;

  // syncing.cc
  void sync_with(MemberId id, const Endpoint& address);
  void on_sync(const Message& m, const Endpoint& from);
  void on_sync_reply(Instant now, const Message& m, const Endpoint& from);
  void send_differences(const Message& m, const Endpoint& to);
  void tick_sync(Instant now);
  void tick_join(Instant now);
  Instant next_sync_after(Instant now);

  const Config config_;
  const MembershipTiming& timing_;
  Seal seal_;
  ReplayGuard replays_;
  Roster roster_;
  Rumours rumours_;
  LocalHealth health_;
  std::unordered_map<MemberId, Suspicion> suspicions_;
  std::optional<Probe> probe_;
  Instant next_probe_;
  std::vector<Relay> relays_;
  Instant next_sync_;
  std::optional<Join> join_;
  bool joined_ = false;
  std::optional<Leave> leave_;
  uint64_t counter_ = 0;        // of datagrams sent
  uint32_t next_sequence_ = 1;  // of probes
  uint32_t ends_heard_ = 0;     // below it, that we were taken for dead is known

  uint64_t progress_ = 0;
  Instant progressed_;         // when it last moved
  Instant others_progressed_;  // when, as far as heard of, another member's last moved
  Instant now_;                // of the call in progress

  Counters counters_;
  std::vector<Datagram> datagrams_;
  std::vector<MemberEvent> events_;
};

}  // namespace gossamer::swim
