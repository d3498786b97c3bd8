#include "transports/tcp/tcp.h"

#include <sys/epoll.h>
#include <unistd.h>

#include <cerrno>

#include "src/check.h"
#include "src/system_text.h"
#include "transports/list.h"

namespace gossamer::tcp {

namespace {

// A lane is two connections, one for each direction: a send holds its socket's lock while it
// copies, and what arrives meanwhile must wait. 512 KiB each way at once, bare sockets on loopback:
// one connection 150 us, two 61-83 us. Between hosts a connection is served by one processor at
// each end, hence a second lane.
constexpr uint8_t kDirections = 2;
constexpr uint8_t kLanesOnOneHost = 1;
constexpr uint8_t kLanesBetweenHosts = 2;

}  // namespace

Tcp::Tcp(const TransportConfig& config)
    : config_(config),
      epoll_(::epoll_create1(EPOLL_CLOEXEC)),
      greeter_(config),
      reception_(config, greeter_),
      tile_(std::make_unique_for_overwrite<std::byte[]>(kFoldTileBytes)) {
  peers_.resize(static_cast<size_t>(config.size));
}

Status Tcp::listen() {
  if (epoll_ < 0) {
    return Status::error(Code::kSystem, "epoll_create1: " + system_text(errno));
  }
  return greeter_.listen(epoll_);
}

Tcp::~Tcp() {
  for (const Rank rank : linked_) {
    const int control = peers_[static_cast<size_t>(rank)]->control;
    send_record(control, goodbye_record());
    drain(control);
  }
  for (const Rank rank : linked_) ::close(peers_[static_cast<size_t>(rank)]->control);
  peers_.clear();
  if (epoll_ >= 0) ::close(epoll_);
}

std::string Tcp::address() const {
  return greeter_.address() + " " + host_identity();
}

Status Tcp::start(std::vector<std::string> addresses) {
  if (addresses.size() != static_cast<size_t>(config_.size)) {
    return Status::error(Code::kInvalidArgument, "tcp needs one address per rank");
  }
  std::string host;
  lanes_ = kLanesOnOneHost;
  for (std::string& text : addresses) {
    if (text.empty()) continue;
    const size_t space = text.find(' ');
    const std::string identity = space == std::string::npos ? "" : text.substr(space + 1);
    text.resize(std::min(space, text.size()));
    if (host.empty()) host = identity;
    if (host != identity) lanes_ = kLanesBetweenHosts;  // every rank sees the same list
  }
  reception_.start(std::move(addresses));
  return Status::ok();
}

Tcp::Peer& Tcp::peer_at(Rank peer) {
  std::unique_ptr<Peer>& slot = peers_[static_cast<size_t>(peer)];
  if (slot == nullptr) {
    slot = std::make_unique<Peer>(config_.size);
    slot->flows.resize(kDirections * size_t{lanes_});
  }
  return *slot;
}

// The connection that carries what `from` sends on the lane.
Flow& Tcp::flow_at(Rank peer, Lane lane, Rank from) {
  GOSSAMER_CHECK(lane < lanes_ && peers_[static_cast<size_t>(peer)] != nullptr &&
                 peers_[static_cast<size_t>(peer)]->ready);
  const size_t direction = from == std::min(peer, config_.rank) ? 0 : 1;
  return *peers_[static_cast<size_t>(peer)]->flows[kDirections * size_t{lane} + direction];
}

Code Tcp::fail(Fault* fault) {
  failure_ = *fault;
  return fault->code;
}

// Starts the connections of a link.
Code Tcp::connect(Rank rank, Peer* peer, Fault* fault) {
  if (peer->connecting) return Code::kOk;
  peer->connecting = true;
  for (size_t i = 0; i < peer->flows.size(); ++i) {
    const Code code = reception_.connect(rank, static_cast<uint8_t>(i), fault);
    if (code != Code::kOk) return code;
  }
  return reception_.connect(rank, kControlLane, fault);
}

// Asks a lower rank that has not connected for long to do so, once.
Code Tcp::knock(Rank rank, Peer* peer, Fault* fault) {
  if (peer->knocked || peer->control >= 0 || Clock::now() - peer->opened < kKnockAfter) {
    return Code::kOk;
  }
  peer->knocked = true;
  return reception_.connect(rank, kKnockLane, fault);
}

Code Tcp::open(Rank rank, Fault* fault) noexcept {
  GOSSAMER_CHECK(rank >= 0 && rank < config_.size && rank != config_.rank);
  if (failure_.code != Code::kOk) {
    *fault = failure_;
    return fault->code;
  }
  Peer& peer = peer_at(rank);
  if (peer.ready) return Code::kOk;
  if (!peer.requested) {
    peer.requested = true;
    peer.opened = Clock::now();
    ++opening_;
    if (config_.rank < rank && connect(rank, &peer, fault) != Code::kOk) return fail(fault);
  }
  if (config_.rank > rank && knock(rank, &peer, fault) != Code::kOk) return fail(fault);
  if (Clock::now() - peer.opened > config_.timeout) {
    (void)reception_.late(rank, fault);
    return fail(fault);
  }
  return Code::kAgain;
}

void Tcp::list(Flow* flow) {
  if (flow->wants_read() && !flow->listed_read) {
    flow->listed_read = true;
    reading_.push_back(flow);
  }
  if (flow->wants_write() && !flow->listed_write) {
    flow->listed_write = true;
    writing_.push_back(flow);
  }
}

Traffic Tcp::traffic() const noexcept {
  Traffic sum;
  for (const std::unique_ptr<Peer>& peer : peers_) {
    if (peer == nullptr) continue;
    for (const std::unique_ptr<Flow>& flow : peer->flows) {
      if (flow != nullptr) sum += flow->traffic;
    }
  }
  return sum;
}

Code Tcp::send(Rank peer, Lane lane, const Message& message, Token token, Fault* fault) noexcept {
  if (failure_.code != Code::kOk) {
    *fault = failure_;
    return fault->code;
  }
  Flow& flow = flow_at(peer, lane, config_.rank);
  const Code code = flow.send(message, token);
  if (flow.broken()) urgent_ = true;
  if (code == Code::kPending) list(&flow);
  return code;
}

Code Tcp::recv(Rank peer, Lane lane, const Sink& sink, Token token, Fault* fault) noexcept {
  if (failure_.code != Code::kOk) {
    *fault = failure_;
    return fault->code;
  }
  Flow& flow = flow_at(peer, lane, peer);
  const Code code = flow.recv(sink, token, tile_, fault);
  if (flow.broken()) urgent_ = true;
  if (code == Code::kPending) {
    list(&flow);
  } else if (code != Code::kOk && code != Code::kAgain) {
    return fail(fault);
  }
  return code;
}

Code Tcp::peek(Rank peer, Lane lane, Fingerprint* arrived) noexcept {
  const auto& link = peers_[static_cast<size_t>(peer)];
  const bool there = link != nullptr && link->ready && flow_at(peer, lane, peer).peek(arrived);
  return there ? Code::kOk : Code::kAgain;
}

void Tcp::abandon() noexcept {
  greeter_.stop();
  for (const auto& peer : peers_) {
    if (peer == nullptr) continue;
    for (const auto& flow : peer->flows) {
      if (flow != nullptr) flow->abandon();
    }
  }
}

Result<std::unique_ptr<Transport>> create(const TransportConfig& config) {
  auto tcp = std::make_unique<Tcp>(config);
  const Status listening = tcp->listen();
  if (!listening) return listening;
  return std::unique_ptr<Transport>(std::move(tcp));
}

}  // namespace gossamer::tcp

namespace gossamer {

const TransportFactory tcp_transport{"tcp", tcp::create};

}  // namespace gossamer
