// Sending: messages become records as credits allow.

#include "transports/ucx/api.h"
#include "transports/ucx/ucx_transport.h"

namespace gossamer::ucx {

namespace {

// Longer messages are fetched by their receiver in chunks. Within a host a fragment is one copy
// into a page that the receiver folds from; a chunk costs the kernel a look at every page.
// All-reduce of 256 KiB, 2 ranks of 2 cores: 35 us by fragments, 57 us by chunks. Over tcp on
// loopback it is 204 us against 130 us.
constexpr uint64_t kHostEagerMax = 64 * kFragmentBytes;
constexpr uint64_t kNetworkEagerMax = 2 * kFragmentBytes;

void sent(void* request, ucs_status_t status, void* out) {
  auto* const outgoing = static_cast<Outgoing*>(out);
  Ucx* const owner = outgoing->pipe->link->owner;
  ucp().ucp_request_free(request);
  owner->on_sent(outgoing, status == UCS_OK, ucp().ucs_status_string(status));
}

void credit_sent(void* request, ucs_status_t /*status*/, void* pipe) {
  ucp().ucp_request_free(request);
  static_cast<Pipe*>(pipe)->credit_busy = false;
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

void Ucx::fill(Pipe* pipe, Kind kind, Header* header) {
  pipe->link->used = true;
  header->proof = pipe->link->proof_out;
  header->from = config_.rank;
  header->position = pipe->position;
  header->consumed = pipe->told = pipe->next;
  header->kind = kind;
  header->lane = pipe->lane;
}

// Hands the next record of `out` to UCX. False: the endpoint is broken.
bool Ucx::issue_record(Pipe* pipe, Outgoing* out) {
  const Message& message = out->message;
  const bool eager = message.bytes <= (pipe->link->same_host ? kHostEagerMax : kNetworkEagerMax);
  const uint64_t run = std::min(message.bytes - out->issued, eager ? kFragmentBytes : kChunkBytes);
  Header& header = pipe->headers[pipe->position % kCredits];
  fill(pipe, Kind::kData, &header);
  header.fingerprint = message.fingerprint;
  header.bytes = message.bytes;
  ucp_request_param_t param{};
  param.op_attr_mask =
      UCP_OP_ATTR_FIELD_FLAGS | UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA;
  param.flags = eager ? UCP_AM_SEND_FLAG_EAGER : UCP_AM_SEND_FLAG_RNDV;
  param.cb.send = &sent;
  param.user_data = out;
  const ucs_status_ptr_t request =
      ucp().ucp_am_send_nbx(pipe->link->endpoint, kRecordId, &header, sizeof header,
                            message.data + out->issued, run, &param);
  if (UCS_PTR_IS_ERR(request)) {
    on_broken(pipe->link, ucp().ucs_status_string(UCS_PTR_STATUS(request)));
    return false;
  }
  if (request != nullptr) ++out->unfinished;
  if (!eager) ++traffic_.exchanges;
  ++pipe->position;
  out->issued += run;
  out->all_issued = out->issued == message.bytes;
  if (out->all_issued) {
    if (message.bytes <= kFragmentBytes) {
      ++traffic_.inline_messages;
    } else if (eager) {
      ++traffic_.staged_messages;
      ++traffic_.copies;
      traffic_.bytes_copied += message.bytes;
    } else {
      ++traffic_.direct_messages;
    }
  }
  return true;
}

// Issues what credits allow.
void Ucx::issue(Pipe* pipe) {
  while (pipe->issuing < pipe->outgoing.size()) {
    Outgoing& out = pipe->outgoing.at(pipe->issuing);
    while (!out.all_issued) {
      if (pipe->link->broken || pipe->blocked()) return;
      if (!issue_record(pipe, &out)) return;
    }
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

// Tells the peer how much is consumed when it may be waiting for that and hears it no other way.
void Ucx::send_credit(Pipe* pipe) {
  if (pipe->next - pipe->told < kCredits / 2 || pipe->credit_busy || pipe->link->broken ||
      pipe->link->endpoint == nullptr) {
    return;
  }
  fill(pipe, Kind::kCredit, &pipe->credit);
  ucp_request_param_t param{};
  param.op_attr_mask =
      UCP_OP_ATTR_FIELD_FLAGS | UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA;
  param.flags = UCP_AM_SEND_FLAG_EAGER;
  param.cb.send = &credit_sent;
  param.user_data = pipe;
  const ucs_status_ptr_t request = ucp().ucp_am_send_nbx(
      pipe->link->endpoint, kRecordId, &pipe->credit, sizeof(Header), nullptr, 0, &param);
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
