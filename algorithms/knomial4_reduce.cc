// k-nomial reduce, k = 4: sums go up a tree towards the root, a quarter as many after every
// round.
//   Source   the k-nomial trees of Wilkins, Wang, Liu, Pham, Guo, Thakur, Dinda and Hardavellas,
//            "Generalized collective algorithms for the exascale era", IEEE CLUSTER 2023.
//   Steps    ceil(log4 N) rounds of up to 3 independent messages: fewer latencies one after another
//            than a binomial tree, for more messages into one rank.
//   Bytes    one buffer out of every rank but the root; up to 3 ceil(log4 N) into one.
//   Scratch  one buffer where a rank that is not the root folds.
//   Needs    nothing: any N, any count, any root; a commutative operation.
//   Bits     the root alone has the result; the tree is fixed.

#include "algorithms/knomial.h"
#include "algorithms/list.h"

namespace gossamer {

const Algorithm knomial4_reduce = knomial_reduce_algorithm<4>("knomial4_reduce");

}  // namespace gossamer
