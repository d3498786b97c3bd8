#include "transports/verbs/pair.h"

#include <arpa/inet.h>
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "src/system_text.h"

namespace gossamer::verbs {

Pair::Pair(const Shared& shared, Rank peer, Lane lane, uint16_t index)
    : shared_(shared),
      peer_(peer),
      lane_(lane),
      index_(index),
      library_(shared.devices->library()) {}

Pair::~Pair() {
  forget();
  data_.reset();
  notes_.reset();
  if (region_ != nullptr) (void)library_.dereg_mr(region_);
  if (memory_ != nullptr) ::munmap(memory_, memory_bytes_);
}

Status Pair::create() {
  const uint64_t ring = shared_.ring_bytes;
  const uint64_t notes = (kNoteReceives + kSends) * sizeof(Note);
  memory_bytes_ = 2 * ring + notes + (shared_.devices->reads() > 0 ? kPulls * kPullBytes : 0);
  void* const memory = ::mmap(nullptr, memory_bytes_, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (memory == MAP_FAILED) {
    return Status::error(Code::kSystem, "no memory for a link: " + system_text(errno));
  }
  memory_ = static_cast<std::byte*>(memory);
  mirror_ = memory_ + ring;
  slots_ = mirror_ + ring;
  notes_to_send_ = slots_ + kNoteReceives * sizeof(Note);
  landing_ = slots_ + notes;
  return Status::ok();
}

Status Pair::attach(Port* port) {
  RequestId id{index_, static_cast<uint8_t>(attempt_ & RequestId::kAttemptMask)};
  data_ = std::make_unique<QueuePair>(*shared_.devices, port, id, kSends);
  id.notes = true;
  notes_ = std::make_unique<QueuePair>(*shared_.devices, port, id, kSends);
  if (queue_ != nullptr) --queue_->pairs;
  queue_ = nullptr;
  if (region_ != nullptr) (void)library_.dereg_mr(region_);
  region_ = nullptr;
  port_ = port;
  broken_ = stopped_ = false;
  why_.clear();
  taken_when_attached_ = taken_;
  reset_pull();
  Device* const device = port_->device;
  region_ = shared_.devices->region_of(*device, std::span(memory_, memory_bytes_));
  if (region_ == nullptr) {
    return Status::error(Code::kSystem, registration_refusal(device->name, memory_bytes_, errno));
  }
  ++shared_.traffic->registrations;
  constexpr int kCompletions = kReceives + kNoteReceives + 2 * kSends;
  Result<CompletionQueue*> queue = shared_.devices->queue_for(device, kCompletions);
  if (!queue) return queue.status();
  queue_ = *queue;
  Status made = data_->create(queue_->cq, kReceives);
  if (made) made = notes_->create(queue_->cq, kNoteReceives);
  if (!made) return made;
  for (uint32_t slot = 0; slot < kReceives; ++slot) data_->post_receive(slot, nullptr, 0, 0);
  for (uint32_t slot = 0; slot < kNoteReceives; ++slot) post_note_slot(slot);
  const bool failed = data_->failed() || notes_->failed();
  return failed ? Status::error(Code::kSystem, why()) : Status::ok();
}

PairSetup Pair::setup() const {
  PairSetup setup;
  setup.data = data_->setup();
  setup.notes = notes_->setup();
  setup.lid = port_->lid;
  setup.mtu = static_cast<uint8_t>(port_->mtu);
  setup.ethernet = port_->ethernet;
  setup.gid_type = port_->gid_type;
  std::memcpy(setup.gid.data(), port_->gid.raw, setup.gid.size());
  setup.ring_address = reinterpret_cast<uint64_t>(memory_);
  setup.ring_key = region_->rkey;
  setup.reads = shared_.devices->reads();
  return setup;
}

Status Pair::connect(const PairSetup& remote) {
  if (remote.ethernet != port_->ethernet ||
      (port_->ethernet && remote.gid_type != port_->gid_type)) {
    return Status::error(Code::kMismatch,
                         "one end uses InfiniBand or another RoCE version than the other; choose "
                         "with GOSSAMER_IB_HCA and GOSSAMER_IB_GID_INDEX");
  }
  if (remote.mtu < IBV_MTU_256 || remote.mtu > IBV_MTU_4096) {
    return Status::error(Code::kMismatch, "its path MTU makes no sense");
  }
  remote_ring_ = remote.ring_address;
  remote_key_ = remote.ring_key;
  reads_ = std::min(shared_.devices->reads(), remote.reads);
  const Status connected = data_->connect(remote, remote.data);
  return connected ? notes_->connect(remote, remote.notes) : connected;
}

void Pair::post_note_slot(uint32_t slot) {
  notes_->post_receive(slot, slots_ + slot * sizeof(Note), sizeof(Note), region_->lkey);
}

bool Pair::has_room() {
  if (data_->free() > 0 && !sent_.full()) return true;
  lacks_room_ = true;
  return false;
}

void Pair::post() {
  data_->post();
  notes_->post();
}

bool Pair::send_note(Note note) {
  if (!usable() || notes_->free() == 0) return false;
  note.consumed = consumed_;
  told_ = consumed_;
  // Free again once its request is confirmed, which the number of requests sees to.
  std::byte* const at = notes_to_send_ + notes_->posted() % kSends * sizeof(Note);
  std::memcpy(at, &note, sizeof note);
  ibv_send_wr* const request = notes_->append(IBV_WR_SEND, at, sizeof note, region_->lkey);
  if (notes_->inline_max() >= sizeof note) request->send_flags |= IBV_SEND_INLINE;
  return true;
}

void Pair::send_credit_if_due() {
  if (consumed_ - told_ >= shared_.ring_bytes / 4) (void)send_note({.kind = NoteKind::kCredit});
}

// A request that the peer does not notice, to learn that all before it are done.
void Pair::send_empty() {
  if (!usable() || data_->free() == 0) return;
  ibv_send_wr* const request = data_->append(IBV_WR_RDMA_WRITE, nullptr, 0, 0);
  request->wr.rdma = {remote_ring_, remote_key_};
  data_->signal(request);
  data_->post();
}

void Pair::take_note_slot(uint32_t slot, uint32_t bytes) {
  Note note;
  std::memcpy(&note, slots_ + slot * sizeof(Note), sizeof note);
  post_note_slot(slot);
  if (stopped_) note.kind = NoteKind::kCredit;  // what else it says will be said anew
  if (bytes == sizeof note) receive_note(note);
}

void Pair::completed(const ibv_wc& completion) {
  const RequestId id = RequestId::unpack(completion.wr_id);
  if (id.attempt != (attempt_ & RequestId::kAttemptMask)) return;
  QueuePair& queue = id.notes ? *notes_ : *data_;
  if (id.received) queue.receive_ended();
  if (completion.status != IBV_WC_SUCCESS) {
    if (going_) break_off(library_.wc_status_str(completion.status));
    return;
  }
  if (!id.received) {
    queue.confirm(id.number);
    return;
  }
  const auto slot = static_cast<uint32_t>(id.number);
  if (id.notes) return take_note_slot(slot, completion.byte_len);
  queue.post_receive(slot, nullptr, 0, 0);
  if (completion.opcode == IBV_WC_RECV_RDMA_WITH_IMM) {
    receive_immediate(ntohl(completion.imm_data));
  }
}

Code Pair::advance(std::vector<Token>* done, Fault* fault) {
  const bool postponed = postpones();
  const size_t before = done->size();
  const Code code = deliver(done, fault);
  if (code != Code::kOk) return code;
  lacks_room_ = false;
  advance_sends(done);
  tell_all();
  send_credit_if_due();
  post_or_postpone(postponed || done->size() == before);
  return Code::kOk;
}

void Pair::post_or_postpone(bool now) {
  notes_->post();
  if (now || !port_->device->in_software) data_->post();
}

void Pair::break_off(const std::string& why) {
  if (broken_) return;
  broken_ = true;
  why_ = why;
}

const std::string& Pair::why() const {
  return broken_ ? why_ : data_->failed() ? data_->why() : notes_->why();
}

void Pair::release(Registration** memory) {
  if (*memory != nullptr) shared_.cache->release(*memory);
  *memory = nullptr;
}

void Pair::abandon() {
  stop();
  forget();
}

void Pair::forget() {
  for (; !outgoing_.empty(); outgoing_.pop()) release(&outgoing_.front().memory);
  for (; !sent_.empty(); sent_.pop()) {
    if (sent_.front().ends) release(&sent_.front().out.memory);
  }
  for (; !offered_.empty(); offered_.pop()) release(&offered_.front().memory);
  for (; !sinks_.empty(); sinks_.pop()) release(&sinks_.front().memory);
  pull_.active = false;
  readings_.clear();
  relocated_.clear();
  arrivals_.clear();
  grants_.clear();
  untold_ = lent_ = again_ = offers_taken_ = 0;
}

void Pair::flush() {
  if (usable() && !data_->signalled()) send_empty();
}

// Who only waits for what does not come would never find out that the link is dead.
void Pair::probe() {
  if (needs() && data_->idle()) send_empty();
}

// --- moving to another port ----------------------------------------------------------------------

void Pair::stop() {
  going_ = false;
  stopped_ = true;
  data_->stop();
  notes_->stop();
  // Where long messages go is told anew: regions have other keys on another device.
  grants_.clear();
  regions_.clear();
  named_.clear();
  slot_owner_.clear();
  next_slot_ = 0;
  untold_ = 0;
}

Status Pair::resume(uint64_t taken, uint64_t consumed) {
  const uint64_t first = sent_so_far_ - sent_.size();
  if (taken > sent_so_far_ || taken < first || consumed > head_) {
    return Status::error(Code::kSystem, "it says that it has taken what was never sent");
  }
  peer_consumed_ = std::max(peer_consumed_, consumed);
  taken_by_peer_ = static_cast<uint32_t>(taken - first);
  again_ = sent_.size() - taken_by_peer_;
  for (uint32_t i = taken_by_peer_; i < sent_.size(); ++i) {
    if (sent_[i].direct) sent_[i].out.sent = 0;
  }
  if (!outgoing_.empty() && !outgoing_.front().streams) outgoing_.front().sent = 0;
  return Status::ok();
}

}  // namespace gossamer::verbs
