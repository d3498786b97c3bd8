// Joining: meet, tell each other who is where, open transports, agree on the machine.

#include <fmt/format.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <numeric>
#include <set>

#include "src/bootstrap.h"
#include "src/communicator_impl.h"
#include "src/env.h"
#include "src/net.h"
#include "src/system_text.h"
#include "topology/machine.h"

namespace gossamer {
namespace {

constexpr std::chrono::milliseconds kTimeoutDefault{30'000};

Status invalid(std::string message) {
  return Status::error(Code::kInvalidArgument, std::move(message));
}

}  // namespace

// What each rank tells the others before transports are opened.
struct Communicator::Impl::Peer {
  std::string host;
  HostSize size;
  std::string transport;
  std::string algorithm;

  std::string encode() const {
    return fmt::format("{}\n{}\n{}\n{}\n{}", size.cores, size.cache_bytes, transport, algorithm,
                       host);
  }
  static Result<Peer> decode(const std::string& blob, Rank from) {
    Peer peer;
    std::array<size_t, 4> ends{};
    size_t at = 0;
    for (size_t& end : ends) {
      end = blob.find('\n', at);
      if (end == std::string::npos) {
        return Status::error(Code::kMismatch,
                             fmt::format("rank {} speaks another version of gossamer", from), from);
      }
      at = end + 1;
    }
    Result<int64_t> cores = parse_int(blob.substr(0, ends[0]), 1, 1 << 20, "the number of cores");
    if (!cores) return cores.status();
    const auto field = [&](size_t i) {
      return blob.substr(ends[i - 1] + 1, ends[i] - ends[i - 1] - 1);
    };
    Result<int64_t> cache = parse_int(field(1), 1, INT64_MAX, "the size of the cache");
    if (!cache) return cache.status();
    peer.size = {static_cast<int>(*cores), static_cast<uint64_t>(*cache)};
    peer.transport = field(2);
    peer.algorithm = field(3);
    peer.host = blob.substr(at);
    return peer;
  }
};

namespace {

// Options completed by the environment.
Result<Communicator::Options> complete(Communicator::Options options) {
  if (options.size < 1) {
    return invalid(fmt::format("size is {}; a group has at least 1 rank", options.size));
  }
  if (options.rank < 0 || options.rank >= options.size) {
    return invalid(fmt::format("rank {} is outside [0, {})", options.rank, options.size));
  }
  if (options.size > 1 && options.rendezvous.empty() && options.id == nullptr) {
    return invalid(
        "no rendezvous: set Options::rendezvous to tcp://host:port or file:///path, or pass a "
        "UniqueId");
  }
  if (options.timeout.count() < 0) return invalid("the timeout is negative");
  if (options.timeout.count() == 0) {
    Result<std::chrono::milliseconds> timeout =
        env_duration("GOSSAMER_TIMEOUT_MS", kTimeoutDefault);
    if (!timeout) return timeout.status();
    options.timeout = *timeout;
  }
  if (options.transport.empty() || options.transport == "auto") {
    options.transport = env_string("GOSSAMER_TRANSPORT", "auto");
  }
  if (options.algorithm.empty()) options.algorithm = env_string("GOSSAMER_ALGORITHM");
  if (options.transport != "auto" && find_transport(options.transport) == nullptr) {
    std::string known = "auto";
    for (const TransportFactory* t : transports()) known += fmt::format(", {}", t->name);
    return invalid(
        fmt::format("no transport is called '{}'; there are {}", options.transport, known));
  }
  if (!options.algorithm.empty()) {
    bool found = false;
    std::set<std::string> known;
    for (const Algorithm* a : algorithms()) {
      found = found || options.algorithm == a->name;
      known.insert(a->name);
    }
    if (!found) {
      return invalid(fmt::format("no algorithm is called '{}'; there are {}", options.algorithm,
                                 fmt::join(known, ", ")));
    }
  }
  return options;
}

}  // namespace

Result<std::unique_ptr<Communicator::Impl>> Communicator::Impl::join(const Options& given) {
  Result<Options> completed = complete(given);
  if (!completed) return completed.status();
  const Options& options = *completed;
  auto impl = std::unique_ptr<Impl>(new Impl);
  impl->rank = options.rank;
  impl->size = options.size;
  impl->name = options.name;
  impl->identity_ = {options.rank, options.size, options.name};
  impl->timeout_ = options.timeout;
  impl->algorithm_ = options.algorithm;
  Result<bool> verify = env_bool("GOSSAMER_VERIFY", false);
  if (!verify) return verify.status();
  impl->verify_ = *verify;
  impl->wake_fd_ = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  impl->sleep_fd_ = epoll_create1(EPOLL_CLOEXEC);
  if (impl->wake_fd_ < 0 || impl->sleep_fd_ < 0) {
    return Status::error(Code::kSystem, fmt::format("cannot create a communicator's descriptors: "
                                                    "{}",
                                                    system_text(errno)));
  }
  const Status status = impl->connect(options);
  if (!status) return status;
  return impl;
}

Status Communicator::Impl::connect(const Options& options) {
  Peer self;
  self.host = host_identity();
  self.size = this_host();
  self.transport = options.transport;
  self.algorithm = options.algorithm;
  std::vector<Peer> peers = {self};
  std::unique_ptr<Bootstrap> bootstrap;
  TransportConfig config;
  if (size > 1) {
    BootstrapConfig meeting;
    meeting.rank = rank;
    meeting.size = size;
    meeting.rendezvous = options.rendezvous;
    meeting.id = options.id;
    meeting.interfaces = env_string("GOSSAMER_SOCKET_IFNAME");
    meeting.port_range = env_string("GOSSAMER_PORT_RANGE");
    meeting.timeout = options.timeout;
    Result<std::unique_ptr<Bootstrap>> joined = Bootstrap::join(meeting);
    if (!joined) return joined.status();
    bootstrap = std::move(joined).value();
    config.key = bootstrap->meeting().key;
    config.session = bootstrap->meeting().session;
    config.interfaces = meeting.interfaces;
    config.port_range = meeting.port_range;
    Result<std::vector<std::string>> blobs = bootstrap->all_gather(self.encode());
    if (!blobs) return blobs.status();
    peers.clear();
    for (Rank r = 0; r < size; ++r) {
      Result<Peer> peer = Peer::decode((*blobs)[static_cast<size_t>(r)], r);
      if (!peer) return peer.status();
      peers.push_back(std::move(peer).value());
    }
  }
  for (Rank r = 0; r < size; ++r) {
    const Peer& peer = peers[static_cast<size_t>(r)];
    if (peer.transport != self.transport || peer.algorithm != self.algorithm) {
      return Status::error(
          Code::kMismatch,
          fmt::format("rank {} has transport '{}' and algorithm '{}', rank {} '{}' and '{}'; set "
                      "GOSSAMER_TRANSPORT and GOSSAMER_ALGORITHM alike on all ranks",
                      rank, self.transport, self.algorithm, r, peer.transport, peer.algorithm),
          r);
    }
  }
  config.rank = rank;
  config.size = size;
  config.timeout = options.timeout;
  return open_transports(options, peers, config, bootstrap.get());
}

// One transport for all, or for each peer shm where memory can be shared and tcp elsewhere. Every
// rank opens the same ones, because every rank sees the same hosts.
Status Communicator::Impl::open_transports(const Options& options, const std::vector<Peer>& peers,
                                           const TransportConfig& config, Bootstrap* bootstrap) {
  std::vector<std::string> names;
  std::set<std::string> hosts;
  for (const Peer& peer : peers) hosts.insert(peer.host);
  if (size > 1 && options.transport != "auto") {
    names = {options.transport};
  } else if (size > 1) {
    if (hosts.size() < peers.size()) names.push_back("shm");
    if (hosts.size() > 1) names.push_back("tcp");
  }
  std::vector<Transport*> all;
  lanes_ = UINT8_MAX;
  eager_bytes_ = UINT64_MAX;
  for (const std::string& transport_name : names) {
    Result<std::unique_ptr<Transport>> made = find_transport(transport_name)->create(config);
    if (!made) return made.status();
    Result<std::vector<std::string>> addresses = bootstrap->all_gather((*made)->address());
    if (!addresses) return addresses.status();
    const Status started = (*made)->start(*addresses);
    if (!started) return started;
    epoll_event event{};
    event.events = EPOLLIN;
    if (epoll_ctl(sleep_fd_, EPOLL_CTL_ADD, (*made)->wait_fd(), &event) != 0) {
      return Status::error(Code::kSystem, fmt::format("epoll_ctl: {}", system_text(errno)));
    }
    lanes_ = std::min(lanes_, (*made)->limits().lanes);
    eager_bytes_ = std::min(eager_bytes_, (*made)->limits().eager_bytes);
    waiting_.spins = std::min(waiting_.spins, (*made)->limits().spins);
    waiting_.awake = std::min(waiting_.awake, (*made)->limits().awake);
    all.push_back(made->get());
    transports_.push_back(std::move(made).value());
  }
  if (names.empty()) {
    lanes_ = 1;
    eager_bytes_ = 0;
  }
  epoll_event event{};
  event.events = EPOLLIN;
  if (epoll_ctl(sleep_fd_, EPOLL_CTL_ADD, wake_fd_, &event) != 0) {
    return Status::error(Code::kSystem, fmt::format("epoll_ctl: {}", system_text(errno)));
  }
  std::vector<Transport*> transport_of(static_cast<size_t>(size), nullptr);
  const std::string& here = peers[static_cast<size_t>(rank)].host;
  for (Rank r = 0; r < size; ++r) {
    if (r == rank) continue;
    const bool near = peers[static_cast<size_t>(r)].host == here;
    transport_of[static_cast<size_t>(r)] = all.size() == 1 || near ? all.front() : all.back();
  }
  transport_name_ = names.empty() ? "none" : fmt::format("{}", fmt::join(names, "+"));
  arrange(peers, names.empty() ? "shm" : names.front());
  engine_ = std::make_unique<Engine>(rank, std::move(transport_of), std::move(all));
  log_line(LogLevel::kInfo, identity_,
           fmt::format("joined: {} hosts, {} ranks here, {} cores, transport {}", hosts.size(),
                       std::count_if(peers.begin(), peers.end(),
                                     [&](const Peer& p) { return p.host == here; }),
                       machine_.cores_per_host, transport_name_));
  return Status::ok();
}

// Renumbers ranks so that those of a host adjoin, and makes the machine that prices are about.
void Communicator::Impl::arrange(const std::vector<Peer>& peers, const std::string& transport) {
  std::vector<std::string> hosts;
  HostSize least = peers.front().size;
  for (const Peer& peer : peers) {
    hosts.push_back(peer.host);
    least.cores = std::min(least.cores, peer.size.cores);
    least.cache_bytes = std::min(least.cache_bytes, peer.size.cache_bytes);
  }
  const std::vector<Rank> by_rank = machine_of(hosts, least, transport).host_of;
  order_.resize(peers.size());
  std::iota(order_.begin(), order_.end(), 0);
  const auto host_of = [&](Rank r) { return by_rank[static_cast<size_t>(r)]; };
  std::stable_sort(order_.begin(), order_.end(),
                   [&](Rank a, Rank b) { return host_of(a) < host_of(b); });
  renumbered_ = !std::is_sorted(order_.begin(), order_.end());
  std::vector<std::string> ordered;
  for (Rank r : order_) ordered.push_back(hosts[static_cast<size_t>(r)]);
  machine_ = machine_of(ordered, least, transport);
  position_ = static_cast<Rank>(std::find(order_.begin(), order_.end(), rank) - order_.begin());
  const auto here = std::count(hosts.begin(), hosts.end(), hosts[static_cast<size_t>(rank)]);
  // The one waited for may need this core: yield at once.
  if (here > usable_cores()) waiting_.spins = 0;
}

Result<std::unique_ptr<Communicator>> Communicator::from_environment(Options options) {
  Result<LaunchedAs> launched = launcher_environment();
  if (!launched) return launched.status();
  options.rank = launched->rank;
  options.size = launched->size;
  options.rendezvous = launched->rendezvous;
  return create(options);
}

}  // namespace gossamer
