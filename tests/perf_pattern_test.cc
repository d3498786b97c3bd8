// The inputs that `gossamer perf` checks with: exact in any order, and no fault goes unnoticed.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "perf/pattern.h"
#include "src/call_buffers.h"
#include "src/reduce.h"

namespace gossamer {
namespace {

using Bytes = std::vector<std::byte>;

constexpr Rank kSizes[] = {1, 2, 3, 4, 8, 17, 64};

Bytes input_of(Pattern& pattern, const Pattern::Case& c, Rank rank) {
  Bytes bytes(c.count * size_of(c.type));
  pattern.fill(rank, bytes.data());
  return bytes;
}

// What all ranks must get, folded one after another in the given order.
Bytes fold_all(Pattern& pattern, const Pattern::Case& c, bool backwards) {
  const ReduceOp folds = c.op;
  Bytes result;
  for (Rank i = 0; i < c.size; ++i) {
    const Rank rank = backwards ? c.size - 1 - i : i;
    Bytes mine = input_of(pattern, c, rank);
    pattern.stamp(0, mine.data());
    if (c.op == ReduceOp::kPreMulSum)
      scale_kernel(c.type)(mine.data(), mine.data(), c.count, Pattern::kScalar);
    if (result.empty())
      result = mine;
    else
      fold_kernel(c.type, folds)(result.data(), result.data(), mine.data(), c.count);
  }
  if (c.op == ReduceOp::kAvg) divide_kernel(c.type)(result.data(), result.data(), c.count, c.size);
  return result;
}

std::string text_of(const Pattern::Case& c) {
  return std::string(name_of(c.type)) + " " + std::string(name_of(c.op)) + " among " +
         std::to_string(c.size);
}

TEST(Pattern, ForetellsEveryReductionInAnyOrder) {
  for (int type = 0; type < kDataTypeCount; ++type) {
    for (int op = 0; op < kReduceOpCount - 1; ++op) {
      for (const Rank size : kSizes) {
        const Pattern::Case c{Collective::kAllReduce,
                              static_cast<DataType>(type),
                              static_cast<ReduceOp>(op),
                              size,
                              1000,
                              false};
        Pattern pattern(c);
        pattern.reseed(7);
        for (const bool backwards : {false, true}) {
          const Bytes result = fold_all(pattern, c, backwards);
          EXPECT_EQ(pattern.wrong(result.data(), 1), 0U) << text_of(c);
        }
      }
    }
  }
}

TEST(Pattern, CountsEveryWrongElement) {
  for (int type = 0; type < kDataTypeCount; ++type) {
    const Pattern::Case c{Collective::kAllReduce,   static_cast<DataType>(type),
                          ReduceOp::kSum,           4,
                          2 * Pattern::kPeriod + 5, false};
    Pattern pattern(c);
    Bytes result = fold_all(pattern, c, false);
    ASSERT_EQ(pattern.wrong(result.data(), 1), 0U);
    for (const uint64_t at : {uint64_t{0}, uint64_t{1}, Pattern::kPeriod, c.count - 1})
      result[at * size_of(c.type)] ^= std::byte{1};
    EXPECT_EQ(pattern.wrong(result.data(), 1), 4U) << text_of(c);
  }
}

TEST(Pattern, NoticesBlocksInWrongPlaces) {
  const Pattern::Case c{Collective::kAllReduce, DataType::kFloat32, ReduceOp::kSum, 4, 65536, true};
  Pattern pattern(c);
  Bytes result = fold_all(pattern, c, false);
  const auto block = static_cast<std::ptrdiff_t>(result.size() / 4);
  std::rotate(result.begin(), result.begin() + block, result.end());
  EXPECT_GT(pattern.wrong(result.data(), 1), c.count / 2);
}

TEST(Pattern, NoticesAResultLeftFromTheOperationBefore) {
  // two neighbouring stamps may be equal; with this seed these two are not
  const Pattern::Case c{Collective::kAllGather, DataType::kInt32, ReduceOp::kSum, 2, 8, false};
  Pattern pattern(c);
  Bytes output;
  for (Rank r = 0; r < c.size; ++r) {
    Bytes mine = input_of(pattern, c, r);
    pattern.stamp(4, mine.data());
    output.insert(output.end(), mine.begin(), mine.end());
  }
  EXPECT_EQ(pattern.wrong(output.data(), 5), 0U);
  EXPECT_GT(pattern.wrong(output.data(), 6), 0U);
}

TEST(Pattern, NoticesSharesOfTheWrongRank) {
  const Pattern::Case c{Collective::kAllGather, DataType::kUint8, ReduceOp::kSum, 2, 100, true};
  Pattern pattern(c);
  Bytes output;
  for (const Rank r : {1, 0}) {
    const Bytes mine = input_of(pattern, c, r);
    output.insert(output.end(), mine.begin(), mine.end());
  }
  EXPECT_GT(pattern.wrong(output.data(), 1), 150U);
}

// Every rank's input of any collective; empty where it has none.
std::vector<Bytes> inputs_of(const Pattern::Case& c, int operation) {
  std::vector<Bytes> inputs;
  for (Rank r = 0; r < c.size; ++r) {
    Pattern pattern(c);
    pattern.reseed(3);
    Call call;
    call.collective = c.collective;
    call.count = c.count;
    call.root = c.root;
    Bytes& mine = inputs.emplace_back(buffers_of(call, r, c.size).input_count * size_of(c.type));
    std::byte* const memory = mine.empty() ? nullptr : mine.data();
    pattern.fill(r, memory);
    pattern.stamp(operation, memory);
  }
  return inputs;
}

// By definition: what rank `rank` must get.
Bytes output_of(const Pattern::Case& c, const std::vector<Bytes>& inputs, Rank rank) {
  const auto bytes = static_cast<std::ptrdiff_t>(c.count * size_of(c.type));
  const auto share = [&](Rank r, Rank index) {
    const Bytes& from = inputs[static_cast<size_t>(r)];
    return Bytes(from.begin() + index * bytes, from.begin() + (index + 1) * bytes);
  };
  const auto fold = [&](Rank index) {
    Bytes sum = share(0, index);
    for (Rank r = 1; r < c.size; ++r) {
      const Bytes next = share(r, index);
      fold_kernel(c.type, c.op)(sum.data(), sum.data(), next.data(), c.count);
    }
    return sum;
  };
  const auto join = [&](Rank index) {
    Bytes all;
    for (Rank r = 0; r < c.size; ++r) {
      const Bytes next = share(r, index);
      all.insert(all.end(), next.begin(), next.end());
    }
    return all;
  };
  switch (c.collective) {
    case Collective::kAllReduce:
      return fold(0);
    case Collective::kReduce:
      return rank == c.root ? fold(0) : Bytes();
    case Collective::kReduceScatter:
      return fold(rank);
    case Collective::kBroadcast:
      return share(c.root, 0);
    case Collective::kScatter:
      return share(c.root, rank);
    case Collective::kAllToAll:
      return join(rank);
    case Collective::kGather:
      return rank == c.root ? join(0) : Bytes();
    case Collective::kAllGather:
    case Collective::kNeighborAverage:  // perf/neighbor_run.cc has its own
    case Collective::kNeighborAllGather:
      break;
  }
  return join(0);
}

TEST(Pattern, KnowsWhatEveryCollectiveLeavesOnEveryRank) {
  constexpr int kLast = 2;
  for (int i = 0; i < kCollectiveCount; ++i) {
    for (const DataType type : {DataType::kFloat32, DataType::kUint8, DataType::kBfloat16}) {
      const Pattern::Case c{static_cast<Collective>(i), type, ReduceOp::kSum, 3, 20'000, false, 1};
      const std::vector<Bytes> inputs = inputs_of(c, kLast);
      const std::vector<Bytes> stale = inputs_of(c, kLast + 1);
      for (Rank rank = 0; rank < c.size; ++rank) {
        Bytes output = output_of(c, inputs, rank);
        const Bytes before = output_of(c, stale, rank);
        Pattern pattern(c);
        pattern.reseed(3);
        pattern.fill(rank, nullptr);
        if (output.empty()) {
          EXPECT_EQ(pattern.wrong(nullptr, kLast + 1), 0U);
          continue;
        }
        EXPECT_EQ(pattern.wrong(output.data(), kLast + 1), 0U)
            << name_of(c.collective) << ", " << text_of(c) << ", rank " << rank;
        EXPECT_TRUE(before == output || pattern.wrong(before.data(), kLast + 1) > 0);
        output.back() ^= std::byte{1};
        output[output.size() / 2] ^= std::byte{1};
        EXPECT_EQ(pattern.wrong(output.data(), kLast + 1), 2U) << name_of(c.collective);
      }
    }
  }
}

TEST(Pattern, NoticesTheShareOfAnotherRank) {
  for (const Collective collective : {Collective::kReduceScatter, Collective::kScatter}) {
    const Pattern::Case c{collective, DataType::kInt32, ReduceOp::kSum, 3, 1000, false, 0};
    const Bytes other = output_of(c, inputs_of(c, 0), 2);
    Pattern pattern(c);
    pattern.reseed(3);
    pattern.fill(1, nullptr);
    EXPECT_GT(pattern.wrong(other.data(), 1), 500U) << name_of(collective);
  }
}

TEST(Pattern, ForetellsRepeatedSumsInPlaceOrSaysThatItCannot) {
  constexpr int kOperations = 33;
  int foretold = 0;
  for (int type = 0; type < kDataTypeCount; ++type) {
    for (const ReduceOp op : {ReduceOp::kSum, ReduceOp::kMin, ReduceOp::kMax, ReduceOp::kProd}) {
      for (const Rank size : {2, 3, 4, 8}) {
        const Pattern::Case c{
            Collective::kAllReduce, static_cast<DataType>(type), op, size, 50, true};
        Pattern pattern(c);
        if (!pattern.can_foretell(kOperations)) continue;
        ++foretold;
        Bytes result = fold_all(pattern, c, false);
        for (int k = 1; k < kOperations; ++k) {
          const Bytes mine = result;
          for (Rank r = 1; r < size; ++r)
            fold_kernel(c.type, op)(result.data(), result.data(), mine.data(), c.count);
        }
        EXPECT_EQ(pattern.wrong(result.data(), kOperations), 0U) << text_of(c);
      }
    }
  }
  EXPECT_GT(foretold, 100);  // most of them
}

TEST(Pattern, IrregularValuesMakeTheOrderMatter) {
  const Pattern::Case c{Collective::kAllReduce, DataType::kFloat32, ReduceOp::kSum, 3, 1000, false};
  Pattern pattern(c);
  std::vector<Bytes> inputs(3, Bytes(c.count * 4));
  for (Rank r = 0; r < 3; ++r) pattern.fill_irregular(r, inputs[static_cast<size_t>(r)].data());
  const auto sum = [&](size_t a, size_t b, size_t last) {
    Bytes result = inputs[a];
    const FoldKernel fold = fold_kernel(c.type, c.op);
    fold(result.data(), result.data(), inputs[b].data(), c.count);
    fold(result.data(), result.data(), inputs[last].data(), c.count);
    return hash_bytes(result.data(), result.size());
  };
  EXPECT_NE(sum(0, 1, 2), sum(1, 2, 0));
  EXPECT_EQ(sum(0, 1, 2), sum(1, 0, 2));
}

}  // namespace
}  // namespace gossamer
