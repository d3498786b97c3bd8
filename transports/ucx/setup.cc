// Setting fabrics up, deciding which of them reaches a peer, and leaving.

#include <sys/epoll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <thread>
#include <utility>

#include "src/auth.h"
#include "src/env.h"
#include "src/system_text.h"
#include "src/wire.h"
#include "transports/ucx/api.h"
#include "transports/ucx/ucx_transport.h"

namespace gossamer::ucx {

namespace {

// Of a landing area. With many links they are smaller.
constexpr uint64_t kLandingBytes = 512 * 1024;
constexpr uint64_t kSmallLandingBytes = 256 * 1024;
constexpr Rank kFewRanks = 16;
constexpr size_t kCompletions = 1024;  // handed on at once, without allocating
// How long a failed connection waits for somebody to say why.
constexpr std::chrono::milliseconds kOpenGrace{300};
constexpr size_t kPartBytesMax = 64 * 1024;  // of an address
constexpr std::chrono::milliseconds kDrainTime{10};
// What a leaving rank waits for its last records to be on their way.
constexpr std::chrono::milliseconds kFarewellTime{100};

// What proves to `to` that `from` has the group's key, and says that it is `from`.
uint64_t proof_of(const TransportConfig& config, Rank from, Rank to) {
  WireWriter writer;
  writer.text("ucx record");
  writer.u64(config.session);
  writer.i32(from);
  writer.i32(to);
  const Key key = hmac_sha256(config.key, writer.data());
  return (WireReader(key).u64() & ~kProofRankMask) | static_cast<uint64_t>(from);
}

}  // namespace

Ucx::Ucx(const TransportConfig& config, Options options)
    : config_(config),
      options_(std::move(options)),
      epoll_(::epoll_create1(EPOLL_CLOEXEC)),
      control_(config, epoll_),
      links_(static_cast<size_t>(config.size)) {
  active_.reserve(links_.size());
  running_.reserve(links_.size());
  completed_.reserve(kCompletions);
}

Status Ucx::begin() {
  if (static_cast<uint64_t>(config_.size) > kProofRankMask) {
    return Status::error(Code::kInvalidArgument, "ucx carries at most 16777215 ranks");
  }
  if (epoll_ < 0) return Status::error(Code::kSystem, "epoll_create1: " + system_text(errno));
  Status listening = control_.listen();
  if (!listening) return listening;
  const Choice choice = split_tls(options_.tls.empty() ? env_string("UCX_TLS") : options_.tls);
  Status failed;
  const auto make = [&](Fabric::Reach reach, const std::string& tls) -> std::unique_ptr<Fabric> {
    Result<std::unique_ptr<Fabric>> made =
        Fabric::create(this, reach, tls, config_.size, options_.emulated_puts);
    if (made) return std::move(*made);
    failed = made.status();
    return nullptr;
  };
  if (!choice.host.empty()) host_ = make(Fabric::Reach::kHost, choice.host);
  if (!choice.network.empty() || host_ == nullptr) {
    network_ = make(Fabric::Reach::kNetwork, choice.network);
  }
  if (host_ == nullptr && network_ == nullptr) return failed;
  return Status::ok();
}

std::string Ucx::address() const {
  WireWriter writer;
  writer.text(control_.address());
  writer.text(host_identity());
  writer.text(host_ != nullptr ? host_->address() : "");
  writer.text(network_ != nullptr ? network_->address() : "");
  return {reinterpret_cast<const char*>(writer.data().data()), writer.size()};
}

Status Ucx::start(std::vector<std::string> addresses) {
  if (addresses.size() != static_cast<size_t>(config_.size)) {
    return Status::error(Code::kInvalidArgument, "ucx needs one address per rank");
  }
  std::vector<std::string> control;
  const std::string here = host_identity();
  bool needs_host = false;
  bool needs_network = false;
  for (Rank rank = 0; rank < config_.size; ++rank) {
    const std::string& text = addresses[static_cast<size_t>(rank)];
    Place place;
    WireReader reader(std::as_bytes(std::span(text.data(), text.size())));
    control.push_back(reader.text(kPartBytesMax));
    const bool same_host = reader.text(kPartBytesMax) == here;
    std::string host = reader.text(kPartBytesMax);
    std::string network = reader.text(kPartBytesMax);
    all_host_ = all_host_ && (text.empty() || !host.empty());
    place.fabric = same_host && host_ != nullptr && !host.empty() ? host_.get() : network_.get();
    place.address = place.fabric == host_.get() ? std::move(host) : std::move(network);
    if (rank != config_.rank && !text.empty()) {
      needs_host = needs_host || place.fabric == host_.get();
      needs_network = needs_network || place.fabric == network_.get();
    }
    places_.push_back(std::move(place));
  }
  control_.start(std::move(control));
  if (!needs_host) host_.reset();
  if (!needs_network) network_.reset();
  for (const auto* fabric : {&host_, &network_}) {
    if (*fabric == nullptr) continue;
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.ptr = this;
    if (::epoll_ctl(epoll_, EPOLL_CTL_ADD, (*fabric)->wait_fd(), &event) != 0) {
      return Status::error(Code::kSystem, "cannot wait for UCX: " + system_text(errno));
    }
    workers_.push_back((*fabric)->worker());
  }
  if (network_ != nullptr && network_->puts()) {
    cache_ = std::make_unique<RegistrationCache>(network_.get(), &MemoryWatch::instance(),
                                                 RegistrationCache::Bounds{});
  }
  return Status::ok();
}

Link& Ucx::link_at(Rank peer) {
  std::unique_ptr<Link>& slot = links_[static_cast<size_t>(peer)];
  if (slot != nullptr) return *slot;
  slot = std::make_unique<Link>();
  slot->owner = this;
  slot->peer = peer;
  slot->proof_out = proof_of(config_, config_.rank, peer);
  slot->proof_in = proof_of(config_, peer, config_.rank);
  const Fabric* const fabric = places_[static_cast<size_t>(peer)].fabric;
  slot->same_host = fabric != nullptr && fabric == host_.get();
  slot->worker = fabric != nullptr ? fabric->worker() : nullptr;
  for (Lane lane = 0; lane < limits().lanes; ++lane) {
    auto pipe = std::make_unique<Pipe>();
    pipe->link = slot.get();
    pipe->lane = lane;
    slot->pipes.push_back(std::move(pipe));
  }
  return *slot;
}

Code Ucx::connect(Link* link, Fault* fault) {
  const Place& place = places_[static_cast<size_t>(link->peer)];
  if (place.fabric == nullptr || place.address.empty()) {
    fault->set(Code::kUnavailable, link->peer,
               "UCX has no way from rank %d to rank %d; UCX_TLS must allow one that both can use",
               config_.rank, link->peer);
    return fault->code;
  }
  link->opened = Control::Clock::now();
  const char* why = "";
  if (!place.fabric->connect(place.address, link, &why)) {
    on_broken(link, why);  // a peer that has failed cannot be reached either, and may tell why
    return Code::kOk;
  }
  choose_ways(link);
  for (const auto& pipe : link->pipes) make_room(pipe.get());
  for (const auto& pipe : link->pipes) say_hello(pipe.get());
  const ucp_request_param_t flush{};
  link->connecting = ucp().ucp_ep_flush_nbx(link->endpoint, &flush);
  return Code::kOk;
}

// How messages travel on this link, as far as this end decides.
void Ucx::choose_ways(Link* link) {
  if (link->same_host) return;
  const Ways ways = network_->ways(link->endpoint);
  link->puts = network_->puts() && (ways.puts || options_.emulated_puts);
  if (ways.tcp && !link->puts) link->fragment_bytes = kLongFragmentBytes;
  link->asks_above = link->fragment_bytes;
}

// Tells the peer when we wait for its notes, and where its puts may land.
void Ucx::say_hello(Pipe* pipe) {
  Link* const link = pipe->link;
  const Area* area = nullptr;
  if (link->same_host || link->puts) {
    const Fabric* const fabric = places_[static_cast<size_t>(link->peer)].fabric;
    area = const_cast<Fabric*>(fabric)->allocate(config_.size <= kFewRanks ? kLandingBytes
                                                                           : kSmallLandingBytes);
  }
  WireWriter writer;
  writer.u64(link->asks_above);
  if (area != nullptr) {
    ++traffic_.registrations;
    ++traffic_.exchanges;
    pipe->landing_area = area->data;
    pipe->landing_bytes = area->bytes;
    writer.u64(reinterpret_cast<uintptr_t>(area->data));
    writer.u64(area->bytes);
    writer.bytes(area->key);
  }
  pipe->welcome.assign(writer.data().begin(), writer.data().end());
  fill(pipe, Kind::kHello, 0, &pipe->credit);
  // UCX exchanges what it needs for replies when one is first asked for. Ask now: a message that
  // then cannot leave, because its reader has died, aborts the process when the worker goes.
  ucp_request_param_t hello{};
  hello.op_attr_mask = UCP_OP_ATTR_FIELD_FLAGS;
  hello.flags = UCP_AM_SEND_FLAG_EAGER | UCP_AM_SEND_FLAG_REPLY;
  void* const sent = ucp().ucp_am_send_nbx(link->endpoint, kRecordId, &pipe->credit, sizeof(Header),
                                           pipe->welcome.data(), pipe->welcome.size(), &hello);
  if (UCS_PTR_IS_PTR(sent)) ucp().ucp_request_free(sent);
}

// Heeds what the peer's hello says. False: it makes no sense.
bool Ucx::meet(Pipe* pipe) {
  Link* const link = pipe->link;
  WireReader reader(pipe->introduction);
  link->peer_asks_above = reader.u64();
  if (reader.done()) return true;
  Region landing;
  landing.address = reader.u64();
  landing.bytes = reader.u64();
  const std::span<const std::byte> key = reader.bytes(reader.left());
  if (!reader.ok() || landing.bytes < kSmallLandingBytes || key.empty()) return false;
  landing.key = unpack_key(*link, key);
  if (landing.key == nullptr) return true;  // out of our reach: records carry everything
  void* here = nullptr;
  // Within the host only memory that is mapped here is worth a put.
  if (link->same_host && ucp().ucp_rkey_ptr(landing.key, landing.address, &here) != UCS_OK) {
    ucp().ucp_rkey_destroy(landing.key);
    return true;
  }
  pipe->landing = landing;
  return true;
}

Code Ucx::unanswered(Link* link, Fault* fault) const {
  fault->set(Code::kTimeout, link->peer,
             "UCX did not connect rank %d to rank %d in time; it is late, or UCX_NET_DEVICES must "
             "name networks that reach it",
             config_.rank, link->peer);
  return fault->code;
}

// UCX connects in the background. A link is ready when that is over: what cannot be reached shows
// here, and nothing wakes a sleeper later.
Code Ucx::await_connection(Link* link, Fault* fault) {
  const auto waited = Control::Clock::now() - link->opened;
  if (UCS_PTR_IS_PTR(link->connecting)) {
    const ucs_status_t status = ucp().ucp_request_check_status(link->connecting);
    if (status == UCS_INPROGRESS && !link->broken) {
      return waited <= config_.timeout ? Code::kAgain : unanswered(link, fault);
    }
    if (status != UCS_OK) on_broken(link, ucp().ucs_status_string(status));
    ucp().ucp_request_free(std::exchange(link->connecting, nullptr));
  } else if (UCS_PTR_IS_ERR(link->connecting)) {
    on_broken(link, ucp().ucs_status_string(UCS_PTR_STATUS(link->connecting)));
    link->connecting = nullptr;
  }
  if (!link->broken) {
    for (const auto& pipe : link->pipes) {
      if (!pipe->introduced)
        return waited <= config_.timeout ? Code::kAgain : unanswered(link, fault);
    }
    for (const auto& pipe : link->pipes) {
      if (meet(pipe.get())) continue;
      garbage(link->peer);
      *fault = failure_;
      return fault->code;
    }
    link->ready = true;
    return Code::kOk;
  }
  // Its control connection may know better what has happened to it.
  if (!link->suspect) {
    link->suspect = true;
    link->suspected = Control::Clock::now();
  }
  if (Control::Clock::now() - link->suspected <= kOpenGrace) return Code::kAgain;
  return control_.lost(link->peer,
                       std::string("cannot be reached by UCX (") + link->why +
                           "); if it lives, UCX_TLS must allow what both can use",
                       fault);
}

// Tells every peer where our records end, and gives all of them time to get out.
void Ucx::say_farewell() {
  std::vector<ucs_status_ptr_t> flushes;
  ucp_request_param_t plain{};
  plain.op_attr_mask = UCP_OP_ATTR_FIELD_FLAGS;
  plain.flags = UCP_AM_SEND_FLAG_EAGER;
  const ucp_request_param_t flush{};
  for (const auto& link : links_) {
    if (link == nullptr || !link->used || link->broken || control_.left(link->peer)) continue;
    for (const auto& pipe : link->pipes) {
      // The credit's header, if UCX still reads it, may as well say this.
      fill(pipe.get(), Kind::kFarewell, pipe->position, &pipe->credit);
      flushes.push_back(ucp().ucp_am_send_nbx(link->endpoint, kRecordId, &pipe->credit,
                                              sizeof(Header), nullptr, 0, &plain));
    }
    flushes.push_back(ucp().ucp_ep_flush_nbx(link->endpoint, &flush));
  }
  const auto end = std::chrono::steady_clock::now() + kFarewellTime;
  for (void* const request : flushes) {
    if (!UCS_PTR_IS_PTR(request)) continue;
    while (ucp().ucp_request_check_status(request) == UCS_INPROGRESS &&
           std::chrono::steady_clock::now() < end) {
      for (ucp_worker* const worker : workers_) (void)ucp().ucp_worker_progress(worker);
    }
    ucp().ucp_request_free(request);
  }
}

void Ucx::release_records() {
  for (const auto& link : links_) {
    if (link == nullptr) continue;
    for (const auto& pipe : link->pipes) {
      for (Arrived& record : pipe->arrived) {
        if (record.state == Arrived::State::kHeld) {
          ucp().ucp_am_data_release(link->worker, const_cast<std::byte*>(record.data));
        }
        record.state = Arrived::State::kNone;
      }
    }
  }
}

// Takes in what survivors of a failure have on its way here, so that they can leave too.
void Ucx::drain() {
  const auto end = std::chrono::steady_clock::now() + kDrainTime;
  while (std::chrono::steady_clock::now() < end) {
    (void)ucp().ucp_worker_progress(host_->worker());
    std::this_thread::yield();
  }
}

void Ucx::close_endpoints(Fabric* fabric) {
  if (fabric == nullptr) return;
  std::vector<ucp_ep*> endpoints;
  for (const auto& link : links_) {
    if (link == nullptr || link->endpoint == nullptr || link->worker != fabric->worker()) continue;
    endpoints.push_back(std::exchange(link->endpoint, nullptr));
    link->broken = true;
  }
  fabric->close(endpoints);
}

// Whether a device may be reading or writing a caller's memory on its own.
bool Ucx::in_flight() const {
  for (const auto& link : links_) {
    if (link == nullptr || link->same_host) continue;
    for (const auto& pipe : link->pipes) {
      if (!pipe->outgoing.empty()) return true;
      for (uint32_t i = 0; i < pipe->posted.size(); ++i) {
        if (pipe->posted.at(i).memory != nullptr) return true;
      }
    }
  }
  return false;
}

Ucx::~Ucx() {
  leaving_ = true;
  if (!abandoned_ && failure_.code == Code::kOk) say_farewell();
  const bool failed = abandoned_ || failure_.code != Code::kOk;
  control_.say_goodbye();
  abandoned_ = true;
  if (failed && host_ != nullptr) drain();
  release_records();
  for (const auto& link : links_) {
    if (link != nullptr && UCS_PTR_IS_PTR(link->connecting)) {
      ucp().ucp_request_free(link->connecting);
    }
  }
  close_endpoints(host_.get());
  close_endpoints(network_.get());
  for (const auto& link : links_) {
    if (link == nullptr) continue;
    for (const auto& pipe : link->pipes) {
      for (; !pipe->posted.empty(); pipe->posted.pop()) release(&pipe->posted.front());
      drop_keys(pipe.get());
    }
  }
  cache_.reset();
  host_.reset();
  network_.reset();
  links_.clear();  // UCX may have used them to the last
  if (epoll_ >= 0) ::close(epoll_);
}

Result<std::unique_ptr<Transport>> create(const TransportConfig& config, const Options& options) {
  const Status loaded = load_api();
  if (!loaded) return loaded;
  auto ucx = std::make_unique<Ucx>(config, options);
  const Status begun = ucx->begin();
  if (!begun) return begun;
  return std::unique_ptr<Transport>(std::move(ucx));
}

}  // namespace gossamer::ucx
