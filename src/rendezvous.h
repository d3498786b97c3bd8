// The meeting point's server: collects a report from every rank, then answers all of them.
//
//   Agreement  every rank must claim the same size, and no two the same rank; else all are told
//              what disagrees (kMismatch). A rank that leaves after its report: kPeerLost for all.
//   Absence    where a group closes up, ranks may know of different ones that are lost: who knows
//              of fewer than the first is told of the others, and comes again; who knows of more
//              ends the meeting, and all are told.
//   Deadline   the earliest one among those who reported; then all are told who is missing.
//   Strangers  whoever does not pass the handshake within kHandshakeTime is refused and logged.
//              One poll loop serves all, so a silent stranger delays nobody.
//   Blocking   run(), until the group is served, the deadline is over, or `stop` is readable.
//   Threads    run() belongs to one thread; `stop` may be written from any.

#pragma once

#include <chrono>
#include <list>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "src/auth.h"
#include "src/channel.h"
#include "src/fd.h"
#include "src/messages.h"

namespace gossamer {

struct RendezvousConfig {
  Key key{};
  uint64_t handshake_session = 0;  // expected in every Hello
  uint64_t group_session = 0;      // told to the ranks
  std::chrono::milliseconds timeout{120'000};
  // How long a failed group's late ranks are still told why.
  std::chrono::milliseconds linger{1'000};
};

class RendezvousServer {
 public:
  static constexpr std::chrono::milliseconds kHandshakeTime{3'000};

  // `stop`: an fd that becomes readable when the server shall end at once; owned by the caller.
  RendezvousServer(Fd listening, int stop, const RendezvousConfig& config);
  void run();

 private:
  struct Member {
    std::unique_ptr<Channel> channel;
    Deadline report_by;
    std::optional<Report> report;
    bool told = false;
    bool gone = false;
  };
  enum class Phase { kCollecting, kWelcoming, kRefusing };

  bool finished() const;
  Deadline next_deadline() const;
  void accept_all();
  void step(Member* member);
  void on_report(Member* member, const Report& report);
  void refuse(Member* member, const std::string& why);
  void turn_away(Member* member);
  void welcome_all();
  bool agrees_on_absence(Member* member, const Report& report);
  void tell_absence(Member* member);
  void fail(Status why);
  void tell_failure(Member* member);
  Status missing_ranks() const;

  Fd listening_;
  int stop_;
  RendezvousConfig config_;
  Deadline deadline_;
  Phase phase_ = Phase::kCollecting;
  Status failure_;
  std::list<Member> members_;
  std::vector<Member*> by_rank_;  // sized by the first report
  std::vector<Rank> absent_;      // by the first report
  Rank reported_ = 0;
  Rank expected_ = 0;  // how many a failure is told to
  Rank told_count_ = 0;
  std::set<Rank> told_ranks_;
  uint64_t refusals_ = 0;
  std::string last_refusal_;
  bool pause_accepting_ = false;
};

}  // namespace gossamer
