// Weighted sums, exactly: in the integers modulo the prime 2^61 - 1. Every double is a whole number
// times a power of two, so it has an image there, and sums and products of images are the images of
// sums and products. Each rank's input is a random number of the field; two different weighted sums
// have the same image with probability 2^-61.
//
// Threads    Pure.

#pragma once

#include <cmath>
#include <cstdint>

namespace gossamer {

inline constexpr uint64_t kFieldPrime = (uint64_t{1} << 61) - 1;

inline uint64_t field_add(uint64_t a, uint64_t b) {
  const uint64_t sum = a + b;
  return sum >= kFieldPrime ? sum - kFieldPrime : sum;
}

__extension__ using Product = unsigned __int128;

inline uint64_t field_multiply(uint64_t a, uint64_t b) {
  const Product product = static_cast<Product>(a) * b;
  return field_add(static_cast<uint64_t>(product & kFieldPrime),
                   static_cast<uint64_t>(product >> 61));
}

// Of a finite number.
inline uint64_t field_of(double value) {
  int exponent = 0;
  const double fraction = std::frexp(std::abs(value), &exponent);
  const auto whole = static_cast<uint64_t>(std::ldexp(fraction, 53));  // times 2^(exponent - 53)
  // 2^61 is 1, so powers of two repeat after 61.
  const int shift = ((exponent - 53) % 61 + 61) % 61;
  const uint64_t image = field_multiply(whole, uint64_t{1} << shift);
  return std::signbit(value) && image != 0 ? kFieldPrime - image : image;
}

}  // namespace gossamer
