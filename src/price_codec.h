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
  // Of codes that are added as they are, per element:
  double measure_us = 0;     // of the numbers that ranks agree on
  double merge_us = 0;       // of a code that begins a sum or is added to it
  double decode_sum_us = 0;  // of the sum
};

// The same for all codecs of one name, with whatever parameters, so that ranks agree. Of codecs
// that the table lacks, a cautious guess.
CodingCost coding_cost(const Codec& codec);

}  // namespace gossamer
