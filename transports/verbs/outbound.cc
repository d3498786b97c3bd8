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
  if (outgoing_.size() + lent_ + offered_.size() >= kWindow) return Code::kAgain;
  Outgoing out;
  out.message = message;
  out.token = token;
  out.sequence = next_send_++;
  Pushed pushed = Pushed::kBlocked;
  if (outgoing_.empty() && again_ == 0) {
    pushed = push(&out);
    post_or_postpone(pushed == Pushed::kDone);
  }
  if (pushed == Pushed::kBlocked) outgoing_.push(out);
  return pushed == Pushed::kDone ? Code::kOk : Code::kPending;
}

Pair::Pushed Pair::push(Outgoing* out) {
  if (!usable()) return Pushed::kBlocked;
  if (out->message.bytes <= kEagerBytes) return push_short(out);
  const Grant* const grant = grant_for(*out);
  if (grant == nullptr && reads_ == 0) return Pushed::kBlocked;
  if (!out->looked_up) {
    out->memory = shared_.cache->acquire(out->message.data, out->message.bytes);
    out->looked_up = true;
  }
  if (grant == nullptr) return offer(out);
  const bool direct = grant->direct && out->memory != nullptr && !out->streams;
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
  if (!has_room()) return false;
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
  if (kind == RecordKind::kOffer) {
    header.address = reinterpret_cast<uintptr_t>(out.message.data);
    header.key = Devices::region(out.memory->handle, *port_->device)->rkey;
    header.attempt = attempt_;
  }
  told_ = consumed_;
  std::memcpy(mirror_ + position % shared_.ring_bytes, &header, sizeof header);
}

void Pair::write_record(Sent* record) {
  const uint64_t offset = record->position % shared_.ring_bytes;
  ibv_send_wr* const request =
      data_->append(IBV_WR_RDMA_WRITE_WITH_IMM, mirror_ + offset, record->in_mirror, region_->lkey);
  request->imm_data = htonl(static_cast<uint32_t>(offset / kRecordPage));
  request->wr.rdma = {remote_ring_ + offset, remote_key_};
  if (record->lent != nullptr) {
    QueuePair::gather(request, record->lent, record->run,
                      Devices::region(record->out.memory->handle, *port_->device)->lkey);
  } else if (record->in_mirror <= data_->inline_max()) {
    request->send_flags |= IBV_SEND_INLINE;
  }
  if (record->ends) data_->signal(request);
  record->request = data_->posted();
}

// The message is the caller's again once its last record or flag, which `last` is, is confirmed.
void Pair::fly(Outgoing* out, Sent* last) {
  last->ends = true;
  last->out = *out;
  out->memory = nullptr;
  ++lent_;
}

void Pair::announce_late() {
  if (!usable() || again_ > 0 || outgoing_.empty()) return;
  Outgoing& out = outgoing_.front();
  if (out.announced || out.message.bytes <= kEagerBytes || grant_for(out) != nullptr) return;
  announce(&out);
  post();
}

// Unless there is no room now.
void Pair::announce(Outgoing* out) {
  uint64_t position = 0;
  if (out->announced || !claim(kHeaderBytes, &position)) return;
  out->announced = true;
  begin_record(position, RecordKind::kAnnounce, *out, 0);
  Sent record{.position = position, .in_mirror = kHeaderBytes};
  write_record(&record);
  keep(record);
}

// Entries stay until the peer's device confirms them.
void Pair::keep(const Sent& sent) {
  sent_.push(sent);
  ++sent_so_far_;
}

Pair::Pushed Pair::push_short(Outgoing* out) {
  const Message& message = out->message;
  const uint64_t all = kHeaderBytes + message.bytes;
  uint64_t position = 0;
  if (!claim(all, &position)) return Pushed::kBlocked;
  // Also what goes inline is kept in the mirror, in case it has to be sent again.
  const bool goes_inline = all <= data_->inline_max();
  begin_record(position, goes_inline ? RecordKind::kInline : RecordKind::kStaged, *out,
               message.bytes);
  std::memcpy(mirror_ + position % shared_.ring_bytes + kHeaderBytes, message.data, message.bytes);
  Sent record{.position = position, .in_mirror = static_cast<uint32_t>(all)};
  write_record(&record);
  keep(record);
  if (goes_inline) {
    ++shared_.traffic->inline_messages;
  } else {
    ++shared_.traffic->staged_messages;
    ++shared_.traffic->copies;
    shared_.traffic->bytes_copied += message.bytes;
  }
  return Pushed::kDone;
}

// Writes what is left of flag->out straight to where it belongs, and the flag after it.
Pair::Pushed Pair::write_directly(Sent* flag, const Grant& grant) {
  Outgoing* const out = &flag->out;
  const Message& message = out->message;
  const uint32_t key = Devices::region(out->memory->handle, *port_->device)->lkey;
  const uint64_t run_max = std::min<uint64_t>(kWriteBytes, port_->message_bytes_max);
  while (out->sent < message.bytes) {
    if (data_->free() == 0) {
      lacks_room_ = true;
      return Pushed::kBlocked;
    }
    const uint64_t run = std::min(run_max, message.bytes - out->sent);
    const bool last = out->sent + run == message.bytes;
    ibv_send_wr* const request = data_->append(
        last ? IBV_WR_RDMA_WRITE_WITH_IMM : IBV_WR_RDMA_WRITE, message.data + out->sent, run, key);
    request->wr.rdma = {grant.address + out->sent, grant.key};
    if (last) {
      request->imm_data = htonl(kDirectFlag | (out->sequence & ~kDirectFlag));
      data_->signal(request);
    }
    out->sent += run;
  }
  flag->request = data_->posted();
  return Pushed::kLent;
}

Pair::Pushed Pair::push_direct(Outgoing* out, const Grant& grant) {
  if (!has_room()) return Pushed::kBlocked;
  Sent flag{.direct = true, .out = *out};
  const Pushed pushed = write_directly(&flag, grant);
  out->sent = flag.out.sent;
  if (pushed == Pushed::kBlocked) return pushed;
  fly(out, &flag);
  keep(flag);
  ++shared_.traffic->direct_messages;
  return pushed;
}

Pair::Pushed Pair::push_stream(Outgoing* out) {
  const Message& message = out->message;
  const bool lent = out->memory != nullptr;
  while (out->sent < message.bytes) {
    const uint64_t run = std::min(kChunkBytes, message.bytes - out->sent);
    uint64_t position = 0;
    if (!claim(kHeaderBytes + run, &position)) return Pushed::kBlocked;
    const std::byte* const from = message.data + out->sent;
    out->streams = true;
    out->sent += run;
    begin_record(position, lent ? RecordKind::kLent : RecordKind::kStaged, *out, run);
    Sent record{.position = position, .in_mirror = kHeaderBytes, .run = static_cast<uint32_t>(run)};
    record.out.memory = out->memory;
    if (lent) {
      record.lent = from;
      if (out->sent == message.bytes) fly(out, &record);
    } else {
      record.in_mirror += record.run;
      std::memcpy(mirror_ + position % shared_.ring_bytes + kHeaderBytes, from, run);
      ++shared_.traffic->copies;
      shared_.traffic->bytes_copied += run;
    }
    write_record(&record);
    keep(record);
  }
  if (lent) {
    ++shared_.traffic->direct_messages;
    return Pushed::kLent;
  }
  ++shared_.traffic->staged_messages;
  return Pushed::kDone;
}

// After a move: what the peer has not taken, in the old order. False: not all of it can go now.
bool Pair::send_again() {
  if (again_ > 0 && !usable()) return false;
  for (; again_ > 0; --again_) {
    Sent& sent = sent_[sent_.size() - again_];
    if (data_->free() == 0) {
      lacks_room_ = true;
      return false;
    }
    if (!sent.direct) {
      write_record(&sent);
      continue;
    }
    const Grant* const grant = grant_for(sent.out);
    if (grant == nullptr || !grant->direct) return false;
    if (write_directly(&sent, *grant) == Pushed::kBlocked) return false;
    grants_.pop();
  }
  return true;
}

// The sequence of the first message whose receiver's word may still be of use.
uint32_t Pair::oldest_that_waits() {
  for (uint32_t i = sent_.size() - again_; i < sent_.size(); ++i) {
    if (sent_[i].direct) return sent_[i].out.sequence;
  }
  return outgoing_.empty() ? next_send_ : outgoing_.front().sequence;
}

void Pair::advance_sends(std::vector<Token>* done) {
  while (!sent_.empty()) {
    Sent& first = sent_.front();
    if (taken_by_peer_ > 0) {
      --taken_by_peer_;
    } else if (again_ == sent_.size() || first.request > data_->confirmed()) {
      break;
    }
    if (first.ends) {
      done->push_back(first.out.token);
      release(&first.out.memory);
      --lent_;
    }
    sent_.pop();
  }
  for (; offers_taken_ > 0; --offers_taken_) {
    done->push_back(offered_.front().token);
    release(&offered_.front().memory);
    offered_.pop();
  }
  if (!send_again()) return;
  for (; !outgoing_.empty(); outgoing_.pop()) {
    Outgoing& out = outgoing_.front();
    const Pushed pushed = push(&out);
    if (pushed == Pushed::kBlocked) return;
    if (pushed == Pushed::kDone) done->push_back(out.token);
  }
}

}  // namespace gossamer::verbs
