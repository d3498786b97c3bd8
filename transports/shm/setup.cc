// Shared memory: opening links, exchanging memory, hearing of peers that left.

#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <thread>

#include "src/check.h"
#include "src/env.h"
#include "src/net.h"
#include "transports/shm/shm_transport.h"

namespace gossamer::shm {
namespace {

// Ranks without a link that a failing one tells why: every rank does, so all hear it in larger
// groups too, and nobody makes thousands of connections.
constexpr uint32_t kWordsMax = 64;

constexpr int64_t kGraceNs = 50'000'000;

// Maps what a peer shared. Empty when it is not the size that it should be.
Mapping map_peer(int fd, uint64_t bytes, int protection = PROT_READ) {
  struct stat info {};
  if (bytes == 0 || fstat(fd, &info) != 0 || static_cast<uint64_t>(info.st_size) < bytes) return {};
  void* const base = mmap(nullptr, bytes, protection, MAP_SHARED | MAP_POPULATE, fd, 0);
  return base == MAP_FAILED ? Mapping() : Mapping(static_cast<std::byte*>(base), bytes);
}

// Why a peer's memory cannot be used. The system drops descriptors that exceed the limit.
Status unmapped(Rank peer, bool received) {
  return Status::error(Code::kSystem,
                       fmt::format("cannot map the memory that rank {} shares; raise the limit of "
                                   "{}",
                                   peer,
                                   received ? "address space (`ulimit -v`) or of memory"
                                            : "open files with `ulimit -n`"),
                       peer);
}

}  // namespace

Mapping::Mapping(Mapping&& other) noexcept
    : base(std::exchange(other.base, nullptr)), bytes(std::exchange(other.bytes, 0)) {}

Mapping& Mapping::operator=(Mapping&& other) noexcept {
  std::swap(base, other.base);
  std::swap(bytes, other.bytes);
  return *this;
}

Mapping::~Mapping() {
  if (base != nullptr) munmap(base, bytes);
}

ShmTransport::~ShmTransport() {
  Packet packet;
  packet.kind = PacketKind::kGoodbye;
  for (const Link& link : links_) {
    if (link.connected && !link.gone) (void)control_.send(link.peer, packet);
  }
  if (pool_fd_ >= 0) close(pool_fd_);
}

Status ShmTransport::listen() {
  register_barrier();
  const Result<int64_t> may_read = env_int("GOSSAMER_SHM_READ", 1, 0, 1);
  if (!may_read) return may_read.status();
  may_read_ = *may_read != 0;
  return control_.listen();
}

std::string ShmTransport::address() const {
  return host_identity() + '\n' + control_.name();
}

Status ShmTransport::start(std::vector<std::string> addresses) {
  GOSSAMER_CHECK(addresses.size() == links_.size());
  const std::string here = host_identity();
  uint32_t ranks_here = 0;
  for (size_t i = 0; i < links_.size(); ++i) {
    const size_t split = addresses[i].find('\n');
    links_[i].local = split != std::string::npos && addresses[i].compare(0, split, here) == 0;
    if (!links_[i].local) continue;
    links_[i].socket_name = addresses[i].substr(split + 1);
    ++ranks_here;
  }
  slots_travel_ = ranks_here <= std::thread::hardware_concurrency();
  block_bytes_max_ = slots_travel_ ? kTravelBytesMin - 1 : kBlockBytes;
  const uint32_t slot_bytes = slot_bytes_for(ranks_here);
  Result<int> fd = create_shared_memory("gossamer-pool", pool_bytes(slot_bytes));
  if (!fd) return fd.status();
  pool_fd_ = *fd;
  Result<std::byte*> base = map_shared_memory(pool_fd_, pool_bytes(slot_bytes), true);
  if (!base) return base.status();
  pool_ = Mapping(*base, pool_bytes(slot_bytes));
  staging_.attach(*base, slot_bytes);
  return Status::ok();
}

Code ShmTransport::open(Rank peer, Fault* fault) noexcept {
  Link& link = links_[static_cast<size_t>(peer)];
  if (link.usable()) return Code::kOk;
  if (!link.local) {
    fault->set(Code::kInvalidArgument, peer, "rank %d is not on this host: shm cannot reach it",
               peer);
    return fault->code;
  }
  if (failed_) return lost(link, fault);
  const Code connecting = connect(&link);
  // Before anything else is said about it: there may be word of why it is gone.
  const Code code = look_at_control(fault);
  if (connecting == Code::kAgain && code == Code::kOk) return Code::kAgain;
  if (code != Code::kOk) return code;
  if (link.gone) return lost_for_good(&link, fault);
  return link.usable() ? Code::kOk : Code::kAgain;
}

// Starts connecting, if that has not been done.
Code ShmTransport::connect(Link* link) noexcept {
  if (link->connecting || link->gone) return Code::kOk;
  const Code code = control_.connect(link->peer, link->socket_name);
  if (code == Code::kAgain) return code;
  if (code == Code::kSystem) {
    trouble_ = Status::error(code, fmt::format("no socket for the link to rank {}; raise the limit "
                                               "of open files with `ulimit -n`",
                                               link->peer));
    return code;
  }
  if (code != Code::kOk) {
    link->gone = true;
    link->gone_why = "nobody listens for it any more";
    return code;
  }
  link->connecting = true;
  ++opening_;
  return Code::kOk;
}

// Our side of a link: an area for it, sent with the pool's descriptor.
Status ShmTransport::announce(Link* link) {
  const uint64_t bytes = area_bytes(staging_.slot_bytes());
  Result<int> fd = create_shared_memory("gossamer-area", bytes);
  if (!fd) return fd.status();
  Result<std::byte*> base = map_shared_memory(*fd, bytes, true);
  if (!base) {
    close(*fd);
    return base.status();
  }
  link->area = Mapping(*base, bytes);
  link->slot_of_cell.fill(-1);
  link->outgoing.reserve(Link::kWindow);
  link->lent.reserve(Link::kWindow);
  link->posted.reserve(Link::kWindow);
  link->guests.reserve(kTravellersMax);
  Packet packet;
  packet.kind = PacketKind::kSetup;
  packet.slot_bytes = staging_.slot_bytes();
  const std::array<int, 2> descriptors = {*fd, pool_fd_};
  const Code code = control_.send(link->peer, packet, descriptors);
  close(*fd);
  if (code != Code::kOk) {
    return Status::error(code, fmt::format("cannot share memory with rank {}", link->peer),
                         link->peer);
  }
  link->announced = true;
  if (link->mapped) --opening_;
  return Status::ok();
}

bool ShmTransport::map_setup(Link* link, const Packet& packet, std::span<int> descriptors) {
  const bool sane = descriptors.size() == 2 && !link->mapped && packet.slot_bytes >= kPage &&
                    packet.slot_bytes <= (uint64_t{1} << 26);
  if (!sane) return false;
  link->peer_slot_bytes = static_cast<uint32_t>(packet.slot_bytes);
  link->peer_area = map_peer(descriptors[0], area_bytes(link->peer_slot_bytes));
  link->peer_pool =
      map_peer(descriptors[1], pool_bytes(link->peer_slot_bytes), PROT_READ | PROT_WRITE);
  if (link->peer_area.base == nullptr || link->peer_pool.base == nullptr) return false;
  link->peer_consumed = &link->theirs()->consumed;
  link->mapped = true;
  if (link->announced) --opening_;
  link->same_process = may_read_ && packet.process == getpid();
  return true;
}

void ShmTransport::on_connected(Rank peer) {
  Link& link = links_[static_cast<size_t>(peer)];
  link.connected = true;
  const Status status = announce(&link);
  // One that has left meanwhile is heard of by its goodbye, by word it left, or by end of file.
  if (status.code() == Code::kPeerLost) return;
  if (!status && trouble_) trouble_ = status;
}

// Answers at once, even if no call here needs the link: a peer that makes another call than we do
// must be able to send, so that somebody finds out.
void ShmTransport::on_accepted(Rank peer) {
  Link& link = links_[static_cast<size_t>(peer)];
  if (!failed_ && link.local) (void)connect(&link);
}

void ShmTransport::on_packet(Rank peer, const Packet& packet, std::span<int> descriptors) {
  Link& link = links_[static_cast<size_t>(peer)];
  const auto known = std::find_if(link.peer_windows.begin(), link.peer_windows.end(),
                                  [&](const PeerWindow& w) { return w.id == packet.id; });
  switch (packet.kind) {
    case PacketKind::kSetup:
      if (!map_setup(&link, packet, descriptors) && trouble_) {
        trouble_ = unmapped(peer, descriptors.size() == 2);
      }
      break;
    case PacketKind::kWindow:
      if (descriptors.size() == 1 && known == link.peer_windows.end()) {
        Mapping memory = map_peer(descriptors[0], packet.bytes, PROT_READ | PROT_WRITE);
        if (memory.base == nullptr) break;
        link.peer_windows.push_back({packet.id, std::move(memory)});
        ++traffic_.registrations;
      } else if (descriptors.empty() && trouble_) {
        trouble_ = unmapped(peer, false);
      }
      break;
    case PacketKind::kWindowGone:
      if (known != link.peer_windows.end()) link.peer_windows.erase(known);
      break;
    case PacketKind::kNotice:
      if (notice_.code == Code::kOk) {
        const bool valid = packet.code > static_cast<int32_t>(Code::kAgain) &&
                           packet.code <= static_cast<int32_t>(Code::kSystem) &&
                           packet.rank >= -1 && packet.rank < config_.size;
        if (valid) {
          notice_.set(static_cast<Code>(packet.code), packet.rank, "%s", packet.text.data());
        }
      }
      break;
    case PacketKind::kGoodbye:
      link.left = true;
      break;
    case PacketKind::kWake:
      break;
  }
  for (int fd : descriptors) close(fd);
}

void ShmTransport::on_gone(Rank peer, const std::string& why) {
  Link& link = links_[static_cast<size_t>(peer)];
  if (link.gone) return;
  link.gone = true;
  link.gone_why = why;
  somebody_gone_ = true;
  if (link.connecting && !link.usable()) --opening_;
}

// Whether the peer can read `window`; announces it the first time.
bool ShmTransport::window_announced(Link* link, const SharedWindow& window) noexcept {
  auto& known = link->windows_announced;
  const auto at = std::lower_bound(known.begin(), known.end(), window.id);
  if (at != known.end() && *at == window.id) return true;
  Packet packet;
  packet.kind = PacketKind::kWindow;
  packet.id = window.id;
  packet.bytes = window.bytes;
  const std::array<int, 1> descriptor = {window.fd};
  if (control_.send(link->peer, packet, descriptor) != Code::kOk) return false;  // stage instead
  known.insert(at, window.id);
  link->announced_windows = true;
  ++traffic_.exchanges;
  return true;
}

Status ShmTransport::pin(std::span<std::byte> span) {
  pinned_.push_back(span);
  ++pins_;
  return Status::ok();
}

void ShmTransport::unpin(std::span<std::byte> span) {
  const auto at = std::find_if(pinned_.begin(), pinned_.end(), [&](std::span<std::byte> other) {
    return other.data() == span.data() && other.size() == span.size();
  });
  if (at != pinned_.end()) pinned_.erase(at);
}

// Tells the peer of the windows that will be used again and again, whether or not a message of this
// run is lent: which ones are may depend on who comes first.
void ShmTransport::announce_pinned(Link* link) noexcept {
  link->pins_announced = pins_;
  for (const std::span<std::byte> span : pinned_) {
    const SharedWindow* const window = windows_.find(span.data(), span.size());
    if (window != nullptr) (void)window_announced(link, *window);
  }
}

// Lets peers unmap windows that were freed. Best effort: a full socket leaves the mapping until the
// link closes.
void ShmTransport::announce_gone() noexcept {
  for (uint32_t id : windows_.take_gone()) {
    for (Link& link : links_) {
      auto& known = link.windows_announced;
      const auto at = std::lower_bound(known.begin(), known.end(), id);
      if (at == known.end() || *at != id) continue;
      known.erase(at);
      Packet packet;
      packet.kind = PacketKind::kWindowGone;
      packet.id = id;
      (void)control_.send(link.peer, packet);
    }
  }
}

Code ShmTransport::look_at_control(Fault* fault) noexcept {
  control_.poll();
  if (notice_.code != Code::kOk) {
    *fault = notice_;
    return fault->code;
  }
  if (!trouble_) {
    fault->set(trouble_.code(), trouble_.rank(), "%s", trouble_.message().c_str());
    return fault->code;
  }
  return Code::kOk;
}

// A peer that could have said goodbye and is gone without has died, whether it is needed or not.
Code ShmTransport::find_dead(Fault* fault) noexcept {
  somebody_gone_ = false;
  for (Link& link : links_) {
    if (!link.gone || link.left || !link.usable()) continue;
    somebody_gone_ = true;
    const Code code = lost_for_good(&link, fault);
    if (code != Code::kAgain) return code;
  }
  return Code::kOk;
}

// As lost(), once there has been time for word of why: a rank that fails because of another's death
// leaves at once, and its own end may be seen before what it said. kAgain until then.
Code ShmTransport::lost_for_good(Link* link, Fault* fault) noexcept {
  const int64_t now = coarse_now();
  if (link->gone_at_ns == 0) link->gone_at_ns = now;
  const Code code = look_at_control(fault);
  if (code != Code::kOk) return code;
  return now - link->gone_at_ns < kGraceNs ? Code::kAgain : lost(*link, fault);
}

Code ShmTransport::lost(const Link& link, Fault* fault) const noexcept {
  if (notice_.code != Code::kOk) {  // read, but not by whoever found the link gone
    *fault = notice_;
    return fault->code;
  }
  // One that left in good order may have done so because another had died.
  const Link* culprit = &link;
  for (const Link& other : links_) {
    if (culprit->left && other.gone && !other.left) culprit = &other;
  }
  fault->set(Code::kPeerLost, culprit->peer, "lost rank %d (shm): %s", culprit->peer,
             culprit->left               ? "it left the communicator"
             : culprit->gone_why.empty() ? "the communicator has failed"
                                         : culprit->gone_why.c_str());
  return fault->code;
}

void ShmTransport::notify(const Fault& fault) noexcept {
  Packet packet;
  packet.kind = PacketKind::kNotice;
  packet.code = static_cast<int32_t>(fault.code);
  packet.rank = fault.rank;
  packet.text = fault.text;
  uint32_t words = 0;
  for (const Link& link : links_) {
    if (link.gone || !link.local || link.peer == config_.rank) continue;
    if (link.connected) {
      (void)control_.send(link.peer, packet);
    } else if (words++ < kWordsMax) {
      control_.leave_word(link.peer, link.socket_name, packet);
    }
  }
}

}  // namespace gossamer::shm
