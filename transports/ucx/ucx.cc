// ucx: what the rest of the library calls, and what has become of a peer.

#include <sys/epoll.h>

#include <algorithm>
#include <array>

#include "src/check.h"
#include "transports/list.h"
#include "transports/ucx/api.h"
#include "transports/ucx/ucx_transport.h"

namespace gossamer::ucx {

namespace {

// How long a broken endpoint, or what a peer that left still has on its way, may take to explain
// itself.
constexpr std::chrono::milliseconds kGrace{200};
constexpr int kProgressMax = 16;  // rounds of UCX in one poll

}  // namespace

Limits Ucx::limits() const noexcept {
  return {.message_bytes_max = uint64_t{1} << 40,
          .window = kWindow,
          .lanes = 1,
          .eager_bytes = kFragmentBytes,
          .spins = 50};
}

Pipe& Ucx::pipe_at(Rank peer, Lane lane) {
  const auto& link = links_[static_cast<size_t>(peer)];
  GOSSAMER_CHECK(link != nullptr && link->ready && lane < link->pipes.size());
  return *link->pipes[lane];
}

Code Ucx::fail(Fault* fault) {
  if (failure_.code == Code::kOk) failure_ = *fault;
  *fault = failure_;
  return fault->code;
}

void Ucx::on_broken(Link* link, const char* why) {
  if (abandoned_ || link->broken) return;
  link->broken = true;
  link->why = why;
  control_.look_soon();
}

Code Ucx::open(Rank peer, Fault* fault) noexcept {
  GOSSAMER_CHECK(peer >= 0 && peer < config_.size && peer != config_.rank);
  if (failure_.code != Code::kOk) {
    *fault = failure_;
    return fault->code;
  }
  Link& link = link_at(peer);
  if (link.ready) return Code::kOk;
  Code code = link.broken ? Code::kOk : control_.open(peer, fault);
  if (code == Code::kOk && link.endpoint == nullptr && !link.broken) code = connect(&link, fault);
  if (code == Code::kOk) code = await_connection(&link, fault);
  return code == Code::kOk || code == Code::kAgain ? code : fail(fault);
}

Traffic Ucx::traffic() const noexcept {
  Traffic all = traffic_;
  if (cache_ != nullptr) all.registrations += cache_->registrations();
  return all;
}

// A peer that opens its link may wait for ours before it does anything else.
Code Ucx::answer_hellos(Fault* fault) {
  Code code = Code::kOk;
  for (Link* const link : greeted_) {
    const bool opened = link->endpoint != nullptr || link->broken;
    if (code == Code::kOk && !opened) code = connect(link, fault);
  }
  greeted_.clear();
  return code;
}

void Ucx::activate(Pipe* pipe) {
  if (pipe->active) return;
  pipe->active = true;
  active_.push_back(pipe);
}

void Ucx::run_active() {
  running_.swap(active_);
  for (Pipe* const pipe : running_) {
    pipe->active = false;
    if (failure_.code != Code::kOk) continue;
    consume(pipe);
    issue(pipe);
    finish_sends(pipe, &completed_);
    tell_all(pipe);
    send_credit(pipe);
    drop_retired(pipe);
  }
  running_.clear();
}

Code Ucx::poll(std::vector<Token>* done, Fault* fault) noexcept {
  if (failure_.code != Code::kOk) {
    *fault = failure_;
    return fault->code;
  }
  if (!abandoned_) {
    for (ucp_worker* const worker : workers_) {
      // What is done is handed on at once: another round costs a system call over tcp.
      for (int i = 0; i < kProgressMax && ucp().ucp_worker_progress(worker) != 0; ++i) {
        if (!completed_.empty() || !active_.empty()) break;
      }
    }
    if (!active_.empty()) run_active();
    if (!greeted_.empty() && answer_hellos(fault) != Code::kOk) return fail(fault);
  }
  if (!completed_.empty()) {
    done->insert(done->end(), completed_.begin(), completed_.end());
    completed_.clear();
  }
  if (failure_.code != Code::kOk) {
    *fault = failure_;
    return fault->code;
  }
  if (!control_.due()) return Code::kOk;
  if (control_.check(fault) != Code::kOk) return fail(fault);
  if (abandoned_) return Code::kOk;
  for (const auto& link : links_) {
    if (link == nullptr) continue;
    if (judge(link.get(), fault) != Code::kOk) return fail(fault);
    for (const auto& pipe : link->pipes) announce_late(pipe.get(), false);
  }
  return Code::kOk;
}

// What follows from a broken endpoint, or from a goodbye.
Code Ucx::judge(Link* link, Fault* fault) {
  const bool left = control_.left(link->peer);
  if ((!link->broken && !left) || !link->needed()) {
    if (link->ready) link->suspect = false;
    return Code::kOk;
  }
  bool over = left && link->broken;
  for (const auto& pipe : link->pipes) {
    // Everything it sent has been taken, and it takes nothing more.
    over = over || (left && pipe->ended && pipe->needed() && pipe->next == pipe->end);
  }
  const auto now = Control::Clock::now();
  if (!link->suspect) {
    link->suspect = true;
    link->suspected = now;
  }
  if (over || now - link->suspected > kGrace) {
    return left ? control_.lost(link->peer,
                                "has left while messages to or from it were outstanding", fault)
                : control_.lost(link->peer, std::string("broke its UCX connection: ") + link->why,
                                fault);
  }
  control_.look_soon();
  return Code::kOk;
}

bool Ucx::arm() noexcept {
  if (failure_.code != Code::kOk || !active_.empty() || !completed_.empty() || !greeted_.empty()) {
    return false;
  }
  std::array<epoll_event, 16> events;
  const int count = ::epoll_wait(epoll_, events.data(), static_cast<int>(events.size()), 0);
  for (int i = 0; i < count; ++i) {
    if (events[static_cast<size_t>(i)].data.ptr == nullptr) control_.look_soon();
  }
  if (control_.urgent()) return false;
  if (abandoned_) return true;
  for (const auto& link : links_) {  // no tick of the clock wakes a sleeper
    if (link == nullptr) continue;
    for (const auto& pipe : link->pipes) announce_late(pipe.get(), true);
  }
  for (ucp_worker* const worker : workers_) {
    if (ucp().ucp_worker_arm(worker) != UCS_OK) return false;
  }
  return true;
}

void Ucx::notify(const Fault& fault) noexcept {
  control_.notify(fault);
}

void Ucx::abandon() noexcept {
  control_.stop();
  if (abandoned_) return;
  abandoned_ = true;
  if (in_flight()) close_endpoints(network_.get());
  for (const auto& link : links_) {
    if (link == nullptr) continue;
    for (const auto& pipe : link->pipes) {
      for (; !pipe->posted.empty(); pipe->posted.pop()) release(&pipe->posted.front());
      pipe->outgoing.clear();
      pipe->issuing = 0;
    }
  }
  active_.clear();
  completed_.clear();
}

}  // namespace gossamer::ucx

namespace gossamer {

const TransportFactory ucx_transport{
    "ucx", [](const TransportConfig& config) { return ucx::create(config, {}); }};

}  // namespace gossamer
