#include "transports/verbs/pair.h"

#include <arpa/inet.h>
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <random>

#include "src/check.h"
#include "src/system_text.h"

namespace gossamer::verbs {

namespace {

constexpr uint32_t kInlineWanted = 256;
constexpr uint32_t kSignalEvery = 32;
constexpr uint64_t kReceived = uint64_t{1} << 47;  // in a request's id: a receive slot follows
// A dead link is found after (1 + retries) x 4.096 us x 2^timeout = 1.9 s. The timeout is 0.27 s:
// well above the longest round trip between sites. Soft-RoCE takes 7 retries for any number.
constexpr uint8_t kTimeout = 16;
constexpr uint8_t kRetries = 6;
constexpr uint8_t kWaitForReceiver = 7;    // as long as it takes
constexpr uint8_t kReceiverNotReady = 12;  // 0.64 ms until the next attempt

}  // namespace

Pair::Pair(const Shared& shared, Port* port, Rank peer, Lane lane, uint16_t index)
    : shared_(shared),
      port_(port),
      peer_(peer),
      lane_(lane),
      index_(index),
      library_(shared.devices->library()) {}

Pair::~Pair() {
  forget();
  if (qp_ != nullptr) (void)library_.destroy_qp(qp_);
  if (region_ != nullptr) (void)library_.dereg_mr(region_);
  if (memory_ != nullptr) ::munmap(memory_, memory_bytes_);
}

Status Pair::create() {
  const uint64_t ring = shared_.ring_bytes;
  memory_bytes_ = 2 * ring + (kReceives + kSends) * sizeof(Note);
  void* const memory = ::mmap(nullptr, memory_bytes_, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (memory == MAP_FAILED) {
    return Status::error(Code::kSystem, "no memory for a link: " + system_text(errno));
  }
  memory_ = static_cast<std::byte*>(memory);
  mirror_ = memory_ + ring;
  slots_ = mirror_ + ring;
  notes_ = slots_ + kReceives * sizeof(Note);
  Device* const device = port_->device;
  region_ = library_.reg_mr(device->pd, memory_, memory_bytes_,
                            IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE);
  if (region_ == nullptr) {
    return Status::error(Code::kSystem, registration_refusal(device->name, memory_bytes_, errno));
  }
  ++shared_.traffic->registrations;
  Result<CompletionQueue*> queue = shared_.devices->queue_for(device, kReceives + kSends);
  if (!queue) return queue.status();
  queue_ = *queue;
  const Status made = make_queue_pair();
  if (!made) return made;
  for (uint32_t slot = 0; slot < kReceives; ++slot) post_receive(slot);
  return broken_ ? Status::error(Code::kSystem, why_) : Status::ok();
}

Status Pair::make_queue_pair() {
  for (const uint32_t inline_bytes : {kInlineWanted, kHeaderBytes, 0u}) {
    ibv_qp_init_attr wanted{};
    wanted.qp_context = this;
    wanted.send_cq = queue_->cq;
    wanted.recv_cq = queue_->cq;
    wanted.cap = {.max_send_wr = kSends,
                  .max_recv_wr = kReceives,
                  .max_send_sge = 2,
                  .max_recv_sge = 1,
                  .max_inline_data = inline_bytes};
    wanted.qp_type = IBV_QPT_RC;
    qp_ = library_.create_qp(port_->device->pd, &wanted);
    inline_max_ = wanted.cap.max_inline_data;
    if (qp_ != nullptr) break;
  }
  if (qp_ == nullptr) {
    return Status::error(Code::kSystem,
                         port_->name() + " made no queue pair: " + system_text(errno));
  }
  first_packet_ = std::random_device()() & 0xFFFFFF;
  ibv_qp_attr attributes{};
  attributes.qp_state = IBV_QPS_INIT;
  attributes.port_num = port_->number;
  attributes.qp_access_flags = IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_LOCAL_WRITE;
  const int error = library_.modify_qp(
      qp_, &attributes, IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS);
  if (error != 0) {
    return Status::error(Code::kSystem,
                         port_->name() + " did not set up a queue pair: " + system_text(error));
  }
  return Status::ok();
}

PairSetup Pair::setup() const {
  PairSetup setup;
  setup.number = qp_->qp_num;
  setup.first_packet = first_packet_;
  setup.lid = port_->lid;
  setup.mtu = static_cast<uint8_t>(port_->mtu);
  setup.ethernet = port_->ethernet;
  setup.gid_type = port_->gid_type;
  std::memcpy(setup.gid.data(), port_->gid.raw, setup.gid.size());
  setup.ring_address = reinterpret_cast<uint64_t>(memory_);
  setup.ring_key = region_->rkey;
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
  ibv_qp_attr a{};
  a.qp_state = IBV_QPS_RTR;
  a.path_mtu = static_cast<ibv_mtu>(std::min<int>(remote.mtu, port_->mtu));
  a.dest_qp_num = remote.number;
  a.rq_psn = remote.first_packet;
  a.max_dest_rd_atomic = 1;
  a.min_rnr_timer = kReceiverNotReady;
  a.ah_attr.port_num = port_->number;
  a.ah_attr.dlid = remote.lid;
  if (port_->ethernet || remote.lid == 0) {
    a.ah_attr.is_global = 1;
    std::memcpy(a.ah_attr.grh.dgid.raw, remote.gid.data(), remote.gid.size());
    a.ah_attr.grh.sgid_index = port_->gid_index;
    a.ah_attr.grh.hop_limit = 64;
  }
  int error =
      library_.modify_qp(qp_, &a,
                         IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN |
                             IBV_QP_RQ_PSN | IBV_QP_MAX_DEST_RD_ATOMIC | IBV_QP_MIN_RNR_TIMER);
  if (error == 0) {
    a = {};
    a.qp_state = IBV_QPS_RTS;
    a.timeout = kTimeout;
    a.retry_cnt = kRetries;
    a.rnr_retry = kWaitForReceiver;
    a.sq_psn = first_packet_;
    a.max_rd_atomic = 1;
    error = library_.modify_qp(qp_, &a,
                               IBV_QP_STATE | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY |
                                   IBV_QP_SQ_PSN | IBV_QP_MAX_QP_RD_ATOMIC);
  }
  if (error == 0) return Status::ok();
  return Status::error(Code::kSystem, port_->name() + " found no way to it: " + system_text(error) +
                                          "; is the right GID chosen (GOSSAMER_IB_GID_INDEX)?");
}

void Pair::post_receive(uint32_t slot) {
  ibv_sge piece{reinterpret_cast<uint64_t>(slots_ + slot * sizeof(Note)), sizeof(Note),
                region_->lkey};
  ibv_recv_wr request{};
  request.wr_id = uint64_t{index_} << 48 | kReceived | slot;
  request.sg_list = &piece;
  request.num_sge = 1;
  ibv_recv_wr* bad = nullptr;
  const int error = ibv_post_recv(qp_, &request, &bad);
  if (error != 0) break_off("a receive slot was refused: " + system_text(error));
}

// Adds a request to the chain; the caller has made sure that one is free.
ibv_send_wr* Pair::append(ibv_wr_opcode opcode, const void* from, uint64_t bytes, uint32_t key) {
  GOSSAMER_CHECK(requests_free() > 0);
  if (chained_ == kChain) post();
  ibv_send_wr* const request = &chain_[chained_];
  *request = {};
  request->wr_id = uint64_t{index_} << 48 | ++posted_;
  request->sg_list = pieces_[chained_].data();
  request->opcode = opcode;
  gather(request, from, bytes, key);
  ++chained_;
  if (posted_ - signalled_ >= kSignalEvery) signal(request);
  return request;
}

void Pair::gather(ibv_send_wr* request, const void* from, uint64_t bytes, uint32_t key) {
  if (bytes == 0) return;
  request->sg_list[request->num_sge++] = {reinterpret_cast<uint64_t>(from),
                                          static_cast<uint32_t>(bytes), key};
}

void Pair::signal(ibv_send_wr* request) {
  request->send_flags |= IBV_SEND_SIGNALED;
  signalled_ = posted_;
}

void Pair::post() {
  if (chained_ == 0) return;
  for (uint32_t i = 0; i + 1 < chained_; ++i) chain_[i].next = &chain_[i + 1];
  ibv_send_wr& last = chain_[chained_ - 1];
  last.next = nullptr;
  if (last.opcode != IBV_WR_RDMA_WRITE) last.send_flags |= IBV_SEND_SOLICITED;
  chained_ = 0;
  if (broken_) return;
  ibv_send_wr* bad = nullptr;
  const int error = ibv_post_send(qp_, chain_.data(), &bad);
  if (error != 0) break_off("a request was refused: " + system_text(error));
}

bool Pair::send_note(Note note, bool signalled) {
  if (requests_free() == 0) return false;
  note.consumed = consumed_;
  told_ = consumed_;
  // Free again once its request is complete, which the number of requests sees to.
  std::byte* const at = notes_ + posted_ % kSends * sizeof(Note);
  std::memcpy(at, &note, sizeof note);
  ibv_send_wr* const request = append(IBV_WR_SEND, at, sizeof note, region_->lkey);
  if (inline_max_ >= sizeof note) request->send_flags |= IBV_SEND_INLINE;
  if (signalled) signal(request);
  return true;
}

void Pair::send_credit_if_due() {
  if (consumed_ - told_ >= shared_.ring_bytes / 4) (void)send_note({.kind = NoteKind::kCredit});
}

void Pair::completed(const ibv_wc& completion) {
  if (completion.status != IBV_WC_SUCCESS) {
    if (!broken_) break_off(library_.wc_status_str(completion.status));
    return;
  }
  const uint64_t id = completion.wr_id & ((uint64_t{1} << 48) - 1);
  if ((id & kReceived) == 0) {
    completed_ = std::max(completed_, id);
    return;
  }
  const auto slot = static_cast<uint32_t>(id & ~kReceived);
  if (completion.opcode == IBV_WC_RECV_RDMA_WITH_IMM) {
    post_receive(slot);
    receive_immediate(ntohl(completion.imm_data));
    return;
  }
  Note note;
  std::memcpy(&note, slots_ + slot * sizeof(Note), sizeof note);
  post_receive(slot);
  if (completion.byte_len == sizeof note) receive_note(note);
}

Code Pair::advance(std::vector<Token>* done, Fault* fault) {
  const Code code = deliver(done, fault);
  if (code != Code::kOk) return code;
  lacks_room_ = false;
  advance_sends(done);
  tell_all();
  send_credit_if_due();
  post();
  return Code::kOk;
}

void Pair::break_off(const std::string& why) {
  if (broken_) return;
  broken_ = true;
  why_ = why;
}

void Pair::release(Registration** memory) {
  if (*memory != nullptr) shared_.cache->release(*memory);
  *memory = nullptr;
}

void Pair::abandon() {
  // In this state the device neither sends what is queued nor takes what still comes.
  ibv_qp_attr attributes{};
  attributes.qp_state = IBV_QPS_ERR;
  (void)library_.modify_qp(qp_, &attributes, IBV_QP_STATE);
  break_off("abandoned");
  forget();
}

void Pair::forget() {
  for (; !outgoing_.empty(); outgoing_.pop()) release(&outgoing_.front().memory);
  for (; !flying_.empty(); flying_.pop()) release(&flying_.front().memory);
  for (; !sinks_.empty(); sinks_.pop()) release(&sinks_.front().memory);
  arrivals_.clear();
  grants_.clear();
  untold_ = 0;
}

void Pair::flush() {
  if (broken_ || signalled_ == posted_) return;
  (void)send_note({.kind = NoteKind::kCredit}, true);
  post();
}

// Who only waits for what does not come would never find out that the link is dead.
void Pair::probe() {
  if (broken_ || !needs() || completed_ != posted_) return;
  (void)send_note({.kind = NoteKind::kCredit}, true);
  post();
}

}  // namespace gossamer::verbs
