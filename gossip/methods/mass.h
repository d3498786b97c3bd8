// What push-sum keeps and sends: the elements x and after them the weight w, in one vector of one
// type, so that neither is ever without the other.
//
// Threads    Pure.
// Units      `count` is that of x; a mass has count + 1 elements.

#pragma once

#include <cstddef>
#include <cstdint>

#include "gossamer/types.h"

namespace gossamer {

// x = z, w = 1. float32 or float64, as everywhere here.
void start_mass(DataType type, std::byte* mass, const void* z, uint64_t count);
double weight_of(DataType type, const std::byte* mass, uint64_t count);
// z = x / w. z stays what it was where the weight is no normal number: a rank that has given
// everything away keeps its values.
void value_of(DataType type, const std::byte* mass, void* z, uint64_t count);

}  // namespace gossamer
