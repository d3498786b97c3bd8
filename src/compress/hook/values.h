// Gradients on their way into buckets and back: copied, divided, looked at for what is not finite.
//
// Threads    Pure.
// Units      Counts are elements.

#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "gossamer/types.h"

namespace gossamer {

// into[i] = from[i]; whether all of them are finite.
bool copy_finite(DataType type, std::byte* into, const std::byte* from, uint64_t count);
bool all_finite(DataType type, const std::byte* values, uint64_t count);

// How the result of an exchange becomes the average.
struct Divisor {
  double divide = 1;  // first, as a reduction with kAvg does
  double times = 1;   // or this: no type of ours uses both
};
// into[i] = from[i] / divide * times; into may be from. Whether all of them are finite.
bool divide_finite(DataType type, std::byte* into, const std::byte* from, uint64_t count,
                   const Divisor& divisor);

// Elements as fp32 and back.
void widen(DataType type, const std::byte* from, std::span<float> into);
void narrow(DataType type, std::span<const float> from, std::byte* into);

}  // namespace gossamer
