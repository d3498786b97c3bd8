// Sending: messages become records as credits, room in the landing area and notes allow.

#include <algorithm>

#include "transports/ucx/api.h"
#include "transports/ucx/ucx_transport.h"

namespace gossamer::ucx {

namespace {

// What one put into a landing area moves, at most: its receiver folds one while the next comes.
// Long messages take longer runs, which their receivers may copy past the cache.
constexpr uint64_t kRunBytes = 32640;
constexpr uint64_t kLongRunBytes = 65280;
constexpr uint64_t kLongMessageBytes = 16 * kRunBytes;
constexpr uint64_t kLine = 64;

void sent(void* request, ucs_status_t status, void* out) {
  auto* const outgoing = static_cast<Outgoing*>(out);
  Ucx* const owner = outgoing->pipe->link->owner;
  ucp().ucp_request_free(request);
  owner->on_sent(outgoing, status == UCS_OK, ucp().ucs_status_string(status));
}

void flushed(void* request, ucs_status_t status, void* departure) {
  auto* const left = static_cast<Departure*>(departure);
  ucp().ucp_request_free(request);
  left->pipe->link->owner->on_flushed(left, status == UCS_OK, ucp().ucs_status_string(status));
}

void credit_sent(void* request, ucs_status_t /*status*/, void* pipe) {
  ucp().ucp_request_free(request);
  auto* const told = static_cast<Pipe*>(pipe);
  told->credit_busy = false;
  told->link->owner->on_note_sent(told);  // more may have been consumed meanwhile
}

// Its memory is ours for longer than UCX can need it.
void forgotten(void* request, ucs_status_t /*status*/, void* /*nothing*/) {
  ucp().ucp_request_free(request);
}

}  // namespace

void Ucx::on_sent(Outgoing* out, bool fine, const char* why) {
  if (abandoned_) return;
  if (!fine) {
    on_broken(out->pipe->link, why);
    return;
  }
  --out->unfinished;
  if (out->unfinished == 0 && out->all_issued) finish_sends(out->pipe, &completed_);
}

void Ucx::fill(Pipe* pipe, Kind kind, uint32_t position, Header* header) {
  pipe->link->used = true;
  header->proof = pipe->link->proof_out;
  header->position = static_cast<uint16_t>(position);
  pipe->told = pipe->next;
  header->consumed = static_cast<uint16_t>(pipe->next);
  header->kind = kind;
  header->lane = pipe->lane;
  header->slot = 0;
  pipe->landed_untold = 0;
}

// Takes the position of the next record of `out`.
Departure* Ucx::depart(Pipe* pipe, Outgoing* out) {
  Departure& left = pipe->departure(pipe->position);
  left.pipe = pipe;
  left.out = out;
  left.position = pipe->position++;
  left.header.fingerprint = out->message.fingerprint;
  left.header.bytes = out->message.bytes;
  left.landing_end = pipe->landing_used;
  return &left;
}

// Sends a record whose bytes, if any, are `out`'s. False: the endpoint is broken.
bool Ucx::send_record(Departure* left, Kind kind, const void* bytes, uint64_t count, bool lent) {
  Pipe* const pipe = left->pipe;
  fill(pipe, kind, left->position, &left->header);
  ucp_request_param_t param{};
  param.op_attr_mask =
      UCP_OP_ATTR_FIELD_FLAGS | UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA;
  param.flags = UCP_AM_SEND_FLAG_EAGER;
  param.cb.send = lent ? &sent : &forgotten;
  param.user_data = left->out;
  const bool whole = kind == Kind::kData && count == left->header.bytes;
  void* const request =
      ucp().ucp_am_send_nbx(pipe->link->endpoint, kRecordId, &left->header,
                            whole ? kShortHeaderBytes : sizeof(Header), bytes, count, &param);
  if (UCS_PTR_IS_ERR(request)) {
    on_broken(pipe->link, ucp().ucs_status_string(UCS_PTR_STATUS(request)));
    return false;
  }
  if (lent && request != nullptr) ++left->out->unfinished;
  return true;
}

// --- puts ----------------------------------------------------------------------------------------

// Puts bytes of `out` into memory of the peer; their record follows when they are there.
bool Ucx::put(Departure* left, const std::byte* from, uint64_t bytes, uint64_t address,
              ucp_rkey* key) {
  Pipe* const pipe = left->pipe;
  ucp_request_param_t param{};
  param.op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK;
  param.cb.send = &forgotten;  // the flush covers it
  ucs_status_ptr_t request =
      ucp().ucp_put_nbx(pipe->link->endpoint, from, bytes, address, key, &param);
  if (!UCS_PTR_IS_ERR(request)) {
    param.op_attr_mask |= UCP_OP_ATTR_FIELD_USER_DATA;
    param.cb.send = &flushed;
    param.user_data = left;
    request = ucp().ucp_ep_flush_nbx(pipe->link->endpoint, &param);
  }
  if (UCS_PTR_IS_ERR(request)) {
    on_broken(pipe->link, ucp().ucs_status_string(UCS_PTR_STATUS(request)));
    return false;
  }
  if (request == nullptr) return send_put_record(left);
  ++left->out->unfinished;
  ++pipe->flying;
  return true;
}

bool Ucx::send_put_record(Departure* left) {
  const bool placed = left->extent.bytes == 0;
  return send_record(left, placed ? Kind::kPlaced : Kind::kLanded, &left->extent,
                     placed ? 0 : sizeof(Extent), false);
}

void Ucx::on_flushed(Departure* left, bool fine, const char* why) {
  if (abandoned_) return;
  if (!fine) {
    on_broken(left->pipe->link, why);
    return;
  }
  --left->pipe->flying;
  if (send_put_record(left)) on_sent(left->out, true, "");
}

// Room for a run in the peer's landing area, which it does not wrap around.
bool Ucx::claim(Pipe* pipe, uint64_t bytes, uint64_t* at) {
  const uint64_t whole = pipe->landing.bytes;
  const uint64_t size = (bytes + kLine - 1) / kLine * kLine;
  const uint64_t to_end = whole - pipe->landing_used % whole;
  const uint64_t begin = size <= to_end ? pipe->landing_used : pipe->landing_used + to_end;
  if (begin + size - pipe->landing_freed > whole) return false;
  *at = begin % whole;
  pipe->landing_used = begin + size;
  return true;
}

// The receiver's word for this message, if it has come. Word for a message of another operation is
// left alone: the announcement lets the receiver find out.
const Grant* Ucx::grant_for(Pipe* pipe, const Outgoing& out) {
  while (!pipe->grants.empty() &&
         static_cast<int32_t>(pipe->grants.front().number - out.number) < 0) {
    pipe->grants.pop();
  }
  if (pipe->grants.empty()) return nullptr;
  const Grant& grant = pipe->grants.front();
  const bool same = grant.number == out.number && grant.bytes == out.message.bytes &&
                    grant.fingerprint == out.message.fingerprint;
  return same ? &grant : nullptr;
}

// --- messages ------------------------------------------------------------------------------------

// Hands the next record of `out` to UCX. False: not now.
bool Ucx::issue_record(Pipe* pipe, Outgoing* out) {
  const Message& message = out->message;
  const std::byte* const from = message.data + out->issued;
  const uint64_t rest = message.bytes - out->issued;
  const Link& link = *pipe->link;
  const bool lands = pipe->landing.bytes > 0 && message.bytes > kFragmentBytes;
  if (out->issued == 0 && message.bytes > link.asks_above) {
    const Grant* const grant = grant_for(pipe, *out);
    if (grant == nullptr) return false;
    if (grant->direct) {
      out->issued = message.bytes;
      out->all_issued = true;
      Departure* const left = depart(pipe, out);
      left->extent = {};
      return put(left, from, message.bytes, grant->address, grant->key);
    }
  }
  const uint64_t run_max = message.bytes < kLongMessageBytes ? kRunBytes : kLongRunBytes;
  const uint64_t run = std::min(rest, lands ? run_max : link.fragment_bytes);
  uint64_t at = 0;
  if (lands && !claim(pipe, run, &at)) return false;
  out->issued += run;
  out->all_issued = out->issued == message.bytes;
  Departure* const left = depart(pipe, out);
  left->extent = {at, run};
  return lands ? put(left, from, run, pipe->landing.address + at, pipe->landing.key)
               : send_record(left, Kind::kData, from, run, true);
}

// Issues what credits allow.
void Ucx::issue(Pipe* pipe) {
  while (pipe->issuing < pipe->outgoing.size()) {
    Outgoing& out = pipe->outgoing.at(pipe->issuing);
    while (!out.all_issued) {
      if (pipe->link->broken || pipe->blocked() || !issue_record(pipe, &out)) return;
    }
    ++(out.message.bytes <= kFragmentBytes ? traffic_.inline_messages : traffic_.direct_messages);
    ++pipe->issuing;
  }
}

void Ucx::finish_sends(Pipe* pipe, std::vector<Token>* done) {
  while (!pipe->outgoing.empty()) {
    const Outgoing& out = pipe->outgoing.front();
    if (!out.all_issued || out.unfinished > 0) return;
    done->push_back(out.token);
    pipe->outgoing.pop();
    if (pipe->issuing > 0) --pipe->issuing;
  }
}

// Announces the message that waits for its receiver. At every other tick of the clock, or at once.
void Ucx::announce_late(Pipe* pipe, bool at_once) {
  if (pipe->link->broken || pipe->blocked() || pipe->issuing >= pipe->outgoing.size()) return;
  Outgoing& out = pipe->outgoing.at(pipe->issuing);
  constexpr uint8_t kAnnounced = UINT8_MAX;
  if (out.issued > 0 || out.message.bytes <= pipe->link->asks_above || out.ticks == kAnnounced ||
      grant_for(pipe, out) != nullptr) {
    return;
  }
  if (!at_once && out.ticks++ == 0) return;
  out.ticks = kAnnounced;
  (void)send_record(depart(pipe, &out), Kind::kAnnounce, nullptr, 0, false);
}

// Tells the peer how much is consumed when it may be waiting for that and hears it no other way.
void Ucx::send_credit(Pipe* pipe) {
  const bool due = pipe->next - pipe->told >= kCredits / 2 ||
                   (pipe->landing_bytes > 0 && pipe->landed_untold >= pipe->landing_bytes / 4);
  if (!due || pipe->credit_busy || pipe->link->broken || pipe->link->endpoint == nullptr) return;
  fill(pipe, Kind::kCredit, pipe->position, &pipe->credit);
  ucp_request_param_t param{};
  param.op_attr_mask =
      UCP_OP_ATTR_FIELD_FLAGS | UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA;
  param.flags = UCP_AM_SEND_FLAG_EAGER;
  param.cb.send = &credit_sent;
  param.user_data = pipe;
  void* const request = ucp().ucp_am_send_nbx(pipe->link->endpoint, kRecordId, &pipe->credit,
                                              sizeof(Header), nullptr, 0, &param);
  if (UCS_PTR_IS_ERR(request)) {
    on_broken(pipe->link, ucp().ucs_status_string(UCS_PTR_STATUS(request)));
  } else if (request != nullptr) {
    pipe->credit_busy = true;
  }
}

Code Ucx::send(Rank peer, Lane lane, const Message& message, Token token, Fault* fault) noexcept {
  if (failure_.code != Code::kOk) {
    *fault = failure_;
    return fault->code;
  }
  Pipe& pipe = pipe_at(peer, lane);
  if (pipe.outgoing.full()) return Code::kAgain;
  Outgoing next;
  next.pipe = &pipe;
  next.message = message;
  next.token = token;
  next.number = pipe.next_number++;
  Outgoing& out = pipe.outgoing.push(next);
  if (pipe.outgoing.size() > 1) {
    issue(&pipe);
    return Code::kPending;
  }
  pipe.issuing = 0;
  issue(&pipe);
  if (!out.all_issued || out.unfinished > 0) return Code::kPending;
  pipe.outgoing.pop();
  pipe.issuing = 0;
  return Code::kOk;
}

}  // namespace gossamer::ucx
