// Ranks, element types, reductions and the names of collectives.
//
// Units      Counts are elements, never bytes; anything in bytes says so in its name.

#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "gossamer/export.h"

namespace gossamer {

using Rank = int32_t;  // 0 <= rank < size; -1 means "no rank"

// Element types. The values are NCCL's, so that the boundary casts instead of translating.
enum class DataType : uint8_t {
  kInt8 = 0,
  kUint8 = 1,
  kInt32 = 2,
  kUint32 = 3,
  kInt64 = 4,
  kUint64 = 5,
  kFloat16 = 6,
  kFloat32 = 7,
  kFloat64 = 8,
  kBfloat16 = 9,
  kFloat8E4M3 = 10,
  kFloat8E5M2 = 11,
};
inline constexpr int kDataTypeCount = 12;

// How two elements become one.
//   kAvg          the sum over all ranks divided by their number, once, at the end
//   kPreMulSum    each rank's input is multiplied by a scalar of its own first (see Reduction)
//   kUser         a function of the caller's, commutative and associative (see Reduction)
enum class ReduceOp : uint8_t {
  kSum = 0,
  kProd = 1,
  kMax = 2,
  kMin = 3,
  kAvg = 4,
  kPreMulSum = 5,
  kUser = 6,
};
inline constexpr int kReduceOpCount = 7;

// into[i] = into[i] (op) from[i] for i in [0, count). Must be commutative, associative and
// thread-safe; it runs on whichever thread drives the communicator.
using UserReduce = void (*)(void* into, const void* from, uint64_t count, void* context);

// A reduction with what it needs beyond its name. Converts from ReduceOp where nothing more is
// needed, so callers write `ReduceOp::kSum`.
struct Reduction {
  ReduceOp op = ReduceOp::kSum;
  double scalar = 1.0;            // kPreMulSum: this rank's factor; ranks may differ
  UserReduce function = nullptr;  // kUser
  void* context = nullptr;        // kUser: handed to `function`; must outlive the Work

  constexpr Reduction() = default;
  constexpr Reduction(ReduceOp plain) : op(plain) {}  // NOLINT(google-explicit-constructor)
  static constexpr Reduction pre_mul_sum(double scalar) {
    Reduction r(ReduceOp::kPreMulSum);
    r.scalar = scalar;
    return r;
  }
  static constexpr Reduction user(UserReduce function, void* context = nullptr) {
    Reduction r(ReduceOp::kUser);
    r.function = function;
    r.context = context;
    return r;
  }
};

enum class Collective : uint8_t {
  kAllReduce = 0,
  kAllGather = 1,
  kBroadcast = 2,
  kReduce = 3,
  kReduceScatter = 4,
  kAllToAll = 5,
  kGather = 6,
  kScatter = 7,
  kNeighborAverage = 8,    // gossamer/gossip.h
  kNeighborAllGather = 9,  // gossamer/gossip.h
};
inline constexpr int kCollectiveCount = 8;  // of those among all ranks, which come first

// Whether a graph says who exchanges with whom.
constexpr bool has_graph(Collective collective) {
  return collective == Collective::kNeighborAverage || collective == Collective::kNeighborAllGather;
}

// Whether it combines elements, so that a Reduction means something.
constexpr bool reduces(Collective collective) {
  return collective == Collective::kAllReduce || collective == Collective::kReduce ||
         collective == Collective::kReduceScatter;
}

// Whether one rank, the root, is its source or its target.
constexpr bool has_root(Collective collective) {
  return collective == Collective::kBroadcast || collective == Collective::kReduce ||
         collective == Collective::kGather || collective == Collective::kScatter;
}

// Whether its larger buffer holds one share of `count` elements per rank, in rank order; of a
// neighbor all-gather, per source.
constexpr bool is_in_shares(Collective collective) {
  return collective != Collective::kAllReduce && collective != Collective::kBroadcast &&
         collective != Collective::kReduce && collective != Collective::kNeighborAverage;
}

// Bytes of one element. 0 for a value that is no DataType.
constexpr uint32_t size_of(DataType type) {
  switch (type) {
    case DataType::kInt8:
    case DataType::kUint8:
    case DataType::kFloat8E4M3:
    case DataType::kFloat8E5M2:
      return 1;
    case DataType::kFloat16:
    case DataType::kBfloat16:
      return 2;
    case DataType::kInt32:
    case DataType::kUint32:
    case DataType::kFloat32:
      return 4;
    case DataType::kInt64:
    case DataType::kUint64:
    case DataType::kFloat64:
      return 8;
  }
  return 0;
}

// 16- and 8-bit floats: accumulated in fp32 where the algorithm allows, rounded once.
constexpr bool is_narrow_float(DataType type) {
  return type == DataType::kFloat16 || type == DataType::kBfloat16 ||
         type == DataType::kFloat8E4M3 || type == DataType::kFloat8E5M2;
}

// "float32", "sum", "all_reduce": the names used by the command line, logs and CSV files.
GOSSAMER_API std::string_view name_of(DataType type);
GOSSAMER_API std::string_view name_of(ReduceOp op);
GOSSAMER_API std::string_view name_of(Collective collective);

// The inverse; also accepts NCCL's and nccl-tests' spellings ("float", "half", "bfloat16", ...).
GOSSAMER_API std::optional<DataType> parse_data_type(std::string_view name);
GOSSAMER_API std::optional<ReduceOp> parse_reduce_op(std::string_view name);
GOSSAMER_API std::optional<Collective> parse_collective(std::string_view name);

}  // namespace gossamer
