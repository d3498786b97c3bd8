// Binomial reduce: sums go up a tree towards the root, half as many in every round.
//   Source   Thakur, Rabenseifner and Gropp, "Optimization of collective communication operations
//            in MPICH", Int. J. High Perform. Comput. Appl. 19(1), 2005.
//   Steps    ceil(log2 N) messages one after another.
//   Bytes    one buffer out of every rank but the root; up to ceil(log2 N) into one.
//   Scratch  one buffer where a rank that is not the root folds.
//   Needs    nothing: any N, any count, any root; a commutative operation.
//   Bits     the root alone has the result; the tree is fixed.

#include "algorithms/knomial.h"
#include "algorithms/list.h"

namespace gossamer {

const Algorithm binomial_reduce = knomial_reduce_algorithm<2>("binomial_reduce");

}  // namespace gossamer
