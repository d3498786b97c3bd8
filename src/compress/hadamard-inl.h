// Randomised Hadamard rotations: signs that all ranks draw alike, then sums and differences of all
// pairs, level by level. Orthogonal up to a factor; whatever a run is like, its elements are nearly
// Gaussian afterwards.
//   Source    Ailon and Chazelle, "The fast Johnson-Lindenstrauss transform and approximate nearest
//             neighbors", SIAM J. Computing 39(1), 2009.
//   Signs     Element i of the run is negated where bit i % 64 of mixed(draw + i / 64) is set.
//   Bits      Each level is one addition per element: no result depends on the vectors' length.
//
// Compiled once per instruction set, as src/compress/lanes-inl.h is.

#if defined(GOSSAMER_SRC_COMPRESS_HADAMARD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef GOSSAMER_SRC_COMPRESS_HADAMARD_INL_H_
#undef GOSSAMER_SRC_COMPRESS_HADAMARD_INL_H_
#else
#define GOSSAMER_SRC_COMPRESS_HADAMARD_INL_H_
#endif

#include <hwy/highway.h>

#include "src/compress/lanes-inl.h"
#include "src/compress/shared_draw.h"

HWY_BEFORE_NAMESPACE();
namespace gossamer {
namespace HWY_NAMESPACE {

// Negates what the draw says of elements [first, first + count) of a run. `first` is a multiple of
// the largest power of two in `count`, or of 64.
HWY_INLINE void draw_signs(Draw draw, uint64_t first, uint64_t count, float* values) {
  const Floats d;
  const hn::RebindToUnsigned<Floats> du;
  const size_t n = hn::Lanes(d);
  const auto to_top = hn::Sub(hn::Set(du, 31), hn::Iota(du, 0));
  const auto top = hn::Set(du, 0x80000000U);
  for (uint64_t i = 0; i < count;) {
    const uint64_t at = first + i;
    uint64_t bits = mixed(draw + at / 64) >> (at % 64);
    const uint64_t end = std::min(count, i + 64 - at % 64);
    for (; i + n <= end; i += n, bits >>= n) {
      const auto sign = hn::And(hn::Shl(hn::Set(du, static_cast<uint32_t>(bits)), to_top), top);
      hn::StoreU(hn::Xor(hn::LoadU(d, values + i), hn::BitCast(d, sign)), d, values + i);
    }
    for (; i < end; ++i, bits >>= 1) {
      if ((bits & 1) != 0) values[i] = -values[i];
    }
  }
}

// Of pairs whose places differ in `step`, a power of two: x, y -> x + y, x - y.
HWY_INLINE void add_pairs(float* values, uint64_t count, uint64_t step) {
  const Floats d;
  const size_t n = hn::Lanes(d);
  for (uint64_t first = 0; first < count; first += 2 * step) {
    float* const low = values + first;
    float* const high = low + step;
    uint64_t i = 0;
    for (; i + n <= step; i += n) {
      const auto x = hn::LoadU(d, low + i);
      const auto y = hn::LoadU(d, high + i);
      hn::StoreU(hn::Add(x, y), d, low + i);
      hn::StoreU(hn::Sub(x, y), d, high + i);
    }
    for (; i < step; ++i) {
      const float x = low[i];
      const float y = high[i];
      low[i] = x + y;
      high[i] = x - y;
    }
  }
}

// The same for pairs inside of a vector, of all steps shorter than one.
HWY_INLINE void add_pairs_inside(float* values, uint64_t count) {
#if HWY_TARGET != HWY_SCALAR
  const Floats d;
  const hn::RebindToSigned<Floats> di;
  const size_t n = hn::Lanes(d);
  const auto lane = hn::Iota(di, 0);
  const auto level = [&](int32_t step, hn::Vec<Floats> x) HWY_ATTR {
    const auto bit = hn::Set(di, step);
    const auto other = hn::TableLookupLanes(x, hn::IndicesFromVec(d, hn::Xor(lane, bit)));
    const auto upper = hn::RebindMask(d, hn::Eq(hn::And(lane, bit), bit));
    return hn::Add(other, hn::IfThenElse(upper, hn::Neg(x), x));
  };
  for (uint64_t i = 0; i < count; i += n) {
    auto x = hn::LoadU(d, values + i);
    for (int32_t step = 1; step < static_cast<int32_t>(n); step *= 2) x = level(step, x);
    hn::StoreU(x, d, values + i);
  }
#else
  (void)values;
  (void)count;
#endif
}

// `count` is a power of two. Twice is `count` times what there was.
HWY_INLINE void hadamard(float* values, uint64_t count) {
  const size_t n = hn::Lanes(Floats());
  uint64_t step = 1;
  if (count >= n) {
    add_pairs_inside(values, count);
    step = n;
  }
  for (; step < count; step *= 2) add_pairs(values, count, step);
}

}  // namespace HWY_NAMESPACE
}  // namespace gossamer
HWY_AFTER_NAMESPACE();

#endif  // toggled guard
