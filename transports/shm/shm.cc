// Shared memory between processes (or threads) of one host: the data path.
//
//   Small     up to 48 bytes travel inside a cell: one cache line, flag in data.
//   Medium    up to a block: bytes beside the cell.
//   Staged    other memory is copied once into cache-sized slots that the receiver folds from.
//   Lent      memory from allocate_memory() is not copied at all: the receiver maps it and folds
//             straight from the sender's buffer; the send completes when it has. So is all memory
//             between threads of one process.
//
// Memory is anonymous (memfd) and handed over by descriptor, so nothing has a name in /dev/shm, a
// crash leaves nothing behind and nothing stale can be trusted.

#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <ctime>

#include "src/check.h"
#include "src/reduce.h"
#include "transports/list.h"
#include "transports/mismatch.h"
#include "transports/shm/shm_transport.h"

namespace gossamer {
namespace shm {
namespace {

constexpr uint32_t kPollsPerClock = 64;
constexpr int64_t kControlIntervalNs = 2'000'000;  // between looks at the control sockets

// Whether a cell's sender gets a slot back when it has been taken.
constexpr bool gives_back(CellKind kind) {
  return kind == CellKind::kOwnSlot || kind == CellKind::kPoolSlot;
}

// Folds an arriving run. Runs end where slots do, which need not be the end of a granule: the rest
// of one waits in `carry` for its other part.
void fold_run(Link* link, const Sink& sink, const std::byte* arrived, uint64_t bytes) {
  uint64_t offset = link->arrived;
  std::vector<std::byte>& carry = link->carry;
  if (!carry.empty()) {
    offset -= carry.size();
    const uint64_t missing = std::min(sink.granule - carry.size(), bytes);
    carry.insert(carry.end(), arrived, arrived + missing);
    arrived += missing;
    bytes -= missing;
    if (carry.size() < sink.granule) return;
    sink.combine(sink, offset, carry.data(), carry.size());
    offset += carry.size();
    carry.clear();
  }
  const uint64_t rest = bytes % sink.granule;
  if (bytes > rest) sink.combine(sink, offset, arrived, bytes - rest);
  if (rest != 0) carry.assign(arrived + bytes - rest, arrived + bytes);
}

}  // namespace

int64_t coarse_now() {
  timespec t{};
  clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
  return int64_t{t.tv_sec} * 1'000'000'000 + t.tv_nsec;
}

bool register_barrier() {
  static const bool kRegistered =
      syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED, 0, 0) == 0;
  return kRegistered;
}

void ShmTransport::activate(Link* link) {
  if (link->listed) return;
  link->listed = true;
  active_.push_back(link);
}

// --- sending -------------------------------------------------------------------------------------

bool ShmTransport::cell_free(Link* link, uint32_t cells) noexcept {
  if (link->head - link->consumed_seen < cells) return true;
  release_consumed(link);
  return link->head - link->consumed_seen < cells;
}

// Looks at how far the peer has come and gives back what it is done with.
void ShmTransport::release_consumed(Link* link) noexcept {
  const uint32_t consumed = link->peer_consumed->load(std::memory_order_acquire);
  if (consumed - link->consumed_seen > link->head - link->consumed_seen) return;  // nonsense
  after_their_load(*link);
  while (link->released != consumed) {
    int16_t& slot = link->slot_of_cell[link->released++ & (kCells - 1)];
    if (slot == -1) continue;
    staging_.release(link, std::exchange(slot, -1));
    --link->slots_held;
  }
  link->consumed_seen = consumed;
}

// The cell at `head` has been filled: hands it over.
void ShmTransport::publish(Link* link, CellKind kind, const Message& message,
                           int16_t slot) noexcept {
  Cell& cell = link->ours()->cells[link->head & (kCells - 1)];
  cell.kind = kind;
  cell.announced = std::exchange(link->announced_windows, false);
  cell.fingerprint = message.fingerprint;
  link->slot_of_cell[link->head & (kCells - 1)] = slot;
  if (slot != -1) ++link->slots_held;
  ++link->head;
  before_our_store(*link);
  cell.sequence.store(link->head, std::memory_order_release);
  wake(link);
}

void ShmTransport::wake(Link* link) noexcept {
  const uint32_t naps = link->their_pool()->naps.load(std::memory_order_relaxed);
  if ((naps & 1) == 0 || naps == link->peer_nap_woken) return;
  link->peer_nap_woken = naps;
  Packet packet;
  packet.kind = PacketKind::kWake;
  (void)control_.send(link->peer, packet);  // a full socket wakes it too
}

ShmTransport::Pushed ShmTransport::push(Link* link, Link::Outgoing* out) noexcept {
  const Message& message = out->message;
  if (out->sent == 0) {
    if (!cell_free(link, kCells)) return Pushed::kPartial;
    Cell& cell = link->ours()->cells[link->head & (kCells - 1)];
    if (message.bytes <= kInlineBytes) {
      cell.bytes = static_cast<uint16_t>(message.bytes);
      if (message.bytes != 0) std::memcpy(cell.data, message.data, message.bytes);
      publish(link, CellKind::kInline, message, -1);
      ++traffic_.inline_messages;
      return Pushed::kDone;
    }
    if (message.bytes <= block_bytes_max_) {
      if (!cell_free(link, kBlocks)) return Pushed::kPartial;
      cell.bytes = static_cast<uint16_t>(message.bytes);
      std::memcpy(link->ours()->blocks[link->head & (kBlocks - 1)], message.data, message.bytes);
      publish(link, CellKind::kBlock, message, -1);
      ++traffic_.staged_messages;
      copied(message.bytes);
      return Pushed::kDone;
    }
    if (push_window(link, out) || push_memory(link, out)) return Pushed::kLent;
  }
  return push_staged(link, out);
}

// Finds a slot for a run and copies it there.
bool ShmTransport::stage(Link* link, const Message& message, uint64_t from, uint64_t run,
                         Staging::Place* place) noexcept {
  if (slots_travel_ && message.share == 0) {
    if (!link->guests.empty()) {
      const uint64_t offset = link->guests.back();
      link->guests.pop_back();
      std::memcpy(link->peer_pool.base + offset, message.data + from, run);
      *place = {-1, CellKind::kReturningSlot, offset};
      return true;
    }
    if (staging_.stage_travelling(link, message, from, run, place)) return true;
  }
  if (staging_.stage(link, message, from, run, place)) return true;
  // Slots come back when cells are consumed, on any link, polled or not.
  for (Link& other : links_) {
    if (other.slots_held > 0) release_consumed(&other);
  }
  return staging_.stage(link, message, from, run, place);
}

ShmTransport::Pushed ShmTransport::push_staged(Link* link, Link::Outgoing* out) noexcept {
  const Message& message = out->message;
  const uint64_t slot_bytes = std::min(staging_.slot_bytes(), link->peer_slot_bytes);
  const uint64_t runs = (message.bytes + slot_bytes - 1) / slot_bytes;
  const bool all_travel = out->sent == 0 && slots_travel_ && message.share == 0 &&
                          link->guests.empty() && staging_.may_travel(*link, runs) &&
                          kCells - (link->head - link->consumed_seen) >= runs;
  while (out->sent < message.bytes) {
    if (!cell_free(link, kCells)) return Pushed::kPartial;
    const uint64_t run = std::min(slot_bytes, message.bytes - out->sent);
    Staging::Place place;
    if (!stage(link, message, out->sent, run, &place)) return Pushed::kPartial;
    if (place.fresh) copied(run);
    link->ours()->cells[link->head & (kCells - 1)].run = {message.bytes, run, place.offset, 0, 0, 0,
                                                          all_travel};
    out->sent += run;
    publish(link, place.kind, message, place.slot);
  }
  ++traffic_.staged_messages;
  return Pushed::kDone;
}

Code ShmTransport::send(Rank peer, Lane /*lane*/, const Message& message, Token token,
                        Fault* fault) noexcept {
  Link* const link = &links_[static_cast<size_t>(peer)];
  GOSSAMER_CHECK(link->usable());
  if (failed_) return lost(*link, fault);
  if (link->pins_announced != pins_) announce_pinned(link);
  Link::Outgoing out{message, token, 0};
  if (std::exchange(link->answered, false)) return Code::kOk;
  if (link->outgoing.empty()) {
    switch (push(link, &out)) {
      case Pushed::kDone:
        // Staged slots come back only while the link is polled.
        if (message.bytes > block_bytes_max_) activate(link);
        return Code::kOk;
      case Pushed::kLent:
        activate(link);
        return Code::kPending;
      case Pushed::kPartial:
        break;
    }
  }
  if (link->outgoing.full()) return Code::kAgain;
  link->outgoing.push(out);
  activate(link);
  return Code::kPending;
}

// Goes on with what is queued and collects what the peer has consumed.
void ShmTransport::advance_out(Link* link, std::vector<Token>* done) noexcept {
  release_consumed(link);
  while (!link->lent.empty()) {
    const Link::Lent& lent = link->lent.front();
    if (static_cast<int32_t>(link->consumed_seen - lent.sequence) <= 0) break;
    done->push_back(lent.token);
    link->lent.pop();
  }
  while (!link->outgoing.empty()) {
    Link::Outgoing& out = link->outgoing.front();
    const Pushed pushed = push(link, &out);
    if (pushed == Pushed::kPartial) return;
    if (pushed == Pushed::kDone) done->push_back(out.token);
    link->outgoing.pop();
  }
}

// --- receiving -----------------------------------------------------------------------------------

// Where a cell's run lies. Null: it points outside of what the peer shares.
const std::byte* ShmTransport::locate(Link* link, const Cell& cell, uint64_t* message,
                                      uint64_t* run) noexcept {
  if (cell.kind == CellKind::kInline) {
    *message = *run = std::min<uint32_t>(cell.bytes, kInlineBytes);
    return cell.data;
  }
  if (cell.kind == CellKind::kBlock) {
    *message = *run = std::min<uint32_t>(cell.bytes, kBlockBytes);
    return link->theirs()->blocks[(&cell - link->theirs()->cells) & (kBlocks - 1)];
  }
  *message = cell.run.message_bytes;
  *run = cell.run.run_bytes;
  if (cell.kind == CellKind::kMemory) {
    return link->same_process ? reinterpret_cast<const std::byte*>(cell.run.offset) : nullptr;
  }
  const Mapping* memory = nullptr;
  if (cell.kind == CellKind::kOwnSlot) memory = &link->peer_area;
  if (cell.kind == CellKind::kPoolSlot || cell.kind == CellKind::kTravellingSlot) {
    memory = &link->peer_pool;
  }
  if (cell.kind == CellKind::kReturningSlot && staging_.traveller_at(*link, cell.run.offset) >= 0) {
    memory = &pool_;
  }
  if (cell.kind == CellKind::kAnswered) {
    const Sink& sink = link->posted.front().sink;
    return sink.target == link->answer_here && sink.combine == nullptr ? link->answer_here
                                                                       : nullptr;
  }
  if (cell.kind == CellKind::kWindow) memory = peer_window(*link, cell.run.window);
  if (memory == nullptr || !memory->contains(cell.run.offset, cell.run.run_bytes)) return nullptr;
  return memory->base + cell.run.offset;
}

// Writes an arriving run to where the sink wants it.
void ShmTransport::deliver(Link* link, const Sink& sink, CellKind kind, const std::byte* arrived,
                           uint64_t bytes) noexcept {
  const uint64_t offset = link->arrived;
  if (sink.combine != nullptr) {
    fold_run(link, sink, arrived, bytes);
    return;
  }
  if (!is_lent(kind) && kind != CellKind::kInline) copied(bytes);
  if (bytes <= kBlockBytes) {
    std::memcpy(sink.target + offset, arrived, bytes);
  } else {
    stream_copy(sink.target + offset, arrived, bytes, sink.whole_bytes);
  }
}

// Tells the peer what has been taken.
void ShmTransport::count_consumed(Link* link) noexcept {
  if (link->counted == link->tail) return;
  link->counted = link->tail;
  before_our_store(*link);
  link->ours()->consumed.store(link->tail, std::memory_order_release);
  wake(link);
}

// What the peer lent is about to be read, and perhaps answered there. False: it has failed, and its
// memory may be anything; we shall hear of it.
bool ShmTransport::visit(Link* link) noexcept {
  link->ours()->visiting.store(1);
  return link->theirs()->revoked.load() == 0 || end_visit(link);
}

// False: it has failed meanwhile and need not have waited for us.
bool ShmTransport::end_visit(Link* link) noexcept {
  before_our_store(*link);
  link->ours()->visiting.store(0, std::memory_order_release);
  return link->theirs()->revoked.load() == 0;
}

// Takes what has arrived for the oldest posted sink; *complete when that was all of it.
Code ShmTransport::pull(Link* link, bool* complete, Fault* fault) noexcept {
  const Sink& sink = link->posted.front().sink;
  for (;;) {
    const Cell& cell = link->theirs()->cells[link->tail & (kCells - 1)];
    if (cell.sequence.load(std::memory_order_acquire) != link->tail + 1) {
      count_consumed(link);
      return Code::kOk;
    }
    after_their_load(*link);
    if (cell.announced) control_.poll();
    uint64_t message = 0;
    uint64_t run = 0;
    const std::byte* const bytes = locate(link, cell, &message, &run);
    if (mismatched(config_.rank, link->peer, 0, message, cell.fingerprint, sink, fault)) {
      return Code::kMismatch;
    }
    if (bytes == nullptr || run > message - link->arrived || (run == 0 && message != 0)) {
      fault->set(Code::kSystem, link->peer, "rank %d's shared memory is corrupt%s%s", link->peer,
                 trouble_ ? "" : ": ", trouble_ ? "" : trouble_.message().c_str());
      return Code::kSystem;
    }
    const bool lent = is_lent(cell.kind);
    if (lent && !visit(link)) return Code::kOk;
    if (link->arrived == 0) link->answering = can_answer(link, cell, sink);
    if (link->answering) {
      link->answering = answer_run(link, sink, cell, const_cast<std::byte*>(bytes));
    } else if (run != 0 && cell.kind != CellKind::kAnswered) {
      deliver(link, sink, cell.kind, bytes, run);
      if (cell.kind == CellKind::kTravellingSlot && link->guests.size() < kTravellersMax) {
        link->guests.push_back(cell.run.offset);
      }
      if (cell.kind == CellKind::kReturningSlot) {
        staging_.come_home(link, staging_.traveller_at(*link, cell.run.offset));
      }
    }
    if (lent && !end_visit(link)) return Code::kOk;
    ++link->tail;
    // Of messages that come one after another the next one is on its way meanwhile.
    __builtin_prefetch(&link->theirs()->cells[link->tail & (kCells - 1)]);
    if (lent || gives_back(cell.kind) || link->tail - link->counted >= kCountedCells) {
      count_consumed(link);
    }
    link->arrived += run;
    if (link->arrived == message) {
      link->arrived = 0;
      if (std::exchange(link->answering, false)) link->answered = true;
      *complete = true;
      return Code::kOk;
    }
  }
}

Code ShmTransport::recv(Rank peer, Lane /*lane*/, const Sink& sink, Token token,
                        Fault* fault) noexcept {
  Link* const link = &links_[static_cast<size_t>(peer)];
  GOSSAMER_CHECK(link->usable());
  if (failed_) return lost(*link, fault);
  if (link->posted.full()) return Code::kAgain;
  if (sink.may_answer && link->pins_announced != pins_) announce_pinned(link);
  const bool first = link->posted.empty();
  link->posted.push({sink, token});
  if (first) {
    bool complete = false;
    const Code code = pull(link, &complete, fault);
    if (code != Code::kOk) return code;
    if (complete) {
      link->posted.pop();
      return Code::kOk;
    }
  }
  activate(link);
  return Code::kPending;
}

Code ShmTransport::poll(std::vector<Token>* done, Fault* fault) noexcept {
  if (napping_) {
    napping_ = false;
    reinterpret_cast<Pool*>(pool_.base)->naps.fetch_add(1, std::memory_order_relaxed);
    looked_ = 0;  // what woke us may be in a socket
    polls_ = kPollsPerClock - 1;
  }
  for (size_t i = 0; i < active_.size();) {
    Link* const link = active_[i];
    const bool gone = link->gone;  // read first: what it wrote before it left still counts
    // Only then, as the peer's count lies in a line that it writes.
    if (link->awaits_consumption() || link->slots_held > 0) advance_out(link, done);
    while (!link->posted.empty()) {
      bool complete = false;
      const Code code = pull(link, &complete, fault);
      if (code != Code::kOk) return code;
      if (!complete) break;
      done->push_back(link->posted.front().token);
      link->posted.pop();
    }
    if (!link->busy()) {
      link->listed = false;
      active_[i] = active_.back();
      active_.pop_back();
      continue;
    }
    if (gone) {
      const Code code = lost_for_good(link, fault);
      if (code != Code::kAgain) return code;
    }
    ++i;
  }
  if (++polls_ < kPollsPerClock && opening_ == 0) return Code::kOk;
  polls_ = 0;
  const int64_t now = coarse_now();
  if (opening_ == 0 && now - looked_ < kControlIntervalNs) return Code::kOk;
  looked_ = now;
  const Code code = look_at_control(fault);
  return code == Code::kOk && somebody_gone_ ? find_dead(fault) : code;
}

void ShmTransport::abandon() noexcept {
  failed_ = true;
  for (Link& link : links_) {
    link.posted.clear();
    link.outgoing.clear();
    link.lent.clear();
    link.answered = false;
    link.listed = false;
    revoke(&link);
  }
  active_.clear();
  control_.stop_listening();
}

Code ShmTransport::peek(Rank peer, Lane /*lane*/, Fingerprint* arrived) noexcept {
  Link& link = links_[static_cast<size_t>(peer)];
  if (!link.usable() || !link.posted.empty() || link.arrived != 0) return Code::kAgain;
  const Cell& cell = link.theirs()->cells[link.tail & (kCells - 1)];
  if (cell.sequence.load(std::memory_order_acquire) != link.tail + 1) return Code::kAgain;
  *arrived = cell.fingerprint;
  return Code::kOk;
}

bool ShmTransport::something_new(const Link& link) const noexcept {
  if (!link.usable()) return false;
  if (link.awaits_consumption() &&
      link.peer_consumed->load(std::memory_order_acquire) != link.consumed_seen) {
    return true;
  }
  const Cell& cell = link.theirs()->cells[link.tail & (kCells - 1)];
  return cell.sequence.load(std::memory_order_acquire) == link.tail + 1;
}

bool ShmTransport::arm() noexcept {
  if (!register_barrier()) return false;
  if (pool_.base == nullptr || napping_) return true;
  auto& naps = reinterpret_cast<Pool*>(pool_.base)->naps;
  naps.fetch_add(1, std::memory_order_seq_cst);
  syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL_EXPEDITED, 0, 0);
  for (const Link* link : active_) {
    if (something_new(*link) || link->gone) {
      naps.fetch_add(1, std::memory_order_relaxed);
      return false;
    }
  }
  napping_ = true;
  return true;
}

}  // namespace shm

namespace {

Result<std::unique_ptr<Transport>> create_shm(const TransportConfig& config) {
  auto transport = std::make_unique<shm::ShmTransport>(config);
  const Status status = transport->listen();
  if (!status) return status;
  return std::unique_ptr<Transport>(std::move(transport));
}

}  // namespace

const TransportFactory shm_transport = {"shm", create_shm};

}  // namespace gossamer
