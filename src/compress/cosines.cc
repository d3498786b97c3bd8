#include "src/compress/cosines.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "src/compress/cosines.cc"
#include <hwy/foreach_target.h>  // includes this file once per target
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace gossamer {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// See multiply(). `column` says which column of `left` belongs to a row of `right`.
template <class Column>
HWY_INLINE void multiply_columns(const Column& column, const float* left, const float* right,
                                 float* out, uint64_t rows, uint64_t inner, uint64_t stride) {
  const hn::CappedTag<float, 8> d;
  const size_t n = hn::Lanes(d);
  for (uint64_t i = 0; i < rows; i += 4) {
    const float* const a = left + i * stride;
    for (uint64_t c = 0; c < stride; c += 2 * n) {
      auto s0 = hn::Zero(d), s1 = s0, s2 = s0, s3 = s0, t0 = s0, t1 = s0, t2 = s0, t3 = s0;
      for (uint64_t k = 0; k < inner; ++k) {
        const auto x = hn::LoadU(d, right + k * stride + c);
        const auto y = hn::LoadU(d, right + k * stride + c + n);
        const uint64_t at = column(k);
        const auto a0 = hn::Set(d, a[at]);
        const auto a1 = hn::Set(d, a[stride + at]);
        const auto a2 = hn::Set(d, a[2 * stride + at]);
        const auto a3 = hn::Set(d, a[3 * stride + at]);
        s0 = hn::Add(s0, hn::Mul(a0, x));
        t0 = hn::Add(t0, hn::Mul(a0, y));
        s1 = hn::Add(s1, hn::Mul(a1, x));
        t1 = hn::Add(t1, hn::Mul(a1, y));
        s2 = hn::Add(s2, hn::Mul(a2, x));
        t2 = hn::Add(t2, hn::Mul(a2, y));
        s3 = hn::Add(s3, hn::Mul(a3, x));
        t3 = hn::Add(t3, hn::Mul(a3, y));
      }
      float* const into = out + i * stride + c;
      hn::StoreU(s0, d, into);
      hn::StoreU(t0, d, into + n);
      hn::StoreU(s1, d, into + stride);
      hn::StoreU(t1, d, into + stride + n);
      hn::StoreU(s2, d, into + 2 * stride);
      hn::StoreU(t2, d, into + 2 * stride + n);
      hn::StoreU(s3, d, into + 3 * stride);
      hn::StoreU(t3, d, into + 3 * stride + n);
    }
  }
}

// out[i][:] = sum over k < inner of left[i][columns[k]] right[k][:], in the order of k; no columns:
// k itself. Rows are `stride` long, a multiple of 16; `rows` is rounded up to a multiple of 4.
void multiply(const float* left, const uint8_t* columns, const float* right, float* out,
              uint64_t rows, uint64_t inner, uint64_t stride) {
  if (columns == nullptr) {
    multiply_columns([](uint64_t k) { return k; }, left, right, out, rows, inner, stride);
  } else {
    multiply_columns([columns](uint64_t k) { return uint64_t{columns[k]}; }, left, right, out, rows,
                     inner, stride);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace gossamer
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace gossamer {
namespace {

HWY_EXPORT(multiply);

constexpr double kHalfPi = 1.5707963267948966;
constexpr int kTerms = 12;  // of the series, for angles up to pi / 4: below half a last bit

// x^first / first! - x^(first + 2) / (first + 2)! + ...: a sine from 1, a cosine from 0.
double series(double x, int first) {
  double sum = 0;
  for (int k = first + 2 * (kTerms - 1); k > first; k -= 2) {
    sum = (sum + 1) * (-x * x / (k * (k - 1)));
  }
  return (sum + 1) * (first == 0 ? 1 : x);
}

// cos(pi j / (2 q)).
double cosine(uint64_t j, uint64_t q) {
  j %= 4 * q;
  if (j > 2 * q) j = 4 * q - j;
  if (j > q) return -cosine(2 * q - j, q);
  const auto angle = [&](uint64_t part) {
    return kHalfPi * static_cast<double>(part) / static_cast<double>(q);
  };
  return 2 * j > q ? series(angle(q - j), 1) : series(angle(j), 0);
}

double weight(uint64_t k, uint64_t length) {
  return std::sqrt((k == 0 ? 1.0 : 2.0) / static_cast<double>(length));
}

// Of rows of `length` among those of rows of 1, 2, ...
uint64_t short_begin(uint64_t length) {
  return 2 * length * (length - 1);
}

// Up to kSideMax rows of `side` to rows of `stride`, with as many of zeros as multiply() reads.
void spread(const float* values, uint64_t rows, uint64_t side, uint64_t stride, float* into) {
  std::memset(into, 0, (rows + 3) / 4 * 4 * stride * sizeof(float));
  for (uint64_t r = 0; r < rows; ++r) {
    std::memcpy(into + r * stride, values + r * side, side * sizeof(float));
  }
}
void gather(const float* from, uint64_t rows, uint64_t side, uint64_t stride, float* values) {
  for (uint64_t r = 0; r < rows; ++r) {
    std::memcpy(values + r * side, from + r * stride, side * sizeof(float));
  }
}

}  // namespace

Cosines::Cosines(uint64_t side)
    : side_(side),
      forward_((side + 3) / 4 * 4 * stride()),
      back_(forward_.size()),
      short_(short_begin(side)) {
  for (uint64_t k = 0; k < side; ++k) {
    for (uint64_t n = 0; n < side; ++n) {
      const auto entry = static_cast<float>(weight(k, side) * cosine((2 * n + 1) * k, side));
      forward_[k * stride() + n] = entry;
      back_[n * stride() + k] = entry;
    }
  }
  for (uint64_t length = 1; length < side; ++length) {
    for (uint64_t j = 0; j < 4 * length; ++j) {
      short_[short_begin(length) + j] = static_cast<float>(cosine(j, length));
    }
  }
}

void Cosines::square(float* values) const {
  alignas(64) float from[kAreaMax];
  alignas(64) float half[kAreaMax];
  spread(values, side_, side_, stride(), from);
  HWY_DYNAMIC_DISPATCH(multiply)
  (forward_.data(), nullptr, from, half, side_, side_, stride());
  HWY_DYNAMIC_DISPATCH(multiply)(half, nullptr, back_.data(), from, side_, side_, stride());
  gather(from, side_, side_, stride(), values);
}

void Cosines::square_back(float* values, uint64_t used) const {
  alignas(64) float from[kAreaMax];
  alignas(64) float half[kAreaMax];
  uint8_t rows[kSideMax];
  uint64_t count = 0;
  for (; used != 0; used &= used - 1) {
    const auto row = static_cast<uint8_t>(std::countr_zero(used));
    std::memcpy(from + count * stride(), values + row * side_, side_ * sizeof(float));
    std::fill_n(from + count * stride() + side_, stride() - side_, 0.0F);
    rows[count++] = row;
  }
  const uint64_t read = (count + 3) / 4 * 4;  // by multiply()
  std::fill_n(from + count * stride(), (read - count) * stride(), 0.0F);
  HWY_DYNAMIC_DISPATCH(multiply)
  (from, nullptr, forward_.data(), half, count, side_, stride());
  HWY_DYNAMIC_DISPATCH(multiply)(back_.data(), rows, half, from, side_, count, stride());
  gather(from, side_, side_, stride(), values);
}

void Cosines::run_rows(std::span<float> values, bool back) const {
  alignas(64) float from[kAreaMax];
  alignas(64) float into[kAreaMax];
  const uint64_t whole = values.size() / side_;
  const std::vector<float>& matrix = back ? forward_ : back_;
  for (uint64_t r = 0; r < whole; r += kSideMax / 4) {
    const uint64_t some = std::min(kSideMax / 4, whole - r);
    float* const part = values.data() + r * side_;
    spread(part, some, side_, stride(), from);
    HWY_DYNAMIC_DISPATCH(multiply)(from, nullptr, matrix.data(), into, some, side_, stride());
    gather(into, some, side_, stride(), part);
  }
  if (whole * side_ < values.size()) run_short(values.subspan(whole * side_), back);
}

void Cosines::run_short(std::span<float> row, bool back) const {
  const uint64_t length = row.size();
  const float* const cosines = short_.data() + short_begin(length);
  float from[kSideMax];
  std::copy(row.begin(), row.end(), from);
  const auto first = static_cast<float>(weight(0, length));
  const auto other = static_cast<float>(weight(1, length));
  for (uint64_t i = 0; i < length; ++i) {
    float sum = 0;
    for (uint64_t j = 0; j < length; ++j) {
      const uint64_t k = back ? j : i;
      const uint64_t n = back ? i : j;
      const float entry = (k == 0 ? first : other) * cosines[(2 * n + 1) * k % (4 * length)];
      sum += from[j] * entry;
    }
    row[i] = sum;
  }
}

}  // namespace gossamer
#endif
