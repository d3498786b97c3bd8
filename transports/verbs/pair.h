// The messages of one (peer, lane), both ways.
//
//   Connections  two: what a receiver tells its sender must not queue behind the bytes that it
//   sends
//              itself, so notes have a connection of their own (in the virtual machine's 4 MiB
//              all-reduce in place, a note waited for up to a megabyte of records: 8 ms).
//   Short      up to kEagerBytes: written into the peer's landing ring at once, from the request
//              itself where the device takes it inline, else through the mirror, memory of ours of
//              the ring's shape: what the peer has consumed of its ring is free in our mirror.
//   Long       wait for the receiver's note, which it sends as soon as the sink is posted. A plain
//              sink in registered memory says where: the bytes are written straight there, and a
//              flag after them. Any other says "stream": runs go through the ring, from the
//              caller's memory where that is registered, and are folded straight from it.
//   Reads      Where both ends have set GOSSAMER_IB_READ, the sender does not wait for a note: it
//              offers a long message in registered memory, and the receiver reads it (pulls.cc).
//   Announce   a long message whose note has not come for some milliseconds is announced, so that
//              a receiver that expects another finds out.
//   Credits    a record takes whole pages of the ring, so the ring bounds how many there are.
//              Consumed positions travel with every record and note the other way, and alone when
//              a quarter of the ring is owed.
//   Posting    is quick, but with Soft-RoCE it means sending, for tens of milliseconds. There a
//              long message is posted by the next advance(), after what the caller does about the
//              completions that this one reports: telling where the next message goes, above all.
//   Moves      to another port when the one it uses fails: stop() ends both connections, attach()
//              makes new ones, resume() goes on. Records and flags are numbered at both ends. What
//              the peer has not taken is sent again: records to their old places, from the mirror
//              or from the caller's memory, which is lent until the peer's device confirms it;
//              long messages once the receiver has told again where they go.
//   Threads    driving thread.
//   Blocking   Never.

#pragma once

#include <array>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "gossamer/transport.h"
#include "transports/verbs/device.h"
#include "transports/verbs/layout.h"
#include "transports/verbs/queue.h"
#include "transports/verbs/queue_pair.h"

namespace gossamer::verbs {

inline constexpr uint32_t kWindow = 64;        // operations each way
inline constexpr uint64_t kEagerBytes = 8192;  // longer messages wait for their receiver
// Of a message, at most, in one record. With its header it fills sixteen pages, which most often
// are as many packets: a tail of 64 bytes would cost one more.
inline constexpr uint64_t kChunkBytes = 64 * 1024 - kHeaderBytes;
inline constexpr uint32_t kReceives = 512;         // slots for records and flags
inline constexpr uint32_t kNoteReceives = 256;     // slots for notes
inline constexpr uint32_t kSends = 128;            // requests under way, of either kind
inline constexpr uint32_t kRegions = 1024;         // named at a time in one direction
inline constexpr uint32_t kPulls = 8;              // reads under way
inline constexpr uint64_t kPullBytes = 64 * 1024;  // of one that lands in memory of ours

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
  Pair(const Shared& shared, Rank peer, Lane lane, uint16_t index);
  ~Pair();
  Pair(const Pair&) = delete;
  Pair& operator=(const Pair&) = delete;

  // Makes its memory, once.
  Status create();
  // Makes its connections on this port, with all receive slots posted.
  Status attach(Port* port);
  PairSetup setup() const;
  // Connects it to the peer's end.
  Status connect(const PairSetup& remote);

  // Ends its connections; what has arrived until now comes with the completions that are left.
  void stop();
  bool drained() const { return data_->drained() && notes_->drained(); }
  // The first says what this end has taken. The other goes on after connect(): the peer has taken
  // `taken` records and flags, and read its ring up to `consumed`. kSystem: it cannot have.
  uint64_t taken() const { return taken_; }
  uint64_t consumed() const { return consumed_; }
  Status resume(uint64_t taken, uint64_t consumed);
  // From now on it sends.
  void go();
  void set_attempt(uint32_t attempt) { attempt_ = attempt; }
  // Whether anything was confirmed or taken since it was attached.
  bool proved_itself() const { return data_->confirmed() > 0 || taken_ != taken_when_attached_; }

  Code send(const Message& message, Token token);
  // kOk: arrived; kPending; kAgain; kMismatch, kSystem: *fault says why.
  Code recv(const Sink& sink, Token token, Fault* fault);
  bool peek(Fingerprint* arrived);

  // Notes a completion. advance() acts on it.
  void completed(const ibv_wc& completion);
  // Does what can be done now. kOk, or *fault. Again at once if postpones().
  Code advance(std::vector<Token>* done, Fault* fault);

  bool postpones() const { return data_->has_chained(); }

  // No memory of the caller's is read or written after this.
  void abandon();
  // Has what was sent so far confirmed, so that flushed() comes true.
  void flush();
  // Announces the first outgoing message if it waits for its receiver.
  void announce_late();
  // Finds out whether the peer's device still answers, if something is awaited from it.
  void probe();
  bool flushed() const { return broken() || (going_ && again_ == 0 && data_->idle()); }

  bool needs() const {
    return !outgoing_.empty() || lent_ > 0 || !offered_.empty() || !sinks_.empty();
  }
  bool waits_for_sends() const { return lent_ > 0 || lacks_room_ || !readings_.empty(); }
  // It does not work any more, and was not stopped.
  bool broken() const { return going_ && (broken_ || data_->failed() || notes_->failed()); }
  const std::string& why() const;
  void break_off(const std::string& why);
  Port& port() { return *port_; }
  Rank peer() const { return peer_; }
  Lane lane() const { return lane_; }
  bool owns(const ibv_qp* queue) const {
    return data_->handle() == queue || notes_->handle() == queue;
  }

  bool listed = false;  // in the transport's list of pairs to advance

 private:
  struct Outgoing {
    Message message;
    Token token = 0;
    uint32_t sequence = 0;
    uint64_t sent = 0;
    bool streams = false;  // what was sent went through the ring
    bool announced = false;
    bool looked_up = false;  // `memory` is known, null or not
    Registration* memory = nullptr;
  };
  struct Sent {  // a record or flag that the peer's device has not confirmed
    uint64_t request = 0;
    bool direct = false;     // a flag, and the message before it: `out`
    bool ends = false;       // once confirmed, message `out` is complete and its memory free
    uint64_t position = 0;   // a record's
    uint32_t in_mirror = 0;  // its bytes there
    uint32_t run = 0;        // and those that lie at `lent`
    const std::byte* lent = nullptr;
    Outgoing out{};
  };
  struct Posted {
    Sink sink;
    Token token = 0;
    uint32_t sequence = 0;
    bool direct = false;
    bool announced = false;  // its sender waits for word
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
  struct Pull {  // of the first sink's message, which was offered
    bool active = false;
    bool known = false;  // where it lies, under the connections of now
    uint64_t address = 0;
    uint32_t key = 0;
    uint64_t asked = 0;  // bytes that were taken, or that reads under way will bring
    RecordHeader header;
  };
  struct Reading {
    uint64_t request = 0;
    uint64_t bytes = 0;
  };
  enum class Pushed : uint8_t { kDone, kLent, kBlocked };

  // pair.cc
  void post_or_postpone(bool now);
  bool usable() const { return going_ && !broken(); }
  // Of a request on the data connection, and an entry of `sent_`.
  bool has_room();
  void take_note_slot(uint32_t slot, uint32_t bytes);
  void post_note_slot(uint32_t slot);
  void post();
  // False: no room for a request now.
  bool send_note(Note note);
  void send_credit_if_due();
  void send_empty();
  void release(Registration** memory);
  void forget();

  // outbound.cc
  Pushed push(Outgoing* out);
  Pushed push_short(Outgoing* out);
  void announce(Outgoing* out);
  Pushed push_direct(Outgoing* out, const Grant& grant);
  Pushed push_stream(Outgoing* out);
  const Grant* grant_for(const Outgoing& out);
  bool claim(uint64_t bytes, uint64_t* position);
  void begin_record(uint64_t position, RecordKind kind, const Outgoing& out, uint64_t run);
  void write_record(Sent* record);
  void keep(const Sent& sent);
  Pushed write_directly(Sent* flag, const Grant& grant);
  void fly(Outgoing* out, Sent* last);
  bool send_again();
  uint32_t oldest_that_waits();
  void advance_sends(std::vector<Token>* done);

  // pulls.cc
  Pushed offer(Outgoing* out);
  void receive_offer_note(const Note& note);
  void receive_taken_note(const Note& note);
  void begin_pull(const RecordHeader& header, Posted* posted);
  bool locate();
  bool pull(Posted* posted);
  void take_run(const Posted& posted, uint64_t bytes);
  bool ask(const Posted& posted);
  void reset_pull();
  void tell_pulled();

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
  const Rank peer_;
  const Lane lane_;
  const uint16_t index_;
  const Library& library_;

  Port* port_ = nullptr;
  uint32_t attempt_ = 0;
  bool going_ = false;
  bool stopped_ = false;  // and not attached again
  CompletionQueue* queue_ = nullptr;
  std::unique_ptr<QueuePair> data_;  // records and flags
  std::unique_ptr<QueuePair> notes_;
  std::byte* memory_ = nullptr;  // ring, mirror, receive slots, notes to send
  uint64_t memory_bytes_ = 0;
  std::byte* mirror_ = nullptr;
  std::byte* slots_ = nullptr;
  std::byte* notes_to_send_ = nullptr;  // by request
  std::byte* landing_ = nullptr;        // of reads
  ibv_mr* region_ = nullptr;
  uint64_t remote_ring_ = 0;
  uint32_t remote_key_ = 0;
  bool broken_ = false;
  std::string why_;
  const char* nonsense_ = nullptr;  // what the peer wrote that makes no sense
  uint8_t reads_ = 0;               // under way at a time, each way; 0: long messages are written

  // sending
  uint64_t head_ = 0;           // where the next record goes, as a position that only grows
  uint64_t peer_consumed_ = 0;  // how far the peer has come
  bool lacks_room_ = false;     // something waits for requests to complete
  uint32_t next_send_ = 0;
  uint64_t sent_so_far_ = 0;    // records and flags
  uint32_t lent_ = 0;           // entries of `sent_` that end a message
  uint32_t again_ = 0;          // the last so many of `sent_` have to be sent again
  uint32_t taken_by_peer_ = 0;  // the first so many of `sent_`, though not confirmed
  Queue<Outgoing, kWindow> outgoing_;
  Queue<Outgoing, kWindow> offered_;
  uint32_t offers_taken_ = 0;  // the first so many of `offered_` have been read
  Queue<Sent, kSends> sent_;
  Queue<Grant, kWindow> grants_;
  std::vector<Region> regions_;  // the peer's, by slot

  // receiving
  uint64_t taken_ = 0;  // records and flags so far
  uint64_t taken_when_attached_ = 0;
  uint64_t expected_ = 0;  // where the next record will be
  uint64_t consumed_ = 0;
  uint64_t told_ = 0;  // how much of it the peer knows
  uint32_t next_recv_ = 0;
  uint64_t arrived_ = 0;          // bytes of the first sink's message
  std::vector<std::byte> carry_;  // its last bytes, where they are no whole granule
  uint32_t untold_ = 0;           // the first sink that may have to be told of, as an index
  Queue<Posted, kWindow> sinks_;
  Queue<Arrival, 512> arrivals_;
  Pull pull_;
  Queue<Reading, kPulls> readings_;
  Queue<Grant, kWindow> relocated_;  // where offers lie since the last move
  uint32_t last_pulled_ = 0;         // sequence
  bool has_pulled_ = false;
  bool owes_word_ = false;                        // that `last_pulled_` was
  std::unordered_map<uint64_t, uint32_t> named_;  // registration to slot
  std::vector<uint64_t> slot_owner_;              // slot to registration
  uint32_t next_slot_ = 0;
};

}  // namespace gossamer::verbs
