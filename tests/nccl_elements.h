// Elements of NCCL's types as numbers and back, written for the tests alone: what the library
// computes is compared with this, never with itself.

#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "nccl/nccl.h"

namespace gossamer::nccl_test {

inline size_t bytes_of(int type) {
  constexpr size_t kBytes[] = {1, 1, 4, 4, 8, 8, 2, 4, 8, 2, 1, 1};
  return kBytes[type];
}

// The largest M such that all integers from 0 to M are exact.
inline double exact_max(int type) {
  constexpr double kMax[] = {127,  255,     1 << 30, 1 << 30, 1 << 30, 1 << 30,
                             2048, 1 << 24, 1 << 30, 256,     16,      8};
  return kMax[type];
}

// A float of few bits, rounded to nearest even: sign, exponent (biased), mantissa.
inline uint32_t encode_small_float(double value, int exponent_bits, int mantissa_bits) {
  const int bias = (1 << (exponent_bits - 1)) - 1;
  const uint32_t sign = std::signbit(value) ? 1U << (exponent_bits + mantissa_bits) : 0;
  const double magnitude = std::fabs(value);
  if (magnitude == 0) return sign;
  int exponent = std::ilogb(magnitude);
  if (exponent < 1 - bias) exponent = 1 - bias;
  const double units = std::nearbyint(std::ldexp(magnitude, mantissa_bits - exponent));
  // Units of a normal number have the hidden bit; adding the exponent below it lets a carry run on.
  const auto whole = static_cast<uint32_t>(units);
  const auto biased = static_cast<uint32_t>(exponent + bias - 1);
  return sign | ((biased << mantissa_bits) + whole);
}

inline void encode(int type, double value, void* into) {
  const auto put = [&](auto element) { std::memcpy(into, &element, sizeof(element)); };
  switch (type) {
    case ncclInt8:
      return put(static_cast<int8_t>(value));
    case ncclUint8:
      return put(static_cast<uint8_t>(value));
    case ncclInt32:
      return put(static_cast<int32_t>(value));
    case ncclUint32:
      return put(static_cast<uint32_t>(value));
    case ncclInt64:
      return put(static_cast<int64_t>(value));
    case ncclUint64:
      return put(static_cast<uint64_t>(value));
    case ncclFloat16:
      return put(static_cast<uint16_t>(encode_small_float(value, 5, 10)));
    case ncclFloat32:
      return put(static_cast<float>(value));
    case ncclFloat64:
      return put(value);
    case ncclBfloat16:
      return put(static_cast<uint16_t>(encode_small_float(value, 8, 7)));
    case ncclFloat8e4m3:
      return put(static_cast<uint8_t>(encode_small_float(value, 4, 3)));
    default:
      return put(static_cast<uint8_t>(encode_small_float(value, 5, 2)));
  }
}

// Small numbers that differ from rank to rank and place to place, so that every partial result of
// `op` over `size` ranks is exact in `type`, in whatever order it is computed.
struct Numbers {
  int type;
  int op;  // ncclSum ... ncclAvg, or ncclNumOps for a pre-multiplied sum
  int size;

  double factor(int rank) const { return rank % 2 == 0 ? 1 : 2; }

  double at(int rank, uint64_t index) const {
    const uint64_t mixed = (index * 2654435761U + static_cast<uint64_t>(rank) * 40503U) >> 5;
    if (op == ncclProd) {  // at most three ranks double it
      return (index + static_cast<uint64_t>(rank)) % 3 == 0 && rank < 8 ? 2 : 1;
    }
    if (op == ncclMax || op == ncclMin) {
      return static_cast<double>(mixed % static_cast<uint64_t>(std::fmin(exact_max(type), 100)));
    }
    const double room = exact_max(type) / (op == ncclNumOps ? 2 * size : size);
    if (room < 1) return index % static_cast<uint64_t>(size) == static_cast<uint64_t>(rank) ? 1 : 0;
    return static_cast<double>(mixed % (static_cast<uint64_t>(std::fmin(room, 99)) + 1));
  }

  double reduced(uint64_t index) const {
    double result = op == ncclSum || op == ncclAvg || op == ncclNumOps ? 0 : at(0, index);
    for (int rank = 0; rank < size; ++rank) {
      const double x = at(rank, index);
      switch (op) {
        case ncclProd:
          result = rank == 0 ? x : result * x;
          break;
        case ncclMax:
          result = std::fmax(result, x);
          break;
        case ncclMin:
          result = std::fmin(result, x);
          break;
        case ncclNumOps:
          result += factor(rank) * x;
          break;
        default:
          result += x;
      }
    }
    if (op != ncclAvg) return result;
    return type <= ncclUint64 ? std::trunc(result / size) : result / size;
  }
};

}  // namespace gossamer::nccl_test
