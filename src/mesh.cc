#include "src/mesh.h"

#include <fmt/format.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <utility>

#include "src/bootstrap.h"
#include "src/log.h"

namespace gossamer {
namespace {

constexpr size_t kUnprovenMax = 64;

}  // namespace

Mesh::Mesh(Rank rank, Rank size, const std::atomic<bool>* aborted)
    : rank_(rank),
      size_(size),
      aborted_(aborted),
      ahead_(static_cast<size_t>(rounds_of(size))),
      behind_(ahead_.size()) {}

Rank Mesh::ahead_rank(int round) const {
  return static_cast<Rank>((rank_ + (int64_t{1} << round)) % size_);
}

Rank Mesh::behind_rank(int round) const {
  return static_cast<Rank>((rank_ + size_ - (int64_t{1} << round)) % size_);
}

uint64_t Mesh::blobs_in(int round) const {
  const uint64_t distance = uint64_t{1} << round;
  return std::min(distance, static_cast<uint64_t>(size_) - distance);
}

size_t Mesh::body_bytes_max(int round) const {
  return blobs_in(round) * (sizeof(uint32_t) + kBlobBytesMax);
}

bool Mesh::formed() const {
  const auto open = [](const std::unique_ptr<Channel>& c) { return c != nullptr && c->open(); };
  return std::all_of(ahead_.begin(), ahead_.end(), open) &&
         std::all_of(behind_.begin(), behind_.end(), open);
}

Rank Mesh::lowest_missing() const {
  Rank lowest = size_;
  for (size_t k = 0; k < ahead_.size(); ++k) {
    if (!ahead_[k]->open()) {
      lowest = std::min(lowest, ahead_rank(static_cast<int>(k)));
    }
    if (behind_[k] == nullptr) {
      lowest = std::min(lowest, behind_rank(static_cast<int>(k)));
    }
  }
  return lowest;
}

Status Mesh::form(Met met, const Deadline& deadline) {
  for (size_t k = 0; k < ahead_.size(); ++k) {
    const Handshake handshake(met.key, Handshake::Role::kConnector, met.session, rank_,
                              kPurposeMesh + static_cast<uint32_t>(k));
    ahead_[k] = Channel::connect(met.ahead[k], handshake, body_bytes_max(static_cast<int>(k)));
  }
  listening_ = std::move(met.listening);
  for (;;) {
    Status stepped = step_forming();
    if (!stepped) {
      return fail(stepped);
    }
    if (formed()) {
      break;
    }
    const Rank awaited = lowest_missing();
    Status waited =
        wait(deadline, fmt::format("connecting to its group: waiting for rank {}", awaited));
    if (!waited) {
      return fail(waited.code() == Code::kTimeout
                      ? Status::error(Code::kTimeout, waited.message(), awaited)
                      : waited);
    }
    accept_all(met);
  }
  listening_.reset();
  unproven_.clear();
  return Status::ok();
}

// Steps every link, and looks for a failure that another rank reports.
Status Mesh::step_all() {
  for (auto* side : {&ahead_, &behind_}) {
    for (const std::unique_ptr<Channel>& channel : *side) {
      if (channel == nullptr || channel->closed()) {
        continue;
      }
      channel->step();
      Status failure = check_failure(channel.get());
      if (!failure) {
        return failure;
      }
    }
  }
  return Status::ok();
}

Status Mesh::check_failure(Channel* channel) const {
  const Frame* frame = channel->frame();
  if (frame == nullptr || frame->header.type == FrameType::kBlobs) {
    return Status::ok();
  }
  std::optional<Status> told;
  if (frame->header.type == FrameType::kFailure) {
    told = parse_failure(frame->body);
  }
  const Rank peer = channel->handshake().peer_rank();
  return told.value_or(Status::error(
      Code::kPeerLost, fmt::format("rank {} sent a malformed bootstrap message", peer), peer));
}

Status Mesh::step_forming() {
  Status stepped = step_all();
  if (!stepped) {
    return stepped;
  }
  for (size_t k = 0; k < ahead_.size(); ++k) {
    const Channel& channel = *ahead_[k];
    const Rank peer = ahead_rank(static_cast<int>(k));
    // Every rank listened before it reported: whoever is not there now has gone.
    if (channel.closed()) {
      return Status::error(Code::kPeerLost,
                           fmt::format("rank {} was lost while the group formed: at {}: {}", peer,
                                       channel.peer().to_string(), channel.why()),
                           peer);
    }
    if (channel.open() && channel.handshake().peer_rank() != peer) {
      return Status::error(
          Code::kMismatch,
          fmt::format("{} should be rank {} and is rank {}", channel.peer().to_string(), peer,
                      channel.handshake().peer_rank()),
          peer);
    }
  }
  for (size_t k = 0; k < behind_.size(); ++k) {
    if (behind_[k] != nullptr && behind_[k]->closed()) {
      const Rank peer = behind_rank(static_cast<int>(k));
      return Status::error(
          Code::kPeerLost,
          fmt::format("rank {} was lost while the group formed: {}", peer, behind_[k]->why()),
          peer);
    }
  }
  for (auto it = unproven_.begin(); it != unproven_.end();) {
    (*it)->step();
    if ((*it)->closed()) {
      log_line(
          LogLevel::kWarn, {rank_, size_, ""},
          fmt::format("refused a connection from {}: {}", (*it)->peer().to_string(), (*it)->why()));
      it = unproven_.erase(it);
    } else if ((*it)->open()) {
      admit(std::move(*it));
      it = unproven_.erase(it);
    } else {
      ++it;
    }
  }
  return Status::ok();
}

void Mesh::admit(std::unique_ptr<Channel> channel) {
  const uint32_t round = channel->handshake().peer_purpose() - kPurposeMesh;
  const Rank peer = channel->handshake().peer_rank();
  if (round < behind_.size() && behind_rank(static_cast<int>(round)) == peer &&
      behind_[round] == nullptr) {
    behind_[round] = std::move(channel);
    return;
  }
  log_line(LogLevel::kWarn, {rank_, size_, ""},
           fmt::format("refused a connection from {}: rank {} has no business here",
                       channel->peer().to_string(), peer));
}

void Mesh::accept_all(const Met& met) {
  while (unproven_.size() < kUnprovenMax) {
    SocketAddress from;
    from.length = sizeof(from.storage);
    Fd fd(::accept4(listening_.get(), reinterpret_cast<sockaddr*>(&from.storage), &from.length,
                    SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (!fd.is_open()) {
      return;
    }
    const Handshake handshake(met.key, Handshake::Role::kAcceptor, met.session, rank_,
                              kPurposeMesh);
    // A rank behind sends only why it failed.
    unproven_.push_back(std::make_unique<Channel>(std::move(fd), from, handshake, 0));
  }
  // Strangers that say nothing must not keep the group's own out.
  unproven_.pop_front();
}

Status Mesh::wait(const Deadline& deadline, const std::string& doing) {
  fds_.clear();
  fds_.push_back({listening_.get(), POLLIN, 0});
  for (auto* side : {&ahead_, &behind_}) {
    for (const std::unique_ptr<Channel>& channel : *side) {
      if (channel != nullptr) {
        fds_.push_back(channel->to_poll());
      }
    }
  }
  for (const std::unique_ptr<Channel>& channel : unproven_) {
    fds_.push_back(channel->to_poll());
  }
  switch (wait_for(fds_, deadline, aborted_)) {
    case Waited::kReady:
      return Status::ok();
    case Waited::kAborted:
      return Status::error(Code::kAborted,
                           fmt::format("abort() was called on rank {} while {}", rank_, doing),
                           rank_);
    case Waited::kTimeout:
      break;
  }
  return Status::error(Code::kTimeout, fmt::format("rank {} ran out of time {}", rank_, doing));
}

Status Mesh::fail(Status why) {
  failure_ = std::move(why);
  FrameHeader header;
  header.type = FrameType::kFailure;
  const std::vector<std::byte> body = encode_failure(failure_);
  for (auto* side : {&ahead_, &behind_}) {
    for (std::unique_ptr<Channel>& channel : *side) {
      if (channel != nullptr && channel->open()) {
        channel->send(header, body);
        channel->step();
      }
      channel.reset();
    }
  }
  listening_.reset();
  unproven_.clear();
  return failure_;
}

// Round k: the blobs this rank has gathered first go to the rank 2^k behind, while as many arrive
// from the rank 2^k ahead.
Status Mesh::exchange(int round, std::vector<std::string>* blobs, const Deadline& deadline) {
  const auto k = static_cast<size_t>(round);
  const uint64_t count = blobs_in(round);
  Channel& from = *ahead_[k];
  Channel& to = *behind_[k];
  FrameHeader header;
  header.type = FrameType::kBlobs;
  header.round = static_cast<uint8_t>(round);
  header.sequence = sequence_;
  to.send(header, encode_blobs(std::span(*blobs).first(count)));
  for (;;) {
    Status stepped = step_all();
    if (!stepped) {
      return stepped;
    }
    if (from.frame() != nullptr && to.flushed()) {
      break;
    }
    for (const auto& [channel, peer] :
         {std::pair(&from, ahead_rank(round)), std::pair(&to, behind_rank(round))}) {
      const bool needed = channel == &to ? !to.flushed() : from.frame() == nullptr;
      if (needed && channel->closed()) {
        return Status::error(Code::kPeerLost,
                             fmt::format("rank {} was lost while ranks exchanged addresses: {}",
                                         peer, channel->why()),
                             peer);
      }
    }
    const Rank awaited = from.frame() == nullptr ? ahead_rank(round) : behind_rank(round);
    Status waited =
        wait(deadline, fmt::format("exchanging addresses: waiting for rank {}", awaited));
    if (!waited) {
      return waited.code() == Code::kTimeout
                 ? Status::error(Code::kTimeout, waited.message(), awaited)
                 : waited;
    }
  }
  const Frame frame = from.take_frame();
  auto arrived = parse_blobs(frame.body, count);
  const Rank peer = ahead_rank(round);
  if (frame.header.round != header.round || frame.header.sequence != sequence_) {
    return Status::error(
        Code::kMismatch,
        fmt::format("rank {} is in round {} of exchange {}, rank {} in round {} of "
                    "exchange {}",
                    peer, frame.header.round, frame.header.sequence, rank_, round, sequence_),
        peer);
  }
  if (!arrived) {
    return Status::error(Code::kPeerLost,
                         fmt::format("rank {} sent a malformed bootstrap message", peer), peer);
  }
  for (std::string& blob : *arrived) {
    blobs->push_back(std::move(blob));
  }
  return Status::ok();
}

Result<std::vector<std::string>> Mesh::all_gather(const std::string& blob,
                                                  const Deadline& deadline) {
  if (!failure_) {
    return failure_;
  }
  if (blob.size() > kBlobBytesMax) {
    return Status::error(Code::kInvalidArgument,
                         fmt::format("rank {} wants to tell {} bytes about itself; at most {} fit",
                                     rank_, blob.size(), kBlobBytesMax),
                         rank_);
  }
  std::vector<std::string> blobs{blob};  // [i]: of rank + i
  for (int round = 0; round < rounds_of(size_); ++round) {
    Status exchanged = exchange(round, &blobs, deadline);
    if (!exchanged) {
      return fail(exchanged);
    }
  }
  ++sequence_;
  std::vector<std::string> by_rank(blobs.size());
  for (size_t i = 0; i < blobs.size(); ++i) {
    by_rank[(static_cast<size_t>(rank_) + i) % blobs.size()] = std::move(blobs[i]);
  }
  return by_rank;
}

}  // namespace gossamer
