// k-nomial broadcast, k = 4: those who have the buffer pass it on to three others each, so that
// four times as many have it after every round.
//   Source   the k-nomial trees of Wilkins, Wang, Liu, Pham, Guo, Thakur, Dinda and Hardavellas,
//            "Generalized collective algorithms for the exascale era", IEEE CLUSTER 2023.
//   Steps    ceil(log4 N) rounds of up to 3 independent messages: fewer latencies one after another
//            than a binomial tree, for more messages out of one rank.
//   Bytes    one buffer into every rank but the root; up to 3 ceil(log4 N) out of one.
//   Scratch  none.
//   Needs    nothing: any N, any count, any root.
//   Bits     copies only.

#include "algorithms/knomial.h"
#include "algorithms/list.h"

namespace gossamer {

const Algorithm knomial4_broadcast = knomial_broadcast_algorithm<4>("knomial4_broadcast");

}  // namespace gossamer
