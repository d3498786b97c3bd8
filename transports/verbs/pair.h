// One queue pair: the messages of one (peer, lane), both ways.
//
//   Short      up to kEagerBytes: written into the peer's landing ring at once, from the request
//              itself where the device takes it inline, else through the mirror, memory of ours of
//              the ring's shape: what the peer has consumed of its ring is free in our mirror.
//   Long       wait for the receiver's note, which it sends as soon as the sink is posted. A plain
//              sink in registered memory says where: the bytes are written straight there, and a
//              flag after them. Any other says "stream": runs go through the ring, from the
//              caller's memory where that is registered, and are folded straight from it.
//   Announce   a long message whose note has not come for some milliseconds is announced, so that
//              a receiver that expects another finds out.
//   Credits    a record takes whole pages of the ring, so the ring bounds how many there are.
//              Consumed positions travel with every record and note the other way, and alone when
//              a quarter of the ring is owed.
//   Signals    the last request of what is lent, and every kSignalEvery-th, is signalled; requests
//              are posted in chains. The last of a chain wakes a peer that sleeps.
//   Threads    driving thread.
//   Blocking   Never.

#pragma once

#include <array>
#include <string>
#include <unordered_map>
#include <vector>

#include "gossamer/transport.h"
#include "transports/verbs/device.h"
#include "transports/verbs/layout.h"
#include "transports/verbs/queue.h"

namespace gossamer::verbs {

inline constexpr uint32_t kWindow = 64;             // operations each way
inline constexpr uint64_t kEagerBytes = 8192;       // longer messages wait for their receiver
inline constexpr uint64_t kChunkBytes = 64 * 1024;  // of a message, at most, in one record
inline constexpr uint32_t kReceives = 512;          // receive slots
inline constexpr uint32_t kSends = 128;             // requests that may be outstanding
inline constexpr uint32_t kRegions = 1024;          // named at a time in one direction

// What all pairs of a transport share.
struct Shared {
  Rank self = 0;
  uint32_t ring_bytes = 0;
  Devices* devices = nullptr;
  RegistrationCache* cache = nullptr;
  Traffic* traffic = nullptr;
};

class Pair {
 public:
  Pair(const Shared& shared, Port* port, Rank peer, Lane lane, uint16_t index);
  ~Pair();
  Pair(const Pair&) = delete;
  Pair& operator=(const Pair&) = delete;

  // Makes the queue pair and its memory, with all receive slots posted.
  Status create();
  PairSetup setup() const;
  // Connects it to the peer's end.
  Status connect(const PairSetup& remote);

  Code send(const Message& message, Token token);
  // kOk: arrived; kPending; kAgain; kMismatch, kSystem: *fault says why.
  Code recv(const Sink& sink, Token token, Fault* fault);
  bool peek(Fingerprint* arrived);

  // Notes a completion. advance() acts on it.
  void completed(const ibv_wc& completion);
  // Does what can be done now. kOk, or *fault.
  Code advance(std::vector<Token>* done, Fault* fault);

  // No memory of the caller's is read or written after this.
  void abandon();
  // Has what was sent so far confirmed, so that flushed() comes true.
  void flush();
  // Announces the first outgoing message if it waits for its receiver.
  void announce_late();
  // Finds out whether the peer's device still answers, if something is awaited from it.
  void probe();
  bool flushed() const { return broken_ || completed_ == posted_; }

  bool needs() const { return !outgoing_.empty() || !flying_.empty() || !sinks_.empty(); }
  bool waits_for_sends() const { return !flying_.empty() || lacks_room_; }
  bool broken() const { return broken_; }
  const std::string& why() const { return why_; }
  void break_off(const std::string& why);
  Port& port() { return *port_; }
  Rank peer() const { return peer_; }
  Lane lane() const { return lane_; }
  const ibv_qp* queue_pair() const { return qp_; }

  bool listed = false;  // in the transport's list of pairs to advance

 private:
  struct Outgoing {
    Message message;
    Token token = 0;
    uint32_t sequence = 0;
    uint64_t sent = 0;
    bool announced = false;
    bool looked_up = false;  // `memory` is known, null or not
    Registration* memory = nullptr;
  };
  struct Flying {  // complete once request `request` is
    uint64_t request = 0;
    Token token = 0;
    Registration* memory = nullptr;
  };
  struct Posted {
    Sink sink;
    Token token = 0;
    uint32_t sequence = 0;
    bool direct = false;
    Registration* memory = nullptr;
  };
  struct Arrival {  // a record at a ring position, or a flag
    bool flag = false;
    uint32_t sequence = 0;
    uint64_t position = 0;
  };
  struct Grant {  // a note that a long message waits for
    bool direct = false;
    uint32_t sequence = 0;
    Fingerprint fingerprint = 0;
    uint64_t bytes = 0;
    uint64_t address = 0;
    uint32_t key = 0;
  };
  struct Region {
    uint64_t address = 0;
    uint64_t bytes = 0;
    uint32_t key = 0;
  };
  enum class Pushed : uint8_t { kDone, kLent, kBlocked };

  // pair.cc
  Status make_queue_pair();
  void post_receive(uint32_t slot);
  uint32_t requests_free() const { return kSends - static_cast<uint32_t>(posted_ - completed_); }
  ibv_send_wr* append(ibv_wr_opcode opcode, const void* from, uint64_t bytes, uint32_t key);
  static void gather(ibv_send_wr* request, const void* from, uint64_t bytes, uint32_t key);
  void post();
  // False: no room for a request now.
  bool send_note(Note note, bool signalled = false);
  void signal(ibv_send_wr* request);
  void send_credit_if_due();
  void release(Registration** memory);
  void forget();

  // outbound.cc
  Pushed push(Outgoing* out);
  Pushed push_short(const Outgoing& out);
  Pushed push_direct(Outgoing* out, const Grant& grant);
  Pushed push_stream(Outgoing* out);
  const Grant* grant_for(const Outgoing& out);
  bool claim(uint64_t bytes, uint64_t* position);
  void begin_record(uint64_t position, RecordKind kind, const Outgoing& out, uint64_t run);
  ibv_send_wr* write_record(uint64_t position, uint64_t bytes_in_mirror);
  void fly(Outgoing* out);
  void advance_sends(std::vector<Token>* done);

  // inbound.cc
  void receive_note(const Note& note);
  void receive_immediate(uint32_t immediate);
  Code deliver(std::vector<Token>* done, Fault* fault);
  Code take_record(const Arrival& arrival, Posted* posted, bool* complete, Fault* fault);
  void fold(const Sink& sink, const std::byte* bytes, uint64_t run);
  bool tell(Posted* posted);
  bool name_region(const Registration& memory, uint32_t* slot);
  void tell_all();
  void nonsense(const char* what);
  Code corrupt(Fault* fault) const;

  const Shared shared_;
  Port* const port_;
  const Rank peer_;
  const Lane lane_;
  const uint16_t index_;
  const Library& library_;

  ibv_qp* qp_ = nullptr;
  CompletionQueue* queue_ = nullptr;
  uint32_t inline_max_ = 0;
  uint32_t first_packet_ = 0;
  std::byte* memory_ = nullptr;  // ring, mirror, receive slots, notes to send
  uint64_t memory_bytes_ = 0;
  std::byte* mirror_ = nullptr;
  std::byte* slots_ = nullptr;
  std::byte* notes_ = nullptr;  // by request
  ibv_mr* region_ = nullptr;
  uint64_t remote_ring_ = 0;
  uint32_t remote_key_ = 0;
  bool broken_ = false;
  std::string why_;
  const char* nonsense_ = nullptr;  // what the peer wrote that makes no sense

  // sending
  uint64_t head_ = 0;           // where the next record goes, as a position that only grows
  uint64_t peer_consumed_ = 0;  // how far the peer has come
  uint64_t posted_ = 0;         // requests so far
  uint64_t completed_ = 0;
  bool lacks_room_ = false;  // something waits for requests to complete
  uint32_t next_send_ = 0;
  Queue<Outgoing, kWindow> outgoing_;
  Queue<Flying, kWindow> flying_;
  Queue<Grant, kWindow> grants_;
  std::vector<Region> regions_;  // the peer's, by slot
  static constexpr uint32_t kChain = 16;
  std::array<ibv_send_wr, kChain> chain_{};
  std::array<std::array<ibv_sge, 2>, kChain> pieces_{};
  uint32_t chained_ = 0;
  uint64_t signalled_ = 0;  // the last request that was

  // receiving
  uint64_t expected_ = 0;  // where the next record will be
  uint64_t consumed_ = 0;
  uint64_t told_ = 0;  // how much of it the peer knows
  uint32_t next_recv_ = 0;
  uint64_t arrived_ = 0;          // bytes of the first sink's message
  std::vector<std::byte> carry_;  // its last bytes, where they are no whole granule
  uint32_t untold_ = 0;           // the first sink that may have to be told of, as an index
  Queue<Posted, kWindow> sinks_;
  Queue<Arrival, 512> arrivals_;
  std::unordered_map<uint64_t, uint32_t> named_;  // registration to slot
  std::vector<uint64_t> slot_owner_;              // slot to registration
  uint32_t next_slot_ = 0;
};

}  // namespace gossamer::verbs
