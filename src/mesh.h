// A group's bootstrap connections: rank r is linked to the ranks at distance 1, 2, 4, ... ahead and
// behind, which is what Bruck's all-gather needs.
//
//   Failure   the first one is final. A rank that fails tells all linked ranks why before it
//             closes, so that each learns who is at fault and not who was next to it.
//   Blocking  form() and all_gather(), until their deadline or *aborted.
//   Threads   one thread per object.

#pragma once

#include <atomic>
#include <list>
#include <memory>
#include <string>
#include <vector>

#include "src/channel.h"
#include "src/fd.h"
#include "src/meeting.h"

namespace gossamer {

class Mesh {
 public:
  Mesh(Rank rank, Rank size, const std::atomic<bool>* aborted);

  // Connects to those ahead, accepts those behind.
  Status form(Met met, const Deadline& deadline);
  Result<std::vector<std::string>> all_gather(const std::string& blob, const Deadline& deadline);

 private:
  Rank ahead_rank(int round) const;
  Rank behind_rank(int round) const;
  uint64_t blobs_in(int round) const;  // how many blobs travel in this round
  size_t body_bytes_max(int round) const;

  bool formed() const;
  Rank lowest_missing() const;
  Status step_all();
  Status step_forming();
  Status wait(const Deadline& deadline, const std::string& doing);
  void accept_all(const Met& met);
  void admit(std::unique_ptr<Channel> channel);
  Status check_failure(Channel* channel) const;
  Status fail(Status why);
  Status exchange(int round, std::vector<std::string>* blobs, const Deadline& deadline);

  Rank rank_;
  Rank size_;
  const std::atomic<bool>* aborted_;
  Fd listening_;  // open while forming
  std::vector<std::unique_ptr<Channel>> ahead_;
  std::vector<std::unique_ptr<Channel>> behind_;
  std::list<std::unique_ptr<Channel>> unproven_;
  std::vector<pollfd> fds_;
  uint32_t sequence_ = 0;
  Status failure_;
};

}  // namespace gossamer
