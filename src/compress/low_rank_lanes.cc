// The products on vectors: a few rows and up to four columns of the thin matrix at a time, so that
// what is loaded is used more than once.

#include <cmath>
#include <limits>

#include "src/compress/low_rank.h"

// Arrays of vectors need a length that is known when compiling.
#define HWY_DISABLED_TARGETS (HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV)
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "src/compress/low_rank_lanes.cc"
#include <hwy/foreach_target.h>  // includes this file once per target
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace gossamer {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using Lanes = hn::CappedTag<float, 16>;

// P's `ranks` columns at rows [row, row + height).
template <int height, int ranks>
void right_rows(LowRank size, const float* m, const float* q, float* p) {
  const Lanes d;
  const size_t n = hn::Lanes(d);
  hn::Vec<Lanes> sums[height][ranks];
  for (auto& row : sums) {
    for (auto& sum : row) sum = hn::Zero(d);
  }
  uint64_t j = 0;
  for (; j + n <= size.columns; j += n) {
    hn::Vec<Lanes> thin[ranks];
    for (int k = 0; k < ranks; ++k) thin[k] = hn::LoadU(d, q + k * size.columns + j);
    for (int i = 0; i < height; ++i) {
      const auto wide = hn::LoadU(d, m + i * size.columns + j);
      for (int k = 0; k < ranks; ++k) sums[i][k] = hn::MulAdd(wide, thin[k], sums[i][k]);
    }
  }
  for (int i = 0; i < height; ++i) {
    for (int k = 0; k < ranks; ++k) {
      float sum = hn::GetLane(hn::SumOfLanes(d, sums[i][k]));
      for (uint64_t e = j; e < size.columns; ++e) {
        sum += m[i * size.columns + e] * q[k * size.columns + e];
      }
      p[k * size.rows + i] = sum;
    }
  }
}

template <int ranks>
void right(LowRank size, RowRange rows, const float* m, const float* q, float* p) {
  constexpr int kHeight = ranks > 2 ? 3 : 4;  // sums fill the registers
  const uint64_t end = rows.first + rows.count;
  uint64_t i = rows.first;
  for (; i + kHeight <= end; i += kHeight) {
    right_rows<kHeight, ranks>(size, m + i * size.columns, q, p + i);
  }
  for (; i < end; ++i) right_rows<1, ranks>(size, m + i * size.columns, q, p + i);
}

// Adds `height` rows of M, times theirs of P, to Q.
template <int height, int ranks>
void left_rows(LowRank size, const float* m, const float* p, float* q) {
  const Lanes d;
  const size_t n = hn::Lanes(d);
  uint64_t j = 0;
  for (; j + n <= size.columns; j += n) {
    hn::Vec<Lanes> sums[ranks];
    for (int k = 0; k < ranks; ++k) sums[k] = hn::LoadU(d, q + k * size.columns + j);
    for (int i = 0; i < height; ++i) {
      const auto wide = hn::LoadU(d, m + i * size.columns + j);
      for (int k = 0; k < ranks; ++k) {
        sums[k] = hn::MulAdd(wide, hn::Set(d, p[k * size.rows + i]), sums[k]);
      }
    }
    for (int k = 0; k < ranks; ++k) hn::StoreU(sums[k], d, q + k * size.columns + j);
  }
  for (; j < size.columns; ++j) {
    for (int i = 0; i < height; ++i) {
      for (int k = 0; k < ranks; ++k) {
        q[k * size.columns + j] += m[i * size.columns + j] * p[k * size.rows + i];
      }
    }
  }
}

template <int ranks>
void left(LowRank size, const float* m, const float* p, float* q) {
  constexpr int kHeight = 4;
  for (uint64_t e = 0; e < ranks * size.columns; ++e) q[e] = 0;
  uint64_t i = 0;
  for (; i + kHeight <= size.rows; i += kHeight) {
    left_rows<kHeight, ranks>(size, m + i * size.columns, p + i, q);
  }
  for (; i < size.rows; ++i) left_rows<1, ranks>(size, m + i * size.columns, p + i, q);
}

// `height` rows: into = before + sign * P Q^T, products added in their order. No fused operations:
// the same bits everywhere. False: an element is not finite, which nobody asks where it is taken
// away.
template <int height, int ranks, bool fresh, bool negative>
bool rebuild_rows(LowRank size, const float* p, const float* q, float* into) {
  const Lanes d;
  const hn::RebindToUnsigned<Lanes> du;
  const size_t n = hn::Lanes(d);
  const uint64_t columns = size.columns;
  hn::Vec<Lanes> factors[height][ranks];
  for (int i = 0; i < height; ++i) {
    for (int k = 0; k < ranks; ++k) factors[i][k] = hn::Set(d, p[k * size.rows + i]);
  }
  const auto special = hn::BitCast(du, hn::Set(d, std::numeric_limits<float>::infinity()));
  auto most = hn::Zero(du);  // exponents: those of special numbers are the largest
  uint64_t j = 0;
  for (; j + n <= columns; j += n) {
    hn::Vec<Lanes> thin[ranks];
    for (int k = 0; k < ranks; ++k) thin[k] = hn::LoadU(d, q + k * columns + j);
    for (int i = 0; i < height; ++i) {
      float* const to = into + i * columns + j;
      auto sum = hn::Mul(factors[i][0], thin[0]);
      for (int k = 1; k < ranks; ++k) sum = hn::Add(sum, hn::Mul(factors[i][k], thin[k]));
      if constexpr (negative) {
        sum = hn::Sub(hn::LoadU(d, to), sum);
      } else if constexpr (!fresh) {
        sum = hn::Add(hn::LoadU(d, to), sum);
      }
      if constexpr (!negative) most = hn::Max(most, hn::And(hn::BitCast(du, sum), special));
      hn::StoreU(sum, d, to);
    }
  }
  bool finite = hn::AllFalse(du, hn::Eq(most, special));
  for (; j < columns; ++j) {
    for (int i = 0; i < height; ++i) {
      float sum = p[i] * q[j];
      for (int k = 1; k < ranks; ++k) sum += p[k * size.rows + i] * q[k * columns + j];
      float& to = into[i * columns + j];
      if constexpr (negative) {
        to -= sum;
      } else {
        to = fresh ? sum : to + sum;
      }
      finite = finite && std::isfinite(to);
    }
  }
  return finite;
}

// Rows together read Q once.
template <int ranks, bool fresh, bool negative>
bool rebuild_all(LowRank size, const float* p, const float* q, float* into) {
  constexpr int kHeight = 4;
  bool finite = true;
  uint64_t i = 0;
  for (; i + kHeight <= size.rows; i += kHeight) {
    finite &=
        rebuild_rows<kHeight, ranks, fresh, negative>(size, p + i, q, into + i * size.columns);
  }
  for (; i < size.rows; ++i) {
    finite &= rebuild_rows<1, ranks, fresh, negative>(size, p + i, q, into + i * size.columns);
  }
  return finite;
}

// Calls f with as many columns as a constant, four at a time, and where they begin.
template <class F>
void in_fours(uint64_t rank, const F& f) {
  uint64_t k = 0;
  for (; k + 4 <= rank; k += 4) f(std::integral_constant<int, 4>(), k);
  if (rank - k == 3) f(std::integral_constant<int, 3>(), k);
  if (rank - k == 2) f(std::integral_constant<int, 2>(), k);
  if (rank - k == 1) f(std::integral_constant<int, 1>(), k);
}

void times_right_lanes(LowRank size, RowRange rows, const float* m, const float* q, float* p) {
  in_fours(size.rank, [&](auto ranks, uint64_t k) {
    right<ranks()>(size, rows, m, q + k * size.columns, p + k * size.rows);
  });
}
void times_left_lanes(LowRank size, const float* m, const float* p, float* q) {
  in_fours(size.rank, [&](auto ranks, uint64_t k) {
    left<ranks()>(size, m, p + k * size.rows, q + k * size.columns);
  });
}
bool rebuild_lanes(LowRank size, const float* p, const float* q, float* into) {
  bool finite = true;  // of the last pass: what was not finite stays so
  in_fours(size.rank, [&](auto ranks, uint64_t k) {
    const float* const thin = q + k * size.columns;
    finite = k == 0 ? rebuild_all<ranks(), true, false>(size, p, thin, into)
                    : rebuild_all<ranks(), false, false>(size, p + k * size.rows, thin, into);
  });
  return finite;
}
void subtract_lanes(LowRank size, const float* p, const float* q, float* m) {
  in_fours(size.rank, [&](auto ranks, uint64_t k) {
    (void)rebuild_all<ranks(), false, true>(size, p + k * size.rows, q + k * size.columns, m);
  });
}

}  // namespace HWY_NAMESPACE
}  // namespace gossamer
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace gossamer {

HWY_EXPORT(times_right_lanes);
HWY_EXPORT(times_left_lanes);
HWY_EXPORT(rebuild_lanes);
HWY_EXPORT(subtract_lanes);

void times_right(LowRank size, RowRange rows, const float* m, const float* q, float* p) {
  HWY_DYNAMIC_DISPATCH(times_right_lanes)(size, rows, m, q, p);
}
void times_left(LowRank size, const float* m, const float* p, float* q) {
  HWY_DYNAMIC_DISPATCH(times_left_lanes)(size, m, p, q);
}
bool rebuild(LowRank size, const float* p, const float* q, float* into) {
  return HWY_DYNAMIC_DISPATCH(rebuild_lanes)(size, p, q, into);
}
void subtract_rebuilt(LowRank size, const float* p, const float* q, float* m) {
  HWY_DYNAMIC_DISPATCH(subtract_lanes)(size, p, q, m);
}

}  // namespace gossamer
#endif
