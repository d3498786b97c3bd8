// What an AveragingJob is made of.
//
//   Threads   see averaging_job.h. Of the locks core.m is never taken with events_m held.

#pragma once

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <string>

#include "gossamer/averaging_job.h"
#include "gossip/job/carrier.h"
#include "gossip/job/core.h"
#include "gossip/membership/membership.h"

namespace gossamer {

struct AveragingJob::Impl {
  ~Impl();

  // A member of its own, with all threads running.
  static Result<std::unique_ptr<Impl>> make(const Options& options);

  // The one at `address` and all it knows must do the same as we.
  Status check_others() const;
  // Asks one after the other for a first packet, beginning at `address`.
  Status fetch(const std::string& address, const Deadline& deadline);
  job::PeerId next_to_ask(const std::string& address, job::PeerId last) const;

  void keep(const MemberEvent& event);
  bool forked() const;

  Options options;
  pid_t owner = 0;

  std::mutex events_m;
  std::condition_variable events_changed;
  std::deque<Event> kept;  // guarded by events_m

  // The order of destruction: the membership calls the carrier.
  std::unique_ptr<job::Core> core;
  std::unique_ptr<job::Carrier> carrier;
  std::unique_ptr<Membership> membership;
};

}  // namespace gossamer
