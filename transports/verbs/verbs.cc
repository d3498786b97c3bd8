#include "transports/verbs/verbs.h"

#include <sys/epoll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>

#include "src/check.h"
#include "src/log.h"
#include "src/system_text.h"
#include "transports/list.h"

namespace gossamer::verbs {

namespace {

constexpr uint32_t kPurpose = 0x56455200;
constexpr uint8_t kLanesMax = 4;
// A link has two rings and two mirrors; with many links they are smaller.
constexpr uint32_t kRingBytes = 1024 * 1024;
constexpr uint32_t kSmallRingBytes = 512 * 1024;
constexpr Rank kFewRanks = 16;
// How long a rank that leaves waits for what it has sent to be confirmed.
constexpr std::chrono::milliseconds kLinger{1000};

}  // namespace

Verbs::Verbs(const TransportConfig& config)
    : config_(config),
      epoll_(::epoll_create1(EPOLL_CLOEXEC)),
      greeter_(config, kPurpose),
      reception_(config, greeter_) {
  peers_.resize(static_cast<size_t>(config.size));
}

Status Verbs::listen() {
  if (epoll_ < 0) {
    return Status::error(Code::kSystem, "epoll_create1: " + system_text(errno));
  }
  Status status = devices_.open(config_.rank);
  if (!status) return status;
  cache_ = std::make_unique<RegistrationCache>(&devices_, &MemoryWatch::instance(),
                                               RegistrationCache::Bounds{});
  const uint32_t ring = config_.size <= kFewRanks ? kRingBytes : kSmallRingBytes;
  shared_ = {config_.rank, ring, &devices_, cache_.get(), &traffic_};
  for (const auto& device : devices_.devices()) {
    status = watch(device->channel->fd, 1 + 2 * device->index);
    if (status) status = watch(device->context->async_fd, 2 + 2 * device->index);
    if (!status) return status;
  }
  return greeter_.listen(epoll_);
}

Verbs::~Verbs() {
  linger();
  for (const Rank rank : linked_) {
    const Peer& peer = *peers_[static_cast<size_t>(rank)];
    if (peer.connected) tcp::send_record(peer.control, tcp::goodbye_record());
    tcp::drain(peer.control);
  }
  for (const Rank rank : linked_) ::close(peers_[static_cast<size_t>(rank)]->control);
  peers_.clear();
  cache_.reset();
  if (epoll_ >= 0) ::close(epoll_);
}

// What is complete for the caller must reach the peer, though the queue pair goes now.
void Verbs::linger() {
  if (abandoned_ || failure_.code != Code::kOk) return;
  const auto end = Clock::now() + kLinger;
  std::vector<Token> done;
  for (bool all = false; !all && Clock::now() < end;) {
    Fault moved;
    all = true;
    (void)collect_completions();
    (void)advance_pairs(&done, &moved);
    if (moving_ > 0 && step_moves(&moved) != Code::kOk) return;
    for (const Rank rank : linked_) {
      Peer& peer = *peers_[static_cast<size_t>(rank)];
      Fault ignored;
      if (!peer.ready || peer.said_goodbye || peer.gone) continue;
      for (const auto& pair : peer.pairs) {
        pair->flush();
        if (pair->flushed()) continue;
        all = false;
        peer.gone = read_control(rank, &peer, &ignored) != Code::kOk;
      }
    }
  }
}

std::string Verbs::address() const {
  return greeter_.address() + " " + std::to_string(const_cast<Devices&>(devices_).ports().size());
}

Status Verbs::start(std::vector<std::string> addresses) {
  if (addresses.size() != static_cast<size_t>(config_.size)) {
    return Status::error(Code::kInvalidArgument, "verbs needs one address per rank");
  }
  lanes_ = 1;
  for (std::string& text : addresses) {
    ports_of_.push_back(0);
    if (text.empty()) continue;
    const size_t space = std::min(text.find(' '), text.size());
    uint32_t ports = 0;
    if (space < text.size()) {
      (void)std::from_chars(text.data() + space + 1, text.data() + text.size(), ports);
    }
    text.resize(space);
    ports_of_.back() = std::max(ports, 1u);
    lanes_ = std::max(lanes_, static_cast<uint8_t>(std::min<uint32_t>(ports, kLanesMax)));
  }
  reception_.start(std::move(addresses));
  return Status::ok();
}

Traffic Verbs::traffic() const noexcept {
  Traffic all = traffic_;
  if (cache_ != nullptr) all.registrations += cache_->registrations();
  return all;
}

Verbs::Peer& Verbs::peer_at(Rank peer) {
  std::unique_ptr<Peer>& slot = peers_[static_cast<size_t>(peer)];
  if (slot == nullptr) slot = std::make_unique<Peer>(config_.size);
  return *slot;
}

Pair& Verbs::pair_at(Rank peer, Lane lane) {
  const auto& link = peers_[static_cast<size_t>(peer)];
  GOSSAMER_CHECK(lane < lanes_ && link != nullptr && link->ready);
  return *link->pairs[lane];
}

Code Verbs::fail(Fault* fault) {
  failure_ = *fault;
  return fault->code;
}

void Verbs::list(Pair* pair) {
  if (pair->listed) return;
  pair->listed = true;
  listed_.push_back(pair);
}

Code Verbs::open(Rank rank, Fault* fault) noexcept {
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

Code Verbs::send(Rank peer, Lane lane, const Message& message, Token token, Fault* fault) noexcept {
  if (failure_.code != Code::kOk) {
    *fault = failure_;
    return fault->code;
  }
  Pair& pair = pair_at(peer, lane);
  const Code code = pair.send(message, token);
  if (pair.postpones()) list(&pair);
  if (pair.broken()) urgent_ = true;
  if (!warned_ && !cache_->refusal().empty()) {
    warned_ = true;
    log_line(LogLevel::kWarn, {config_.rank, config_.size, {}},
             cache_->refusal() + "; copies are made instead");
  }
  return code;
}

Code Verbs::recv(Rank peer, Lane lane, const Sink& sink, Token token, Fault* fault) noexcept {
  if (failure_.code != Code::kOk) {
    *fault = failure_;
    return fault->code;
  }
  Pair& pair = pair_at(peer, lane);
  const Code code = pair.recv(sink, token, fault);
  if (pair.postpones()) list(&pair);
  if (pair.broken()) urgent_ = true;
  if (code != Code::kOk && code != Code::kPending && code != Code::kAgain) return fail(fault);
  return code;
}

Code Verbs::peek(Rank peer, Lane lane, Fingerprint* arrived) noexcept {
  const auto& link = peers_[static_cast<size_t>(peer)];
  const bool there = link != nullptr && link->ready && link->pairs[lane]->peek(arrived);
  return there ? Code::kOk : Code::kAgain;
}

void Verbs::abandon() noexcept {
  abandoned_ = true;
  greeter_.stop();
  for (Pair* pair : pairs_) pair->abandon();
}

Result<std::unique_ptr<Transport>> create(const TransportConfig& config) {
  auto verbs = std::make_unique<Verbs>(config);
  const Status listening = verbs->listen();
  if (!listening) return listening;
  return std::unique_ptr<Transport>(std::move(verbs));
}

}  // namespace gossamer::verbs

namespace gossamer {

const TransportFactory verbs_transport{"verbs", verbs::create};

}  // namespace gossamer
