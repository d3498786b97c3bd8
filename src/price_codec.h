// What a codec costs the processor, for prices.
//
// Threads    Pure.
// Units      Microseconds.

#pragma once

#include "gossamer/codec.h"

namespace gossamer {

struct CodingCost {
  double call_us = 0;    // of a run, however short
  double encode_us = 0;  // per element, its residual included
  double decode_us = 0;  // per element, which is overwritten
  double add_us = 0;     // per element that is added to: sparse codes touch few of them
  double pack_us = 0;    // per element of a sum of sparse codes, and to unpack it
};

// The same for all codecs of one name, with whatever parameters, so that ranks agree. Of codecs
// that the table lacks, a cautious guess.
CodingCost coding_cost(const Codec& codec);

}  // namespace gossamer
