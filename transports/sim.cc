#include "transports/sim.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>

#include "src/check.h"
#include "transports/list.h"
#include "transports/mismatch.h"

namespace gossamer {

namespace {

uint64_t channel_key(Rank peer, Lane lane) {
  return static_cast<uint64_t>(peer) * 256 + lane;
}

uint64_t port_ns(uint64_t bytes, double ns_per_byte) {
  return static_cast<uint64_t>(std::llround(static_cast<double>(bytes) * ns_per_byte));
}

}  // namespace

SimNetwork::SimNetwork(Options options)
    : options_(std::move(options)),
      random_(options_.seed),
      nodes_(static_cast<size_t>(options_.size)) {}

std::shared_ptr<SimNetwork> SimNetwork::create(Options options) {
  return std::shared_ptr<SimNetwork>(new SimNetwork(std::move(options)));
}

void SimNetwork::wake(Rank rank) {
  Node& n = node(rank);
  if (n.ready) return;
  n.ready = true;
  ready_.push_back(rank);
}

std::vector<Rank> SimNetwork::take_ready() {
  for (const Rank rank : ready_) node(rank).ready = false;
  return std::exchange(ready_, {});
}

void SimNetwork::schedule(uint64_t time_ns, What what, Rank from, Rank to, uint64_t detail) {
  events_.push({time_ns, next_sequence_++, what, from, to, detail});
}

bool SimNetwork::is_cut(Rank a, Rank b) const {
  const auto low = static_cast<uint64_t>(std::min(a, b));
  return !cuts_.empty() && cuts_.contains(low << 32 | static_cast<uint64_t>(std::max(a, b)));
}

void SimNetwork::cut(Rank a, Rank b) {
  const auto low = static_cast<uint64_t>(std::min(a, b));
  cuts_.insert(low << 32 | static_cast<uint64_t>(std::max(a, b)));
}

// Plans the journey of a message that is now the last of `channel`.
void SimNetwork::launch(Rank from, Rank to, Lane lane, Channel* channel, uint64_t bytes, bool eager,
                        Token token) {
  const Link l = link(from, to);
  const uint64_t occupied = port_ns(bytes, l.ns_per_byte);
  Node& sender = node(from);
  Node& receiver = node(to);
  const uint64_t start = std::max(now_ns_, sender.transmit_free_ns);
  sender.transmit_free_ns = start + occupied;
  uint64_t latency = l.latency_ns;
  if (options_.jitter_ns > 0) latency += random_() % (options_.jitter_ns + 1);
  const uint64_t reach = std::max(start + latency, receiver.receive_free_ns);
  // A lane keeps its order, whatever the jitter.
  const uint64_t arrival = std::max(reach + occupied, channel->last_ns);
  receiver.receive_free_ns = reach + occupied;
  channel->last_ns = arrival;
  ++counters_.messages;
  counters_.bytes += bytes;
  if (eager) schedule(sender.transmit_free_ns, What::kSent, from, to, token);
  schedule(arrival, What::kArrival, from, to, lane);
}

bool SimNetwork::advance() {
  if (events_.empty()) return false;
  const Event event = events_.top();
  events_.pop();
  now_ns_ = std::max(now_ns_, event.time_ns);
  ++counters_.events;
  Node& to = node(event.to);
  switch (event.what) {
    case What::kSent:
      node(event.from).completed.push_back(static_cast<Token>(event.detail));
      wake(event.from);
      return true;
    case What::kArrival: {
      if (is_cut(event.from, event.to)) return true;  // it stays in flight for ever
      const uint64_t key = channel_key(event.from, static_cast<Lane>(event.detail));
      Channel& channel = to.inbox[key];
      // A sender that abandoned has taken its letters back.
      if (channel.arrived == channel.letters.size()) return true;
      ++channel.arrived;
      to.arrivals.push_back(key);
      break;
    }
    case What::kCrashed:
      to.crashed.insert(event.from);
      [[fallthrough]];
    case What::kLeft:
      if (is_cut(event.from, event.to)) return true;
      to.lost.insert(event.from);
      break;
    case What::kNotice:
      if (is_cut(event.from, event.to)) return true;
      if (to.notice.code == Code::kOk) to.notice = notices_[event.detail];
      break;
  }
  wake(event.to);
  return true;
}

void SimNetwork::leave(Rank rank, What how) {
  Node& n = node(rank);
  if (n.gone) return;
  n.gone = true;
  for (const Rank peer : n.opened_by) {
    uint64_t time_ns = now_ns_ + link(rank, peer).latency_ns;
    // What it has sent before arrives before.
    for (Lane lane = 0; lane < options_.lanes; ++lane) {
      const auto found = node(peer).inbox.find(channel_key(rank, lane));
      if (found != node(peer).inbox.end()) time_ns = std::max(time_ns, found->second.last_ns);
    }
    schedule(time_ns, how, rank, peer, 0);
  }
}

void SimNetwork::crash(Rank rank) {
  leave(rank, What::kCrashed);
}

class SimTransport final : public Transport {
 public:
  SimTransport(std::shared_ptr<SimNetwork> network, Rank rank)
      : network_(std::move(network)), rank_(rank) {}
  ~SimTransport() override {
    abandon();
    network_->leave(rank_, SimNetwork::What::kLeft);
  }

  const char* name() const noexcept override { return "sim"; }
  std::string address() const override { return "sim:" + std::to_string(rank_); }
  Status start(std::vector<std::string> addresses) override {
    if (addresses.size() == network_->nodes_.size()) return Status::ok();
    return Status::error(Code::kInvalidArgument, "sim needs one address per rank");
  }
  Limits limits() const noexcept override {
    return {UINT64_MAX, network_->options_.window, network_->options_.lanes};
  }
  Status pin(std::span<std::byte>) override { return Status::ok(); }
  int wait_fd() const noexcept override { return -1; }
  bool arm() noexcept override { return false; }  // virtual time has no sleep

  Code open(Rank peer, Fault* fault) noexcept override;
  Code send(Rank peer, Lane lane, const Message& message, Token token,
            Fault* fault) noexcept override;
  Code recv(Rank peer, Lane lane, const Sink& sink, Token token, Fault* fault) noexcept override;
  Code poll(std::vector<Token>* done, Fault* fault) noexcept override;
  void notify(const Fault& fault) noexcept override;
  void abandon() noexcept override;

 private:
  SimNetwork::Node& self() { return network_->node(rank_); }
  Code lost(Rank peer, Fault* fault);
  Code deliver(Rank peer, Lane lane, SimNetwork::Channel* channel, const Sink& sink, Fault* fault);
  Code check_lost(Fault* fault);

  const std::shared_ptr<SimNetwork> network_;
  const Rank rank_;
  std::vector<Rank> opened_;
};

std::unique_ptr<Transport> SimNetwork::attach(Rank rank) {
  GOSSAMER_CHECK(rank >= 0 && rank < options_.size && !node(rank).attached);
  node(rank).attached = true;
  return std::make_unique<SimTransport>(shared_from_this(), rank);
}

Code SimTransport::lost(Rank peer, Fault* fault) {
  fault->set(
      Code::kPeerLost, peer,
      self().crashed.contains(peer) ? "rank %d died (simulated)" : "rank %d has left (simulated)",
      peer);
  return fault->code;
}

Code SimTransport::open(Rank peer, Fault* fault) noexcept {
  GOSSAMER_CHECK(peer >= 0 && peer < network_->options_.size && peer != rank_);
  if (std::find(opened_.begin(), opened_.end(), peer) != opened_.end()) return Code::kOk;
  if (network_->node(peer).gone) return lost(peer, fault);
  opened_.push_back(peer);
  network_->node(peer).opened_by.push_back(rank_);
  return Code::kOk;
}

Code SimTransport::send(Rank peer, Lane lane, const Message& message, Token token,
                        Fault* fault) noexcept {
  GOSSAMER_CHECK(lane < network_->options_.lanes);
  if (self().gone) return Code::kPending;  // crashed: nothing it does has effect any more
  if (self().lost.contains(peer)) return lost(peer, fault);
  SimNetwork::Channel& channel = network_->node(peer).inbox[channel_key(rank_, lane)];
  if (channel.letters.size() >= network_->options_.window) return Code::kAgain;
  const bool eager = message.bytes <= network_->options_.eager_bytes;
  SimNetwork::Letter& letter = channel.letters.emplace_back();
  letter.message = message;
  letter.token = token;
  letter.eager = eager;
  if (eager) {
    letter.copy.assign(message.data, message.data + message.bytes);
  } else {
    ++self().outstanding[peer];
  }
  network_->launch(rank_, peer, lane, &channel, message.bytes, eager, token);
  return Code::kPending;
}

Code SimTransport::deliver(Rank peer, Lane lane, SimNetwork::Channel* channel, const Sink& sink,
                           Fault* fault) {
  const SimNetwork::Letter& letter = channel->letters.front();
  if (mismatched(rank_, peer, lane, letter.message.bytes, letter.message.fingerprint, sink,
                 fault)) {
    return fault->code;
  }
  const std::byte* data = letter.eager ? letter.copy.data() : letter.message.data;
  if (sink.bytes > 0) {
    if (sink.combine != nullptr) {
      sink.combine(sink, 0, data, sink.bytes);
    } else {
      std::memcpy(sink.target, data, sink.bytes);
    }
  }
  if (!letter.eager) {
    SimNetwork::Node& sender = network_->node(peer);
    sender.completed.push_back(letter.token);
    --sender.outstanding[rank_];
    network_->wake(peer);
  }
  // A sender that found the window full polls again when it is not.
  if (channel->letters.size() >= network_->options_.window) network_->wake(peer);
  channel->letters.pop_front();
  --channel->arrived;
  return Code::kOk;
}

Code SimTransport::recv(Rank peer, Lane lane, const Sink& sink, Token token,
                        Fault* fault) noexcept {
  GOSSAMER_CHECK(lane < network_->options_.lanes);
  if (self().gone) return Code::kPending;
  SimNetwork::Channel& channel = self().inbox[channel_key(peer, lane)];
  if (channel.posted.size() >= network_->options_.window) return Code::kAgain;
  if (channel.posted.empty()) {
    if (channel.arrived > 0) return deliver(peer, lane, &channel, sink, fault);
    if (self().lost.contains(peer)) return lost(peer, fault);
  }
  channel.posted.push_back({sink, token});
  return Code::kPending;
}

Code SimTransport::check_lost(Fault* fault) {
  for (const Rank peer : self().crashed) return lost(peer, fault);
  for (const Rank peer : self().lost) {
    if (self().outstanding[peer] > 0) return lost(peer, fault);
    for (Lane lane = 0; lane < network_->options_.lanes; ++lane) {
      const auto found = self().inbox.find(channel_key(peer, lane));
      if (found != self().inbox.end() && !found->second.posted.empty()) return lost(peer, fault);
    }
  }
  return Code::kOk;
}

Code SimTransport::poll(std::vector<Token>* done, Fault* fault) noexcept {
  SimNetwork::Node& me = self();
  if (me.gone) return Code::kOk;
  if (network_->options_.self_driven && me.arrivals.empty() && me.completed.empty()) {
    (void)network_->advance();
  }
  done->insert(done->end(), me.completed.begin(), me.completed.end());
  me.completed.clear();
  if (me.notice.code != Code::kOk) {
    *fault = me.notice;
    return fault->code;
  }
  for (const uint64_t key : std::exchange(me.arrivals, {})) {
    SimNetwork::Channel& channel = me.inbox[key];
    while (channel.arrived > 0 && !channel.posted.empty()) {
      const Code code = deliver(static_cast<Rank>(key / 256), static_cast<Lane>(key % 256),
                                &channel, channel.posted.front().sink, fault);
      if (code != Code::kOk) return code;
      done->push_back(channel.posted.front().token);
      channel.posted.pop_front();
    }
  }
  return me.lost.empty() ? Code::kOk : check_lost(fault);
}

void SimTransport::notify(const Fault& fault) noexcept {
  if (self().gone) return;
  network_->notices_.push_back(fault);
  for (const Rank peer : opened_) {
    network_->schedule(network_->now_ns_ + network_->link(rank_, peer).latency_ns,
                       SimNetwork::What::kNotice, rank_, peer, network_->notices_.size() - 1);
  }
}

void SimTransport::abandon() noexcept {
  for (auto& [key, channel] : self().inbox) channel.posted.clear();
  self().completed.clear();
  for (const Rank peer : opened_) {
    if (self().outstanding[peer] == 0) continue;
    self().outstanding[peer] = 0;
    for (Lane lane = 0; lane < network_->options_.lanes; ++lane) {
      SimNetwork::Channel& channel = network_->node(peer).inbox[channel_key(rank_, lane)];
      // Order allows to deliver only what was sent before the first letter taken back.
      const auto first = std::find_if(channel.letters.begin(), channel.letters.end(),
                                      [](const SimNetwork::Letter& l) { return !l.eager; });
      channel.letters.erase(first, channel.letters.end());
      channel.arrived = std::min(channel.arrived, channel.letters.size());
    }
  }
}

namespace {

// Transports made by name find their network by the session of their group.
Result<std::unique_ptr<Transport>> create(const TransportConfig& config) {
  static std::map<uint64_t, std::weak_ptr<SimNetwork>> networks;
  std::erase_if(networks, [](const auto& entry) { return entry.second.expired(); });
  std::shared_ptr<SimNetwork> network = networks[config.session].lock();
  if (network == nullptr) {
    SimNetwork::Options options;
    options.size = config.size;
    options.seed = config.seed;
    options.self_driven = true;
    network = SimNetwork::create(std::move(options));
    networks[config.session] = network;
  }
  return network->attach(config.rank);
}

}  // namespace

const TransportFactory sim_transport{"sim", create};

}  // namespace gossamer
