// C-11: every call on host memory, compared bit for bit with what it must be.
// ctest: TIMEOUT 900

#include <gtest/gtest.h>

#include <array>
#include <fstream>
#include <memory>
#include <string>

#include "tests/nccl_elements.h"
#include "tests/nccl_ranks.h"

namespace gossamer::nccl_test {
namespace {

constexpr std::array<const char*, 9> kNames{"AllReduce", "Reduce", "ReduceScatter",
                                            "Broadcast", "Bcast",  "AllGather",
                                            "AlltoAll",  "Gather", "Scatter"};
enum Which {
  kAllReduce,
  kReduce,
  kReduceScatter,
  kBroadcast,
  kBcast,
  kAllGather,
  kAlltoAll,
  kGather,
  kScatter
};

constexpr unsigned char kUntouched = 0xA5;

struct Case {
  int which;
  int type;
  int op;
  int root;
  uint64_t count;
  bool in_place;
};

// One rank's part of one call: fills, calls, compares.
class Call {
 public:
  Call(const Case& c, ncclComm_t comm, int rank, int size)
      : c_(c), comm_(comm), rank_(rank), size_(size), numbers_{c.type, c.op, size} {
    const uint64_t shares = static_cast<uint64_t>(size);
    in_count_ = c.count * (c.which == kReduceScatter || c.which == kAlltoAll ||
                                   (c.which == kScatter && is_root())
                               ? shares
                               : 1);
    out_count_ =
        c.count *
        (c.which == kAllGather || c.which == kAlltoAll || (c.which == kGather && is_root()) ? shares
                                                                                            : 1);
  }

  void run() {
    make_buffers();
    ncclRedOp_t op = static_cast<ncclRedOp_t>(c_.op);
    if (c_.op == ncclNumOps) {
      std::array<unsigned char, 8> factor{};
      encode(c_.type, numbers_.factor(rank_), factor.data());
      NCCL_OK(ncclRedOpCreatePreMulSum(&op, factor.data(), type(), ncclScalarHostImmediate, comm_));
    }
    NCCL_OK(call(op));
    if (c_.op == ncclNumOps) NCCL_OK(ncclRedOpDestroy(op, comm_));
    compare();
  }

 private:
  ncclDataType_t type() const { return static_cast<ncclDataType_t>(c_.type); }
  size_t element() const { return bytes_of(c_.type); }
  bool is_root() const { return rank_ == c_.root; }
  uint64_t share(int rank) const { return static_cast<uint64_t>(rank) * c_.count; }
  bool has_output() const { return (c_.which != kReduce && c_.which != kGather) || is_root(); }
  bool has_input() const {
    return (c_.which != kBroadcast && c_.which != kScatter && c_.which != kBcast) || is_root();
  }

  // In place, both are one buffer, at the offsets that NCCL's rule says.
  void make_buffers() {
    buffer_.assign((std::max(in_count_, out_count_)) * element() + 64, kUntouched);
    other_.assign(in_count_ * element() + 64, kUntouched);
    in_ = other_.data();
    out_ = buffer_.data();
    const bool one = c_.in_place && has_input() && has_output() && c_.which != kAlltoAll;
    if (one || c_.which == kBcast) {
      in_ = out_ = buffer_.data();
      const size_t mine = share(rank_) * element();
      if (c_.which == kAllGather || c_.which == kGather) in_ += mine;
      if (c_.which == kReduceScatter || c_.which == kScatter) out_ += mine;
    }
    if (has_input()) {
      for (uint64_t i = 0; i < in_count_; ++i) {
        encode(c_.type, numbers_.at(rank_, i), in_ + i * element());
      }
    } else if (c_.which != kBcast) {
      in_ = nullptr;
    }
    if (!has_output()) out_ = nullptr;
  }

  ncclResult_t call(ncclRedOp_t op) {
    const uint64_t n = c_.count;
    switch (c_.which) {
      case kAllReduce:
        return ncclAllReduce(in_, out_, n, type(), op, comm_, nullptr);
      case kReduce:
        return ncclReduce(in_, out_, n, type(), op, c_.root, comm_, nullptr);
      case kReduceScatter:
        return ncclReduceScatter(in_, out_, n, type(), op, comm_, nullptr);
      case kBroadcast:
        return ncclBroadcast(in_, out_, n, type(), c_.root, comm_, nullptr);
      case kBcast:
        return ncclBcast(out_, n, type(), c_.root, comm_, nullptr);
      case kAllGather:
        return ncclAllGather(in_, out_, n, type(), comm_, nullptr);
      case kAlltoAll:
        return ncclAlltoAll(in_, out_, n, type(), comm_, nullptr);
      case kGather:
        return ncclGather(in_, out_, n, type(), c_.root, comm_, nullptr);
      default:
        return ncclScatter(in_, out_, n, type(), c_.root, comm_, nullptr);
    }
  }

  double expected(uint64_t i) const {
    const int from = static_cast<int>(c_.count == 0 ? 0 : i / c_.count);
    switch (c_.which) {
      case kAllReduce:
      case kReduce:
        return numbers_.reduced(i);
      case kReduceScatter:
        return numbers_.reduced(share(rank_) + i);
      case kBroadcast:
      case kBcast:
        return numbers_.at(c_.root, i);
      case kAllGather:
      case kGather:
        return numbers_.at(from, i % c_.count);
      case kAlltoAll:
        return numbers_.at(from, share(rank_) + i % c_.count);
      default:
        return numbers_.at(c_.root, share(rank_) + i);
    }
  }

  void compare() {
    if (!has_output()) return;
    std::array<unsigned char, 8> right{};
    for (uint64_t i = 0; i < out_count_; ++i) {
      encode(c_.type, expected(i), right.data());
      ASSERT_EQ(std::memcmp(right.data(), out_ + i * element(), element()), 0)
          << kNames.at(static_cast<size_t>(c_.which)) << " type " << c_.type << " op " << c_.op
          << " count " << c_.count << (c_.in_place ? " in place" : "") << " root " << c_.root
          << " rank " << rank_ << " of " << size_ << " element " << i << ": should be "
          << expected(i);
    }
    EXPECT_EQ(buffer_.back(), kUntouched) << "written behind the end";
  }

  Case c_;
  ncclComm_t comm_;
  int rank_;
  int size_;
  Numbers numbers_;
  uint64_t in_count_;
  uint64_t out_count_;
  std::vector<unsigned char> buffer_;
  std::vector<unsigned char> other_;
  unsigned char* in_ = nullptr;
  unsigned char* out_ = nullptr;
};

bool reduces(int which) {
  return which <= kReduceScatter;
}

// All calls x types x operations x places, at counts that take turns so that each is seen often.
void all_calls(ncclComm_t comm, int rank, int size) {
  constexpr std::array<uint64_t, 6> kCounts{0, 1, 3, 17, 100, 1031};
  size_t turn = 0;
  for (int which = 0; which < static_cast<int>(kNames.size()); ++which) {
    for (int type = 0; type < ncclNumTypes; ++type) {
      for (int op = 0; op <= (reduces(which) ? static_cast<int>(ncclNumOps) : 0); ++op) {
        for (const bool in_place : {false, true}) {
          ++turn;
          const int root = static_cast<int>(turn) % size;
          Call({which, type, op, root, kCounts.at(turn % kCounts.size()), in_place}, comm, rank,
               size)
              .run();
          if (::testing::Test::HasFatalFailure()) return;
        }
      }
    }
  }
}

TEST(NcclC11HostMemory, ThreadsOfOneProcess) {
  for (int size = 1; size <= 8; ++size) {
    on_threads(size, [size](ncclComm_t comm, int rank) { all_calls(comm, rank, size); });
    if (HasFailure()) return;
  }
}

TEST(NcclC11HostMemory, Processes) {
  for (const int size : {1, 2, 3, 5, 8}) {
    on_processes(size, [size](ncclComm_t comm, int rank) { all_calls(comm, rank, size); });
    if (HasFailure()) return;
  }
}

TEST(NcclC11HostMemory, MisalignedBuffers) {
  on_threads(3, [](ncclComm_t comm, int) {
    std::vector<char> raw(4096);
    auto* shifted = reinterpret_cast<float*>(raw.data() + 1);
    const float one = 1;
    for (int i = 0; i < 100; ++i) std::memcpy(raw.data() + 1 + i * 4, &one, sizeof(one));
    NCCL_OK(ncclAllReduce(shifted, shifted, 100, ncclFloat, ncclSum, comm, nullptr));
    for (int i = 0; i < 100; ++i) {
      float got = 0;
      std::memcpy(&got, raw.data() + 1 + i * 4, sizeof(got));
      ASSERT_EQ(got, 3);
    }
  });
}

TEST(NcclC11HostMemory, AFactorInMemoryIsReadWhenTheCallRuns) {
  on_threads(2, [](ncclComm_t comm, int rank) {
    float factor = 100;
    ncclRedOp_t op;
    NCCL_OK(ncclRedOpCreatePreMulSum(&op, &factor, ncclFloat, ncclScalarDevice, comm));
    factor = static_cast<float>(rank + 1);
    float value = 10;
    NCCL_OK(ncclAllReduce(&value, &value, 1, ncclFloat, op, comm, nullptr));
    EXPECT_EQ(value, 30);
    NCCL_OK(ncclRedOpDestroy(op, comm));
    NCCL_IS(ncclInvalidArgument, ncclAllReduce(&value, &value, 1, ncclFloat, op, comm, nullptr));
    NCCL_IS(ncclInvalidArgument, ncclRedOpDestroy(op, comm));
  });
}

TEST(NcclC11HostMemory, WrongArgumentsAreRefusedAndHarmNothing) {
  on_threads(2, [](ncclComm_t comm, int) {
    float x[4] = {1, 1, 1, 1};
    const auto bad_type = static_cast<ncclDataType_t>(12);
    const auto bad_op = static_cast<ncclRedOp_t>(5);
    NCCL_IS(ncclInvalidArgument, ncclAllReduce(x, x, 4, bad_type, ncclSum, comm, nullptr));
    NCCL_IS(ncclInvalidArgument, ncclAllReduce(x, x, 4, ncclFloat, bad_op, comm, nullptr));
    NCCL_IS(ncclInvalidArgument, ncclAllReduce(nullptr, x, 4, ncclFloat, ncclSum, comm, nullptr));
    NCCL_IS(ncclInvalidArgument, ncclAllReduce(x, x + 1, 3, ncclFloat, ncclSum, comm, nullptr));
    NCCL_IS(ncclInvalidArgument, ncclBroadcast(x, x, 4, ncclFloat, 2, comm, nullptr));
    NCCL_IS(ncclInvalidArgument, ncclBroadcast(x, x, 4, ncclFloat, -1, comm, nullptr));
    NCCL_IS(ncclInvalidArgument, ncclReduce(x, x, 4, ncclFloat, ncclSum, 7, comm, nullptr));
    NCCL_IS(ncclInvalidArgument, ncclSend(x, 4, ncclFloat, 2, comm, nullptr));
    NCCL_IS(ncclInvalidArgument, ncclRecv(x, 4, ncclFloat, -1, comm, nullptr));
    NCCL_IS(ncclInvalidArgument, ncclAllReduce(x, x, SIZE_MAX, ncclDouble, ncclSum, comm, nullptr));
    int garbage = 0;
    NCCL_IS(ncclInvalidArgument, ncclAllReduce(x, x, 4, ncclFloat, ncclSum, comm,
                                               reinterpret_cast<cudaStream_t>(&garbage)));
    EXPECT_NE(std::strstr(ncclGetLastError(nullptr), "gossamerStreamCreate"), nullptr);
    expect_sum(comm, 2);
  });
}

uint64_t available_bytes() {
  std::ifstream file("/proc/meminfo");
  std::string name;
  uint64_t kib = 0;
  std::string unit;
  while (file >> name >> kib >> unit) {
    if (name == "MemAvailable:") return kib << 10;
  }
  return 0;
}

TEST(NcclC11HostMemory, MoreThan2To31Elements) {
  constexpr size_t kCount = (size_t{1} << 31) + 5;
  if (available_bytes() < 5 * kCount) {
    GTEST_SKIP() << "needs 10 GiB of free memory for two buffers of 2^31 bytes";
  }
  on_processes(2, [](ncclComm_t comm, int rank) {
    void* memory = ::mmap(nullptr, kCount, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    ASSERT_NE(memory, MAP_FAILED);
    auto* bytes = static_cast<unsigned char*>(memory);
    const std::array<size_t, 4> places{0, size_t{1} << 20, (size_t{1} << 31) - 1, kCount - 1};
    for (const size_t place : places) bytes[place] = static_cast<unsigned char>(rank + 1);
    NCCL_OK(ncclAllReduce(bytes, bytes, kCount, ncclUint8, ncclSum, comm, nullptr));
    for (const size_t place : places) EXPECT_EQ(bytes[place], 3) << place;
    EXPECT_EQ(bytes[kCount / 2], 0);
    ::munmap(memory, kCount);
  });
}

}  // namespace
}  // namespace gossamer::nccl_test
