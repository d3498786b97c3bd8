// Puts and accumulates: what goes out at once, what waits and is merged, and when all has arrived.

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "gossip/windows/window_impl.h"
#include "src/reduce.h"

namespace gossamer {

Result<std::vector<Weight>> Window::Impl::targets_of(const Graph& graph, uint64_t round,
                                                     double weight, bool weighed) const {
  if (Status sound = check_graph_size(graph); !sound) return sound;
  const std::shared_ptr<const Mixing> mixing = graph.mixing(round);
  std::vector<Weight> targets;
  for (const Rank to : mixing->targets(rank)) {
    targets.push_back({to, weighed ? weight * mixing->weight(to, rank) : weight});
  }
  return targets;
}

Status Window::Impl::put(const void* value, std::span<const Weight> targets,
                         WindowPacketKind kind) {
  if (value == nullptr) return invalid("the value buffer is null");
  for (const Weight& target : targets) {
    if (Status sound = check_other(target.rank, "target"); !sound) return sound;
    if (!std::isfinite(target.value)) {
      return invalid(fmt::format("the weight is {}; it must be finite", target.value));
    }
  }
  const std::lock_guard lock(mutex_);
  if (!failure_) return failure_;
  for (const Weight& target : targets) {
    if (!peer(target.rank).gone) return gone(target.rank);
  }
  ++clock_;
  for (const Weight& target : targets) {
    add_to_waiting(&peer(target.rank), static_cast<const std::byte*>(value), target.value, kind);
    pump(target.rank);
  }
  return Status::ok();
}

// A put replaces what waits; an add changes it and leaves it the put or the add that it was.
void Window::Impl::add_to_waiting(WindowPeer* to, const std::byte* value, double weight,
                                  WindowPacketKind kind) {
  to->waits_version = clock_;
  std::vector<std::byte>& waiting = to->waiting;
  if (kind == WindowPacketKind::kAdd && to->waits != WindowPacketKind::kNone) {
    mix_kernel(shape.type)(waiting.data(), waiting.data(), value, shape.count, 1, weight);
    return;
  }
  to->waits = kind;
  waiting.resize(bytes);
  if (weight == 1) {
    std::memcpy(waiting.data(), value, bytes);
  } else {
    scale_kernel(shape.type)(waiting.data(), value, shape.count, weight);
  }
}

// Sends what waits for `r`, unless something is on the way there.
void Window::Impl::pump(Rank r) {
  WindowPeer& to = peer(r);
  if (to.put_travels || to.waits == WindowPacketKind::kNone) return;
  WindowParcel& parcel = to.puts;
  std::swap(parcel.value, to.waiting);
  parcel.head = {std::exchange(to.waits, WindowPacketKind::kNone), 0, parcel.head.number + 1,
                 to.waits_version};
  to.put_travels = true;
  transmit(r, &parcel);
}

// Of a communicator that has failed: nothing; go_on() transmits again what is not answered.
void Window::Impl::transmit(Rank r, WindowParcel* parcel) {
  if (!whole_) return;
  parcel->end = {WindowPacketKind::kEnd, 0, parcel->head.number, parcel->head.version};
  const Rank place = places_[static_cast<size_t>(r)];
  parcel->works[0] = start_packet(r, parcel->head);
  parcel->works[1] = comm_->start_send(parcel->value.data(), shape.count, shape.type, place);
  parcel->works[2] = start_packet(r, parcel->end);
}

// `packet` stays where it is until the work is done.
Work Window::Impl::start_packet(Rank r, const WindowPacket& packet) {
  if (!whole_) return {};
  return comm_->start_send(&packet, sizeof packet, DataType::kUint8,
                           places_[static_cast<size_t>(r)]);
}

Status Window::Impl::flush() {
  std::unique_lock lock(mutex_);
  const auto awaited = [this] {
    const auto busy = std::find_if(peers_.begin(), peers_.end(), [](const WindowPeer& to) {
      return to.put_travels || to.waits != WindowPacketKind::kNone;
    });
    return busy == peers_.end() ? -1 : static_cast<Rank>(busy - peers_.begin());
  };
  (void)sleep(&lock, shape.timeout, [&] { return !failure_ || awaited() < 0; });
  for (Rank r = 0; r < size; ++r) {
    if (std::exchange(peer(r).dropped, false)) return gone(r);
  }
  if (awaited() < 0) return Status::ok();
  if (!failure_) return failure_;
  return timed_out(awaited(), "has not taken what was put to it", shape.timeout);
}

}  // namespace gossamer
