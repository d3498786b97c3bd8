// A program is one rank's schedule lowered for the engine: byte offsets, kernels, queues and share
// numbers worked out once, so that running it touches arrays only.
//
// Threads    Built by the driving thread; immutable afterwards.
// Units      Offsets and wire lengths are bytes, counts are elements.

#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "gossamer/schedule.h"
#include "gossamer/transport.h"
#include "src/coding.h"
#include "src/price.h"
#include "src/reduce.h"

namespace gossamer {

inline constexpr uint32_t kNoStep = UINT32_MAX;

// A step with everything that does not depend on the call's addresses.
struct Op {
  Verb verb = Verb::kCopy;
  Buffer from_buffer = Buffer::kOutput;
  Buffer into_buffer = Buffer::kOutput;
  Lane lane = 0;
  Rank peer = -1;
  uint64_t from_offset = 0;
  uint64_t into_offset = 0;
  uint64_t count = 0;
  uint64_t wire_bytes = 0;
  uint32_t dependents_begin = 0;
  uint32_t dependents_end = 0;
  uint32_t queue = 0;                // messages: index of its (peer, lane, direction)
  uint32_t next_in_queue = kNoStep;  // messages: the one issued after it
  uint32_t share = 0;                // sends: Message::share
  uint32_t weighted = kNoStep;       // index of its factors and kernels
  uint32_t coding = kNoStep;         // index of what its codec does
  uint32_t answer = kNoStep;         // recv_reduce: the send that Sink::may_answer is about; send:
                                     // the recv that Message::answer is about
};
static_assert(sizeof(Op) <= 2 * 64);

// How elements are folded and converted; referred to by sinks, so its address is stable.
struct Kernels {
  FoldKernel fold = nullptr;       // type (op) type -> type
  FoldKernel fold_wide = nullptr;  // fp32 (op) type -> fp32
  ConvertKernel widen = nullptr;   // type -> fp32
  ConvertKernel narrow = nullptr;  // fp32 -> type, rounded once
  ConvertKernel divide = nullptr;  // kAvg, type -> type
  ConvertKernel scale = nullptr;   // kPreMulSum, type -> type
  ConvertKernel narrow_divide = nullptr;
  ConvertKernel divide_wide = nullptr;  // kAvg, fp32 -> fp32
  double divisor = 1;                   // kAvg: the number of ranks
  uint32_t element_bytes = 1;
  bool finishes = false;  // kAvg
};

// A weighted step: what a sink of it refers to, by an address that is stable like Kernels'.
struct Weighted {
  Factors factors;
  MixKernel mix = nullptr;        // kRecvReduce
  ConvertKernel scale = nullptr;  // kCopy; into fp32 in place, where the copy widens
  uint32_t wire_bytes = 1;        // of one element, as it arrives,
  uint32_t from_bytes = 1;        // is read,
  uint32_t into_bytes = 1;        // and is written
};

struct Program {
  std::vector<Op> ops;
  std::vector<uint32_t> waits;        // per op: how many ops it waits for
  std::vector<uint32_t> dependents;   // rows given by Op::dependents_begin/end
  std::vector<uint32_t> ready;        // ops that wait for nothing, in program order
  std::vector<uint32_t> queue_heads;  // per queue: its first op
  std::vector<Rank> peers;            // ranks this one exchanges messages with
  Kernels kernels;
  std::vector<Weighted> weighted;
  std::vector<Coding> codings;
  uint64_t scratch_bytes = 0;
  uint64_t wide_bytes = 0;
  uint64_t code_bytes = 0;
  uint64_t staging_count = 0;    // floats: of CodingBindings
  uint64_t numbers_count = 0;    // the same
  uint64_t workspace_bytes = 0;  // of CodingBindings
  uint64_t residual_count = 0;   // floats
  uint64_t whole_bytes = 0;      // of the largest buffer, on whichever rank
  uint64_t messages_sent = 0;    // by one run
  uint64_t bytes_sent = 0;       // by one run
};

// `order[p]` is the rank at position p of the schedule; empty: the same.
Program lower(const Schedule& schedule, const Call& call, Rank size, std::span<const Rank> order);

}  // namespace gossamer
