// The engine runs one program at a time over a communicator's transports, and beside it carries
// messages from one rank to another.
//
// Threads    Driving thread only; driving is handed over, never shared, so there are no locks.
// Blocking   Never: progress() does what can be done now. Whoever waits calls it again.
// Memory     Sized by start(); the first run of a larger program than any before may allocate, a
//            second run of the same program does not.

#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "gossamer/transport.h"
#include "src/point_to_point.h"
#include "src/program.h"

namespace gossamer {

// Addresses of one call's buffers.
struct Bindings {
  const std::byte* input = nullptr;
  std::byte* output = nullptr;
  std::byte* scratch = nullptr;
  std::byte* wide = nullptr;
  std::byte* code = nullptr;
  CodingBindings coding;
  Fingerprint fingerprint = 0;
  Reduction reduction;
};

class Engine {
 public:
  // `transport_of[r]` carries messages to rank r (null for this rank itself); `all` lists each
  // distinct transport once. Both outlive the engine.
  Engine(Rank self, std::vector<Transport*> transport_of, std::vector<Transport*> all);

  // Starts a program whose links are open (see open()). Nothing may be running.
  void start(const Program& program, const Bindings& bindings);

  // Does what can be done now.
  //   kOk        the program has finished
  //   kPending   not yet; progressed() tells whether this call achieved anything
  //   otherwise  it failed: fault() says why; every transport has been abandoned
  Code progress() noexcept;
  bool progressed() const { return progressed_; }

  // Messages outside any program, carried by every progress() too. Its own calls of advance() and
  // drop() are the engine's affair.
  PointToPoint& letters() { return letters_; }
  // Ends every letter; their memory is the callers' again.
  void drop_letters() noexcept;

  // Opens the links of a program. kOk: all open; kAgain: call again; otherwise fault().
  Code open(const Program& program) noexcept;

  // After a long wait: looks for messages of other operations that nothing here will ever receive.
  // kOk: there are none; kMismatch: fault() names both operations.
  Code find_strays(Fingerprint mine) noexcept;

  // Ends the running program, if any, with `fault`: tells the peers and drops every lent buffer.
  void end_with(const Fault& fault) noexcept;

  const Fault& fault() const { return fault_; }
  bool running() const { return unfinished_ > 0; }
  // A rank that the running program, open() or a letter still waits for, lowest first; -1 when
  // there is none.
  Rank awaited() const;
  // "5 of 12 steps done": where it stands, for error messages. Not on the hot path.
  std::string position() const;

 private:
  Code issue(uint32_t index) noexcept;
  Code issue_queue(uint32_t head) noexcept;
  Code run_ready() noexcept;
  Code issue_since(size_t first) noexcept;
  Code run_coded(uint32_t index) noexcept;
  void run_local(const Op& op) noexcept;
  void finish(uint32_t index) noexcept;
  Code fail(Code code) noexcept;
  void cancel() noexcept;
  Code look() noexcept;
  Sink make_sink(const Op& op) const noexcept;

  // constant after construction
  Rank self_;
  std::vector<Transport*> transport_of_;
  std::vector<Transport*> all_;

  // driving thread
  const Program* program_ = nullptr;
  std::byte* base_[kBufferCount] = {};
  Fingerprint fingerprint_ = 0;
  Reduction reduction_;
  CodingBindings coding_;
  std::vector<uint32_t> pending_;  // per op: how many it waits for; kFinished when done
  std::vector<uint32_t> heads_;    // per queue: the next op to issue
  std::vector<uint32_t> ready_;    // FIFO; every op enters once
  size_t ready_head_ = 0;
  std::vector<uint32_t> blocked_;  // queue heads that got kAgain
  std::vector<Token> done_;
  PointToPoint letters_;
  uint32_t unfinished_ = 0;
  bool progressed_ = false;
  Rank opening_ = -1;  // the lowest rank whose link open() found not open yet
  Fault fault_;
};

}  // namespace gossamer
