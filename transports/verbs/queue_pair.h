// One reliable connection: a queue pair, the requests under way on it, its receive slots.
//
//   Requests   are collected and posted in chains. Every kSignalEvery-th is signalled, and those
//              for which the caller asks; a completion confirms all before it.
//   Solicited  the last of a chain that the peer notices wakes a peer that sleeps.
//   Threads    driving thread.

#pragma once

#include <array>
#include <string>

#include "transports/verbs/device.h"
#include "transports/verbs/layout.h"
#include "transports/verbs/request_id.h"
#include "transports/verbs/settings.h"

namespace gossamer::verbs {

class QueuePair {
 public:
  // `id` tells whose it is. At most `sends` requests are under way.
  QueuePair(const Devices& devices, Port* port, const RequestId& id, uint32_t sends);
  ~QueuePair();
  QueuePair(const QueuePair&) = delete;
  QueuePair& operator=(const QueuePair&) = delete;

  // kSystem: the device refuses.
  Status create(ibv_cq* completions, uint32_t receives);
  QueueSetup setup() const { return {handle_->qp_num, first_packet_}; }
  // Connects it to `end`, which `remote` describes.
  Status connect(const PairSetup& remote, const QueueSetup& end);

  // Where the next message without an address of its own goes; no bytes: nowhere.
  void post_receive(uint32_t slot, std::byte* into, uint32_t bytes, uint32_t key);
  // Notes that a receive slot was used, or given back by a connection that stops.
  void receive_ended() { --receives_; }

  uint32_t free() const { return sends_ - static_cast<uint32_t>(posted_ - confirmed_); }
  // Adds a request; the caller has made sure that one is free.
  ibv_send_wr* append(ibv_wr_opcode opcode, const void* from, uint64_t bytes, uint32_t key);
  static void gather(ibv_send_wr* request, const void* from, uint64_t bytes, uint32_t key);
  // Asks for word that it and all before it are done.
  void signal(ibv_send_wr* request);
  void post();
  void confirm(uint64_t number);

  uint64_t posted() const { return posted_; }  // the last request's number
  uint64_t confirmed() const { return confirmed_; }
  bool has_chained() const { return chained_ > 0; }
  bool idle() const { return confirmed_ == posted_; }
  bool signalled() const { return signalled_ == posted_; }
  uint32_t inline_max() const { return inline_max_; }
  const ibv_qp* handle() const { return handle_; }

  // Ends it: nothing is sent or taken any more, and every receive slot comes back.
  void stop();
  bool drained() const { return receives_ == 0; }
  bool failed() const { return !why_.empty(); }
  const std::string& why() const { return why_; }

 private:
  Status initialise();
  void fail(const char* what, int error);

  const Devices& devices_;
  const Library& library_;
  Port* const port_;
  const RequestId id_;
  const uint32_t sends_;

  ibv_qp* handle_ = nullptr;
  uint32_t inline_max_ = 0;
  uint32_t first_packet_ = 0;
  uint32_t receives_ = 0;  // slots that are posted
  bool stopped_ = false;
  std::string why_;

  uint64_t posted_ = 0;
  uint64_t confirmed_ = 0;
  uint64_t signalled_ = 0;  // the last request that was
  static constexpr uint32_t kChain = 16;
  std::array<ibv_send_wr, kChain> chain_{};
  std::array<std::array<ibv_sge, 2>, kChain> pieces_{};
  uint32_t chained_ = 0;
};

}  // namespace gossamer::verbs
