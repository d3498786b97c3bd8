// Gram-Schmidt, twice, which is enough.
//   Source    Giraud, Langou, Rozloznik and van den Eshof, "Rounding error analysis of the
//             classical Gram-Schmidt orthogonalization process", Numerische Mathematik 101, 2005.

#include "src/compress/low_rank.h"

#include <cmath>

namespace gossamer {
namespace {

double dot(std::span<const float> a, std::span<const float> b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i)
    sum += static_cast<double>(a[i]) * static_cast<double>(b[i]);
  return sum;
}

// Sums are in 64 bits: with 32 the columns would not be orthogonal enough for feedback to shrink.
void take_away(std::span<float> column, std::span<const float> along) {
  const double part = dot(column, along);
  for (size_t i = 0; i < column.size(); ++i) {
    column[i] =
        static_cast<float>(static_cast<double>(column[i]) - part * static_cast<double>(along[i]));
  }
}

}  // namespace

void orthonormalise(std::span<float> p, uint64_t rows, double epsilon,
                    const std::function<void(uint64_t, uint64_t, std::span<float>)>& draw) {
  constexpr uint64_t kAttemptsMax = 8;
  const uint64_t rank = rows == 0 ? 0 : p.size() / rows;
  for (uint64_t k = 0; k < rank; ++k) {
    const std::span<float> column = p.subspan(k * rows, rows);
    for (uint64_t attempt = 0; attempt < kAttemptsMax; ++attempt) {
      const double before = std::sqrt(dot(column, column));
      double after = 0;
      if (before > 0 && std::isfinite(before)) {
        // First to a length of 1: what is tiny would lose its bits.
        for (float& x : column) x = static_cast<float>(static_cast<double>(x) / before);
        for (int pass = 0; pass < 2; ++pass) {
          for (uint64_t j = 0; j < k; ++j) take_away(column, p.subspan(j * rows, rows));
        }
        after = std::sqrt(dot(column, column));
      }
      if (after > epsilon) {
        for (float& x : column) x = static_cast<float>(static_cast<double>(x) / after);
        break;
      }
      draw(k, attempt, column);
    }
  }
}

}  // namespace gossamer
