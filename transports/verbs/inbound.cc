// A pair's receiving side.

#include <algorithm>
#include <cstring>

#include "src/check.h"
#include "transports/mismatch.h"
#include "transports/verbs/pair.h"

namespace gossamer::verbs {

namespace {

uint64_t record_pages(uint64_t run) {
  return (kHeaderBytes + run + kRecordPage - 1) / kRecordPage * kRecordPage;
}

}  // namespace

void Pair::nonsense(const char* what) {
  if (nonsense_ == nullptr) nonsense_ = what;
}

Code Pair::corrupt(Fault* fault) const {
  fault->set(Code::kSystem, peer_,
             "rank %d sent %s (lane %u, %s): corrupted on the way, or two versions of the library",
             peer_, nonsense_, lane_, port_->name().c_str());
  return fault->code;
}

// --- what the peer tells as a receiver -----------------------------------------------------------

void Pair::receive_note(const Note& note) {
  if (note.consumed > peer_consumed_ && note.consumed <= head_) peer_consumed_ = note.consumed;
  if (note.kind == NoteKind::kCredit) return;
  if (note.kind == NoteKind::kRegion) {
    if (note.slot >= kRegions) return nonsense("a memory region with no place");
    if (regions_.size() <= note.slot) regions_.resize(note.slot + 1);
    regions_[note.slot] = {note.address, note.bytes, note.key};
    return;
  }
  if (note.kind == NoteKind::kTaken) return receive_taken_note(note);
  if (note.kind == NoteKind::kOffered) return receive_offer_note(note);
  const bool direct = note.kind == NoteKind::kDirect;
  // After a move the receiver tells of all that it has not completed, of which some may be sent.
  if (static_cast<int32_t>(note.sequence - oldest_that_waits()) < 0) return;
  if ((!direct && note.kind != NoteKind::kStream) || grants_.full()) {
    return nonsense("a note that makes no sense");
  }
  Grant grant{direct, note.sequence, note.fingerprint, note.bytes, 0, 0};
  if (direct) {
    const bool known = note.slot < regions_.size() && note.bytes <= regions_[note.slot].bytes &&
                       note.address <= regions_[note.slot].bytes - note.bytes;
    if (!known) return nonsense("word of memory it never named");
    grant.address = regions_[note.slot].address + note.address;
    grant.key = regions_[note.slot].key;
  }
  grants_.push(grant);
}

// --- what it sends -------------------------------------------------------------------------------

void Pair::receive_immediate(uint32_t immediate) {
  if (arrivals_.full()) return nonsense("more than its window");
  ++taken_;
  if ((immediate & kDirectFlag) != 0) {
    arrivals_.push({true, immediate & ~kDirectFlag, 0});
    return;
  }
  const uint64_t ring = shared_.ring_bytes;
  const uint64_t offset = uint64_t{immediate} * kRecordPage;
  if (offset == 0 && expected_ % ring != 0) expected_ += ring - expected_ % ring;
  if (offset != expected_ % ring) return nonsense("a record out of place");
  RecordHeader header;
  std::memcpy(&header, memory_ + offset, sizeof header);
  if (header.run_bytes > kChunkBytes || header.run_bytes > ring - offset - kHeaderBytes) {
    return nonsense("a record longer than its place");
  }
  if (header.consumed > peer_consumed_ && header.consumed <= head_) {
    peer_consumed_ = header.consumed;
  }
  arrivals_.push({false, header.sequence, expected_});
  expected_ += record_pages(header.run_bytes);
}

bool Pair::peek(Fingerprint* arrived) {
  if (!sinks_.empty() || arrived_ != 0 || arrivals_.empty() || arrivals_.front().flag) return false;
  RecordHeader header;
  std::memcpy(&header, memory_ + arrivals_.front().position % shared_.ring_bytes, sizeof header);
  *arrived = header.fingerprint;
  return true;
}

Code Pair::recv(const Sink& sink, Token token, Fault* fault) {
  GOSSAMER_CHECK(sink.combine == nullptr || sink.bytes % sink.granule == 0);
  if (sinks_.full()) return Code::kAgain;
  Posted posted;
  posted.sink = sink;
  posted.token = token;
  posted.sequence = next_recv_++;
  sinks_.push(posted);
  if (sinks_.size() == 1) {
    const Code code = deliver(nullptr, fault);
    if (code != Code::kOk) return code;
  }
  tell_all();
  send_credit_if_due();
  post_or_postpone(false);
  return sinks_.empty() ? Code::kOk : Code::kPending;
}

// Takes what has arrived for the posted sinks.
Code Pair::deliver(std::vector<Token>* done, Fault* fault) {
  if (nonsense_ != nullptr) return corrupt(fault);
  while (!sinks_.empty() && !arrivals_.empty()) {
    Posted& posted = sinks_.front();
    const Arrival arrival = arrivals_.front();
    bool complete = false;
    if (arrival.flag) {
      if (!posted.direct || arrived_ != 0 || arrival.sequence != (posted.sequence & ~kDirectFlag)) {
        nonsense("a flag for what nothing waits for");
        return corrupt(fault);
      }
      complete = true;
    } else if (!pull_.active) {
      const Code code = take_record(arrival, &posted, &complete, fault);
      if (code != Code::kOk) return code;
    }
    if (pull_.active) {
      complete = pull(&posted);
      if (!complete) break;
    }
    arrivals_.pop();
    if (!complete) continue;
    arrived_ = 0;
    if (done != nullptr) done->push_back(posted.token);
    release(&posted.memory);
    sinks_.pop();
    if (untold_ > 0) --untold_;
  }
  return Code::kOk;
}

Code Pair::take_record(const Arrival& arrival, Posted* posted, bool* complete, Fault* fault) {
  const std::byte* const at = memory_ + arrival.position % shared_.ring_bytes;
  RecordHeader header;
  std::memcpy(&header, at, sizeof header);
  const Sink& sink = posted->sink;
  if (header.sequence != posted->sequence) {
    nonsense("messages out of order");
    return corrupt(fault);
  }
  if (mismatched(shared_.self, peer_, lane_, header.message_bytes, header.fingerprint, sink,
                 fault)) {
    return Code::kMismatch;
  }
  const uint64_t run = header.run_bytes;
  const bool offers = header.kind == RecordKind::kOffer;
  const bool without = offers || header.kind == RecordKind::kAnnounce;
  if (run > header.message_bytes - arrived_ || run > kChunkBytes ||
      (run == 0 && header.message_bytes != 0 && !without) || (offers && reads_ == 0)) {
    nonsense("a record of the wrong length");
    return corrupt(fault);
  }
  if (run > 0 && sink.combine != nullptr) {
    fold(sink, at + kHeaderBytes, run);
  } else if (run > 0) {
    std::memcpy(sink.target + arrived_, at + kHeaderBytes, run);
    arrived_ += run;
    if (header.kind != RecordKind::kInline) {
      ++shared_.traffic->copies;
      shared_.traffic->bytes_copied += run;
    }
  }
  consumed_ = arrival.position + record_pages(run);
  *complete = !without && arrived_ == header.message_bytes;
  posted->announced = posted->announced || header.kind == RecordKind::kAnnounce;
  if (offers) begin_pull(header, posted);
  return Code::kOk;
}

// Folds a run; part of a granule at its end waits for the next.
void Pair::fold(const Sink& sink, const std::byte* bytes, uint64_t run) {
  uint64_t at = arrived_ - carry_.size();
  arrived_ += run;
  if (!carry_.empty()) {
    const uint64_t taken = std::min<uint64_t>(sink.granule - carry_.size(), run);
    carry_.insert(carry_.end(), bytes, bytes + taken);
    bytes += taken;
    run -= taken;
    if (carry_.size() < sink.granule) return;
    sink.combine(sink, at, carry_.data(), carry_.size());
    at += carry_.size();
    carry_.clear();
  }
  const uint64_t whole = run - run % sink.granule;
  if (whole > 0) sink.combine(sink, at, bytes, whole);
  carry_.assign(bytes + whole, bytes + run);
}

// --- what this rank tells as a receiver ----------------------------------------------------------

// The slot under which the peer knows this memory, naming it if it is new. False: no room.
bool Pair::name_region(const Registration& memory, uint32_t* slot) {
  const auto known = named_.find(memory.id);
  if (known != named_.end()) {
    *slot = known->second;
    return true;
  }
  *slot = next_slot_ % kRegions;
  Note note;
  note.kind = NoteKind::kRegion;
  note.slot = *slot;
  note.address = memory.begin;
  note.bytes = memory.end - memory.begin;
  note.key = Devices::region(memory.handle, *port_->device)->rkey;
  if (!send_note(note)) return false;
  ++shared_.traffic->exchanges;
  if (slot_owner_.size() < kRegions && *slot == slot_owner_.size()) slot_owner_.push_back(0);
  if (slot_owner_[*slot] != 0) named_.erase(slot_owner_[*slot]);
  slot_owner_[*slot] = memory.id;
  named_.emplace(memory.id, *slot);
  ++next_slot_;
  return true;
}

// Tells the sender of a long message where or how it goes. False: no room now.
bool Pair::tell(Posted* posted) {
  const Sink& sink = posted->sink;
  if (sink.bytes <= kEagerBytes) return true;
  if (!usable() || notes_->free() < 2) return false;
  Note note;
  note.kind = NoteKind::kStream;
  note.sequence = posted->sequence;
  note.fingerprint = sink.fingerprint;
  note.bytes = sink.bytes;
  if (sink.combine == nullptr && posted->memory == nullptr) {
    posted->memory = shared_.cache->acquire(sink.target, sink.bytes);
  }
  if (posted->memory != nullptr && name_region(*posted->memory, &note.slot)) {
    note.kind = NoteKind::kDirect;
    note.address = reinterpret_cast<uintptr_t>(sink.target) - posted->memory->begin;
    posted->direct = true;
  }
  return send_note(note);
}

void Pair::tell_all() {
  if (!usable()) return;
  if (owes_word_) tell_pulled();
  // Senders that offer wait for word only of what they have announced.
  const bool wanted = reads_ == 0 || (!sinks_.empty() && sinks_.front().announced);
  const uint32_t last = !wanted ? 0 : reads_ > 0 ? 1 : sinks_.size();
  for (; untold_ < last; ++untold_) {
    if (!tell(&sinks_[untold_])) {
      lacks_room_ = true;
      return;
    }
  }
}

}  // namespace gossamer::verbs
