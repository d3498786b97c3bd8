// faulty: any other transport behind seeded misfortune, for tests. Equal seeds and calls make equal
// choices.
//
//   Delay      every message waits a random time before it is handed on; lanes keep their order, so
//              messages overtake each other only between lanes and peers.
//   Loss       a lost message takes its lane with it: on a reliable transport nothing can follow,
//              and the receiver's deadline must notice.
//   Cut        after a number of messages this rank finds the link it uses next cut (kPeerLost).
//   Stall      after a number of messages this rank makes no progress for a while.
//   Threads    as the transport inside.

#pragma once

#include <memory>
#include <string>

#include "gossamer/transport.h"

namespace gossamer {

struct FaultyOptions {
  std::string inner = "tcp";  // a name from transports/list.h
  uint64_t seed = 0;          // 0: TransportConfig::seed
  uint32_t delay_us = 0;      // each message: uniformly up to this long
  double loss = 0;            // probability that a message is lost
  uint64_t cut_after = 0;     // messages this rank has sent; 0: never
  uint64_t stall_after = 0;   // messages this rank has sent; 0: never
  uint32_t stall_ms = 0;
};

// From "tcp:delay_us=50,loss=0.01,cut_after=100,stall_after=10,stall_ms=20,seed=3"; every part
// after the name is optional. This is also what GOSSAMER_FAULTY holds for find_transport("faulty").
//   kInvalidArgument  an unknown name or a number that does not parse; the message says which
Result<FaultyOptions> parse_faulty(const std::string& text);

Result<std::unique_ptr<Transport>> create_faulty(const FaultyOptions& options,
                                                 const TransportConfig& config);
// Around a transport that exists already.
std::unique_ptr<Transport> make_faulty(const FaultyOptions& options, const TransportConfig& config,
                                       std::unique_ptr<Transport> inner);

}  // namespace gossamer
