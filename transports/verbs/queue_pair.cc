#include "transports/verbs/queue_pair.h"

#include <algorithm>
#include <cstring>
#include <random>

#include "src/check.h"
#include "src/system_text.h"

namespace gossamer::verbs {

namespace {

constexpr uint32_t kInlineWanted = 256;
constexpr uint32_t kInlineLeast = 64;  // a record's header, a note
constexpr uint32_t kSignalEvery = 32;
constexpr uint8_t kWaitForReceiver = 7;    // as long as it takes
constexpr uint8_t kReceiverNotReady = 12;  // 0.64 ms until the next attempt
constexpr uint8_t kHops = 64;

}  // namespace

QueuePair::QueuePair(const Devices& devices, Port* port, const RequestId& id, uint32_t sends)
    : devices_(devices), library_(devices.library()), port_(port), id_(id), sends_(sends) {}

QueuePair::~QueuePair() {
  if (handle_ != nullptr) (void)library_.destroy_qp(handle_);
}

Status QueuePair::create(ibv_cq* completions, uint32_t receives) {
  for (const uint32_t inline_bytes : {kInlineWanted, kInlineLeast, 0u}) {
    ibv_qp_init_attr wanted{};
    wanted.send_cq = completions;
    wanted.recv_cq = completions;
    wanted.cap = {.max_send_wr = sends_,
                  .max_recv_wr = receives,
                  .max_send_sge = 2,
                  .max_recv_sge = 1,
                  .max_inline_data = inline_bytes};
    wanted.qp_type = IBV_QPT_RC;
    handle_ = library_.create_qp(port_->device->pd, &wanted);
    inline_max_ = wanted.cap.max_inline_data;
    if (handle_ != nullptr) return initialise();
  }
  return Status::error(Code::kSystem, port_->name() + " made no queue pair: " + system_text(errno));
}

Status QueuePair::initialise() {
  first_packet_ = std::random_device()() & 0xFFFFFF;
  ibv_qp_attr attributes{};
  attributes.qp_state = IBV_QPS_INIT;
  attributes.port_num = port_->number;
  attributes.qp_access_flags = IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_LOCAL_WRITE;
  if (devices_.reads() > 0) attributes.qp_access_flags |= IBV_ACCESS_REMOTE_READ;
  const int error = library_.modify_qp(
      handle_, &attributes, IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS);
  if (error == 0) return Status::ok();
  return Status::error(Code::kSystem,
                       port_->name() + " did not set up a queue pair: " + system_text(error));
}

Status QueuePair::connect(const PairSetup& remote, const QueueSetup& end) {
  const Settings& settings = devices_.settings();
  ibv_qp_attr a{};
  a.qp_state = IBV_QPS_RTR;
  a.path_mtu = static_cast<ibv_mtu>(std::min<int>(remote.mtu, port_->mtu));
  a.dest_qp_num = end.number;
  a.rq_psn = end.first_packet;
  const uint8_t reads = devices_.reads();
  a.max_dest_rd_atomic = std::max<uint8_t>(reads, 1);
  a.min_rnr_timer = kReceiverNotReady;
  a.ah_attr.port_num = port_->number;
  a.ah_attr.dlid = remote.lid;
  a.ah_attr.sl = settings.service_level;
  if (port_->ethernet || remote.lid == 0) {
    a.ah_attr.is_global = 1;
    std::memcpy(a.ah_attr.grh.dgid.raw, remote.gid.data(), remote.gid.size());
    a.ah_attr.grh.sgid_index = port_->gid_index;
    a.ah_attr.grh.hop_limit = kHops;
    a.ah_attr.grh.traffic_class = settings.traffic_class;
  }
  int error =
      library_.modify_qp(handle_, &a,
                         IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN |
                             IBV_QP_RQ_PSN | IBV_QP_MAX_DEST_RD_ATOMIC | IBV_QP_MIN_RNR_TIMER);
  if (error == 0) {
    a = {};
    a.qp_state = IBV_QPS_RTS;
    a.timeout = settings.timeout;
    a.retry_cnt = settings.retries;
    a.rnr_retry = kWaitForReceiver;
    a.sq_psn = first_packet_;
    a.max_rd_atomic = std::max<uint8_t>(std::min(reads, remote.reads), 1);
    error = library_.modify_qp(handle_, &a,
                               IBV_QP_STATE | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY |
                                   IBV_QP_SQ_PSN | IBV_QP_MAX_QP_RD_ATOMIC);
  }
  if (error == 0) return Status::ok();
  return Status::error(Code::kSystem, port_->name() + " found no way to it: " + system_text(error) +
                                          "; is the right GID chosen (GOSSAMER_IB_GID_INDEX)?");
}

void QueuePair::fail(const char* what, int error) {
  if (!failed()) why_ = std::string(what) + ": " + system_text(error);
}

void QueuePair::post_receive(uint32_t slot, std::byte* into, uint32_t bytes, uint32_t key) {
  if (stopped_) return;  // it would come back at once
  ibv_sge piece{reinterpret_cast<uint64_t>(into), bytes, key};
  RequestId id = id_;
  id.received = true;
  id.number = slot;
  ibv_recv_wr request{};
  request.wr_id = id.pack();
  request.sg_list = &piece;
  request.num_sge = bytes > 0 ? 1 : 0;
  ibv_recv_wr* bad = nullptr;
  const int error = ibv_post_recv(handle_, &request, &bad);
  if (error != 0) return fail("a receive slot was refused", error);
  ++receives_;
}

ibv_send_wr* QueuePair::append(ibv_wr_opcode opcode, const void* from, uint64_t bytes,
                               uint32_t key) {
  GOSSAMER_CHECK(free() > 0);
  if (chained_ == kChain) post();
  ibv_send_wr* const request = &chain_[chained_];
  *request = {};
  RequestId id = id_;
  id.number = ++posted_;
  request->wr_id = id.pack();
  request->sg_list = pieces_[chained_].data();
  request->opcode = opcode;
  gather(request, from, bytes, key);
  ++chained_;
  if (posted_ - signalled_ >= kSignalEvery) signal(request);
  return request;
}

void QueuePair::gather(ibv_send_wr* request, const void* from, uint64_t bytes, uint32_t key) {
  if (bytes == 0) return;
  request->sg_list[request->num_sge++] = {reinterpret_cast<uint64_t>(from),
                                          static_cast<uint32_t>(bytes), key};
}

void QueuePair::signal(ibv_send_wr* request) {
  request->send_flags |= IBV_SEND_SIGNALED;
  signalled_ = posted_;
}

void QueuePair::post() {
  if (chained_ == 0) return;
  ibv_send_wr* noticed = nullptr;
  for (uint32_t i = 0; i < chained_; ++i) {
    chain_[i].next = i + 1 < chained_ ? &chain_[i + 1] : nullptr;
    const ibv_wr_opcode opcode = chain_[i].opcode;
    if (opcode != IBV_WR_RDMA_WRITE && opcode != IBV_WR_RDMA_READ) noticed = &chain_[i];
  }
  if (noticed != nullptr) noticed->send_flags |= IBV_SEND_SOLICITED;
  chained_ = 0;
  if (stopped_ || failed()) return;
  ibv_send_wr* bad = nullptr;
  const int error = ibv_post_send(handle_, chain_.data(), &bad);
  if (error != 0) fail("a request was refused", error);
}

void QueuePair::confirm(uint64_t number) {
  // Ids hold the low bits of a number; completions come in the order of their requests.
  const uint64_t step = (number - confirmed_) & RequestId::kNumberMask;
  if (step <= posted_ - confirmed_) confirmed_ += step;
}

void QueuePair::stop() {
  if (stopped_) return;
  stopped_ = true;
  // In this state the device neither sends what is queued nor takes what still comes.
  ibv_qp_attr attributes{};
  attributes.qp_state = IBV_QPS_ERR;
  if (handle_ != nullptr) (void)library_.modify_qp(handle_, &attributes, IBV_QP_STATE);
}

}  // namespace gossamer::verbs
