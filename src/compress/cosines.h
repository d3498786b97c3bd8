// The discrete cosine transform (DCT-II, orthonormal) of short runs, and of squares of them.
//   Source    Ahmed, Natarajan and Rao, "Discrete cosine transform", IEEE Trans. Computers C-23(1),
//             1974; by the product with its matrix, which for up to 64 elements is nearly as fast
//             as any other way and rounds least.
//   Bits      The same on every machine: cosines are made of additions and products alone.
//
// Threads    All const; any thread.
// Memory     Tables, made by the constructor.
// Units      Counts are elements.

#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace gossamer {

class Cosines {
 public:
  static constexpr uint64_t kSideMax = 64;
  static constexpr uint64_t kAreaMax = kSideMax * kSideMax;

  explicit Cosines(uint64_t side);

  uint64_t side() const { return side_; }
  // Of `values`, in place: a square of side() rows of side(), or rows that are transformed each by
  // itself, of which the last may be shorter; up to kAreaMax in all. Values times 64 are finite.
  void square(float* values) const;
  // The rows that are in the set of bits `used`; others are zeros, and cost nothing.
  void square_back(float* values, uint64_t used) const;
  void rows(std::span<float> values) const { run_rows(values, false); }
  void rows_back(std::span<float> values) const { run_rows(values, true); }

 private:
  // Rows of matrices are padded with zeros to stride(), and rows of zeros to a multiple of 4.
  uint64_t stride() const { return (side_ + 15) / 16 * 16; }
  void run_rows(std::span<float> values, bool back) const;
  void run_short(std::span<float> row, bool back) const;

  uint64_t side_;
  std::vector<float> forward_;  // coefficient k from element n at [k][n]
  std::vector<float> back_;     // its transpose
  std::vector<float> short_;    // of rows of 1 to side - 1: cos(pi j / (2 length)), j < 4 length
};

}  // namespace gossamer
