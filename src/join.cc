// Joining: meet, tell each other who is where, open transports, agree on the machine.

#include <fmt/format.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>
#include <map>
#include <numeric>
#include <set>

#include "src/bootstrap.h"
#include "src/communicator_impl.h"
#include "src/env.h"
#include "src/net.h"
#include "src/peer_card.h"
#include "src/system_text.h"
#include "topology/machine.h"

namespace gossamer {
namespace {

constexpr std::chrono::milliseconds kTimeoutDefault{30'000};
constexpr std::chrono::milliseconds kProbeIntervalDefault{1'000};
constexpr std::chrono::milliseconds kProbeIntervalMin{10};
constexpr std::chrono::milliseconds kProbeIntervalMax{60'000};
constexpr std::chrono::milliseconds kStuckAfterDefault{30'000};

Status invalid(std::string message) {
  return Status::error(Code::kInvalidArgument, std::move(message));
}

Status complete_membership(Communicator::Options* options) {
  if (!options->membership) {
    Result<bool> membership = env_bool("GOSSAMER_MEMBERSHIP", false);
    if (!membership) return membership.status();
    options->membership = *membership;
  }
  if (options->probe_interval.count() == 0) options->probe_interval = kProbeIntervalDefault;
  if (options->stuck_after.count() == 0) options->stuck_after = kStuckAfterDefault;
  if (options->probe_interval < kProbeIntervalMin || options->probe_interval > kProbeIntervalMax) {
    return invalid(fmt::format("a probe interval of {} ms; it is {} to {}, or 0 for {}",
                               options->probe_interval.count(), kProbeIntervalMin.count(),
                               kProbeIntervalMax.count(), kProbeIntervalDefault.count()));
  }
  if (options->stuck_after.count() < 0) return invalid("stuck_after is negative");
  return Status::ok();
}

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
  if (Status sound = complete_membership(&options); !sound) return sound;
  if (Status known = check_transport(options.transport); !known) return known;
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

Status check_transport(const std::string& name) {
  if (name == "auto" || name == kSharedAndTcp || find_transport(name) != nullptr) {
    return Status::ok();
  }
  std::string known = fmt::format("auto, {}", kSharedAndTcp);
  for (const TransportFactory* t : transports()) known += fmt::format(", {}", t->name);
  return invalid(fmt::format("no transport is called '{}'; there are {}", name, known));
}

Result<std::unique_ptr<Communicator::Impl>> Communicator::Impl::join(const Options& given) {
  Result<Options> completed = complete(given);
  if (!completed) return completed.status();
  const Options& options = *completed;
  Result<std::unique_ptr<Impl>> impl = make(options);
  if (!impl) return impl.status();
  BootstrapConfig meeting;
  meeting.rendezvous = options.rendezvous;
  meeting.id = options.id;
  meeting.other_ids = options.other_ids;
  const Status status = (*impl)->meet(options, meeting);
  if (!status) return status;
  return impl;
}

// One that belongs to no group yet. Its options are complete.
Result<std::unique_ptr<Communicator::Impl>> Communicator::Impl::make(const Options& options) {
  auto impl = std::unique_ptr<Impl>(new Impl);
  impl->rank = options.rank;
  impl->size = options.size;
  impl->name = options.name;
  impl->identity_ = {options.rank, options.size, options.name};
  impl->timeout_ = options.timeout;
  impl->algorithm_ = options.algorithm;
  impl->wanted_transport_ = options.transport;
  impl->watching_ = {options.membership, options.probe_interval, options.stuck_after};
  impl->config_.interfaces = env_string("GOSSAMER_SOCKET_IFNAME");
  impl->config_.port_range = env_string("GOSSAMER_PORT_RANGE");
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
  return impl;
}

// Finds the other ranks by `meeting`, which says where, and forms the group with them.
Status Communicator::Impl::meet(const Options& options, BootstrapConfig meeting) {
  if (size == 1 && meeting.door == nullptr) return form(options, nullptr);
  meeting.rank = rank;
  meeting.size = size;
  meeting.interfaces = config_.interfaces;
  meeting.port_range = config_.port_range;
  meeting.timeout = options.timeout;
  meeting.aborted = options.cancelled;
  Result<std::unique_ptr<Bootstrap>> joined = Bootstrap::join(meeting);
  if (!joined) return joined.status();
  config_.key = (*joined)->meeting().key;
  config_.session = (*joined)->meeting().session;
  address_ = (*joined)->address();
  return form(options, joined->get());
}

// Tells the others who this rank is, and opens transports. `exchange` is null for a rank alone.
// config_ has the group's key and session, address_ where others can reach this rank.
Status Communicator::Impl::form(const Options& options, Exchange* exchange) {
  config_.rank = rank;
  config_.size = size;
  config_.timeout = options.timeout;
  if (Status watched = begin_watch(); !watched) return watched;
  Result<std::vector<Peer>> peers = introduce(options, exchange);
  if (!peers) return peers.status();
  const Status status = open_transports(options, *peers, config_, exchange);
  if (!status || size == 1) return status;
  OpenDoor door = open_door(address_, config_.port_range);
  Result<std::vector<std::string>> doors = exchange->all_gather(door.address);
  if (!doors) return doors.status();
  door_ = std::move(door.listening);
  doors_ = std::move(doors).value();
  return join_watch(*peers, exchange);
}

Result<std::vector<Communicator::Impl::Peer>> Communicator::Impl::introduce(
    const Options& options, Exchange* exchange) const {
  Peer self;
  self.host = host_identity();
  self.cores = usable_core_numbers();
  self.cache_bytes = this_host().cache_bytes;
  self.transport = options.transport;
  self.algorithm = options.algorithm;
  if (watching_.on) {
    self.membership = fmt::format("1, every {} ms, stuck after {} ms", watching_.interval.count(),
                                  watching_.stuck_after.count());
  }
  if (watch_) self.watch = watch_->card();
  if (size == 1) return std::vector<Peer>{self};
  Result<std::vector<std::string>> blobs = exchange->all_gather(self.encode());
  if (!blobs) return blobs.status();
  std::vector<Peer> peers;
  for (Rank r = 0; r < size; ++r) {
    Result<Peer> peer = Peer::decode((*blobs)[static_cast<size_t>(r)], r);
    if (!peer) return peer.status();
    if (peer->transport != self.transport || peer->algorithm != self.algorithm) {
      return Status::error(
          Code::kMismatch,
          fmt::format("rank {} has transport '{}' and algorithm '{}', rank {} '{}' and '{}'; set "
                      "GOSSAMER_TRANSPORT and GOSSAMER_ALGORITHM alike on all ranks",
                      rank, self.transport, self.algorithm, r, peer->transport, peer->algorithm),
          r);
    }
    if (peer->membership != self.membership) {
      return Status::error(
          Code::kMismatch,
          fmt::format("rank {} has membership {}, rank {} has {}; set GOSSAMER_MEMBERSHIP and "
                      "Options::membership alike on all ranks",
                      rank, self.membership, r, peer->membership),
          r);
    }
    peers.push_back(std::move(peer).value());
  }
  return peers;
}

// Renumbers ranks so that those of a host adjoin, and makes the machine that prices are about.
void Communicator::Impl::arrange(const std::vector<Peer>& peers, const std::string& inside,
                                 const std::string& between, const LinkSpeed& speed) {
  std::vector<std::string> hosts;
  // A launcher may have bound each rank to a core of its own: together they have all of those.
  std::map<std::string, std::vector<std::string>> cores_of_host;
  HostSize least{std::numeric_limits<int>::max(), peers.front().cache_bytes};
  for (const Peer& peer : peers) {
    hosts.push_back(peer.host);
    cores_of_host[peer.host].push_back(peer.cores);
    least.cache_bytes = std::min(least.cache_bytes, peer.cache_bytes);
  }
  for (const auto& [host, cores] : cores_of_host) {
    least.cores = std::min(least.cores, cores_in_any(cores));
  }
  const std::vector<Rank> by_rank = machine_of(hosts, least, inside, between).host_of;
  order_.resize(peers.size());
  std::iota(order_.begin(), order_.end(), 0);
  const auto host_of = [&](Rank r) { return by_rank[static_cast<size_t>(r)]; };
  std::stable_sort(order_.begin(), order_.end(),
                   [&](Rank a, Rank b) { return host_of(a) < host_of(b); });
  renumbered_ = !std::is_sorted(order_.begin(), order_.end());
  std::vector<std::string> ordered;
  for (Rank r : order_) ordered.push_back(hosts[static_cast<size_t>(r)]);
  machine_ = machine_of(ordered, least, inside, between, speed);
  position_ = static_cast<Rank>(std::find(order_.begin(), order_.end(), rank) - order_.begin());
  const auto here = std::count(hosts.begin(), hosts.end(), hosts[static_cast<size_t>(rank)]);
  // The one waited for may need this core: yield at once.
  const std::string& host = hosts[static_cast<size_t>(rank)];
  if (here > cores_in_any(cores_of_host[host])) waiting_.spins = 0;
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
