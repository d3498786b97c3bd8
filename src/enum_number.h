// A C caller's number, read as one: as an enum it may be a value that the compiler assumes away.
//
// Threads    Pure.

#pragma once

#include <cstdint>
#include <cstring>

namespace gossamer {

template <class Enum>
uint32_t number_of(const Enum& value) {
  uint32_t number = 0;
  static_assert(sizeof(number) == sizeof(value));
  std::memcpy(&number, &value, sizeof(number));
  return number;
}

}  // namespace gossamer
