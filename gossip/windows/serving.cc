// The thread that receives for a window: it takes what others put, and answers what they ask, while
// this rank's own threads do something else.

#include <fmt/format.h>

#include <cstring>

#include "gossip/windows/window_impl.h"
#include "src/reduce.h"

namespace gossamer {
namespace {

using Kind = WindowPacketKind;

}  // namespace

void Window::Impl::serve() {
  for (;;) {
    WindowPacket packet;
    const Result<Rank> place = comm_->recv_any(&packet, sizeof packet, DataType::kUint8);
    if (place && packet.kind == Kind::kStop) return;
    const Status taken = place ? take(ranks_[static_cast<size_t>(*place)], packet) : place.status();
    if (!taken && !heal(taken)) return;
  }
}

Status Window::Impl::take(Rank from, const WindowPacket& packet) {
  switch (packet.kind) {
    case Kind::kPut:
    case Kind::kAdd:
    case Kind::kValue:
      return expect_value(from, packet);
    case Kind::kEnd:
      return take_value(from);
    case Kind::kGet:
      reply(from, packet.number);
      return Status::ok();
    case Kind::kApplied: {
      const std::lock_guard lock(mutex_);
      WindowPeer& to = peer(from);
      if (!to.put_travels || packet.number != to.puts.head.number) return Status::ok();
      for (Work& work : to.puts.works) work = Work();
      to.put_travels = false;
      pump(from);
      changed_.notify_all();
      return Status::ok();
    }
    case Kind::kDone: {
      const std::lock_guard lock(mutex_);
      peer(from).done = true;
      changed_.notify_all();
      return Status::ok();
    }
    case Kind::kLeave: {
      const std::lock_guard lock(mutex_);
      lose(from, "it has destroyed its window");
      return Status::ok();
    }
    case Kind::kHello:
      return Status::ok();
    case Kind::kStop:
    case Kind::kNone:
      break;
  }
  return Status::error(Code::kMismatch,
                       fmt::format("window {}: rank {} sent a packet of unknown kind {}; ranks run "
                                   "different versions of the library",
                                   shape.name, from, static_cast<uint32_t>(packet.kind)),
                       places_[static_cast<size_t>(from)]);
}

// Nobody but this thread touches what arrives until its end has come.
Status Window::Impl::expect_value(Rank from, const WindowPacket& packet) {
  WindowPeer& other = peer(from);
  other.arriving = packet;
  other.arrives.resize(bytes);
  other.receive = comm_->start_recv(other.arrives.data(), shape.count, shape.type,
                                    places_[static_cast<size_t>(from)]);
  return Status::ok();
}

// It came after the value on the same way, so that is here.
Status Window::Impl::take_value(Rank from) {
  WindowPeer& other = peer(from);
  Status received = other.receive.wait();
  other.receive = Work();
  if (!received) return received;
  const std::lock_guard lock(mutex_);
  if (other.arriving.kind == Kind::kValue) {
    if (other.arriving.number == other.asks) {
      std::swap(other.got, other.arrives);
      other.got_version = other.arriving.version;
      other.answered = other.asks;
      if (other.unclaimed) other.asked = false;
    }
  } else {
    apply(from);
  }
  other.arriving = WindowPacket();
  changed_.notify_all();
  return Status::ok();
}

// A put or an add, once: after a loss it may come again.
void Window::Impl::apply(Rank from) {
  WindowPeer& other = peer(from);
  const WindowPacket& packet = other.arriving;
  if (packet.number > other.applied) {
    if (packet.kind == Kind::kPut || !other.filled) {
      std::swap(other.buffer, other.arrives);
    } else {
      mix_kernel(shape.type)(other.buffer.data(), other.buffer.data(), other.arrives.data(),
                             shape.count, 1, 1);
    }
    other.filled = true;
    other.applied = packet.number;
    other.version = packet.version;
  }
  // Its last answer has been taken there: else this would not have come.
  other.sends_answer = Work();
  other.answer = {Kind::kApplied, 0, packet.number, 0};
  other.sends_answer = start_packet(from, other.answer);
}

void Window::Impl::reply(Rank from, uint64_t number) {
  const std::lock_guard lock(mutex_);
  WindowParcel& parcel = peer(from).reply;
  // Its last get was answered: else it would not ask again.
  for (Work& work : parcel.works) work = Work();
  parcel.head = {Kind::kValue, 0, number, own_version_};
  parcel.value.assign(own_.begin(), own_.end());
  transmit(from, &parcel);
}

// With mutex_ held. What its buffer holds stays.
void Window::Impl::lose(Rank r, const std::string& why) {
  WindowPeer& other = peer(r);
  if (!other.gone) return;
  other.gone = Status::error(Code::kPeerLost, why, r);
  if (other.put_travels || other.waits != Kind::kNone) other.dropped = true;
  other.put_travels = false;
  other.waits = Kind::kNone;
  changed_.notify_all();
}

void Window::Impl::fail(const Status& why) {
  const std::lock_guard lock(mutex_);
  whole_ = false;
  comm_->abort();  // if it has not failed, so that the others hear of it
  failure_ = Status::error(why.code(), fmt::format("window {}: {}", shape.name, why.message()),
                           why.rank());
  changed_.notify_all();
}

}  // namespace gossamer
