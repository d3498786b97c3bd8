// Shared memory: messages that are read where they lie, in a window, which the peer has mapped, or,
// between ranks that are threads of one process, anywhere.
//
// Between processes process_vm_readv() could do the same. Here it does not pay: 16 KiB to 4 MiB
// took 1.5 to 2.5 times as long as through slots, with two ranks and with four, as the system looks
// up every page (all collectives, two cores of an AMD EPYC, Linux 6).

#include "transports/shm/shm_transport.h"

namespace gossamer::shm {

// Lends the peer the message where it lies, if that is in a window.
bool ShmTransport::push_window(Link* link, Link::Outgoing* out) noexcept {
  const Message& message = out->message;
  const SharedWindow* window = windows_.find(message.data, message.bytes);
  if (windows_.any_gone()) announce_gone();
  // Shorter ones are complete whether or not somebody posts their receive (Limits::eager_bytes).
  if (window == nullptr || message.bytes <= kBlockBytes || link->lent.full()) return false;
  Cell& cell = link->ours()->cells[link->head & (kCells - 1)];
  cell.run = {message.bytes,
              message.bytes,
              static_cast<uint64_t>(message.data - window->base),
              window->id,
              0,
              0,
              0};
  if (!window_announced(link, *window)) return false;
  if (message.answer != nullptr) {
    window = windows_.find(message.answer, message.bytes);
    if (window != nullptr && window_announced(link, *window)) {
      cell.run.answer_window = window->id;
      cell.run.answer_offset = static_cast<uint64_t>(message.answer - window->base);
      link->answer_here = message.answer;
    }
  }
  link->lent.push({link->head, out->token});
  publish(link, CellKind::kWindow, message, -1);
  ++traffic_.direct_messages;
  return true;
}

// The same for any memory, if the peer can read that.
bool ShmTransport::push_memory(Link* link, Link::Outgoing* out) noexcept {
  const Message& message = out->message;
  if (!link->same_process || message.bytes <= kBlockBytes || link->lent.full()) return false;
  Cell& cell = link->ours()->cells[link->head & (kCells - 1)];
  cell.run = {message.bytes, message.bytes, reinterpret_cast<uint64_t>(message.data), 0, 0, 0, 0};
  if (message.answer != nullptr) {
    cell.run.answer_window = 1;
    cell.run.answer_offset = reinterpret_cast<uint64_t>(message.answer);
    link->answer_here = message.answer;
  }
  link->lent.push({link->head, out->token});
  publish(link, CellKind::kMemory, message, -1);
  ++traffic_.direct_messages;
  return true;
}

const Mapping* ShmTransport::peer_window(const Link& link, uint32_t id) noexcept {
  for (int attempt = 0; attempt < 2; ++attempt) {
    for (const PeerWindow& window : link.peer_windows) {
      if (window.id == id) return &window.memory;
    }
    // Announced before the cell was published, so it is in the socket already.
    if (attempt == 0) control_.poll();
  }
  return nullptr;
}

}  // namespace gossamer::shm
