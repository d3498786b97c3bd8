// Shared memory: answers that are given at once.
//
// A sink that may be answered (Sink::may_answer) is folded and the result goes back in the same
// pass, while it is in the first cache: over the slot that the message came in, which then travels
// home, or, for a message from a window, to where its sender said it wants the answer. Between two
// ranks with buffers in windows an all-reduce is so one pass over half of the buffer on each.

#include <sched.h>

#include <algorithm>
#include <cstring>

#include "transports/shm/shm_transport.h"

namespace gossamer::shm {
namespace {

constexpr uint64_t kAnswerTileBytes = 4096;
constexpr int64_t kWritingNs = 100'000'000;   // how long a peer may take to write a tile
constexpr int64_t kVisitNs = 10'000'000'000;  // and a thread of ours to read a message

// Folds a run and writes the result back over it, tile by tile while both are in the first cache.
void deliver_and_answer(const Sink& sink, uint64_t offset, std::byte* arrived, uint64_t bytes) {
  for (uint64_t at = 0; at < bytes; at += kAnswerTileBytes) {
    const uint64_t n = std::min(kAnswerTileBytes, bytes - at);
    sink.combine(sink, offset + at, arrived + at, n);
    std::memcpy(arrived + at, sink.target + offset + at, n);
  }
}

}  // namespace

// Where the peer wants the answer to the window that `cell` lends; null: it wants none.
std::byte* ShmTransport::place_of_answer(Link* link, const Cell& cell) noexcept {
  if (!is_lent(cell.kind) || cell.run.answer_window == 0) return nullptr;
  if (cell.kind == CellKind::kMemory) return reinterpret_cast<std::byte*>(cell.run.answer_offset);
  const Mapping* const memory = peer_window(*link, cell.run.answer_window);
  if (memory == nullptr || !memory->contains(cell.run.answer_offset, cell.run.run_bytes)) {
    return nullptr;
  }
  return memory->base + cell.run.answer_offset;
}

// Folds a run and writes the result to the peer's memory too, tile by tile while it is in the first
// cache. False: the peer has failed meanwhile and wants nothing written any more.
bool ShmTransport::fold_into_both(Link* link, const Sink& sink, const std::byte* arrived,
                                  uint64_t bytes, std::byte* answer) noexcept {
  bool wanted = true;
  for (uint64_t at = 0; at < bytes; at += kAnswerTileBytes) {
    const uint64_t n = std::min(kAnswerTileBytes, bytes - at);
    sink.combine(sink, at, arrived + at, n);
    wanted = wanted && link->theirs()->revoked.load() == 0;
    if (wanted) std::memcpy(answer + at, sink.target + at, n);
  }
  return wanted;
}

// Whether the message that begins with `cell` can be answered in place, all of it.
bool ShmTransport::can_answer(Link* link, const Cell& cell, const Sink& sink) noexcept {
  if (!sink.may_answer || sink.combine == nullptr || kAnswerTileBytes % sink.granule != 0) {
    return false;
  }
  uint64_t runs = 1;
  if (cell.kind == CellKind::kTravellingSlot) {
    if (cell.run.all_travel == 0) return false;
    runs = (sink.bytes + link->peer_slot_bytes - 1) / link->peer_slot_bytes;
  } else if (place_of_answer(link, cell) == nullptr) {
    return false;
  }
  release_consumed(link);
  return link->outgoing.empty() && kCells - (link->head - link->consumed_seen) >= runs;
}

// Answers one run of a message that can_answer(). False: the peer has failed meanwhile and wants no
// answer.
bool ShmTransport::answer_run(Link* link, const Sink& sink, const Cell& cell,
                              std::byte* arrived) noexcept {
  const uint64_t bytes = cell.run.run_bytes;
  const bool lent = is_lent(cell.kind);
  if (!lent) {
    deliver_and_answer(sink, link->arrived, arrived, bytes);
    copied(bytes);
  } else if (!fold_into_both(link, sink, arrived, bytes, place_of_answer(link, cell))) {
    return false;
  }
  const bool last = link->arrived + bytes == cell.run.message_bytes;
  if (last) ++(lent ? traffic_.direct_messages : traffic_.staged_messages);
  link->ours()->cells[link->head & (kCells - 1)].run = cell.run;
  publish(link, lent ? CellKind::kAnswered : CellKind::kReturningSlot,
          {.fingerprint = sink.fingerprint}, -1);
  return true;
}

// What we lent is not read any more, and no answer is written to our memory after this. A peer that
// was stopped within a tile is not waited for longer than anybody would stand in a debugger's way.
void ShmTransport::revoke(Link* link) noexcept {
  if (!link->usable()) return;
  link->ours()->revoked.store(1);
  const bool open = link->same_process || link->answer_here != nullptr;
  const int64_t patience = link->same_process ? kVisitNs : kWritingNs;
  const int64_t since = coarse_now();
  while (open && link->theirs()->visiting.load() != 0 && !link->gone &&
         coarse_now() - since < patience) {
    sched_yield();
  }
  after_their_load(*link);
}

}  // namespace gossamer::shm
