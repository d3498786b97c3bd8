// Receiving: records become messages, in order, straight from UCX where a sink awaits them.

#include <algorithm>
#include <cstring>

#include "src/check.h"
#include "src/reduce.h"
#include "transports/mismatch.h"
#include "transports/ucx/api.h"
#include "transports/ucx/ucx_transport.h"

namespace gossamer::ucx {

void Ucx::garbage(Rank from) {
  if (failure_.code != Code::kOk) return;
  failure_.set(Code::kSystem, from,
               "rank %d sends records over UCX that make no sense: corrupted on the way, or two "
               "versions of the library",
               from);
}

// What the peer has consumed.
void Ucx::take_credit(Pipe* pipe, uint32_t consumed) {
  if (consumed - pipe->acknowledged > pipe->position - pipe->acknowledged) {
    // Records overtake each other, so an old count may come late; one too large never.
    if (consumed - pipe->acknowledged < kCredits) garbage(pipe->link->peer);
    return;
  }
  if (consumed == pipe->acknowledged) return;
  pipe->acknowledged = consumed;
  pipe->landing_freed = pipe->departure(consumed - 1).landing_end;
  if (pipe->issuing < pipe->outgoing.size()) activate(pipe);
}

bool Ucx::on_record(std::span<const std::byte> bytes, void* data, uint64_t data_bytes,
                    bool holdable) {
  const bool whole = bytes.size() == kShortHeaderBytes;
  if (abandoned_ || leaving_ || failure_.code != Code::kOk ||
      (!whole && bytes.size() != sizeof(Header))) {
    return false;
  }
  Header header;
  std::memcpy(&header, bytes.data(), bytes.size());
  if (whole) header.bytes = data_bytes;
  const auto from = static_cast<Rank>(header.proof & kProofRankMask);
  if (from >= config_.size || from == config_.rank) return false;
  Link& link = link_at(from);
  // A stranger's: dropped. It disturbs nobody.
  if (header.proof != link.proof_in) return false;
  if (header.lane >= link.pipes.size() || (whole && header.kind != Kind::kData)) {
    garbage(from);
    return false;
  }
  Pipe* const pipe = link.pipes[header.lane].get();
  take_credit(pipe, widen(header.consumed, pipe->acknowledged));
  if (is_record(header.kind)) return keep_or_take(pipe, header, data, data_bytes, holdable);
  const std::span<const std::byte> payload(static_cast<const std::byte*>(data), data_bytes);
  switch (header.kind) {
    case Kind::kCredit:
      break;
    case Kind::kFarewell:
      pipe->ended = true;
      pipe->end = widen(header.position, pipe->next);
      control_.look_soon();
      break;
    case Kind::kHello:
      pipe->introduced = true;
      pipe->introduction.assign(payload.begin(), payload.end());
      greeted_.push_back(&link);
      break;
    default:
      if (!take_note(pipe, header, payload)) garbage(from);
  }
  return false;
}

// What a record's bytes are, or why there cannot be such a record.
bool Ucx::place(Pipe* pipe, const Header& header, const void* data, uint64_t bytes,
                Arrived* record) {
  record->kind = header.kind;
  record->fingerprint = header.fingerprint;
  record->message_bytes = header.bytes;
  record->data = static_cast<const std::byte*>(data);
  record->bytes = bytes;
  if (header.kind == Kind::kData) {
    return bytes <= (pipe->link->same_host ? kFragmentBytes : kLongFragmentBytes);
  }
  record->bytes = 0;
  if (header.kind != Kind::kLanded) return header.kind != Kind::kPlaced || header.bytes > 0;
  Extent extent;
  if (bytes != sizeof extent) return false;
  std::memcpy(&extent, data, sizeof extent);
  if (extent.bytes == 0 || extent.bytes > pipe->landing_bytes ||
      extent.at > pipe->landing_bytes - extent.bytes) {
    return false;
  }
  record->data = pipe->landing_area + extent.at;
  record->bytes = extent.bytes;
  return true;
}

// Takes a record at once, which most often is the next one and awaited by a sink; else keeps it.
bool Ucx::keep_or_take(Pipe* pipe, const Header& header, const void* data, uint64_t bytes,
                       bool holdable) {
  const uint32_t position = widen(header.position, pipe->next);
  Arrived& record = pipe->slot(position);
  if (position - pipe->next >= kCredits || pipe->here(position) ||
      !place(pipe, header, data, bytes, &record)) {
    garbage(pipe->link->peer);
    return false;
  }
  record.position = position;
  if (position == pipe->next && !pipe->posted.empty()) {
    if (!take(pipe, &record)) return false;
    if (pipe->here(pipe->next) || pipe->next - pipe->told >= kCredits / 2 ||
        pipe->landed_untold > 0) {
      activate(pipe);
    }
    return false;
  }
  if (!pipe->posted.empty()) activate(pipe);
  if (header.kind == Kind::kLanded) {
    record.state = Arrived::State::kLanded;
  } else if (header.kind != Kind::kData) {
    record.state = Arrived::State::kBare;
  } else if (holdable) {
    record.state = Arrived::State::kHeld;
    return true;
  } else {
    keep(pipe, &record);
  }
  return false;
}

// Copies what UCX does not let us hold.
void Ucx::keep(Pipe* pipe, Arrived* record) {
  make_room(pipe);
  const uint64_t room = pipe->link->same_host ? kFragmentBytes : kLongFragmentBytes;
  std::byte* const own = pipe->kept.get() + record->position % kCredits * room;
  if (record->bytes > 0) std::memcpy(own, record->data, record->bytes);
  record->data = own;
  record->state = Arrived::State::kCopied;
  ++traffic_.copies;
  traffic_.bytes_copied += record->bytes;
}

// Memory that becomes real as far as it is used.
void Ucx::make_room(Pipe* pipe) {
  if (pipe->kept != nullptr) return;
  const uint64_t room = pipe->link->same_host ? kFragmentBytes : kLongFragmentBytes;
  pipe->kept = std::make_unique_for_overwrite<std::byte[]>(kCredits * room);
}

// Moves the next record into the first sink. False: the transport has failed.
bool Ucx::take(Pipe* pipe, Arrived* record) {
  Posted& posted = pipe->posted.front();
  const Sink& sink = posted.sink;
  record->state = Arrived::State::kNone;
  if (!pipe->in_message &&
      mismatched(config_.rank, pipe->link->peer, pipe->lane, record->message_bytes,
                 record->fingerprint, sink, &failure_)) {
    return false;
  }
  const bool placed = record->kind == Kind::kPlaced;
  const bool announces = record->kind == Kind::kAnnounce;
  const bool fits =
      placed || announces
          ? !pipe->in_message && (announces || posted.memory != nullptr)
          : record->bytes <= sink.bytes - pipe->taken && (record->bytes > 0 || sink.bytes == 0);
  if (!fits) {
    garbage(pipe->link->peer);
    return false;
  }
  ++pipe->next;
  if (announces) return true;
  pipe->in_message = true;
  if (placed) {
    pipe->taken = sink.bytes;
  } else {
    deliver(pipe, sink, record->data, record->bytes);
    if (record->kind == Kind::kLanded) {
      pipe->landed_untold += record->bytes;
      if (sink.combine == nullptr) {
        ++traffic_.copies;
        traffic_.bytes_copied += record->bytes;
      }
    }
  }
  finish_message(pipe);
  return true;
}

// Moves the next bytes of the front message to where they belong.
void Ucx::deliver(Pipe* pipe, const Sink& sink, const std::byte* data, uint64_t bytes) {
  if (sink.combine == nullptr) {
    stream_copy(sink.target + pipe->taken, data, bytes, sink.whole_bytes);
    pipe->taken += bytes;
    return;
  }
  uint64_t folded = pipe->taken - pipe->part.size();
  pipe->taken += bytes;
  if (!pipe->part.empty()) {
    const uint64_t rest = std::min<uint64_t>(sink.granule - pipe->part.size(), bytes);
    pipe->part.insert(pipe->part.end(), data, data + rest);
    data += rest;
    bytes -= rest;
    if (pipe->part.size() < sink.granule) return;
    sink.combine(sink, folded, pipe->part.data(), sink.granule);
    folded += sink.granule;
    pipe->part.clear();
  }
  const uint64_t whole = bytes - bytes % sink.granule;
  if (whole > 0) sink.combine(sink, folded, data, whole);
  if (whole < bytes) pipe->part.assign(data + whole, data + bytes);
}

void Ucx::finish_message(Pipe* pipe) {
  Posted& posted = pipe->posted.front();
  if (pipe->taken < posted.sink.bytes) return;
  completed_.push_back(posted.token);
  release(&posted);
  pipe->posted.pop();
  if (pipe->untold > 0) --pipe->untold;
  pipe->in_message = false;
  pipe->taken = 0;
}

// Consumes records as far as they have arrived and sinks await them.
void Ucx::consume(Pipe* pipe) {
  while (!pipe->posted.empty() && pipe->here(pipe->next)) {
    Arrived& record = pipe->slot(pipe->next);
    const bool held = record.state == Arrived::State::kHeld;
    void* const data = const_cast<std::byte*>(record.data);
    const bool taken = take(pipe, &record);
    if (held) ucp().ucp_am_data_release(pipe->link->worker, data);
    if (!taken) return;
  }
}

Code Ucx::recv(Rank peer, Lane lane, const Sink& sink, Token token, Fault* fault) noexcept {
  GOSSAMER_CHECK(sink.combine == nullptr || sink.bytes % sink.granule == 0);
  if (failure_.code != Code::kOk) {
    *fault = failure_;
    return fault->code;
  }
  Pipe& pipe = pipe_at(peer, lane);
  if (pipe.posted.full()) return Code::kAgain;
  pipe.posted.push({sink, token, pipe.next_posted++});
  if (!pipe.here(pipe.next)) {
    tell_all(&pipe);
    return Code::kPending;
  }
  const size_t before = completed_.size();
  consume(&pipe);
  tell_all(&pipe);
  if (failure_.code != Code::kOk) {
    *fault = failure_;
    return fault->code;
  }
  send_credit(&pipe);
  // The token comes back at once if it is the only one that was waiting here.
  if (completed_.size() == before + 1 && completed_.back() == token && pipe.posted.empty()) {
    completed_.pop_back();
    return Code::kOk;
  }
  return Code::kPending;
}

Code Ucx::peek(Rank peer, Lane lane, Fingerprint* arrived) noexcept {
  const auto& link = links_[static_cast<size_t>(peer)];
  if (link == nullptr) return Code::kAgain;
  Pipe& pipe = *link->pipes[lane];
  if (!pipe.posted.empty() || pipe.in_message || !pipe.here(pipe.next)) return Code::kAgain;
  *arrived = pipe.slot(pipe.next).fingerprint;
  return Code::kOk;
}

}  // namespace gossamer::ucx
