// Verbs' side of time: completions, sleeping, and what devices report.

#include <sys/epoll.h>

#include <array>
#include <cerrno>

#include "src/log.h"
#include "src/system_text.h"
#include "transports/verbs/verbs.h"

namespace gossamer::verbs {

namespace {

constexpr int kBatch = 32;  // completions per look
constexpr int kEventsMax = 64;
constexpr std::chrono::milliseconds kProbeEvery{500};
// A port may go down and come back; requests under way are repeated for longer than that.
constexpr std::chrono::milliseconds kPortGrace{1000};
// What an epoll entry means: 0 a socket, 1 + 2d device d's channel, 2 + 2d its events.
constexpr uint64_t kSocket = 0;

}  // namespace

Status Verbs::watch(int fd, uint64_t what) {
  epoll_event event{};
  event.events = EPOLLIN | EPOLLRDHUP | EPOLLET;
  event.data.u64 = what;
  if (::epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event) == 0) return Status::ok();
  return Status::error(Code::kSystem, "epoll_ctl: " + system_text(errno));
}

void Verbs::collect_events() {
  std::array<epoll_event, kEventsMax> events;
  int count = kEventsMax;
  while (count == kEventsMax) {
    count = ::epoll_wait(epoll_, events.data(), kEventsMax, 0);
    for (int i = 0; i < count; ++i) {
      const uint64_t what = events[static_cast<size_t>(i)].data.u64;
      if (what == kSocket) {
        urgent_ = true;
        continue;
      }
      Device* const device = devices_.devices()[(what - 1) / 2].get();
      if (what % 2 == 1) {
        drain_channel(device);
      } else {
        read_async_events(device);
      }
    }
  }
}

// The channel's events only tell that there are completions, which are looked at in any case.
void Verbs::drain_channel(Device* device) {
  constexpr uint32_t kAcknowledgeEvery = 64;  // it takes a lock
  ibv_cq* cq = nullptr;
  void* context = nullptr;
  while (device->library->get_cq_event(device->channel, &cq, &context) == 0) {
    for (const auto& queue : device->queues) {
      if (queue->cq != cq || ++queue->unacknowledged < kAcknowledgeEvery) continue;
      device->library->ack_cq_events(cq, queue->unacknowledged);
      queue->unacknowledged = 0;
    }
  }
}

void Verbs::fail_device(const Device& device, const char* what) {
  for (Pair* pair : pairs_) {
    if (pair->port().device == &device) pair->break_off(what);
  }
}

void Verbs::take_async_event(Device* device, const ibv_async_event& event) {
  const char* const text = device->library->event_type_str(event.event_type);
  const auto port_of = [&](int number) -> Port* {
    for (Port& port : devices_.ports()) {
      if (port.device == device && port.number == number) return &port;
    }
    return nullptr;
  };
  switch (event.event_type) {
    case IBV_EVENT_PORT_ERR:
    case IBV_EVENT_PORT_ACTIVE:
      if (Port* const port = port_of(event.element.port_num); port != nullptr) {
        port->down = event.event_type == IBV_EVENT_PORT_ERR;
        port->down_since = Clock::now();
        ports_down_ = ports_down_ || port->down;
        log_line(LogLevel::kInfo, {config_.rank, config_.size, {}},
                 port->name() + (port->down ? " went down" : " is up again"));
      }
      break;
    case IBV_EVENT_QP_FATAL:
    case IBV_EVENT_QP_REQ_ERR:
    case IBV_EVENT_QP_ACCESS_ERR:
    case IBV_EVENT_PATH_MIG_ERR:
      for (Pair* pair : pairs_) {
        if (pair->owns(event.element.qp)) pair->break_off(text);
      }
      break;
    case IBV_EVENT_CQ_ERR:
    case IBV_EVENT_DEVICE_FATAL:
      fail_device(*device, text);
      break;
    default:
      break;
  }
}

void Verbs::read_async_events(Device* device) {
  ibv_async_event event{};
  while (device->library->get_async_event(device->context, &event) == 0) {
    take_async_event(device, event);
    device->library->ack_async_event(&event);
    urgent_ = true;
  }
}

// True if there were any.
bool Verbs::collect_completions() {
  bool any = false;
  std::array<ibv_wc, kBatch> completions;
  for (const auto& device : devices_.devices()) {
    for (const auto& queue : device->queues) {
      int count = kBatch;
      while (count == kBatch) {
        count = ibv_poll_cq(queue->cq, kBatch, completions.data());
        if (count < 0) {
          fail_device(*device, "its completion queue cannot be read");
          urgent_ = true;
        }
        for (int i = 0; i < count; ++i) {
          const ibv_wc& completion = completions[static_cast<size_t>(i)];
          Pair* const pair = pairs_[RequestId::unpack(completion.wr_id).pair];
          pair->completed(completion);
          if (pair->broken()) urgent_ = true;
          list(pair);
          any = true;
        }
      }
    }
  }
  return any;
}

Code Verbs::advance_pairs(std::vector<Token>* done, Fault* fault) {
  size_t kept = 0;
  for (Pair* pair : listed_) {
    const Code code = pair->advance(done, fault);
    if (code != Code::kOk) return code;
    if (pair->broken()) urgent_ = true;
    pair->listed = pair->postpones();
    if (pair->listed) listed_[kept++] = pair;
  }
  listed_.resize(kept);
  return Code::kOk;
}

// Whether it is time to look at the control connections: at every tick (1 to 10 ms).
bool Verbs::due() {
  if (urgent_ || opening_ > 0 || moving_ > 0 || greeter_.busy()) return true;
  return tick_.passed();
}

// A port that stays down is the end of what needs it.
Code Verbs::judge_ports(Fault* fault) {
  if (!ports_down_) return Code::kOk;
  ports_down_ = false;
  for (Pair* pair : pairs_) {
    const Port& port = pair->port();
    if (!port.down) continue;
    ports_down_ = true;
    const auto& peer = peers_[static_cast<size_t>(pair->peer())];
    if (may_move(pair->peer(), *peer, pair->lane())) {
      pair->break_off("the port went down");
      urgent_ = true;
      continue;
    }
    if (!pair->needs() || Clock::now() - port.down_since < kPortGrace) continue;
    fault->set(Code::kPeerLost, pair->peer(),
               "rank %d is out of reach: %s of rank %d is down (lane %u)", pair->peer(),
               port.name().c_str(), config_.rank, pair->lane());
    return fault->code;
  }
  return Code::kOk;
}

Code Verbs::poll(std::vector<Token>* done, Fault* fault) noexcept {
  if (failure_.code != Code::kOk) {
    *fault = failure_;
    return fault->code;
  }
  (void)collect_completions();
  if (abandoned_) return Code::kOk;
  if (!listed_.empty() && advance_pairs(done, fault) != Code::kOk) return fail(fault);
  if (!due()) return Code::kOk;
  for (const auto& device : devices_.devices()) read_async_events(device.get());
  if (check_control(fault) != Code::kOk) return fail(fault);
  if (judge_ports(fault) != Code::kOk) return fail(fault);
  for (Pair* pair : pairs_) pair->announce_late();
  if (const auto now = Clock::now(); now - probed_ > kProbeEvery) {
    probed_ = now;
    for (Pair* pair : pairs_) {
      if (peers_[static_cast<size_t>(pair->peer())]->ready) pair->probe();
    }
  }
  return Code::kOk;
}

bool Verbs::arm() noexcept {
  if (failure_.code != Code::kOk || urgent_ || moving_ > 0 || !listed_.empty()) return false;
  collect_events();
  if (urgent_) return false;
  bool sends = false;
  for (Pair* pair : pairs_) {
    pair->announce_late();
    sends = sends || pair->waits_for_sends();
  }
  for (const auto& device : devices_.devices()) {
    for (const auto& queue : device->queues) {
      if (ibv_req_notify_cq(queue->cq, sends ? 0 : 1) != 0) return false;
    }
  }
  // What came before that wakes nobody.
  return !collect_completions();
}

}  // namespace gossamer::verbs
