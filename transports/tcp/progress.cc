// Tcp's side of time: polling, sleeping, and finding out what has become of a peer.

#include <poll.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <array>

#include "src/check.h"
#include "src/log.h"
#include "transports/tcp/tcp.h"

namespace gossamer::tcp {

namespace {

// With this many flows waiting or fewer, poll() is cheaper than epoll_wait(), which has to keep its
// list of ready sockets.
constexpr size_t kPolledFlowsMax = 4;
constexpr int kEventsMax = 64;

}  // namespace

// Takes a proven connection into its link.
Code Tcp::admit(const Welcome& welcome, Fault* fault) {
  Peer& peer = peer_at(welcome.peer);
  if (welcome.lane == kKnockLane) {
    ::close(welcome.socket);
    return config_.rank < welcome.peer ? connect(welcome.peer, &peer, fault) : Code::kOk;
  }
  const bool control = welcome.lane == kControlLane;
  const bool taken = control
                         ? peer.control >= 0
                         : welcome.lane >= peer.flows.size() || peer.flows[welcome.lane] != nullptr;
  if (taken) {
    log_line(LogLevel::kWarn, {config_.rank, config_.size, {}},
             "refused a second connection from rank " + std::to_string(welcome.peer));
    ::close(welcome.socket);
    return Code::kOk;
  }
  epoll_event event{};
  event.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
  if (control) {
    guard_against_silence(welcome.socket);
    peer.control = welcome.socket;
    linked_.push_back(welcome.peer);
    event.events = EPOLLIN | EPOLLRDHUP | EPOLLET;
  } else {
    peer.flows[welcome.lane] =
        std::make_unique<Flow>(welcome.socket, config_.rank, welcome.peer, welcome.lane);
    event.data.ptr = peer.flows[welcome.lane].get();
  }
  (void)::epoll_ctl(epoll_, EPOLL_CTL_ADD, welcome.socket, &event);
  if (peer.control < 0) return Code::kOk;
  for (const auto& flow : peer.flows) {
    if (flow == nullptr) return Code::kOk;
  }
  peer.ready = true;
  if (peer.requested) --opening_;
  return Code::kOk;
}

// Fetches what epoll has seen; control connections and the greeter have null data.
void Tcp::collect_events() {
  std::array<epoll_event, kEventsMax> events;
  int count = kEventsMax;
  while (count == kEventsMax) {
    count = ::epoll_wait(epoll_, events.data(), kEventsMax, 0);
    for (int i = 0; i < count; ++i) {
      auto* const flow = static_cast<Flow*>(events[static_cast<size_t>(i)].data.ptr);
      if (flow == nullptr) {
        urgent_ = true;
        continue;
      }
      const uint32_t what = events[static_cast<size_t>(i)].events;
      if ((what & ~static_cast<uint32_t>(EPOLLOUT)) != 0) flow->readable = true;
      if ((what & ~static_cast<uint32_t>(EPOLLIN)) != 0) flow->writable = true;
    }
  }
}

bool Tcp::arm() noexcept {
  if (failure_.code != Code::kOk) return false;
  collect_events();
  if (urgent_) return false;
  for (const Flow* flow : reading_) {
    if (flow->wants_read() && flow->readable && !flow->broken()) return false;
  }
  for (const Flow* flow : writing_) {
    if (flow->wants_write() && flow->writable && !flow->broken()) return false;
  }
  return true;
}

// Asks which flows are ready. Trying them would do, but a fruitless recv() holds the socket's lock,
// and what arrives meanwhile has to wait for it.
void Tcp::poll_few() {
  std::array<pollfd, kPolledFlowsMax> asked;
  std::array<Flow*, kPolledFlowsMax> flows;
  nfds_t count = 0;
  for (Flow* flow : reading_) {
    if (flow->readable || !flow->wants_read()) continue;
    asked[count] = {flow->socket(), POLLIN | POLLRDHUP, 0};
    flows[count++] = flow;
  }
  const nfds_t readers = count;
  for (Flow* flow : writing_) {
    if (flow->writable) continue;
    asked[count] = {flow->socket(), POLLOUT, 0};
    flows[count++] = flow;
  }
  if (count == 0 || ::poll(asked.data(), count, 0) <= 0) return;
  for (nfds_t i = 0; i < count; ++i) {
    if (asked[i].revents == 0) continue;
    (i < readers ? flows[i]->readable : flows[i]->writable) = true;
  }
}

Code Tcp::poll_flows(std::vector<Token>* done, Fault* fault) {
  if (reading_.size() + writing_.size() <= kPolledFlowsMax) {
    poll_few();
  } else {
    collect_events();
  }
  for (size_t i = 0; i < reading_.size();) {
    Flow* const flow = reading_[i];
    if (flow->readable && flow->wants_read()) {
      const Code code = flow->receive(tile_, done, fault);
      if (code != Code::kOk) return code;
      if (flow->broken()) urgent_ = true;
    }
    if (flow->wants_read()) {
      ++i;
      continue;
    }
    flow->listed_read = false;
    reading_[i] = reading_.back();
    reading_.pop_back();
  }
  for (size_t i = 0; i < writing_.size();) {
    Flow* const flow = writing_[i];
    if (flow->writable) flow->transmit(done);
    if (flow->broken()) urgent_ = true;
    if (flow->wants_write()) {
      ++i;
      continue;
    }
    flow->listed_write = false;
    writing_[i] = writing_.back();
    writing_.pop_back();
  }
  return Code::kOk;
}

// Whether it is time to look at the control connections: at every tick (1 to 10 ms).
bool Tcp::due() {
  if (urgent_ || opening_ > 0 || greeter_.busy()) return true;
  return tick_.passed();
}

Code Tcp::poll(std::vector<Token>* done, Fault* fault) noexcept {
  if (failure_.code != Code::kOk) {
    *fault = failure_;
    return fault->code;
  }
  if (poll_flows(done, fault) != Code::kOk) return fail(fault);
  if (due() && check_control(fault) != Code::kOk) return fail(fault);
  return Code::kOk;
}

Code Tcp::check_control(Fault* fault) {
  urgent_ = false;
  const auto admitting = [this](const Welcome& welcome, Fault* why) { return admit(welcome, why); };
  const auto reading = [this](Rank rank, Fault* why) {
    return read_control(rank, peers_[static_cast<size_t>(rank)].get(), why);
  };
  if (reception_.hear(linked_, admitting, reading, fault) != Code::kOk) return fault->code;
  for (const Rank rank : linked_) {
    const Code code = judge(rank, peers_[static_cast<size_t>(rank)].get(), fault);
    if (code != Code::kOk) return code;
  }
  const Code code = reception_.judge(fault);
  if (code != Code::kAgain) return code;
  urgent_ = true;
  return Code::kOk;
}

Code Tcp::read_control(Rank rank, Peer* peer, Fault* fault) {
  if (peer->said_goodbye) return Code::kOk;
  std::array<std::byte, 1024> buffer;
  for (;;) {
    const char* ended = nullptr;
    std::span<const std::byte> bytes = receive(peer->control, buffer, &ended);
    if (ended != nullptr) return reception_.lost(rank, ended, fault);
    if (bytes.empty()) return Code::kOk;
    while (!bytes.empty()) {
      switch (peer->parser.next(&bytes, fault)) {
        case RecordParser::Found::kNothing:
          break;
        case RecordParser::Found::kNotice:
          return fault->code;
        case RecordParser::Found::kGoodbye:
          peer->said_goodbye = true;
          for (const auto& flow : peer->flows) {
            if (flow != nullptr) flow->readable = true;  // its end may have been seen already
          }
          return Code::kOk;
        case RecordParser::Found::kMove:
        case RecordParser::Found::kGarbage:
          return senseless(rank, fault);
      }
    }
  }
}

// What follows from a broken flow, or from a goodbye.
Code Tcp::judge(Rank rank, Peer* peer, Fault* fault) {
  bool wanted_and_broken = false;
  for (const auto& flow : peer->flows) {
    if (flow != nullptr && flow->broken() && (flow->wants_read() || flow->wants_write())) {
      wanted_and_broken = true;
    }
  }
  if (!wanted_and_broken) return Code::kOk;
  if (peer->said_goodbye) {
    return reception_.lost(rank, "has left while messages to or from it were outstanding", fault);
  }
  const auto now = Clock::now();
  if (!peer->suspect) {
    peer->suspect = true;
    peer->suspected = now;
  }
  if (now - peer->suspected > kGrace) {
    return reception_.lost(rank, "broke a data connection", fault);
  }
  urgent_ = true;  // look again at the next poll
  return Code::kOk;
}

void Tcp::notify(const Fault& fault) noexcept {
  const Record record = notice_record(fault);
  for (const Rank rank : linked_) send_record(peers_[static_cast<size_t>(rank)]->control, record);
  const auto is_linked = [this](Rank rank) {
    const auto& peer = peers_[static_cast<size_t>(rank)];
    return peer != nullptr && peer->control >= 0;
  };
  reception_.leave_word(is_linked, record);
}

}  // namespace gossamer::tcp
