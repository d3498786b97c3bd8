// A pair's read path: long messages that their receiver reads.
//
//   Offer      A record that says where the message lies, written as soon as it is sent. Nothing
//              waits for a note, and both ends of a read are the receiver's: it reads when it has
//              a sink, the sender's processor has no part in it.
//   Pull       Of the first sink's message alone, in order. A plain sink in registered memory is
//              read into directly; else runs land in memory of ours, to be folded or copied.
//   Taken      The receiver tells how far it has come; then the memory is the sender's again.
//   Otherwise  What does not lie in registered memory is announced instead, and goes as it would
//              without reads, once its receiver has said how.
//   Moves      change the keys of memory: the sender tells where its offers lie now, and reads that
//              were under way are asked for again.
//   Limits     as many reads are under way as the device of either end allows.

#include <algorithm>
#include <cstring>

#include "src/check.h"
#include "transports/verbs/pair.h"

namespace gossamer::verbs {

namespace {

constexpr uint64_t kReadBytes = 1024 * 1024;  // of one that goes straight to its place

}  // namespace

// --- sending -------------------------------------------------------------------------------------

Pair::Pushed Pair::offer(Outgoing* out) {
  uint64_t position = 0;
  if (out->memory == nullptr) {
    announce(out);
    return Pushed::kBlocked;
  }
  if (!claim(kHeaderBytes, &position)) return Pushed::kBlocked;
  begin_record(position, RecordKind::kOffer, *out, 0);
  Sent record{.position = position, .in_mirror = kHeaderBytes};
  write_record(&record);
  keep(record);
  offered_.push(*out);
  ++shared_.traffic->direct_messages;
  return Pushed::kLent;
}

void Pair::receive_taken_note(const Note& note) {
  if (static_cast<int32_t>(note.sequence - next_send_) >= 0) {
    return nonsense("word of a message that it was never offered");
  }
  while (offers_taken_ < offered_.size() &&
         static_cast<int32_t>(offered_[offers_taken_].sequence - note.sequence) <= 0) {
    ++offers_taken_;
  }
}

// It sends again. After a move: where the peer finds what it was offered before.
void Pair::go() {
  going_ = true;
  for (uint32_t i = offers_taken_; i < offered_.size(); ++i) {
    const Outgoing& out = offered_[i];
    Note note;
    note.kind = NoteKind::kOffered;
    note.sequence = out.sequence;
    note.address = reinterpret_cast<uintptr_t>(out.message.data);
    note.key = Devices::region(out.memory->handle, *port_->device)->rkey;
    GOSSAMER_CHECK(send_note(note));  // the window has room in the connection's requests
    ++shared_.traffic->exchanges;
  }
  notes_->post();
}

// --- receiving -----------------------------------------------------------------------------------

void Pair::receive_offer_note(const Note& note) {
  const uint32_t oldest = sinks_.empty() ? next_recv_ : sinks_.front().sequence;
  if (static_cast<int32_t>(note.sequence - oldest) < 0) return;  // read before the move
  if (relocated_.full()) return nonsense("more offers than its window");
  relocated_.push({.sequence = note.sequence, .address = note.address, .key = note.key});
}

void Pair::begin_pull(const RecordHeader& header, Posted* posted) {
  pull_ = {.active = true, .asked = 0, .header = header};
  const Sink& sink = posted->sink;
  if (sink.combine == nullptr && posted->memory == nullptr) {
    posted->memory = shared_.cache->acquire(sink.target, sink.bytes);
  }
}

// Whether it is known where the message lies.
bool Pair::locate() {
  if (pull_.known) return true;
  if (pull_.header.attempt == attempt_) {
    pull_.address = pull_.header.address;
    pull_.key = pull_.header.key;
    pull_.known = true;
    return true;
  }
  const uint32_t wanted = pull_.header.sequence;
  while (!relocated_.empty() && static_cast<int32_t>(relocated_.front().sequence - wanted) < 0) {
    relocated_.pop();
  }
  if (relocated_.empty() || relocated_.front().sequence != wanted) return false;
  pull_.address = relocated_.front().address;
  pull_.key = relocated_.front().key;
  pull_.known = true;
  return true;
}

// Takes what has come and asks for more. True: the message is complete.
bool Pair::pull(Posted* posted) {
  while (!readings_.empty() && readings_.front().request <= data_->confirmed()) {
    take_run(*posted, readings_.front().bytes);
    readings_.pop();
  }
  const uint64_t bytes = pull_.header.message_bytes;
  if (arrived_ == bytes) {
    pull_.active = false;
    last_pulled_ = posted->sequence;
    has_pulled_ = owes_word_ = true;
    return true;
  }
  while (usable() && pull_.asked < bytes && readings_.size() < reads_ && locate()) {
    if (!ask(*posted)) break;
  }
  return false;
}

void Pair::take_run(const Posted& posted, uint64_t bytes) {
  const Sink& sink = posted.sink;
  const std::byte* const landed = landing_ + arrived_ / kPullBytes % kPulls * kPullBytes;
  if (posted.memory != nullptr) {
    arrived_ += bytes;  // it lies where it belongs
  } else if (sink.combine != nullptr) {
    fold(sink, landed, bytes);
  } else {
    std::memcpy(sink.target + arrived_, landed, bytes);
    arrived_ += bytes;
    ++shared_.traffic->copies;
    shared_.traffic->bytes_copied += bytes;
  }
}

// False: no room for a request now.
bool Pair::ask(const Posted& posted) {
  if (data_->free() == 0) {
    lacks_room_ = true;
    return false;
  }
  const bool direct = posted.memory != nullptr;
  const uint64_t run_max =
      direct ? std::min<uint64_t>(kReadBytes, port_->message_bytes_max) : kPullBytes;
  const uint64_t run = std::min(run_max, pull_.header.message_bytes - pull_.asked);
  std::byte* const into = direct ? posted.sink.target + pull_.asked
                                 : landing_ + pull_.asked / kPullBytes % kPulls * kPullBytes;
  const uint32_t key =
      direct ? Devices::region(posted.memory->handle, *port_->device)->lkey : region_->lkey;
  ibv_send_wr* const request = data_->append(IBV_WR_RDMA_READ, into, run, key);
  request->wr.rdma = {pull_.address + pull_.asked, pull_.key};
  data_->signal(request);
  readings_.push({data_->posted(), run});
  pull_.asked += run;
  return true;
}

// Connections are new: what was under way has to be asked for again, and told.
void Pair::reset_pull() {
  readings_.clear();
  relocated_.clear();
  pull_.known = false;
  pull_.asked = arrived_;
  owes_word_ = has_pulled_;
}

void Pair::tell_pulled() {
  Note note;
  note.kind = NoteKind::kTaken;
  note.sequence = last_pulled_;
  owes_word_ = !send_note(note);
  if (owes_word_) lacks_room_ = true;
}

}  // namespace gossamer::verbs
