#include "transports/tcp/flow.h"

#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "src/check.h"
#include "transports/mismatch.h"

namespace gossamer::tcp {

namespace {

// Up to here a message goes through the own tile with whatever follows it.
constexpr uint64_t kSmallBytes = 4096;
// Up to here header and body are put together for send(), which costs less than sendmsg().
constexpr uint64_t kCopyBytes = 1024;
// What one call may move before other flows, and the other direction, have their turn.
constexpr size_t kTurnBytes = 1024 * 1024;
constexpr size_t kWriteBytes = 512 * 1024;

}  // namespace

Flow::Flow(int socket, Rank self, Rank peer, Lane lane)
    : socket_(socket), self_(self), peer_(peer), lane_(lane) {}

Flow::~Flow() {
  ::close(socket_);
}

void Flow::fail(int error) {
  if (broken_) return;
  broken_ = true;
  error_ = error;
}

void Flow::abandon() {
  posted_.clear();
  sends_.clear();
  progress_ = 0;
}

bool Flow::peek(Fingerprint* arrived) const {
  if (!posted_.empty() || in_message_ || broken_) return false;
  std::array<std::byte, kHeaderBytes> bytes{};
  const size_t have = std::min(in_tile(), kHeaderBytes);
  if (have > 0) std::memcpy(bytes.data(), own_.get() + begin_, have);
  const size_t missing = kHeaderBytes - have;
  if (missing > 0 && ::recv(socket_, bytes.data() + have, missing, MSG_DONTWAIT | MSG_PEEK) !=
                         static_cast<ssize_t>(missing)) {
    return false;
  }
  Header header;
  if (!decode(bytes, &header)) return false;
  *arrived = header.fingerprint;
  return true;
}

// Writes from `progress` on; returns the bytes written, 0 when the kernel takes none now.
size_t Flow::write_some(const Queued& queued, size_t progress) {
  const uint64_t all = kHeaderBytes + queued.message.bytes;
  const auto header = encode({queued.sequence, queued.message.fingerprint, queued.message.bytes});
  ssize_t written = 0;
  do {
    if (progress == 0 && all <= kCopyBytes) {
      std::array<std::byte, kCopyBytes> whole;
      std::memcpy(whole.data(), header.data(), kHeaderBytes);
      if (all > kHeaderBytes) {
        std::memcpy(whole.data() + kHeaderBytes, queued.message.data, queued.message.bytes);
      }
      written = ::send(socket_, whole.data(), all, MSG_NOSIGNAL | MSG_DONTWAIT);
    } else {
      std::array<iovec, 2> parts{};
      msghdr message{};
      message.msg_iov = parts.data();
      if (progress < kHeaderBytes) {
        parts[message.msg_iovlen++] = {const_cast<std::byte*>(header.data()) + progress,
                                       kHeaderBytes - progress};
      }
      const uint64_t body = progress < kHeaderBytes ? 0 : progress - kHeaderBytes;
      const uint64_t run = std::min<uint64_t>(queued.message.bytes - body, kWriteBytes);
      if (run > 0) {
        parts[message.msg_iovlen++] = {const_cast<std::byte*>(queued.message.data) + body, run};
      }
      written = ::sendmsg(socket_, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    }
  } while (written < 0 && errno == EINTR);
  if (written >= 0) return static_cast<size_t>(written);
  if (errno == EAGAIN || errno == ENOBUFS) {
    writable = false;
  } else {
    fail(errno);
  }
  return 0;
}

Code Flow::send(const Message& message, Token token) {
  if (sends_.full()) return Code::kAgain;
  ++(kHeaderBytes + message.bytes <= kCopyBytes ? traffic.inline_messages
                                                : traffic.direct_messages);
  const Queued queued{message, next_sequence_++, token};
  size_t progress = 0;
  if (sends_.empty() && !broken_) {
    const size_t all = kHeaderBytes + message.bytes;
    // No more than the kernel hands on while it is in the cache: what is sent before anybody reads
    // goes to memory and back.
    while (progress < std::min(all, kWriteBytes)) {
      const size_t written = write_some(queued, progress);
      if (written == 0) break;
      progress += written;
    }
    if (progress == all) return Code::kOk;
    progress_ = progress;
  }
  sends_.push(queued);
  return Code::kPending;
}

void Flow::transmit(std::vector<Token>* done) {
  size_t turn = 0;
  while (!sends_.empty() && !broken_ && turn < kTurnBytes) {
    const Queued& queued = sends_.front();
    const size_t written = write_some(queued, progress_);
    if (written == 0) return;
    progress_ += written;
    turn += written;
    if (progress_ == kHeaderBytes + queued.message.bytes) {
      done->push_back(queued.token);
      sends_.pop();
      progress_ = 0;
    }
  }
}

Code Flow::recv(const Sink& sink, Token token, const FoldTile& tile, Fault* fault) {
  GOSSAMER_CHECK(sink.combine == nullptr ||
                 (sink.granule <= kOwnTileBytes / 2 && sink.bytes % sink.granule == 0));
  if (posted_.full()) return Code::kAgain;
  const bool first = posted_.empty();
  posted_.push({sink, token});
  if (!first) return Code::kPending;
  const Code code = receive(tile, nullptr, fault);
  if (code != Code::kOk) return code;
  return posted_.empty() ? Code::kOk : Code::kPending;
}

Code Flow::receive(const FoldTile& tile, std::vector<Token>* done, Fault* fault) {
  if (own_ == nullptr) own_ = std::make_unique_for_overwrite<std::byte[]>(kOwnTileBytes);
  drained_ = broken_;
  uint64_t turn = 0;
  while (!posted_.empty()) {
    const Sink& sink = posted_.front().sink;
    if (!in_message_) {
      if (in_tile() < kHeaderBytes && !drained_) fill_header(sink, tile);
      if (in_tile() < kHeaderBytes) return Code::kOk;
      const Code code = begin_message(sink, tile, fault);
      if (code != Code::kOk) return code;
    } else if (arrived_ == sink.bytes) {
      if (done != nullptr) done->push_back(posted_.front().token);
      turn += sink.bytes;
      posted_.pop();
      in_message_ = false;
    } else if (!consume_tile(sink)) {
      if (drained_ || turn > kTurnBytes) return Code::kOk;
      const uint64_t before = arrived_;
      read_body(sink, tile);
      turn += arrived_ - before;
    }
  }
  return Code::kOk;
}

// One read into up to three places. Returns the bytes read, 0 for none.
ssize_t Flow::read_into(std::span<std::byte> first, std::span<std::byte> second,
                        std::span<std::byte> third) {
  std::array<iovec, 3> parts{};
  msghdr message{};
  message.msg_iov = parts.data();
  size_t wanted = 0;
  for (const auto part : {first, second, third}) {
    if (part.empty()) continue;
    parts[message.msg_iovlen++] = {part.data(), part.size()};
    wanted += part.size();
  }
  for (;;) {
    const ssize_t got = message.msg_iovlen == 1
                            ? ::recv(socket_, parts[0].iov_base, parts[0].iov_len, MSG_DONTWAIT)
                            : ::recvmsg(socket_, &message, MSG_DONTWAIT);
    if (got > 0) {
      // A short read has emptied the socket: asking again would only cost a system call.
      drained_ = static_cast<size_t>(got) < wanted;
      if (drained_) readable = false;
      return got;
    }
    if (got < 0 && errno == EINTR) continue;
    drained_ = true;
    if (got < 0 && (errno == EAGAIN || errno == ENOMEM)) {
      readable = false;
    } else {
      fail(got == 0 ? 0 : errno);
    }
    return 0;
  }
}

// Reads until the tile holds a header, if that much is there; for a large message also the start
// of its body to where it belongs.
void Flow::fill_header(const Sink& sink, const FoldTile& tile) {
  const size_t have = in_tile();
  if (begin_ > 0) std::memmove(own_.get(), own_.get() + begin_, have);
  begin_ = 0;
  end_ = have;
  std::byte* const own = own_.get();
  if (sink.bytes <= kSmallBytes) {
    end_ += static_cast<size_t>(read_into({own + have, kOwnTileBytes - have}, {}, {}));
    return;
  }
  // A mismatched message may so reach the target, never beyond it: its operation fails anyway.
  const bool folds = sink.combine != nullptr;
  const std::span<std::byte> body =
      folds ? std::span(tile.get(), std::min<uint64_t>(sink.bytes, kFoldTileBytes))
            : std::span(sink.target, sink.bytes);
  const bool whole = body.size() == sink.bytes;
  const std::span<std::byte> rest(own + kHeaderBytes, whole ? kOwnTileBytes - kHeaderBytes : 0);
  auto got = static_cast<size_t>(read_into({own + have, kHeaderBytes - have}, body, rest));
  const size_t head = std::min(got, kHeaderBytes - have);
  end_ += head;
  got -= head;
  body_ahead_ = std::min(got, body.size());
  end_ += got - body_ahead_;
}

Code Flow::begin_message(const Sink& sink, const FoldTile& tile, Fault* fault) {
  Header header;
  const bool ours =
      decode(std::span<const std::byte, kHeaderBytes>(own_.get() + begin_, kHeaderBytes), &header);
  if (!ours || header.sequence != expected_sequence_) {
    fault->set(Code::kSystem, peer_,
               "the connection from rank %d (lane %u) carries bytes that are no message: corrupted "
               "on the way, or two versions of the library",
               peer_, lane_);
    return fault->code;
  }
  if (mismatched(self_, peer_, lane_, header.bytes, header.fingerprint, sink, fault)) {
    return fault->code;
  }
  ++expected_sequence_;
  begin_ += kHeaderBytes;
  in_message_ = true;
  arrived_ = 0;
  const size_t ahead = std::exchange(body_ahead_, 0);
  if (ahead == 0) return Code::kOk;
  if (sink.combine == nullptr) {
    arrived_ = ahead;
  } else {
    fold(sink, tile, ahead);
  }
  return Code::kOk;
}

// Folds the first `bytes` of the tile; a part of a granule at the end waits in the own tile, which
// is empty unless the message is whole.
void Flow::fold(const Sink& sink, const FoldTile& tile, size_t bytes) {
  const size_t whole = bytes - bytes % sink.granule;
  if (whole > 0) sink.combine(sink, arrived_, tile.get(), whole);
  arrived_ += whole;
  if (whole == bytes) return;
  begin_ = 0;
  end_ = bytes - whole;
  std::memcpy(own_.get(), tile.get() + whole, end_);
}

// Takes body bytes from the own tile. False when it has none, or only part of a granule.
bool Flow::consume_tile(const Sink& sink) {
  uint64_t run = std::min<uint64_t>(in_tile(), sink.bytes - arrived_);
  if (sink.combine != nullptr) run -= run % sink.granule;
  if (run == 0) return false;
  const std::byte* from = own_.get() + begin_;
  if (sink.combine != nullptr) {
    sink.combine(sink, arrived_, from, run);
  } else {
    std::memcpy(sink.target + arrived_, from, run);
    ++traffic.copies;
    traffic.bytes_copied += run;
  }
  arrived_ += run;
  begin_ += run;
  return true;
}

// Reads more of the body, and what follows it where it ends. The own tile holds at most part of a
// granule.
void Flow::read_body(const Sink& sink, const FoldTile& tile) {
  const uint64_t left = sink.bytes - arrived_;
  const std::span<std::byte> rest(own_.get(), kOwnTileBytes);
  if (sink.combine == nullptr) {
    begin_ = end_ = 0;
    const auto got = static_cast<uint64_t>(read_into({sink.target + arrived_, left}, rest, {}));
    const uint64_t body = std::min(got, left);
    arrived_ += body;
    end_ = got - body;
    return;
  }
  const size_t carried = in_tile();
  std::memcpy(tile.get(), own_.get() + begin_, carried);
  const uint64_t room = std::min<uint64_t>(left, kFoldTileBytes) - carried;
  const bool whole = carried + room == left;
  // The part of a granule is in the tile now, so that the rest may overwrite it.
  const auto got = static_cast<uint64_t>(
      read_into({tile.get() + carried, room}, whole ? rest : std::span<std::byte>(), {}));
  if (got == 0) return;
  const uint64_t body = std::min(got, room);
  begin_ = 0;
  end_ = got - body;
  fold(sink, tile, carried + body);
}

}  // namespace gossamer::tcp
