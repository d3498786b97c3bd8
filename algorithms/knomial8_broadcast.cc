// k-nomial broadcast, k = 8: those who have the buffer pass it on to seven others each, so that
// eight times as many have it after every round.
//   Source   the k-nomial trees of Wilkins, Wang, Liu, Pham, Guo, Thakur, Dinda and Hardavellas,
//            "Generalized collective algorithms for the exascale era", IEEE CLUSTER 2023.
//   Steps    ceil(log8 N) rounds of up to 7 independent messages: fewer latencies one after another
//            than a binomial tree, for more messages out of one rank.
//   Bytes    one buffer into every rank but the root; up to 7 ceil(log8 N) out of one.
//   Scratch  none.
//   Needs    nothing: any N, any count, any root.
//   Bits     copies only.

#include "algorithms/knomial.h"
#include "algorithms/list.h"

namespace gossamer {

const Algorithm knomial8_broadcast = knomial_broadcast_algorithm<8>("knomial8_broadcast");

}  // namespace gossamer
