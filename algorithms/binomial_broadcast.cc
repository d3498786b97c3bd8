// Binomial broadcast: those who have the buffer pass it on, twice as many in every round.
//   Source   Thakur, Rabenseifner and Gropp, "Optimization of collective communication operations
//            in MPICH", Int. J. High Perform. Comput. Appl. 19(1), 2005.
//   Steps    ceil(log2 N) messages one after another.
//   Bytes    one buffer into every rank but the root; up to ceil(log2 N) out of one.
//   Scratch  none.
//   Needs    nothing: any N, any count, any root.
//   Bits     copies only.

#include "algorithms/knomial.h"
#include "algorithms/list.h"

namespace gossamer {

const Algorithm binomial_broadcast = knomial_broadcast_algorithm<2>("binomial_broadcast");

}  // namespace gossamer
