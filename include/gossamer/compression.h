// Compression: a collective whose messages are a codec's codes.
//
//   auto codec = gossamer::make_codec("int8:block=256").value();
//   gossamer::Compression compression{.codec = codec.get()};
//   gossamer::CollectiveCall call{.input = x, .output = x, .count = n};
//   call.reduction = gossamer::ReduceOp::kAvg;
//   call.compression = &compression;
//   std::vector<float> residual(comm.residual_count(call).value()), next(residual.size());
//   for (;;) {                                   // error feedback, where it is wanted
//     compression.residual = residual.data();
//     compression.next_residual = next.data();
//     compression.draws = {.own = iteration, .shared = iteration};
//     if (gossamer::Status s = comm.run(call); !s) ...  // `residual` is as it was
//     residual.swap(next);
//   }
//
// Who takes one   every CollectiveCall, run, started, planned, in a group or on a stream, of float
//                 types, and where it reduces with kSum and kAvg; and pair_gossip(), see
//                 gossamer/gossip_compressed.h. Messages (send(), recv()), the collectives made of
//                 them (all_gather_v() and its like) and windows take none. Codecs whose codes have
//                 one length: CodecTraits::fixed_size; the caller's own too, if it has a name.
// Arithmetic      fp32, whatever the elements are. All ranks get the same bits, of what is only
//                 copied too: a rank keeps what its own code decodes to, the root of a broadcast
//                 like the others, and codes are passed on verbatim. neighbor_average alone takes
//                 a rank's own input as it is.
// Loss            all_reduce and reduce: the codes of the inputs, and one of the result, or as the
//                 algorithm says that Communicator::explain() names. Others: one code of each
//                 input, which a broadcast and a scatter have at the root alone. Between two ranks
//                 alike everything travels as codes, but where hosts have several ranks an
//                 algorithm may send elements inside them. One rank alone loses nothing.
// Votes           Reductions give what most ranks say, by kSum and kAvg alike; of one rank alone,
//                 what it says.
// Added codes     Where the codec has sums() reductions may decode nothing but the sum.
// Residual        What encoding loses, kept to be added next time. Of one call's shape on one
//                 communicator, since its layout is the plan's: where residual_count() is at least
//                 the input's count, its first floats belong to the input's elements, and what
//                 follows to what this rank sums; 0 on ranks without an input. They count in the
//                 unit of what is encoded: with kAvg, a residual of the result is one of the
//                 average.
// Reproducible    The same calls with the same inputs, residuals and draws give the same bits.
//
// Threads    As Communicator.
// Ownership  All lent from the call until its Work completes; a persistent collective's from
//            start() to wait(). The struct itself is read by the call; a persistent collective
//            reads it again at every start(), so it must stay where it is, and pointers and draws
//            may change in between, and the codec for one of the same name.

#pragma once

#include <cstdint>

#include "gossamer/codec.h"

namespace gossamer {

struct Compression {
  const Codec* codec = nullptr;  // of the same name on all ranks
  // residual_count() floats each, which must not overlap. Null: nothing is left from before;
  // nothing is kept.
  const float* residual = nullptr;  // never written
  float* next_residual = nullptr;   // of use when the call has succeeded, else unspecified
  // `own` is mixed with the rank and the step, and `first` grows by the place of the elements: what
  // makes iterations differ is the caller's.
  Draws draws = {};
  uint64_t* not_finite = nullptr;  // not null: grows by the NaN and infinities that were encoded
};

}  // namespace gossamer
