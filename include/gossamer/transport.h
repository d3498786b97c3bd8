// A Transport moves bytes between this rank and its peers. It knows nothing of collectives.
//
// Threads    start() comes from one thread, before anything else. After that every call comes from
//            the thread that drives the communicator at that moment: implementations need no locks.
//            wake() alone may be called from any thread.
// Blocking   Nothing blocks.
// Ordering   Messages on one (peer, lane) arrive in the order sent. Nothing orders two lanes.
// Ownership  Bytes of a send and the target of a sink are lent until the operation is complete.
// Later      One-sided writes into pre-exchanged buffers: pin() hands out what a peer needs, and a
//            message gains a remote slot number. Device buffers: pin() takes the memory kind.

#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "gossamer/export.h"
#include "gossamer/schedule.h"
#include "gossamer/status.h"
#include "gossamer/traffic.h"

namespace gossamer {

using Token = uint32_t;  // chosen by the caller, handed back when the operation is complete

// Identifies the operation a message belongs to. Both ends compute it from the same call; a
// difference is an error on both ends, never wrong data. Decoded only for error messages.
using Fingerprint = uint64_t;

struct Message {
  const std::byte* data = nullptr;
  uint64_t bytes = 0;
  Fingerprint fingerprint = 0;
  // Nonzero: within one operation (one value of `fingerprint`'s sequence), messages with the same
  // value carry the same bytes from the same address, so a transport that stages may stage once.
  uint32_t share = 0;
  uint64_t whole_bytes = 0;  // of the buffer that this is a part of; 0: unknown
  // Not null: the answer to this message (see Sink::may_answer) has as many bytes and will be
  // received here, and until then nothing else touches this place but the message, if it lies here
  // itself. A transport may write the answer as soon as it has read what it answers.
  std::byte* answer = nullptr;
};

// Where arriving bytes go.
struct Sink {
  std::byte* target = nullptr;
  uint64_t bytes = 0;  // length on the wire; a message of another length is a mismatch
  Fingerprint fingerprint = 0;
  // Null: bytes overwrite the target. Else called once per arriving run, in order, straight from
  // the transport's own memory where it has any; `offset` and `bytes` are wire bytes, in whole
  // multiples of `granule` (the last run too), so no element is ever split. It must write
  // target[...] = operand[...] (op) arrived[...].
  void (*combine)(const Sink& sink, uint64_t offset, const std::byte* arrived,
                  uint64_t bytes) = nullptr;
  const std::byte* operand = nullptr;
  const void* context = nullptr;
  uint32_t granule = 1;
  // The next message this rank sends on this lane is the combined target, whole and unchanged. A
  // transport may deliver it at once from where it has the bytes at hand; send() is then told.
  bool may_answer = false;
  uint64_t whole_bytes = 0;  // of the buffer that the target is a part of; 0: unknown
};

struct Limits {
  uint64_t message_bytes_max = UINT64_MAX;  // longer sends are refused with kInvalidArgument
  uint32_t window = 0;                      // operations in flight per (peer, lane) before kAgain
  uint8_t lanes = 1;                        // independent lanes per peer
  // One send of at most this many bytes per (peer, lane) completes even if its receive is never
  // posted; 0: every send may wait for its receive.
  uint64_t eager_bytes = 0;
  // How to wait for it: fruitless polls before the first yield, and how long to yield before the
  // first sleep.
  uint32_t spins = 2000;
  std::chrono::microseconds awake{4000};
  // What its links cost, as far as their devices tell; the planner chooses by it. 0: not known.
  double bytes_per_us = 0;  // of one link, one way
  double message_us = 0;    // processor time of a message at each end, beyond its bytes
  double byte_us = 0;       // processor time of a byte at each end
  double fold_byte_us = 0;  // and more, of a byte that a Sink combines
};

// What went wrong, in a form that can be made on the hot path and passed on to other ranks.
struct GOSSAMER_API Fault {
  Code code = Code::kOk;
  Rank rank = -1;                // the rank at fault, or -1
  std::array<char, 232> text{};  // a sentence, NUL-terminated
  // kMismatch found by a transport: what the sink expected and what arrived. Whoever made the
  // fingerprints turns them into a sentence.
  Fingerprint expected = 0;
  Fingerprint arrived = 0;
  uint64_t expected_bytes = 0;
  uint64_t arrived_bytes = 0;
  void set(Code c, Rank r, const char* format, ...) __attribute__((format(printf, 4, 5)));
};

class Transport {
 public:
  // Leaves. Ranks leave at different times, so a peer that left is an error (kPeerLost) only for
  // operations that still need it, posted before or after; one that crashed is an error at once.
  // Sends that are complete are delivered all the same.
  virtual ~Transport() = default;

  virtual const char* name() const noexcept = 0;
  // Bytes that let another rank reach this one. They travel through the rendezvous once.
  virtual std::string address() const = 0;
  // Hands over every rank's address(); an empty one is never opened.
  virtual Status start(std::vector<std::string> addresses) = 0;
  virtual Limits limits() const noexcept = 0;
  // Whose costs its links inside a host have: a name that topology/machine.h knows. Valid after
  // start(), and the same on all ranks.
  virtual const char* priced_as() const noexcept { return name(); }

  // Opens the link to `peer`, or goes on opening it. Both ends call it; links open lazily.
  //   kOk         usable now
  //   kAgain      under way: poll() and call again
  //   otherwise   *fault says why not
  virtual Code open(Rank peer, Fault* fault) noexcept = 0;

  // Tells that `span` will be used again and again (registers it where that means something).
  virtual Status pin(std::span<std::byte> span) = 0;
  // The span passed to pin() is about to be freed or used no more; no operation uses it.
  virtual void unpin(std::span<std::byte> /*span*/) {}

  // What it has done since it was made.
  virtual Traffic traffic() const noexcept { return {}; }

  // Queues one message on an open link.
  //   kOk       complete: the bytes may be reused, no token comes
  //   kPending  the bytes are borrowed until `token` comes back
  //   kAgain    window full: nothing was queued
  //   kPeerLost and others: *fault says why (as for poll)
  virtual Code send(Rank peer, Lane lane, const Message& message, Token token,
                    Fault* fault) noexcept = 0;

  // Posts the sink for the next message on (peer, lane). Codes as for send(); kOk: it has arrived.
  virtual Code recv(Rank peer, Lane lane, const Sink& sink, Token token, Fault* fault) noexcept = 0;

  // Makes progress; appends the tokens of completed operations.
  //   kOk        fine, whether or not anything happened
  //   kPeerLost, kMismatch, kSystem, or whatever notify() carried: *fault says what and who. The
  //   transport stays usable only for notify(), abandon() and destruction.
  virtual Code poll(std::vector<Token>* done, Fault* fault) noexcept = 0;

  // The fingerprint of the next message on (peer, lane) if it has arrived and no sink awaits it;
  // kAgain: there is none. For a driver that has waited long: it may belong to another operation.
  virtual Code peek(Rank /*peer*/, Lane /*lane*/, Fingerprint* /*arrived*/) noexcept {
    return Code::kAgain;
  }

  // Tells every peer with an open link that this communicator has failed, and why. Best effort,
  // never waits: it is how a fault reaches ranks that do not talk to the one at fault.
  virtual void notify(const Fault& fault) noexcept = 0;

  // Forgets every operation: no token comes back and no buffer is touched any more.
  virtual void abandon() noexcept = 0;

  // Sleeping. wait_fd() becomes readable when poll() may have something to do, provided arm() was
  // called since the last poll(). arm() returns false when there is something to do already.
  virtual int wait_fd() const noexcept = 0;
  virtual bool arm() noexcept = 0;
};

// What a transport is made from.
struct TransportConfig {
  Rank rank = 0;
  Rank size = 1;
  std::array<std::byte, 32> key{};  // proves membership on every connection
  uint64_t session = 0;             // the same on all ranks of one communicator, else random
  std::string interfaces;           // GOSSAMER_SOCKET_IFNAME syntax
  std::string port_range;           // "first-last", empty: any
  std::chrono::milliseconds timeout{30'000};
  uint64_t seed = 1;  // sim and faulty
};

// One line in transports/list.h.
struct TransportFactory {
  const char* name;
  Result<std::unique_ptr<Transport>> (*create)(const TransportConfig& config);
};

GOSSAMER_API std::span<const TransportFactory* const> transports();
GOSSAMER_API const TransportFactory* find_transport(std::string_view name);

}  // namespace gossamer
