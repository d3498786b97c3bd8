// Which transport carries which link, and opening them.
//
// Unless one is asked for, a link takes shm inside a host; between hosts verbs where both ends have
// a device that is up, else tcp. Every rank finds the same, because every rank sees the same hosts
// and addresses. (ucx is never chosen by itself: where it is faster than tcp, verbs is at hand.)

#include <fmt/format.h>
#include <sys/epoll.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cmath>
#include <set>

#include "src/exchange.h"
#include "src/peer_card.h"
#include "src/system_text.h"
#include "topology/machine.h"

namespace gossamer {
namespace {

// What of a transport's limits every rank must take alike, because schedules and the choice between
// them depend on it. Whole numbers, so that all ranks read the same.
struct Shared {
  int64_t lanes = UINT8_MAX;
  int64_t eager_bytes = INT64_MAX;
  int64_t bytes_per_ms = INT64_MAX;  // of a link; the greatest number: not known
  int64_t message_ns = 0;            // 0: not known
  int64_t byte_fs = 0;               // femtoseconds; 0: not known
  int64_t fold_byte_fs = 0;

  void take(const Limits& limits) {
    const auto eager = static_cast<int64_t>(std::min<uint64_t>(limits.eager_bytes, INT64_MAX));
    lanes = std::min<int64_t>(lanes, limits.lanes);
    eager_bytes = std::min(eager_bytes, eager);
    if (limits.bytes_per_us > 0) {
      bytes_per_ms = std::min<int64_t>(bytes_per_ms, std::llround(limits.bytes_per_us * 1e3));
    }
    message_ns = std::max<int64_t>(message_ns, std::llround(limits.message_us * 1e3));
    byte_fs = std::max<int64_t>(byte_fs, std::llround(limits.byte_us * 1e9));
    fold_byte_fs = std::max<int64_t>(fold_byte_fs, std::llround(limits.fold_byte_us * 1e9));
  }

  std::string encode() const {
    return fmt::format("{} {} {} {} {} {}", lanes, eager_bytes, bytes_per_ms, message_ns, byte_fs,
                       fold_byte_fs);
  }
  Status take(const std::string& text, Rank from) {
    const std::string what = fmt::format("a limit of rank {}", from);
    std::array<int64_t, 6> theirs{};
    size_t at = 0;
    for (int64_t& number : theirs) {
      const size_t space = std::min(text.find(' ', at), text.size());
      Result<int64_t> read = parse_int(text.substr(at, space - at), 0, INT64_MAX, what);
      if (!read) return read.status();
      number = *read;
      at = std::min(space + 1, text.size());
    }
    if (theirs[0] < 1 || theirs[2] < 1) {
      return Status::error(Code::kMismatch, what + " makes no sense; is it the same version?",
                           from);
    }
    lanes = std::min(lanes, theirs[0]);
    eager_bytes = std::min(eager_bytes, theirs[1]);
    bytes_per_ms = std::min(bytes_per_ms, theirs[2]);
    message_ns = std::max(message_ns, theirs[3]);
    byte_fs = std::max(byte_fs, theirs[4]);
    fold_byte_fs = std::max(fold_byte_fs, theirs[5]);
    return Status::ok();
  }

  LinkSpeed speed() const {
    const bool known = bytes_per_ms != INT64_MAX;
    return {known ? static_cast<double>(bytes_per_ms) * 1e-3 : 0,
            static_cast<double>(message_ns) * 1e-3, static_cast<double>(byte_fs) * 1e-9,
            static_cast<double>(fold_byte_fs) * 1e-9};
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
  const bool no_verbs = wanted == kSharedAndTcp;
  if (wanted != "auto" && !no_verbs) {
    Status status = add(wanted, false);
    if (!status) return status;
    return chosen;
  }
  if (hosts.size() < peers.size()) {
    Status status = add("shm", false);
    if (!status) return status;
  }
  if (hosts.size() == 1) return chosen;
  if (no_verbs) {
    Status status = add("tcp", false);
    if (!status) return status;
    return chosen;
  }
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
  std::string inside;  // whose costs links inside a host have
  Shared shared;
  const std::string& here = peers[static_cast<size_t>(rank)].host;
  for (Opened& opened : *chosen) {
    names.push_back(opened.name);
    if (opened.transport == nullptr) continue;
    status = opened.transport->start(opened.addresses);
    if (!status) return status;
    status = watch(opened.transport->wait_fd());
    if (!status) return status;
    if (opened.name == chosen->front().name) inside = opened.transport->priced_as();
    const Limits limits = opened.transport->limits();
    shared.take(limits);
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
  // Devices differ from rank to rank, and of several transports not every rank has each. Memory
  // alone is the same for all.
  if (names.size() > 1 || (names.size() == 1 && names.front() != "shm")) {
    Result<std::vector<std::string>> limits = exchange->all_gather(shared.encode());
    if (!limits) return limits.status();
    for (Rank r = 0; r < size; ++r) {
      status = shared.take((*limits)[static_cast<size_t>(r)], r);
      if (!status) return status;
    }
  }
  lanes_ = size > 1 ? static_cast<uint8_t>(shared.lanes) : 1;
  eager_bytes_ = size > 1 ? static_cast<uint64_t>(shared.eager_bytes) : 0;
  transport_name_ = names.empty() ? "none" : fmt::format("{}", fmt::join(names, "+"));
  if (inside.empty()) inside = names.empty() ? "shm" : names.front();
  arrange(peers, inside, names.empty() ? "tcp" : names.back(), shared.speed());
  engine_ = std::make_unique<Engine>(rank, std::move(transport_of), std::move(all));
  log_line(LogLevel::kInfo, identity_,
           fmt::format("joined: {} ranks, {} of them here, {} cores, transport {}", size,
                       std::count_if(peers.begin(), peers.end(),
                                     [&](const Peer& p) { return p.host == here; }),
                       machine_.cores_per_host, transport_name_));
  return Status::ok();
}

}  // namespace gossamer
