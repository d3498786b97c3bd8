// Survivors that may know of different losses agree on whom they go on without.
//
// Each meets at the door of the lowest rank that it does not take for lost, and says whom it leaves
// out; who knows of fewer learns of more there (src/rendezvous.h), so that their lists only grow,
// and grow alike. That a link broke is no proof of a death: the other end may have given up because
// of a third. So a rank is left out only when nobody listens at its door any more, or when it was
// waited for and did not come. As nobody may know that a rank is dead, a meeting that waits for it
// is broken off now and then, to look.

#include <fmt/format.h>

#include <algorithm>

#include "src/communicator_impl.h"
#include "src/messages.h"

namespace gossamer {
namespace {

constexpr std::chrono::milliseconds kBetweenMeetings{20};
constexpr std::chrono::milliseconds kKnockTime{2'000};
constexpr std::chrono::milliseconds kFirstPatience{500};  // doubled from meeting to meeting

bool contains(const std::vector<Rank>& ascending, Rank r) {
  return std::binary_search(ascending.begin(), ascending.end(), r);
}

void add(std::vector<Rank>* ascending, Rank r) {
  ascending->insert(std::upper_bound(ascending->begin(), ascending->end(), r), r);
}

// Whether another meeting may go better.
bool is_worth_another(Code code) {
  switch (code) {
    case Code::kAgain:     // it came between two meetings
    case Code::kMismatch:  // its host is busy with another one
    case Code::kPeerLost:
    case Code::kAborted:
    case Code::kTimeout:
      return true;
    default:
      return false;
  }
}

}  // namespace

// Whether somebody listens at its door. One whose door is not known might.
bool Communicator::Impl::answers(Rank r, const std::atomic<bool>* cancelled) const {
  const Result<Door> door = door_of(r, "");
  return !door || knock(door->address, kKnockTime, cancelled);
}

Result<Communicator::Impl::ClosedUp> Communicator::Impl::close_up(std::span<const Rank> suspected,
                                                                  const ShrinkOptions& options) {
  if (Status checked = check_left_out(suspected, options); !checked) return checked;
  if (Status checked = check_left_out(options.lost_before, options); !checked) return checked;
  if (options.abort) abort();
  const std::chrono::milliseconds timeout =
      options.timeout.count() > 0 ? options.timeout : timeout_;
  Absence absence;
  absence.ranks = options.lost_before;
  std::sort(absence.ranks.begin(), absence.ranks.end());
  for (const Rank r : suspected) {
    if (!contains(absence.ranks, r) && !answers(r, options.cancelled)) add(&absence.ranks, r);
  }
  Deadline end(timeout);       // of those that are waited for
  Deadline last(2 * timeout);  // of meetings that end before they have begun
  std::chrono::milliseconds patience = kFirstPatience;
  for (;;) {
    if (absence.ranks.size() > kAbsentMax) {
      return Status::error(Code::kInvalidArgument,
                           fmt::format("{} ranks are lost, and close_up() can agree on {}; all "
                                       "name the same ones to shrink()",
                                       absence.ranks.size(), kAbsentMax));
    }
    const std::vector<Rank> known = absence.ranks;
    absence.met = false;
    absence.patience = std::clamp(end.remaining(), kFirstPatience, patience);
    patience *= 2;
    Result<std::unique_ptr<Impl>> made = without(known, "closing up", &absence, options);
    if (made) return ClosedUp{std::move(made).value(), known};
    const Status& why = made.status();
    const Rank suspect = why.rank();
    bool grown = absence.ranks != known;
    if (!grown && suspect >= 0 && suspect != rank && is_worth_another(why.code())) {
      const bool awaited = why.code() == Code::kTimeout && !absence.met && end.expired();
      if (awaited || !answers(suspect, options.cancelled)) {
        absence.ranks.insert(std::upper_bound(absence.ranks.begin(), absence.ranks.end(), suspect),
                             suspect);
        grown = true;
      }
    }
    if (!absence.ranks.empty() && absence.ranks.back() >= size) {
      return Status::error(Code::kMismatch, "another rank leaves out one that was never here");
    }
    if (contains(absence.ranks, rank)) {
      return Status::error(Code::kPeerLost,
                           fmt::format("the other ranks take rank {} for lost and go on without "
                                       "it; it can join a new group",
                                       rank),
                           rank);
    }
    if (grown) {
      end = Deadline(timeout);
      last = Deadline(2 * timeout);
      patience = kFirstPatience;
    } else if (!is_worth_another(why.code()) ||
               (why.code() == Code::kTimeout ? end : last).expired()) {
      return why;
    }
    if (gossamer::wait_for({}, Deadline(kBetweenMeetings), options.cancelled) == Waited::kAborted) {
      return Status::error(Code::kAborted, "closing up was cancelled");
    }
  }
}

// --- the public face -----------------------------------------------------------------------------

Result<Communicator::ClosedUp> Communicator::close_up(std::span<const Rank> suspected) {
  return close_up(suspected, ShrinkOptions());
}

Result<Communicator::ClosedUp> Communicator::close_up(std::span<const Rank> suspected,
                                                      const ShrinkOptions& options) {
  Result<Impl::ClosedUp> made = impl_->close_up(suspected, options);
  if (!made) return made.status();
  return ClosedUp{std::unique_ptr<Communicator>(new Communicator(std::move(made->impl))),
                  std::move(made->lost)};
}

}  // namespace gossamer
