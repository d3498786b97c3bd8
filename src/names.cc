// Names of types, operations and codes: what the command line reads and logs show.

#include <array>
#include <utility>

#include "gossamer/status.h"
#include "gossamer/types.h"

namespace gossamer {
namespace {

template <class T>
struct Named {
  std::string_view name;
  T value;
};

// The first name of a value is the one shown; later ones are accepted too.
constexpr Named<DataType> kDataTypes[] = {
    {"int8", DataType::kInt8},
    {"uint8", DataType::kUint8},
    {"int32", DataType::kInt32},
    {"uint32", DataType::kUint32},
    {"int64", DataType::kInt64},
    {"uint64", DataType::kUint64},
    {"float16", DataType::kFloat16},
    {"float32", DataType::kFloat32},
    {"float64", DataType::kFloat64},
    {"bfloat16", DataType::kBfloat16},
    {"float8_e4m3", DataType::kFloat8E4M3},
    {"float8_e5m2", DataType::kFloat8E5M2},
    {"char", DataType::kInt8},
    {"int", DataType::kInt32},
    {"half", DataType::kFloat16},
    {"float", DataType::kFloat32},
    {"double", DataType::kFloat64},
    {"bf16", DataType::kBfloat16},
    {"fp16", DataType::kFloat16},
    {"fp32", DataType::kFloat32},
    {"fp64", DataType::kFloat64},
    {"f8e4m3", DataType::kFloat8E4M3},
    {"f8e5m2", DataType::kFloat8E5M2},
    {"fp8_e4m3", DataType::kFloat8E4M3},
    {"fp8_e5m2", DataType::kFloat8E5M2},
};

constexpr Named<ReduceOp> kReduceOps[] = {
    {"sum", ReduceOp::kSum},   {"prod", ReduceOp::kProd},
    {"max", ReduceOp::kMax},   {"min", ReduceOp::kMin},
    {"avg", ReduceOp::kAvg},   {"premulsum", ReduceOp::kPreMulSum},
    {"user", ReduceOp::kUser}, {"mulsum", ReduceOp::kPreMulSum},
};

constexpr Named<Collective> kCollectives[] = {
    {"all_reduce", Collective::kAllReduce},
    {"all_gather", Collective::kAllGather},
    {"broadcast", Collective::kBroadcast},
    {"reduce", Collective::kReduce},
    {"reduce_scatter", Collective::kReduceScatter},
    {"all_to_all", Collective::kAllToAll},
    {"gather", Collective::kGather},
    {"scatter", Collective::kScatter},
    {"neighbor_average", Collective::kNeighborAverage},
    {"neighbor_all_gather", Collective::kNeighborAllGather},
    {"allreduce", Collective::kAllReduce},
    {"allgather", Collective::kAllGather},
    {"bcast", Collective::kBroadcast},
    {"reducescatter", Collective::kReduceScatter},
    {"alltoall", Collective::kAllToAll},
    {"neighbor_allreduce", Collective::kNeighborAverage},
    {"neighbor_allgather", Collective::kNeighborAllGather},
};

constexpr Named<Code> kCodes[] = {
    {"ok", Code::kOk},
    {"pending", Code::kPending},
    {"again", Code::kAgain},
    {"invalid argument", Code::kInvalidArgument},
    {"unavailable", Code::kUnavailable},
    {"timeout", Code::kTimeout},
    {"peer lost", Code::kPeerLost},
    {"mismatch", Code::kMismatch},
    {"aborted", Code::kAborted},
    {"system error", Code::kSystem},
};

template <class T, size_t kCount>
std::string_view name_in(const Named<T> (&table)[kCount], T value) {
  for (const Named<T>& entry : table) {
    if (entry.value == value) return entry.name;
  }
  return "unknown";
}

template <class T, size_t kCount>
std::optional<T> value_in(const Named<T> (&table)[kCount], std::string_view name) {
  for (const Named<T>& entry : table) {
    if (entry.name == name) return entry.value;
  }
  return std::nullopt;
}

}  // namespace

std::string_view name_of(DataType type) {
  return name_in(kDataTypes, type);
}

std::string_view name_of(ReduceOp op) {
  return name_in(kReduceOps, op);
}

std::string_view name_of(Collective collective) {
  return name_in(kCollectives, collective);
}

std::string_view name_of(Code code) {
  return name_in(kCodes, code);
}

std::optional<DataType> parse_data_type(std::string_view name) {
  return value_in(kDataTypes, name);
}

std::optional<ReduceOp> parse_reduce_op(std::string_view name) {
  return value_in(kReduceOps, name);
}

std::optional<Collective> parse_collective(std::string_view name) {
  return value_in(kCollectives, name);
}

std::string Status::to_string() const {
  std::string text(name_of(code()));
  if (!message().empty()) text += ": " + message();
  return text;
}

}  // namespace gossamer
