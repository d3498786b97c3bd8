// Sums over runs that are the same on every machine: element i goes to partial sum i % 32, in fp64,
// whatever the vectors' length; then the upper half of the partial sums is added to the lower one
// until one is left. In order they would wait for each other, which took longer than all else of a
// run of 64.
//
// A term, as sum_of() takes it, turns a vector of fp64 into what is summed of it, and zeros into
// zeros. What is not finite is a zero.
//
// Compiled once per instruction set, as src/compress/lanes-inl.h is.

#if defined(GOSSAMER_SRC_COMPRESS_SUMS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef GOSSAMER_SRC_COMPRESS_SUMS_INL_H_
#undef GOSSAMER_SRC_COMPRESS_SUMS_INL_H_
#else
#define GOSSAMER_SRC_COMPRESS_SUMS_INL_H_
#endif

#include <hwy/highway.h>

#include "src/compress/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace gossamer {
namespace HWY_NAMESPACE {

// Vectors of up to 8, four of which hold a quarter to all of the partial sums.
using Doubles = hn::CappedTag<double, 8>;
inline constexpr uint64_t kPartialSums = 32;

template <class Term>
HWY_INLINE hn::Vec<Doubles> term_at(const Term& term, const float* from) {
  const Doubles d;
#if HWY_TARGET == HWY_SCALAR  // has no conversion between lengths
  return term(d, hn::Set(d, std::isfinite(*from) ? static_cast<double>(*from) : 0.0));
#else
  const hn::Rebind<float, Doubles> df;
  const auto value = hn::LoadU(df, from);
  const auto finite = hn::Lt(hn::Abs(value), hn::Inf(df));
  return term(d, hn::PromoteTo(d, hn::IfThenElseZero(finite, value)));
#endif
}

// `count` is a multiple of kPartialSums. Small runs: vectors are gone over as often as it takes.
template <class Term>
HWY_INLINE void add_terms(const Term& term, const float* from, uint64_t count, double* partial) {
  const Doubles d;
  const size_t n = hn::Lanes(d);
  for (size_t lane = 0; lane < kPartialSums; lane += 4 * n) {
    auto a = hn::LoadU(d, partial + lane);
    auto b = hn::LoadU(d, partial + lane + n);
    auto c = hn::LoadU(d, partial + lane + 2 * n);
    auto e = hn::LoadU(d, partial + lane + 3 * n);
    for (uint64_t i = lane; i < count; i += kPartialSums) {
      a = hn::Add(a, term_at(term, from + i));
      b = hn::Add(b, term_at(term, from + i + n));
      c = hn::Add(c, term_at(term, from + i + 2 * n));
      e = hn::Add(e, term_at(term, from + i + 3 * n));
    }
    hn::StoreU(a, d, partial + lane);
    hn::StoreU(b, d, partial + lane + n);
    hn::StoreU(c, d, partial + lane + 2 * n);
    hn::StoreU(e, d, partial + lane + 3 * n);
  }
}

template <class Term>
HWY_INLINE double sum_of(const Term& term, const float* from, uint64_t count) {
  constexpr uint64_t kCached = 4096;  // stays in the first-level cache
  double partial[kPartialSums] = {};
  const uint64_t whole = count / kPartialSums * kPartialSums;
  for (uint64_t first = 0; first < whole; first += kCached) {
    add_terms(term, from + first, std::min(kCached, whole - first), partial);
  }
  if (whole < count) {
    float padded[kPartialSums] = {};
    std::memcpy(padded, from + whole, (count - whole) * sizeof(float));
    add_terms(term, padded, kPartialSums, partial);
  }
  for (uint64_t i = 0; i < 16; ++i) partial[i] += partial[16 + i];
  for (uint64_t i = 0; i < 8; ++i) partial[i] += partial[8 + i];
  const double a = partial[0] + partial[4];
  const double b = partial[1] + partial[5];
  const double c = partial[2] + partial[6];
  const double e = partial[3] + partial[7];
  return (a + c) + (b + e);
}

struct Magnitude {
  template <class D>
  HWY_INLINE hn::Vec<D> operator()(D /*d*/, hn::Vec<D> value) const {
    return hn::Abs(value);
  }
};
struct Square {
  template <class D>
  HWY_INLINE hn::Vec<D> operator()(D /*d*/, hn::Vec<D> value) const {
    return hn::Mul(value, value);
  }
};
struct Positive {
  template <class D>
  HWY_INLINE hn::Vec<D> operator()(D d, hn::Vec<D> value) const {
    return hn::Max(value, hn::Zero(d));
  }
};
// Magnitudes from `least` > 0 on.
struct MagnitudeFrom {
  double least;
  template <class D>
  HWY_INLINE hn::Vec<D> operator()(D d, hn::Vec<D> value) const {
    const auto magnitude = hn::Abs(value);
    return hn::IfThenElseZero(hn::Ge(magnitude, hn::Set(d, least)), magnitude);
  }
};
}  // namespace HWY_NAMESPACE
}  // namespace gossamer
HWY_AFTER_NAMESPACE();

#endif  // toggled guard
