// Which transport carries which link, and opening them.
//
// Unless one is asked for, a link takes shm inside a host; between hosts verbs where both ends have
// a device that is up, else tcp. Every rank finds the same, because every rank sees the same hosts
// and addresses. (ucx is never chosen by itself: where it is faster than tcp, verbs is at hand.)

#include <fmt/format.h>
#include <sys/epoll.h>

#include <algorithm>
#include <cerrno>
#include <set>

#include "src/exchange.h"
#include "src/peer_card.h"
#include "src/system_text.h"

namespace gossamer {
namespace {

// What of a transport's limits every rank must take alike, because schedules depend on it.
struct Shared {
  int64_t lanes = UINT8_MAX;
  int64_t eager_bytes = INT64_MAX;

  std::string encode() const { return fmt::format("{} {}", lanes, eager_bytes); }
  Status take_least(const std::string& text, Rank from) {
    const size_t space = text.find(' ');
    const std::string what = fmt::format("a limit of rank {}", from);
    Result<int64_t> their_lanes = parse_int(text.substr(0, space), 1, UINT8_MAX, what);
    if (!their_lanes) return their_lanes.status();
    Result<int64_t> their_eager = parse_int(
        space == std::string::npos ? std::string() : text.substr(space + 1), 0, INT64_MAX, what);
    if (!their_eager) return their_eager.status();
    lanes = std::min(lanes, *their_lanes);
    eager_bytes = std::min(eager_bytes, *their_eager);
    return Status::ok();
  }
};

}  // namespace

// One transport with the addresses that all ranks gave for it.
struct Communicator::Impl::Opened {
  std::string name;
  std::unique_ptr<Transport> transport;  // null: this rank cannot use it
  std::vector<std::string> addresses;    // empty ones: that rank cannot

  bool joins(Rank a, Rank b) const {
    return !addresses[static_cast<size_t>(a)].empty() && !addresses[static_cast<size_t>(b)].empty();
  }
};

// Makes a transport and tells its address to all. One that is `optional` may be unavailable.
Result<Communicator::Impl::Opened> Communicator::Impl::make_transport(
    const std::string& transport_name, bool optional, const TransportConfig& config,
    Exchange* exchange) const {
  Opened opened;
  opened.name = transport_name;
  Result<std::unique_ptr<Transport>> made = find_transport(transport_name)->create(config);
  if (made) {
    opened.transport = std::move(made).value();
  } else if (!optional || made.status().code() != Code::kUnavailable) {
    return made.status();
  } else {
    log_line(LogLevel::kInfo, identity_,
             fmt::format("not using {}: {}", transport_name, made.status().message()));
  }
  Result<std::vector<std::string>> addresses =
      exchange->all_gather(opened.transport ? opened.transport->address() : std::string());
  if (!addresses) return addresses.status();
  opened.addresses = std::move(addresses).value();
  return opened;
}

// Those that the links between these ranks need, in order of preference.
Result<std::vector<Communicator::Impl::Opened>> Communicator::Impl::choose_transports(
    const std::string& wanted, const std::vector<Peer>& peers, const TransportConfig& config,
    Exchange* exchange) const {
  std::vector<Opened> chosen;
  if (size == 1) return chosen;
  std::set<std::string> hosts;
  for (const Peer& peer : peers) hosts.insert(peer.host);
  const auto add = [&](const std::string& transport_name, bool optional) {
    Result<Opened> opened = make_transport(transport_name, optional, config, exchange);
    if (!opened) return opened.status();
    chosen.push_back(std::move(opened).value());
    return Status::ok();
  };
  if (wanted != "auto") {
    Status status = add(wanted, false);
    if (!status) return status;
    return chosen;
  }
  if (hosts.size() < peers.size()) {
    Status status = add("shm", false);
    if (!status) return status;
  }
  if (hosts.size() == 1) return chosen;
  Status status = add("verbs", true);
  if (!status) return status;
  bool some = false;  // of the links between hosts verbs can carry
  bool all = true;
  for (Rank a = 0; a < size; ++a) {
    for (Rank b = 0; b < a; ++b) {
      if (peers[static_cast<size_t>(a)].host == peers[static_cast<size_t>(b)].host) continue;
      const bool joined = chosen.back().joins(a, b);
      some = some || joined;
      all = all && joined;
    }
  }
  if (!some) chosen.pop_back();
  if (!all) status = add("tcp", false);
  if (!status) return status;
  return chosen;
}

Status Communicator::Impl::open_transports(const Options& options, const std::vector<Peer>& peers,
                                           const TransportConfig& config, Exchange* exchange) {
  Result<std::vector<Opened>> chosen =
      choose_transports(options.transport, peers, config, exchange);
  if (!chosen) return chosen.status();
  const auto watch = [this](int fd) {
    epoll_event event{};
    event.events = EPOLLIN;
    if (epoll_ctl(sleep_fd_, EPOLL_CTL_ADD, fd, &event) == 0) return Status::ok();
    return Status::error(Code::kSystem, "epoll_ctl: " + system_text(errno));
  };
  Status status = watch(wake_fd_);
  if (!status) return status;
  std::vector<Transport*> transport_of(static_cast<size_t>(size), nullptr);
  std::vector<Transport*> all;
  std::vector<std::string> names;
  Shared shared;
  const std::string& here = peers[static_cast<size_t>(rank)].host;
  for (Opened& opened : *chosen) {
    names.push_back(opened.name);
    if (opened.transport == nullptr) continue;
    status = opened.transport->start(opened.addresses);
    if (!status) return status;
    status = watch(opened.transport->wait_fd());
    if (!status) return status;
    const Limits limits = opened.transport->limits();
    shared.lanes = std::min<int64_t>(shared.lanes, limits.lanes);
    shared.eager_bytes =
        std::min(shared.eager_bytes,
                 static_cast<int64_t>(std::min<uint64_t>(limits.eager_bytes, INT64_MAX)));
    waiting_.spins = std::min(waiting_.spins, limits.spins);
    waiting_.awake = std::min(waiting_.awake, limits.awake);
    for (Rank r = 0; r < size; ++r) {
      Transport*& carrier = transport_of[static_cast<size_t>(r)];
      const bool far = peers[static_cast<size_t>(r)].host != here;
      const bool fits = opened.name != "shm" || !far || options.transport == "shm";
      if (r != rank && carrier == nullptr && fits && opened.joins(rank, r)) {
        carrier = opened.transport.get();
      }
    }
    all.push_back(opened.transport.get());
    transports_.push_back(std::move(opened.transport));
  }
  // One transport has the same limits on all ranks; of several, not every rank has each.
  if (names.size() > 1) {
    Result<std::vector<std::string>> limits = exchange->all_gather(shared.encode());
    if (!limits) return limits.status();
    for (Rank r = 0; r < size; ++r) {
      status = shared.take_least((*limits)[static_cast<size_t>(r)], r);
      if (!status) return status;
    }
  }
  lanes_ = size > 1 ? static_cast<uint8_t>(shared.lanes) : 1;
  eager_bytes_ = size > 1 ? static_cast<uint64_t>(shared.eager_bytes) : 0;
  transport_name_ = names.empty() ? "none" : fmt::format("{}", fmt::join(names, "+"));
  arrange(peers, names.empty() ? "shm" : names.front(), names.empty() ? "tcp" : names.back());
  engine_ = std::make_unique<Engine>(rank, std::move(transport_of), std::move(all));
  log_line(LogLevel::kInfo, identity_,
           fmt::format("joined: {} ranks, {} of them here, {} cores, transport {}", size,
                       std::count_if(peers.begin(), peers.end(),
                                     [&](const Peer& p) { return p.host == here; }),
                       machine_.cores_per_host, transport_name_));
  return Status::ok();
}

}  // namespace gossamer
