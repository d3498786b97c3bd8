// Calls whose result is known to the bit: inputs are small integers, so that every partial sum and
// product is exact in the element type, in whatever order an algorithm folds.

#pragma once

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "gossamer/communicator.h"
#include "gossamer/memory.h"
#include "src/call_buffers.h"
#include "src/reduce.h"
#include "tests/origin.h"
#include "tests/rank_group.h"

namespace gossamer {

// Memory of a call: from the library's allocator or the heap, shifted off its natural alignment by
// whole elements.
class CallMemory {
 public:
  CallMemory(uint64_t bytes, bool shared, uint64_t shift) : shared_(shared), shift_(shift) {
    const uint64_t whole = bytes + shift + 1;
    if (shared_) {
      Result<void*> memory = allocate_memory(whole);
      EXPECT_TRUE(memory.is_ok()) << memory.status().to_string();
      base_ = memory ? static_cast<std::byte*>(*memory) : nullptr;
    } else {
      base_ = new std::byte[whole]();
    }
  }
  CallMemory(CallMemory&& other) noexcept
      : shared_(other.shared_), shift_(other.shift_), base_(std::exchange(other.base_, nullptr)) {}
  CallMemory(const CallMemory&) = delete;
  CallMemory& operator=(const CallMemory&) = delete;
  ~CallMemory() {
    if (base_ == nullptr) return;
    if (shared_) {
      EXPECT_TRUE(free_memory(base_));
    } else {
      delete[] base_;
    }
  }
  std::byte* data() const { return base_ + shift_; }

 private:
  bool shared_;
  uint64_t shift_;
  std::byte* base_;
};

struct ExactCall {
  Collective collective = Collective::kAllReduce;
  DataType type = DataType::kFloat32;
  ReduceOp op = ReduceOp::kSum;
  uint64_t count = 0;
  bool in_place = false;
  bool shared = false;  // memory from allocate_memory()
  uint64_t shift = 0;   // elements
  uint64_t seed = 0;
  Rank root = 0;

  Call call() const {
    return {.collective = collective,
            .type = type,
            .op = op,
            .count = count,
            .in_place = in_place,
            .root = root};
  }
  std::string text() const {
    return std::string(name_of(collective)) + " " + std::string(name_of(type)) + " " +
           std::string(name_of(op)) + " x" + std::to_string(count) + (in_place ? " in place" : "") +
           (has_root(collective) ? " root " + std::to_string(root) : "") +
           (shared ? " shared" : "") + " seed " + std::to_string(seed);
  }
};

inline bool is_unsigned(DataType type) {
  return type == DataType::kUint8 || type == DataType::kUint32 || type == DataType::kUint64;
}

// The largest n such that all integers in [-n, n] are exact.
inline int64_t exact_integers(DataType type) {
  switch (type) {
    case DataType::kFloat8E5M2:
      return 8;
    case DataType::kFloat8E4M3:
      return 16;
    case DataType::kInt8:
      return 127;
    case DataType::kUint8:
      return 255;
    case DataType::kBfloat16:
      return 256;
    case DataType::kFloat16:
      return 2048;
    default:
      return 1 << 20;
  }
}

template <class T>
void put(std::byte* into, T value) {
  std::memcpy(into, &value, sizeof(value));
}

inline void encode(DataType type, int64_t value, std::byte* into) {
  switch (type) {
    case DataType::kInt8:
    case DataType::kUint8:
      return put(into, static_cast<uint8_t>(value));
    case DataType::kInt32:
    case DataType::kUint32:
      return put(into, static_cast<uint32_t>(value));
    case DataType::kInt64:
    case DataType::kUint64:
      return put(into, value);
    case DataType::kFloat32:
      return put(into, static_cast<float>(value));
    case DataType::kFloat64:
      return put(into, static_cast<double>(value));
    default:
      return narrow_one(type, static_cast<float>(value), into);
  }
}

// sum / size as the element type has it.
inline void encode_average(DataType type, int64_t sum, Rank size, std::byte* into) {
  if (type == DataType::kFloat64) return put(into, static_cast<double>(sum) / size);
  const float quotient = static_cast<float>(sum) / static_cast<float>(size);
  if (type == DataType::kFloat32) return put(into, quotient);
  if (is_narrow_float(type)) return narrow_one(type, quotient, into);
  encode(type, sum / size, into);  // integers truncate toward zero
}

inline uint64_t scramble(uint64_t x) {
  x ^= x >> 31;
  x *= 0x7fb5d329728ea185ULL;
  x ^= x >> 27;
  x *= 0x81dadef4bc2dd44dULL;
  return x ^ (x >> 33);
}

// Rank r's element i. At most `exact_integers() / 2` ranks hold more than 0 (1 for products) at any
// one element where the type has few integers, which bounds every partial result.
inline int64_t value_of(const ExactCall& call, Rank r, Rank size, uint64_t i) {
  const uint64_t random = scramble(call.seed * 1000003 + i * 131 + static_cast<uint64_t>(r) + 1);
  const bool adds =
      call.op == ReduceOp::kSum || call.op == ReduceOp::kAvg || call.op == ReduceOp::kPreMulSum;
  const auto turn = static_cast<int64_t>((static_cast<uint64_t>(r) + i) %
                                         static_cast<uint64_t>(size));  // distinct over ranks
  if (call.op == ReduceOp::kProd) {
    const bool doubles = turn < 3 && random % 2 == 0;
    const int64_t sign = !is_unsigned(call.type) && random % 3 == 0 ? -1 : 1;
    return sign * (doubles ? 2 : 1);
  }
  const int64_t most = exact_integers(call.type);
  int64_t magnitude = 3;
  if (adds && 2 * magnitude * size > most) magnitude = 1;  // factors are at most 2
  if (adds && turn >= most / 2) return 0;
  const auto span = static_cast<uint64_t>(is_unsigned(call.type) ? magnitude : 2 * magnitude) + 1;
  return static_cast<int64_t>(random % span) - (is_unsigned(call.type) ? 0 : magnitude);
}

inline double scalar_of(Rank r) {
  return r % 2 == 0 ? 1 : 2;
}

inline void xor_bytes(void* into, const void* from, uint64_t count, void* context) {
  auto* a = static_cast<uint8_t*>(into);
  const auto* b = static_cast<const uint8_t*>(from);
  const uint64_t bytes = count * *static_cast<const uint32_t*>(context);
  for (uint64_t i = 0; i < bytes; ++i) a[i] ^= b[i];
}

// The inputs of all ranks and the result that each must have.
class ExactData {
 public:
  ExactData(const ExactCall& call, Rank size) : call_(call), size_(size) {
    if (has_root(call.collective)) call_.root = call.root % size;
    const uint32_t element = size_of(call.type);
    for (Rank r = 0; r < size; ++r) {
      std::vector<std::byte> input(input_count(r) * element);
      for (uint64_t i = 0; i < input_count(r); ++i) {
        encode(call.type, value_of(call_, r, size, i), &input[i * element]);
      }
      inputs_.push_back(std::move(input));
    }
    for (Rank r = 0; r < size; ++r) {
      const bool known = r > 0 && call.collective == Collective::kAllReduce;
      results_.push_back(known ? results_.front() : result_of(r));
    }
  }

  // Makes the call as one rank and compares every byte, also of what must stay as it was. A buffer
  // that the rank has no use for is null.
  void check(Communicator& comm) const {
    const Rank rank = comm.rank();
    const CallBuffers buffers = buffers_of(call_.call(), rank, size_);
    const uint64_t element = size_of(call_.type);
    const std::vector<std::byte>& in = inputs_[static_cast<size_t>(rank)];
    const std::vector<std::byte>& result = results_[static_cast<size_t>(rank)];
    const uint64_t in_bytes = buffers.input_count * element;
    const uint64_t end_at = buffers.in_place ? buffers.both_count() * element : result.size();
    const CallMemory memory(end_at, call_.shared, call_.shift * element);
    const CallMemory apart(in_bytes, call_.shared, call_.shift * element);
    const std::byte end{0x5a};
    memory.data()[end_at] = end;
    std::byte* const input =
        buffers.in_place ? memory.data() + buffers.input_first * element : apart.data();
    std::byte* const output = memory.data() + buffers.output_first * element;
    if (in_bytes > 0) std::memcpy(input, in.data(), in_bytes);
    const Status status =
        run(comm, in_bytes > 0 ? input : nullptr, buffers.output_count > 0 ? output : nullptr);
    ASSERT_TRUE(status) << call_.text() << " on rank " << rank << " of " << size_ << ": "
                        << status.to_string();
    EXPECT_EQ(memory.data()[end_at], end) << call_.text();
    for (uint64_t i = 0; i < in_bytes; i += element) {
      const bool is_output = input + i >= output && input + i < output + result.size();
      if (is_output || std::memcmp(input + i, &in[i], element) == 0) continue;
      ADD_FAILURE() << call_.text() << " on rank " << rank << " changed its input";
      break;
    }
    expect_result(output, rank);
  }

 private:
  uint64_t input_count(Rank rank) const {
    return buffers_of(call_.call(), rank, size_).input_count;
  }

  std::vector<std::byte> result_of(Rank rank) const {
    const uint64_t element = size_of(call_.type);
    std::vector<std::byte> result(buffers_of(call_.call(), rank, size_).output_count * element);
    for (uint64_t i = 0; i * element < result.size(); ++i) {
      const Origin origin = origin_of(call_.call(), rank, i);
      if (origin.from < 0) {
        reduce_serially(origin.element, &result[i * element]);
      } else {
        std::memcpy(&result[i * element],
                    &inputs_[static_cast<size_t>(origin.from)][origin.element * element], element);
      }
    }
    return result;
  }

  void reduce_serially(uint64_t i, std::byte* into) const {
    const uint32_t element = size_of(call_.type);
    int64_t total = value_of(call_, 0, size_, i);
    if (call_.op == ReduceOp::kPreMulSum) total *= static_cast<int64_t>(scalar_of(0));
    std::memcpy(into, &inputs_[0][i * element], element);
    for (Rank r = 1; r < size_; ++r) {
      const int64_t value = value_of(call_, r, size_, i);
      switch (call_.op) {
        case ReduceOp::kProd:
          total *= value;
          break;
        case ReduceOp::kMax:
          total = std::max(total, value);
          break;
        case ReduceOp::kMin:
          total = std::min(total, value);
          break;
        case ReduceOp::kPreMulSum:
          total += value * static_cast<int64_t>(scalar_of(r));
          break;
        case ReduceOp::kUser: {
          uint32_t bytes = element;
          xor_bytes(into, &inputs_[static_cast<size_t>(r)][i * element], 1, &bytes);
          break;
        }
        default:
          total += value;
      }
    }
    if (call_.op == ReduceOp::kAvg) {
      encode_average(call_.type, total, size_, into);
    } else if (call_.op != ReduceOp::kUser) {
      encode(call_.type, total, into);
    }
  }

  // As data, or by name.
  Status run(Communicator& comm, const std::byte* input, std::byte* output) const {
    Reduction reduction = call_.op;
    uint32_t element = size_of(call_.type);
    if (call_.op == ReduceOp::kPreMulSum)
      reduction = Reduction::pre_mul_sum(scalar_of(comm.rank()));
    if (call_.op == ReduceOp::kUser) reduction = Reduction::user(xor_bytes, &element);
    if (call_.seed % 2 == 0) {
      return comm.run(
          {call_.collective, input, output, call_.count, call_.type, reduction, call_.root});
    }
    switch (call_.collective) {
      case Collective::kAllReduce:
        return comm.all_reduce(input, output, call_.count, call_.type, reduction);
      case Collective::kAllGather:
        return comm.all_gather(input, output, call_.count, call_.type);
      case Collective::kBroadcast:
        return comm.broadcast(input, output, call_.count, call_.type, call_.root);
      case Collective::kReduce:
        return comm.reduce(input, output, call_.count, call_.type, reduction, call_.root);
      case Collective::kReduceScatter:
        return comm.reduce_scatter(input, output, call_.count, call_.type, reduction);
      case Collective::kAllToAll:
        return comm.all_to_all(input, output, call_.count, call_.type);
      case Collective::kGather:
        return comm.gather(input, output, call_.count, call_.type, call_.root);
      case Collective::kScatter:
        return comm.scatter(input, output, call_.count, call_.type, call_.root);
      case Collective::kNeighborAverage:  // tests/neighbors_test.cc
      case Collective::kNeighborAllGather:
        break;
    }
    return Status::error(Code::kInvalidArgument, "no such collective");
  }

  void expect_result(const std::byte* output, Rank r) const {
    const std::vector<std::byte>& result = results_[static_cast<size_t>(r)];
    if (result.empty() || std::memcmp(output, result.data(), result.size()) == 0) return;
    size_t at = 0;
    while (output[at] == result[at]) ++at;
    ADD_FAILURE() << call_.text() << " on rank " << r << " of " << size_ << ": wrong from element "
                  << at / size_of(call_.type);
  }

  ExactCall call_;
  Rank size_;
  std::vector<std::vector<std::byte>> inputs_;
  std::vector<std::vector<std::byte>> results_;  // per rank
};

// Every rank makes the calls in order.
inline void check_calls(RankGroup& group, const std::vector<ExactCall>& calls) {
  std::vector<ExactData> data;
  for (const ExactCall& call : calls) data.emplace_back(call, group.size());
  group.each([&](Communicator& comm) {
    for (const ExactData& one : data) one.check(comm);
  });
}

}  // namespace gossamer
