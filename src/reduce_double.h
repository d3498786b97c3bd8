// fp64 in fp32 accumulators, of calls that have a codec: kernels like those of src/reduce.h.
//
// Threads    Pure functions.
// Units      Counts are elements.

#pragma once

#include <cstddef>
#include <cstdint>

namespace gossamer {

void float_of_double(std::byte* target, const std::byte* from, uint64_t count, double);
void double_of_float(std::byte* target, const std::byte* from, uint64_t count, double);
void double_of_float_divided(std::byte* target, const std::byte* from, uint64_t count,
                             double divisor);
// target[i] = operand[i] + arrived[i]; target and operand are fp32.
void sum_double_into_float(std::byte* target, const std::byte* operand, const std::byte* arrived,
                           uint64_t count);

}  // namespace gossamer
