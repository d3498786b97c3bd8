// A pair's sending side.

#include <arpa/inet.h>

#include <algorithm>
#include <cstring>

#include "transports/verbs/pair.h"

namespace gossamer::verbs {

namespace {

// A longer run occupies the device too long for what comes after it on other pairs.
constexpr uint64_t kWriteBytes = 1024 * 1024;

uint64_t whole_pages(uint64_t bytes) {
  return (bytes + kRecordPage - 1) / kRecordPage * kRecordPage;
}

}  // namespace

Code Pair::send(const Message& message, Token token) {
  if (outgoing_.size() + flying_.size() >= kWindow) return Code::kAgain;
  Outgoing out;
  out.message = message;
  out.token = token;
  out.sequence = next_send_++;
  Pushed pushed = Pushed::kBlocked;
  if (outgoing_.empty()) {
    pushed = push(&out);
    post();
  }
  if (pushed == Pushed::kBlocked) outgoing_.push(out);
  return pushed == Pushed::kDone ? Code::kOk : Code::kPending;
}

Pair::Pushed Pair::push(Outgoing* out) {
  if (broken_) return Pushed::kBlocked;
  if (out->message.bytes <= kEagerBytes) return push_short(*out);
  const Grant* const grant = grant_for(*out);
  if (grant == nullptr) return Pushed::kBlocked;
  if (!out->looked_up) {
    out->memory = shared_.cache->acquire(out->message.data, out->message.bytes);
    out->looked_up = true;
  }
  const bool direct = grant->direct && out->memory != nullptr;
  const Pushed pushed = direct ? push_direct(out, *grant) : push_stream(out);
  if (pushed != Pushed::kBlocked) grants_.pop();
  return pushed;
}

// The receiver's word for this message, if it has come. Word for a message of another operation is
// left alone: the announcement lets the receiver find out.
const Pair::Grant* Pair::grant_for(const Outgoing& out) {
  while (!grants_.empty() && static_cast<int32_t>(grants_.front().sequence - out.sequence) < 0) {
    grants_.pop();
  }
  if (grants_.empty()) return nullptr;
  const Grant& grant = grants_.front();
  const bool same = grant.sequence == out.sequence && grant.bytes == out.message.bytes &&
                    grant.fingerprint == out.message.fingerprint;
  return same ? &grant : nullptr;
}

// Room for a record in the ring, and a request to write it with.
bool Pair::claim(uint64_t bytes, uint64_t* position) {
  if (requests_free() == 0) {
    lacks_room_ = true;
    return false;
  }
  const uint64_t size = whole_pages(bytes);
  const uint64_t to_end = shared_.ring_bytes - head_ % shared_.ring_bytes;
  const uint64_t begin = size <= to_end ? head_ : head_ + to_end;
  if (begin + size - peer_consumed_ > shared_.ring_bytes) return false;
  *position = begin;
  head_ = begin + size;
  return true;
}

void Pair::begin_record(uint64_t position, RecordKind kind, const Outgoing& out, uint64_t run) {
  RecordHeader header;
  header.kind = kind;
  header.sequence = out.sequence;
  header.fingerprint = out.message.fingerprint;
  header.message_bytes = out.message.bytes;
  header.run_bytes = run;
  header.consumed = consumed_;
  told_ = consumed_;
  std::memcpy(mirror_ + position % shared_.ring_bytes, &header, sizeof header);
}

ibv_send_wr* Pair::write_record(uint64_t position, uint64_t bytes_in_mirror) {
  const uint64_t offset = position % shared_.ring_bytes;
  ibv_send_wr* const request =
      append(IBV_WR_RDMA_WRITE_WITH_IMM, mirror_ + offset, bytes_in_mirror, region_->lkey);
  request->imm_data = htonl(static_cast<uint32_t>(offset / kRecordPage));
  request->wr.rdma = {remote_ring_ + offset, remote_key_};
  return request;
}

void Pair::announce_late() {
  uint64_t position = 0;
  if (broken_ || outgoing_.empty()) return;
  Outgoing& out = outgoing_.front();
  if (out.announced || out.message.bytes <= kEagerBytes || grant_for(out) != nullptr ||
      !claim(kHeaderBytes, &position)) {
    return;
  }
  out.announced = true;
  begin_record(position, RecordKind::kAnnounce, out, 0);
  ibv_send_wr* const request = write_record(position, kHeaderBytes);
  if (inline_max_ >= kHeaderBytes) request->send_flags |= IBV_SEND_INLINE;
  post();
}

Pair::Pushed Pair::push_short(const Outgoing& out) {
  const Message& message = out.message;
  const uint64_t all = kHeaderBytes + message.bytes;
  uint64_t position = 0;
  if (!claim(all, &position)) return Pushed::kBlocked;
  if (all <= inline_max_) {
    begin_record(position, RecordKind::kInline, out, message.bytes);
    ibv_send_wr* const request = write_record(position, kHeaderBytes);
    gather(request, message.data, message.bytes, 0);
    request->send_flags |= IBV_SEND_INLINE;
    ++shared_.traffic->inline_messages;
    post();  // the device reads the caller's bytes here and now
    return Pushed::kDone;
  }
  begin_record(position, RecordKind::kStaged, out, message.bytes);
  std::memcpy(mirror_ + position % shared_.ring_bytes + kHeaderBytes, message.data, message.bytes);
  (void)write_record(position, all);
  ++shared_.traffic->staged_messages;
  ++shared_.traffic->copies;
  shared_.traffic->bytes_copied += message.bytes;
  return Pushed::kDone;
}

// All of the message's requests are posted; the last is signalled.
void Pair::fly(Outgoing* out) {
  flying_.push({posted_, out->token, out->memory});
  out->memory = nullptr;
  ++shared_.traffic->direct_messages;
}

Pair::Pushed Pair::push_direct(Outgoing* out, const Grant& grant) {
  const Message& message = out->message;
  const uint32_t key = Devices::region(out->memory->handle, *port_->device)->lkey;
  const uint64_t run_max = std::min<uint64_t>(kWriteBytes, port_->message_bytes_max);
  while (out->sent < message.bytes) {
    if (requests_free() == 0) {
      lacks_room_ = true;
      return Pushed::kBlocked;
    }
    const uint64_t run = std::min(run_max, message.bytes - out->sent);
    const bool last = out->sent + run == message.bytes;
    ibv_send_wr* const request = append(last ? IBV_WR_RDMA_WRITE_WITH_IMM : IBV_WR_RDMA_WRITE,
                                        message.data + out->sent, run, key);
    request->wr.rdma = {grant.address + out->sent, grant.key};
    if (last) {
      request->imm_data = htonl(kDirectFlag | (out->sequence & ~kDirectFlag));
      signal(request);
    }
    out->sent += run;
  }
  fly(out);
  return Pushed::kLent;
}

Pair::Pushed Pair::push_stream(Outgoing* out) {
  const Message& message = out->message;
  const bool lent = out->memory != nullptr;
  while (out->sent < message.bytes) {
    const uint64_t run = std::min(kChunkBytes, message.bytes - out->sent);
    uint64_t position = 0;
    if (!claim(kHeaderBytes + run, &position)) return Pushed::kBlocked;
    const std::byte* const from = message.data + out->sent;
    out->sent += run;
    begin_record(position, lent ? RecordKind::kLent : RecordKind::kStaged, *out, run);
    if (lent) {
      ibv_send_wr* const request = write_record(position, kHeaderBytes);
      gather(request, from, run, Devices::region(out->memory->handle, *port_->device)->lkey);
      if (out->sent == message.bytes) signal(request);
    } else {
      std::memcpy(mirror_ + position % shared_.ring_bytes + kHeaderBytes, from, run);
      (void)write_record(position, kHeaderBytes + run);
      ++shared_.traffic->copies;
      shared_.traffic->bytes_copied += run;
    }
  }
  if (!lent) {
    ++shared_.traffic->staged_messages;
    return Pushed::kDone;
  }
  fly(out);
  return Pushed::kLent;
}

void Pair::advance_sends(std::vector<Token>* done) {
  for (; !flying_.empty() && flying_.front().request <= completed_; flying_.pop()) {
    done->push_back(flying_.front().token);
    release(&flying_.front().memory);
  }
  for (; !outgoing_.empty(); outgoing_.pop()) {
    Outgoing& out = outgoing_.front();
    const Pushed pushed = push(&out);
    if (pushed == Pushed::kBlocked) return;
    if (pushed == Pushed::kDone) done->push_back(out.token);
  }
}

}  // namespace gossamer::verbs
