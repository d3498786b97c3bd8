// Products of a matrix with thin ones. M has `rows` rows of `columns` elements, one row after the
// other; P is `rank` columns of `rows` elements, Q `rank` columns of `columns`, one column after
// the other.
//
// Bits       rebuild() and orthonormalise() give the same bits on all machines. The products with
//            M, which no two ranks share, do not.
// Threads    Pure functions.

#pragma once

#include <cstdint>
#include <functional>
#include <span>

namespace gossamer {

struct LowRank {
  uint64_t rows;
  uint64_t columns;
  uint64_t rank;
};

// Rows [first, first + count) of P = M Q.
struct RowRange {
  uint64_t first;
  uint64_t count;
};
void times_right(LowRank size, RowRange rows, const float* m, const float* q, float* p);
// Q = M^T P
void times_left(LowRank size, const float* m, const float* p, float* q);
// into = P Q^T. Whether all of it is finite.
bool rebuild(LowRank size, const float* p, const float* q, float* into);
// m -= P Q^T
void subtract_rebuilt(LowRank size, const float* p, const float* q, float* m);

// Makes the columns of P orthonormal, each in turn. Of one that is `epsilon` times as long as it
// was, or less, once its part along those before is taken away, a random one takes the place:
// draw(column, attempt, into) writes it.
void orthonormalise(std::span<float> p, uint64_t rows, double epsilon,
                    const std::function<void(uint64_t, uint64_t, std::span<float>)>& draw);

}  // namespace gossamer
