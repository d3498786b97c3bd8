// k-nomial reduce, k = 8: sums go up a tree towards the root, an eighth as many after every
// round.
//   Source   the k-nomial trees of Wilkins, Wang, Liu, Pham, Guo, Thakur, Dinda and Hardavellas,
//            "Generalized collective algorithms for the exascale era", IEEE CLUSTER 2023.
//   Steps    ceil(log8 N) rounds of up to 7 independent messages: fewer latencies one after another
//            than a binomial tree, for more messages into one rank.
//   Bytes    one buffer out of every rank but the root; up to 7 ceil(log8 N) into one.
//   Scratch  one buffer where a rank that is not the root folds.
//   Needs    nothing: any N, any count, any root; a commutative operation.
//   Bits     the root alone has the result; the tree is fixed.

#include "algorithms/knomial.h"
#include "algorithms/list.h"

namespace gossamer {

const Algorithm knomial8_reduce = knomial_reduce_algorithm<8>("knomial8_reduce");

}  // namespace gossamer
