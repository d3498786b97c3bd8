// Ranks of a communicator as members: who is which was told when they met, so that a death that is
// heard of before anything else is understood too.

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <mutex>
#include <thread>
#include <unordered_map>
#include <utility>

#include "gossip/membership/membership.h"
#include "src/watch.h"

namespace gossamer {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;

// Of the interval: the proportions of MembershipTiming's own values.
constexpr double kProbeTimeout = 0.3;
constexpr int kSyncIntervals = 10;

struct Card {
  MemberId id = 0;
  std::string address;

  std::string encode() const { return fmt::format("{:x} {}", id, address); }
  static Result<Card> decode(const std::string& text, Rank from) {
    Card card;
    const char* const end = text.data() + text.size();
    const auto [at, error] = std::from_chars(text.data(), end, card.id, 16);
    if (error != std::errc() || card.id == 0 || at == end || *at != ' ') {
      return Status::error(Code::kMismatch,
                           fmt::format("rank {} sent nothing that a membership can use", from),
                           from);
    }
    card.address = std::string(at + 1, end);
    return card;
  }
};

class RankWatch final : public Watch {
 public:
  static Result<std::unique_ptr<Watch>> start(const WatchConfig& config) {
    std::unique_ptr<RankWatch> made(new RankWatch(config));
    Membership::Options options;
    options.key = config.key;
    options.session = config.session;
    options.address = config.address;
    options.port_range = config.port_range;
    options.metadata = std::to_string(config.rank);
    options.progress = config.finished;
    options.timing.probe_interval = config.interval;
    options.timing.probe_timeout = microseconds(static_cast<int64_t>(
        kProbeTimeout * static_cast<double>(microseconds(config.interval).count())));
    options.timing.sync_interval = kSyncIntervals * config.interval;
    options.timing.progress_limit = config.stuck_after;
    options.on_event = [watch = made.get()](const MemberEvent& event) { watch->hear(event); };
    Result<std::unique_ptr<Membership>> member = Membership::start(options);
    if (!member) return member.status();
    made->member_ = std::move(member).value();
    return std::unique_ptr<Watch>(std::move(made));
  }
  // Who is gone, or leaves too, confirms nothing: no more than an attempt.
  ~RankWatch() override {
    if (member_) (void)member_->leave(kFarewell);
  }

  std::string card() const override { return Card{member_->id(), member_->address()}.encode(); }

  // By dissemination: with the rank 1, 2, 4, ... ahead in turn, each time all that both know.
  Status meet(std::span<const std::string> cards, Exchange* exchange,
              milliseconds timeout) override {
    const Deadline deadline(timeout);
    std::vector<Card> others;
    for (Rank r = 0; r < config_.size; ++r) {
      Result<Card> card = Card::decode(cards[static_cast<size_t>(r)], r);
      if (!card) return card.status();
      others.push_back(std::move(card).value());
    }
    {
      const std::lock_guard lock(m_);
      for (Rank r = 0; r < config_.size; ++r) ranks_[others[static_cast<size_t>(r)].id] = r;
    }
    for (Rank ahead = 1; ahead < config_.size; ahead *= 2) {
      const Rank peer = (config_.rank + ahead) % config_.size;
      const Status joined =
          member_->join(others[static_cast<size_t>(peer)].address, deadline.remaining());
      if (!joined) {
        return Status::error(joined.code(),
                             fmt::format("rank {}: {}; or do without: GOSSAMER_MEMBERSHIP=0", peer,
                                         joined.message()),
                             peer);
      }
      const Result<std::vector<std::string>> all = exchange->all_gather("");
      if (!all) return all.status();
    }
    // Datagrams that were lost are made up for by rumours.
    for (Rank missing = 0; (missing = first_missing()) >= 0;) {
      if (deadline.expired()) {
        return Status::error(
            Code::kTimeout,
            fmt::format("membership: nothing was heard of rank {} within {} ms; check that UDP "
                        "passes between all hosts, or do without: GOSSAMER_MEMBERSHIP=0",
                        missing, timeout.count()),
            missing);
      }
      std::this_thread::sleep_for(milliseconds(1));
    }
    return exchange->all_gather("").status();
  }

  std::vector<Rank> stuck() const override {
    std::vector<Rank> ranks;
    for (const Member& member : member_->members()) {
      const Rank rank = rank_of(member.id);
      if (member.stuck && rank >= 0) ranks.push_back(rank);
    }
    std::sort(ranks.begin(), ranks.end());
    return ranks;
  }

 private:
  explicit RankWatch(WatchConfig config) : config_(std::move(config)) {}

  Rank rank_of(MemberId id) const {
    const std::lock_guard lock(m_);
    const auto found = ranks_.find(id);
    return found == ranks_.end() ? -1 : found->second;
  }

  Rank first_missing() const {
    std::vector<bool> here(static_cast<size_t>(config_.size), false);
    for (const Member& member : member_->members()) {
      const Rank rank = rank_of(member.id);
      if (rank >= 0) here[static_cast<size_t>(rank)] = true;
    }
    const auto missing = std::find(here.begin(), here.end(), false);
    return missing == here.end() ? -1 : static_cast<Rank>(missing - here.begin());
  }

  // On the membership's thread.
  void hear(const MemberEvent& event) {
    const Rank rank = rank_of(event.member.id);
    if (rank < 0) return;
    switch (event.kind) {
      case MemberEventKind::kDied:
        return config_.on_event(rank, WatchEvent::kDead);
      case MemberEventKind::kReturned:
        // The others have gone on without this rank; that one of them returns helps nobody.
        if (rank == config_.rank) config_.on_event(rank, WatchEvent::kDead);
        return;
      case MemberEventKind::kStuck:
        return config_.on_event(rank, WatchEvent::kStuck);
      case MemberEventKind::kMoving:
        return config_.on_event(rank, WatchEvent::kMoving);
      default:
        return;
    }
  }

  const WatchConfig config_;
  mutable std::mutex m_;
  std::unordered_map<MemberId, Rank> ranks_;  // guarded by m_
  std::unique_ptr<Membership> member_;        // last: its thread calls hear()
};

}  // namespace

Result<std::unique_ptr<Watch>> start_watch(const WatchConfig& config) {
  return RankWatch::start(config);
}

}  // namespace gossamer
