// Receiving: records become messages, in order, straight from UCX where a sink awaits them.

#include <algorithm>
#include <cstring>

#include "src/check.h"
#include "transports/mismatch.h"
#include "transports/ucx/api.h"
#include "transports/ucx/ucx_transport.h"

namespace gossamer::ucx {

namespace {

// Chunks of one message that are on their way at once, at least where there is room to land.
constexpr uint32_t kAheadMax = 4;

void fetched(void* request, ucs_status_t status, size_t /*bytes*/, void* record) {
  auto* const arrived = static_cast<Arrived*>(record);
  ucp().ucp_request_free(request);
  arrived->pipe->link->owner->on_fetched(arrived, status == UCS_OK,
                                         ucp().ucs_status_string(status));
}

}  // namespace

void Ucx::garbage(Rank from) {
  if (failure_.code != Code::kOk) return;
  failure_.set(Code::kSystem, from,
               "rank %d sends records over UCX that make no sense: corrupted on the way, or two "
               "versions of the library",
               from);
}

bool Ucx::on_record(std::span<const std::byte> bytes, void* data, uint64_t data_bytes,
                    Carries carries) {
  Header header;
  if (abandoned_ || leaving_ || failure_.code != Code::kOk || bytes.size() != sizeof header) {
    return false;
  }
  std::memcpy(&header, bytes.data(), sizeof header);
  if (header.from < 0 || header.from >= config_.size || header.from == config_.rank) return false;
  Link& link = link_at(header.from);
  // A stranger's: dropped. It disturbs nobody.
  if (header.proof != link.proof_in) return false;
  if (header.lane >= link.pipes.size()) {
    garbage(header.from);
    return false;
  }
  Pipe* const pipe = link.pipes[header.lane].get();
  if (header.consumed - pipe->acknowledged > pipe->position - pipe->acknowledged) {
    // Records overtake each other, so an old count may come late; one too large never.
    if (header.consumed - pipe->acknowledged < kCredits) garbage(header.from);
  } else if (header.consumed != pipe->acknowledged) {
    pipe->acknowledged = header.consumed;
    if (pipe->issuing < pipe->outgoing.size()) activate(pipe);
  }
  if (header.kind == Kind::kCredit || header.kind == Kind::kHello) return false;
  if (header.kind == Kind::kFarewell) {
    pipe->ended = true;
    pipe->end = header.position;
    control_.look_soon();
    return false;
  }
  const bool fits = carries == Carries::kDescriptor ? data_bytes <= kChunkBytes && data_bytes > 0
                                                    : data_bytes <= kFragmentBytes;
  if (header.kind != Kind::kData || !fits || header.position - pipe->next >= kCredits ||
      pipe->here(header.position)) {
    garbage(header.from);
    return false;
  }
  Arrived& record = pipe->slot(header.position);
  record.position = header.position;
  record.fingerprint = header.fingerprint;
  record.message_bytes = header.bytes;
  record.bytes = data_bytes;
  record.data = data;
  return keep_or_take(pipe, &record, carries);
}

// Takes a record at once, which most often is the next one and awaited by a sink; else keeps it.
bool Ucx::keep_or_take(Pipe* pipe, Arrived* record, Carries carries) {
  const auto* const data = static_cast<const std::byte*>(record->data);
  if (record->position == pipe->next && !pipe->posted.empty() && carries != Carries::kDescriptor) {
    const Sink& sink = pipe->posted.front().sink;
    if (!take(pipe, sink, record)) return false;
    deliver(pipe, sink, data, record->bytes);
    ++pipe->next;
    finish_message(pipe);
    if (pipe->here(pipe->next) || pipe->next - pipe->told >= kCredits / 2) activate(pipe);
    return false;
  }
  if (carries == Carries::kBytes) {
    if (record->own == nullptr) {
      record->own = std::make_unique_for_overwrite<std::byte[]>(kFragmentBytes);
    }
    if (record->bytes > 0) std::memcpy(record->own.get(), data, record->bytes);
    record->state = Arrived::State::kCopied;
    ++traffic_.copies;
    traffic_.bytes_copied += record->bytes;
  } else if (carries == Carries::kHoldableBytes) {
    record->state = Arrived::State::kHeld;
  } else {
    record->state = Arrived::State::kAnnounced;
    ++pipe->announced;
  }
  if (!pipe->posted.empty()) activate(pipe);
  return carries != Carries::kBytes;
}

// Whether `record`, the next one, may enter `sink`; false: the transport has failed.
bool Ucx::take(Pipe* pipe, const Sink& sink, Arrived* record) {
  if (!pipe->in_message) {
    if (mismatched(config_.rank, pipe->link->peer, pipe->lane, record->message_bytes,
                   record->fingerprint, sink, &failure_)) {
      record->state = Arrived::State::kNone;
      return false;
    }
    pipe->in_message = true;
    pipe->taken = 0;
  }
  if (record->bytes <= sink.bytes - pipe->taken && (record->bytes > 0 || sink.bytes == 0)) {
    return true;
  }
  garbage(pipe->link->peer);
  record->state = Arrived::State::kNone;
  return false;
}

// Moves the next bytes of the front message to where they belong.
void Ucx::deliver(Pipe* pipe, const Sink& sink, const std::byte* data, uint64_t bytes) {
  if (sink.combine == nullptr) {
    if (bytes > 0) std::memcpy(sink.target + pipe->taken, data, bytes);
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
  if (!pipe->in_message || pipe->taken < pipe->posted.front().sink.bytes) return;
  completed_.push_back(pipe->posted.front().token);
  pipe->posted.pop();
  pipe->in_message = false;
  pipe->taken = 0;
}

// Has UCX fetch a chunk to `offset` of the sink's message. False: there is no room to land it.
bool Ucx::fetch(Arrived* record, const Sink& sink, uint64_t offset) {
  std::byte* into = sink.target + offset;
  if (sink.combine != nullptr) {
    if (landings_.empty()) return false;
    into = record->landing = landings_.back();
    landings_.pop_back();
  }
  record->state = Arrived::State::kFetching;
  --record->pipe->announced;
  ucp_request_param_t param{};
  param.op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA;
  param.cb.recv_am = &fetched;
  param.user_data = record;
  const ucs_status_ptr_t request = ucp().ucp_am_recv_data_nbx(
      record->pipe->link->worker, record->data, into, record->bytes, &param);
  if (UCS_PTR_IS_ERR(request)) {
    on_broken(record->pipe->link, ucp().ucs_status_string(UCS_PTR_STATUS(request)));
  } else if (request == nullptr) {
    record->state = Arrived::State::kFetched;
  }
  return true;
}

void Ucx::on_fetched(Arrived* record, bool fine, const char* why) {
  if (abandoned_) return;
  if (!fine) {
    on_broken(record->pipe->link, why);
    return;
  }
  record->state = Arrived::State::kFetched;
  if (record->position == record->pipe->next) activate(record->pipe);
}

// Starts to fetch announced chunks whose sinks are posted, some of them before their turn.
void Ucx::fetch_ahead(Pipe* pipe) {
  uint32_t message = 0;
  uint64_t offset = pipe->in_message ? pipe->taken : 0;
  uint32_t ahead = 0;
  for (uint32_t at = pipe->next; pipe->announced > 0 && ahead < kAheadMax; ++at) {
    if (!pipe->here(at) || message == pipe->posted.size()) return;
    Arrived& record = pipe->slot(at);
    const Sink& sink = pipe->posted.at(message).sink;
    // What must not enter its sink is found out when its turn comes.
    if (record.message_bytes != sink.bytes || record.fingerprint != sink.fingerprint ||
        record.bytes > sink.bytes - offset) {
      return;
    }
    if (record.state == Arrived::State::kAnnounced && !fetch(&record, sink, offset)) {
      if (ahead == 0) activate(pipe);  // nothing of ours is on its way whose end would wake us
      return;
    }
    if (record.state == Arrived::State::kFetching) ++ahead;
    offset += record.bytes;
    if (offset < sink.bytes) continue;
    ++message;
    offset = 0;
  }
}

// Consumes records as far as they have arrived and sinks await them.
void Ucx::consume(Pipe* pipe) {
  if (pipe->announced > 0) fetch_ahead(pipe);
  while (!pipe->posted.empty() && pipe->here(pipe->next)) {
    Arrived& record = pipe->slot(pipe->next);
    const Sink& sink = pipe->posted.front().sink;
    if (record.state == Arrived::State::kFetching) return;
    const bool held = record.state == Arrived::State::kHeld;
    void* const data = record.data;
    if (!pipe->in_message || record.state != Arrived::State::kFetched) {
      const bool announced = record.state == Arrived::State::kAnnounced;
      if (!take(pipe, sink, &record)) {
        if (held || announced) ucp().ucp_am_data_release(pipe->link->worker, data);
        if (announced) --pipe->announced;
        return;
      }
      if (announced) return;  // no room to land it yet
    }
    if (record.landing != nullptr) {
      deliver(pipe, sink, record.landing, record.bytes);
      landings_.push_back(std::exchange(record.landing, nullptr));
    } else if (record.state == Arrived::State::kFetched) {
      pipe->taken += record.bytes;
    } else {
      deliver(pipe, sink, held ? static_cast<const std::byte*>(data) : record.own.get(),
              record.bytes);
      if (held) ucp().ucp_am_data_release(pipe->link->worker, data);
    }
    record.state = Arrived::State::kNone;
    ++pipe->next;
    finish_message(pipe);
    if (pipe->announced > 0) fetch_ahead(pipe);
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
  pipe.posted.push({sink, token});
  if (!pipe.here(pipe.next)) return Code::kPending;
  const size_t before = completed_.size();
  consume(&pipe);
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
