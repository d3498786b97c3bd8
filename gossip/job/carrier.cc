#include "gossip/job/carrier.h"

#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <algorithm>
#include <system_error>

#include "src/process.h"
#include "src/system_text.h"

namespace gossamer::job {
namespace {

using std::chrono::milliseconds;

constexpr uint32_t kPurposeJob = 0x700;
constexpr milliseconds kFirstPause{20};
constexpr milliseconds kLongestPause{1'000};
constexpr milliseconds kStrangerPatience{10'000};
constexpr size_t kStrangersMax = 64;

Handshake handshake_of(const Carrier::Config& config, Handshake::Role role) {
  return {config.key, role, config.session, 0, kPurposeJob};
}

}  // namespace

Status Carrier::open() {
  wake_ = Fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (wake_.is_open()) return Status::ok();
  return Status::error(Code::kSystem,
                       fmt::format("averaging job: eventfd: {}", system_text(errno)));
}

Status Carrier::start(const Membership* membership) {
  membership_ = membership;
  keep_from_children(listening_.get());
  keep_from_children(wake_.get());
  try {
    thread_ = std::thread([this] { run(); });
  } catch (const std::system_error& error) {
    return Status::error(Code::kSystem,
                         fmt::format("averaging job: cannot start its thread: {}; raise `ulimit "
                                     "-u` or the container's pids limit",
                                     error.what()));
  }
  return Status::ok();
}

void Carrier::stop() {
  if (!thread_.joinable()) return;
  {
    const std::lock_guard lock(core_.m);
    core_.stopping = true;
  }
  wake();
  thread_.join();
  out_.clear();
  in_.clear();
  unknown_.clear();
  listening_.reset();
}

void Carrier::wake() const {
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = ::write(wake_.get(), &one, sizeof(one));
}

void Carrier::note(MemberId id, bool left) {
  if (left) {
    const std::lock_guard lock(left_m_);
    left_.insert(id);
  }
  members_changed_ = true;
  wake();
}

bool Carrier::stopping() {
  const std::lock_guard lock(core_.m);
  return core_.stopping;
}

void Carrier::run() {
  while (!stopping()) {
    next_ = Clock::time_point::max();
    if (members_changed_.exchange(false) || !departing_.empty()) follow_members();
    give_out();
    step_all();
    wait();
  }
}

// Hands packets and answers to links.
void Carrier::give_out() {
  std::vector<Errand> errands;
  std::vector<Reply> replies;
  {
    const std::lock_guard lock(core_.m);
    for (const auto& [id, peer] : core_.peers) {
      auto packet = core_.ledger.under_way(id);
      if (packet != nullptr) {
        errands.push_back({id, peer.address, std::move(packet), core_.leaving});
      }
      if (core_.asked == id) errands.push_back({id, peer.address, nullptr, false});
    }
    replies.swap(core_.replies);
  }
  // Where the link is gone, the peer will send the packet again and be answered again.
  for (const Reply& reply : replies) {
    const auto at = in_.find(reply.to);
    if (at != in_.end()) at->second->send(reply.head);
  }
  for (const Errand& errand : errands) run_errand(errand);
}

void Carrier::run_errand(const Errand& errand) {
  Outbound& out = out_[errand.to];
  if ((out.link == nullptr || out.link->closed()) && !connect(&out, errand)) return;
  if (errand.packet == nullptr) {
    if (!out.wanted) out.link->send({.kind = Kind::kWant});
    out.wanted = true;
    return;
  }
  const Packet& packet = *errand.packet;
  if (out.lane != packet.lane || out.sequence != packet.sequence) {
    out.lane = packet.lane;
    out.sequence = packet.sequence;
    out.hurried = false;
    push(&out, errand.packet);
  }
  if (errand.hurry && !out.hurried) {
    out.link->send({.kind = Kind::kHurry});
    out.hurried = true;
  }
}

void Carrier::push(Outbound* out, const std::shared_ptr<const Packet>& shared) const {
  const Packet& packet = *shared;
  Head head;
  head.kind = Kind::kPush;
  head.wide = packet.wide;
  head.lane = packet.lane;
  head.sequence = packet.sequence;
  head.steps = packet.steps;
  head.weight = packet.weight;
  head.count = config_.shape.count;
  out->link->send(head, shared);
}

bool Carrier::connect(Outbound* out, const Errand& errand) {
  const auto now = Clock::now();
  if (now < out->retry) {
    until(out->retry);
    return false;
  }
  out->pause = std::clamp(out->pause * 2, kFirstPause, kLongestPause);
  out->retry = now + out->pause;
  out->lane = 0;
  out->sequence = 0;
  out->wanted = false;
  out->link = Link::connect(errand.address, handshake_of(config_, Handshake::Role::kConnector),
                            config_.shape);
  Head head;
  head.kind = Kind::kOpen;
  head.member = core_.self;
  head.count = config_.shape.count;
  head.type = config_.shape.type;
  out->link->send(head);
  if (out->link->closed()) until(out->retry);
  return !out->link->closed();
}

void Carrier::step_all() {
  accept_all();
  step_unknown();
  for (auto& [id, link] : in_) step_inbound(id, link.get());
  std::erase_if(in_, [](const auto& entry) { return entry.second->closed(); });
  for (auto& [id, out] : out_) step_outbound(id, &out);
}

void Carrier::accept_all() {
  if (Clock::now() < accept_again_) {
    until(accept_again_);
    return;
  }
  for (;;) {
    Fd fd(::accept4(listening_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (!fd.is_open()) {
      const bool broken =
          errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR && errno != ECONNABORTED;
      if (!broken) return;
      accept_again_ = Clock::now() + milliseconds(100);  // no descriptor left, most likely
      until(accept_again_);
      return;
    }
    if (unknown_.size() >= kStrangersMax) unknown_.erase(unknown_.begin());
    unknown_.push_back(
        {std::make_unique<Link>(std::move(fd), handshake_of(config_, Handshake::Role::kAcceptor),
                                config_.shape),
         Clock::now() + kStrangerPatience});
  }
}

void Carrier::wait() {
  {
    const std::lock_guard lock(core_.m);
    // What the links have made to be done comes first.
    if (core_.stopping || !core_.replies.empty()) return;
  }
  std::vector<pollfd> polls{{wake_.get(), POLLIN, 0}};
  if (Clock::now() >= accept_again_) polls.push_back({listening_.get(), POLLIN, 0});
  const auto add = [&polls](const Link& link) {
    if (const pollfd p = link.to_poll(); p.fd >= 0) polls.push_back(p);
  };
  for (const Unknown& unknown : unknown_) add(*unknown.link);
  // A packet that waits for room is not polled for: the step that makes room wakes us.
  for (const auto& [id, link] : in_) add(*link);
  for (const auto& [id, out] : out_) {
    if (out.link != nullptr) add(*out.link);
  }
  int timeout_ms = -1;
  if (next_ != Clock::time_point::max()) {
    const auto left = std::chrono::ceil<milliseconds>(next_ - Clock::now());
    timeout_ms = static_cast<int>(std::clamp<int64_t>(left.count(), 0, 60'000));
  }
  ::poll(polls.data(), static_cast<nfds_t>(polls.size()), timeout_ms);
  uint64_t count = 0;
  [[maybe_unused]] const ssize_t read = ::read(wake_.get(), &count, sizeof(count));
}

}  // namespace gossamer::job
