// What one rank of a window keeps of another: what it puts there, what has come from there, and
// the gets in both directions.
//
// Threads    Guarded by the window's mutex, but for values that are on the way: those belong to the
//            communicator until their Work is done.

#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "gossamer/communicator.h"
#include "gossamer/status.h"
#include "gossip/windows/packet.h"

namespace gossamer {

// A packet, a value and an end on their way.
struct WindowParcel {
  WindowPacket head;
  WindowPacket end;
  std::vector<std::byte> value;
  std::array<Work, 3> works;
};

struct WindowPeer {
  // Not ok: it is lost, and why.
  Status gone;
  bool done = false;  // it has called free()

  // Puts and adds to it. One is under way, all later ones are one that waits.
  WindowParcel puts;
  bool put_travels = false;
  WindowPacketKind waits = WindowPacketKind::kNone;  // kPut or kAdd: something does
  uint64_t waits_version = 0;
  std::vector<std::byte> waiting;
  bool dropped = false;  // since the last flush() something was lost with it

  // Puts and adds from it.
  std::vector<std::byte> buffer;
  bool filled = false;  // else it counts as empty, whatever is in it
  uint64_t version = 0;
  uint64_t applied = 0;  // number of the last

  // Whatever comes from it behind a packet, one at a time.
  WindowPacket arriving;  // kNone: nothing does
  std::vector<std::byte> arrives;
  Work receive;
  WindowPacket answer;
  Work sends_answer;

  // A get of its value: one at a time.
  bool asked = false;
  bool unclaimed = false;  // whoever asked did not wait for the answer
  uint64_t asks = 0;       // number of the last
  uint64_t answered = 0;   // number of the last that was answered
  WindowPacket question;
  Work sends_question;
  std::vector<std::byte> got;
  uint64_t got_version = 0;

  // A get of this rank's value.
  WindowParcel reply;

  WindowPacket hello;
  Work sends_hello;
  WindowPacket notice;  // done, leave
  Work sends_notice;

  template <class Visit>
  void each_work(const Visit& visit) {
    for (Work& work : puts.works) visit(work);
    for (Work& work : reply.works) visit(work);
    visit(receive);
    visit(sends_answer);
    visit(sends_question);
    visit(sends_hello);
    visit(sends_notice);
  }
};

}  // namespace gossamer
