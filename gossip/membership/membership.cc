#include "gossip/membership/membership.h"

#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <system_error>

#include "gossip/membership/protocol.h"
#include "src/auth.h"
#include "src/env.h"
#include "src/process.h"
#include "src/system_text.h"
#include "src/unique_id.h"

namespace gossamer {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;

swim::Instant now() {
  return std::chrono::duration_cast<microseconds>(
      std::chrono::steady_clock::now().time_since_epoch());
}

Status bad(const std::string& sentence) {
  return Status::error(Code::kInvalidArgument, "membership: " + sentence);
}

Status system_error(const char* what) {
  return Status::error(Code::kSystem, fmt::format("membership: {}: {}", what, system_text(errno)));
}

Status too_much_metadata(size_t bytes) {
  return bad(
      fmt::format("{} bytes of metadata are more than the {} that travel with a member; "
                  "put the rest where others can fetch it",
                  bytes, kMetadataBytesMax));
}

Status check(const Membership::Options& o) {
  const MembershipTiming& t = o.timing;
  if (std::all_of(o.key.begin(), o.key.end(), [](std::byte b) { return b == std::byte{0}; })) {
    return bad(
        "the key is all zeros; draw one at random and give it to all members, or use "
        "Options::of() with the group's unique id");
  }
  if (o.metadata.size() > kMetadataBytesMax) return too_much_metadata(o.metadata.size());
  if (t.probe_timeout.count() <= 0 || t.probe_timeout >= t.probe_interval) {
    return bad(fmt::format("probe_timeout ({} us) must be above 0 and below probe_interval ({} us)",
                           t.probe_timeout.count(), t.probe_interval.count()));
  }
  if (t.probe_interval > std::chrono::hours(1) || t.sync_interval < t.probe_timeout ||
      t.tombstone < t.probe_interval || t.progress_limit.count() < 0) {
    return bad(
        "probe_interval must be at most an hour, sync_interval at least probe_timeout, "
        "tombstone at least probe_interval and progress_limit not negative");
  }
  // Negated, so that no number at all is refused too.
  if (t.indirect_probes < 0 || !(t.retransmit_factor >= 1) || !(t.suspicion_factor > 0) ||
      !(t.suspicion_spread >= 1) || t.confirmations < 0 || t.members_max < 2 ||
      t.retransmit_factor > 100 || t.suspicion_factor > 1'000 || t.suspicion_spread > 1'000) {
    return bad(
        "indirect_probes and confirmations must not be negative, retransmit_factor from 1 "
        "to 100, suspicion_factor above 0 and at most 1000, suspicion_spread from 1 to "
        "1000, members_max at least 2");
  }
  return Status::ok();
}

// In numbers, or by name.
Result<SocketAddress> address_of(const std::string& text) {
  auto numeric = SocketAddress::parse(text);
  const size_t colon = text.rfind(':');
  if (numeric || colon == std::string::npos || text.find(':') != colon) return numeric;
  auto port = parse_int(text.substr(colon + 1), 1, 65535, "the port in \"" + text + "\"");
  if (!port) return port.status();
  return SocketAddress::resolve(text.substr(0, colon), static_cast<uint16_t>(*port));
}

Result<Fd> open_socket(const Membership::Options& options) {
  SocketAddress address = options.address;
  if (address.length == 0) {
    auto chosen = choose_interfaces(
        options.interfaces.empty() ? env_string("GOSSAMER_SOCKET_IFNAME") : options.interfaces);
    if (!chosen) return chosen.status();
    address = chosen->front().address;
  }
  address.set_port(0);
  auto socket = bind_datagrams(
      address, options.port_range.empty() ? env_string("GOSSAMER_PORT_RANGE") : options.port_range);
  if (!socket) return socket.status();
  return Fd(*socket);
}

}  // namespace

Result<Membership::Options> Membership::Options::of(const UniqueId& id) {
  const auto fields = parse_unique_id(id);
  if (!fields) return fields.status();
  Options options;
  options.key = fields->key;
  options.session = fields->session;
  return options;
}

Result<std::unique_ptr<Membership>> Membership::start(const Options& options) {
  if (Status status = check(options); !status) return status;
  auto socket = open_socket(options);
  if (!socket) return socket.status();
  std::unique_ptr<Membership> made(new Membership);
  made->socket_ = std::move(*socket);
  keep_from_children(made->socket_.get());
  auto address = local_address(made->socket_.get());
  if (!address) return address.status();
  if (address->storage.ss_family == AF_INET6) {
    made->scope_ = reinterpret_cast<const sockaddr_in6*>(&address->storage)->sin6_scope_id;
  }
  made->endpoint_ = Endpoint::of(*address);
  made->on_event_ = options.on_event;
  made->counter_ = options.progress;
  made->owner_ = ::getpid();
  made->wake_ = Fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  made->epoll_ = Fd(::epoll_create1(EPOLL_CLOEXEC));
  if (!made->wake_.is_open() || !made->epoll_.is_open()) return system_error("eventfd or epoll");
  for (const int fd : {made->socket_.get(), made->wake_.get()}) {
    epoll_event interest{};
    interest.events = EPOLLIN;
    interest.data.fd = fd;
    if (::epoll_ctl(made->epoll_.get(), EPOLL_CTL_ADD, fd, &interest) != 0) {
      return system_error("epoll_ctl");
    }
  }
  swim::Protocol::Config config;
  std::array<uint64_t, 2> random{};
  if (Status status = random_bytes(std::as_writable_bytes(std::span(random))); !status) {
    return status;
  }
  config.timing = options.timing;
  config.key = options.key;
  config.session = options.session;
  config.id = random[0] | 2;  // neither 0 nor 1, which mean no member
  config.seed = random[1];
  config.address = made->endpoint_;
  config.metadata = options.metadata;
  made->id_ = config.id;
  made->protocol_ = std::make_unique<swim::Protocol>(config, now());
  try {
    made->thread_ = std::thread([self = made.get()] { self->run(); });
  } catch (const std::system_error& error) {
    return Status::error(Code::kSystem,
                         fmt::format("membership: cannot start its thread: {}; raise `ulimit -u` "
                                     "or the container's pids limit",
                                     error.what()));
  }
  return made;
}

Membership::~Membership() {
  if (owner_ != ::getpid()) {  // a forked child: the thread is the parent's
    if (thread_.joinable()) thread_.detach();
    return;
  }
  stop();
}

void Membership::stop() {
  {
    const std::lock_guard lock(m_);
    stopping_ = true;
  }
  wake();
  if (thread_.joinable()) thread_.join();
}

void Membership::wake() const {
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = ::write(wake_.get(), &one, sizeof(one));
}

// What has arrived comes before what is overdue: after a pause the answers are there already.
void Membership::run() {
  for (;;) {
    swim::Instant next;
    {
      const std::lock_guard lock(m_);
      if (stopping_) break;
      receive_all();
      uint64_t progress = progress_.load(std::memory_order_relaxed);
      if (counter_ != nullptr) progress += counter_->load(std::memory_order_relaxed);
      protocol_->set_progress(now(), progress);
      if (now() >= protocol_->next_tick()) protocol_->tick(now());
      send_all();
      next = protocol_->next_tick();
    }
    hand_out_events();
    const auto wait = std::chrono::ceil<milliseconds>(next - now());
    constexpr milliseconds kLongest{60'000};
    epoll_event ready[2];
    ::epoll_wait(epoll_.get(), ready, 2,
                 static_cast<int>(std::clamp(wait, milliseconds(0), kLongest).count()));
    uint64_t count = 0;
    [[maybe_unused]] const ssize_t read = ::read(wake_.get(), &count, sizeof(count));
  }
}

void Membership::receive_all() {
  constexpr int kMost = 1'024;  // then it is others' turn: a flood must not stop our own probes
  std::array<std::byte, swim::kDatagramBytesMax + 1> buffer;
  for (int i = 0; i < kMost; ++i) {
    SocketAddress from;
    from.length = sizeof(from.storage);
    const ssize_t got = ::recvfrom(socket_.get(), buffer.data(), buffer.size(), 0,
                                   reinterpret_cast<sockaddr*>(&from.storage), &from.length);
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return;
    if (got <= 0) continue;  // an ICMP error of an earlier sending, or an empty datagram
    protocol_->receive(now(), Endpoint::of(from),
                       std::span(buffer).first(static_cast<size_t>(got)));
  }
}

// A datagram that the kernel does not take is a lost one, which the protocol expects.
void Membership::send_all() {
  for (const swim::Protocol::Datagram& datagram : protocol_->take_datagrams()) {
    if (datagram.to.family != endpoint_.family) continue;
    SocketAddress to = datagram.to.socket_address();
    if (to.is_link_local()) {
      reinterpret_cast<sockaddr_in6*>(&to.storage)->sin6_scope_id = scope_;
    }
    [[maybe_unused]] const ssize_t sent =
        ::sendto(socket_.get(), datagram.bytes.data(), datagram.bytes.size(), MSG_NOSIGNAL,
                 reinterpret_cast<const sockaddr*>(&to.storage), to.length);
  }
}

void Membership::hand_out_events() {
  std::vector<MemberEvent> fresh;
  {
    const std::lock_guard lock(m_);
    fresh = protocol_->take_events();
    if (!on_event_) {
      events_.insert(events_.end(), fresh.begin(), fresh.end());
      if (events_.size() > kEventsMax) {
        events_.erase(events_.begin(), events_.end() - std::ptrdiff_t{kEventsMax});
      }
    }
  }
  changed_.notify_all();
  if (!on_event_) return;
  for (const MemberEvent& event : fresh) on_event_(event);
}

std::string Membership::address() const {
  SocketAddress own = endpoint_.socket_address();
  if (own.is_link_local()) reinterpret_cast<sockaddr_in6*>(&own.storage)->sin6_scope_id = scope_;
  return own.to_string();
}

Status Membership::join(const std::string& address, milliseconds timeout) {
  auto parsed = address_of(address);
  if (!parsed) return parsed.status();
  const Endpoint to = Endpoint::of(*parsed);
  if (to == endpoint_) {
    return bad(address + " is this member's own address; join through another's");
  }
  if (to.family != endpoint_.family) {
    return bad(
        fmt::format("{} is not of this member's IP family, which receives at {}; choose "
                    "the interface with GOSSAMER_SOCKET_IFNAME",
                    address, this->address()));
  }
  if (to.port == 0) return bad(address + " has no port");
  const Deadline deadline(timeout);
  std::unique_lock lock(m_);
  if (leaving_) return Status::error(Code::kAborted, "membership: this member has left");
  const uint64_t refused = protocol_->counters().refused_tags;
  protocol_->join(now(), to);
  wake();
  changed_.wait_for(lock, deadline.remaining(), [&] { return protocol_->joined() || leaving_; });
  if (leaving_) return Status::error(Code::kAborted, "membership: left while joining");
  if (protocol_->joined()) return Status::ok();
  protocol_->stop_joining();
  const bool foreign = protocol_->counters().refused_tags > refused;
  return Status::error(
      Code::kTimeout,
      fmt::format("membership: no member at {} let this one in within {} ms: {}", address,
                  timeout.count(),
                  foreign ? "what arrived was made with another key or session; give all members "
                            "the same"
                          : "check that one runs there, with the same key and session, and that "
                            "UDP passes in both directions"));
}

std::vector<Member> Membership::members() const {
  const std::lock_guard lock(m_);
  return protocol_->members();
}

std::vector<MemberEvent> Membership::events(milliseconds wait) {
  std::unique_lock lock(m_);
  if (!on_event_ && wait.count() > 0) {
    changed_.wait_for(lock, wait, [&] { return !events_.empty() || stopping_; });
  }
  return std::exchange(events_, {});
}

Status Membership::set_metadata(const std::string& metadata) {
  if (metadata.size() > kMetadataBytesMax) return too_much_metadata(metadata.size());
  {
    const std::lock_guard lock(m_);
    protocol_->set_metadata(now(), metadata);
  }
  wake();
  return Status::ok();
}

Status Membership::leave(milliseconds timeout) {
  if (std::this_thread::get_id() == thread_.get_id()) {
    return bad("leave() was called from on_event, whose thread it ends");
  }
  bool heard = false;
  {
    const Deadline deadline(timeout);
    std::unique_lock lock(m_);
    leaving_ = true;
    protocol_->leave(now());
    wake();
    heard = changed_.wait_for(lock, deadline.remaining(), [&] { return protocol_->left(); });
  }
  changed_.notify_all();
  stop();
  if (heard) return Status::ok();
  return Status::error(Code::kTimeout,
                       fmt::format("membership: nobody confirmed within {} ms that this member "
                                   "leaves; the others will take it for dead",
                                   timeout.count()));
}

}  // namespace gossamer
