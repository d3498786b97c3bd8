// All-reduces of sparse codes: sums that are passed on without loss, packed or as they are.

#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

#include "gossamer/communicator.h"
#include "src/packing.h"
#include "src/plan.h"
#include "src/verify.h"
#include "tests/coded_calls.h"
#include "tests/rank_group.h"
#include "tests/sparse_codec.h"

namespace gossamer {
namespace {

const Algorithm& split() {
  return *find_algorithm(Collective::kAllReduce, "coded_split");
}

// --- packing -------------------------------------------------------------------------------------

Floats with_entries(uint64_t count, uint64_t entries) {
  Floats values(count);
  const Floats some = normal(count, entries);
  for (uint64_t i = 0; i < entries; ++i) values[i * count / entries] = some[i];
  return values;
}

TEST(Packing, GivesBackWhatItWasGiven) {
  for (const uint64_t count : {1, 63, 64, 65, 1000, 4096}) {
    for (const uint64_t entries : {uint64_t{0}, uint64_t{1}, count / 100, count / 3}) {
      const uint64_t bytes = packed_bytes(count, entries);
      if (bytes == 0) continue;
      const Floats values = with_entries(count, entries);
      std::vector<std::byte> packed(bytes);
      Floats back(count, 7);
      ASSERT_TRUE(pack(values, entries, packed));
      ASSERT_TRUE(unpack(packed, entries, back));
      EXPECT_EQ(back, values) << count << " " << entries;
    }
  }
}

TEST(Packing, IsNeverLongerThanTheValues) {
  for (const uint64_t count : {1, 100, 6400}) {
    for (uint64_t entries = 0; entries <= count; ++entries) {
      EXPECT_LT(packed_bytes(count, entries), count * sizeof(float));
    }
    EXPECT_EQ(packed_bytes(count, count), 0U);
  }
  for (const uint64_t element_bytes : {1, 2, 8}) {
    for (uint64_t entries = 0; entries <= 6400; ++entries) {
      EXPECT_LT(packed_bytes(6400, entries, element_bytes), 6400 * element_bytes);
    }
  }
  EXPECT_EQ(packed_bytes(6400, 2999, 2), 800U + 11996U);
  EXPECT_EQ(packed_bytes(6400, 3000, 2), 0U);        // a bitmap, as long as what it stands for
  EXPECT_EQ(packed_bytes(6400, 10), 80U);            // pairs
  EXPECT_EQ(packed_bytes(6400, 640), 800U + 2560U);  // a bitmap
}

TEST(Packing, RefusesMoreEntriesThanItHasRoomFor) {
  for (const uint64_t entries : {5, 300}) {
    std::vector<std::byte> packed(packed_bytes(1000, entries));
    EXPECT_FALSE(pack(with_entries(1000, entries + 1), entries, packed));
  }
}

TEST(Packing, ReadsNothingHostile) {
  for (const uint64_t entries : {5, 300}) {
    std::vector<std::byte> packed(packed_bytes(1000, entries), std::byte{0x7f});
    Floats back(1000);
    EXPECT_FALSE(unpack(packed, entries, back));  // indices and bits of what is not there
  }
}

// --- proofs --------------------------------------------------------------------------------------

TEST(CodedSplit, IsProvedPackedAndDense) {
  for (const uint64_t one_in : {2, 20, 400}) {
    const LargestCodec codec(one_in);
    for (Rank size = 1; size <= 64; size += size < 17 ? 1 : 15) {
      const auto n = static_cast<uint64_t>(size);
      for (const uint64_t count : {uint64_t{0}, uint64_t{1}, n - 1, n + 1, 50 * n + 7}) {
        for (const bool in_place : {false, true}) {
          for (const DataType type : {DataType::kFloat32, DataType::kBfloat16}) {
            const Call call{.type = type,
                            .op = in_place ? ReduceOp::kAvg : ReduceOp::kSum,
                            .count = count,
                            .in_place = in_place,
                            .codec = &codec};
            const Verdict v = verify(split(), call, size, {}, in_place ? 3 : 1, 2);
            EXPECT_TRUE(v.proved()) << size << " ranks, " << count << ": " << v.reason;
          }
        }
      }
    }
  }
}

TEST(CodedSplit, SendsPackedSumsWhereTheyAreShorterAndElementsElsewhere) {
  const auto coded_of = [](uint64_t one_in, DataType type = DataType::kFloat32) {
    const LargestCodec codec(one_in);
    const Call call{.type = type, .count = 4096 * 4, .codec = &codec};
    const Schedule s = build_schedule(split(), call, 1, 4, {}, 1, 1);
    uint64_t coded = 0;
    for (const Step& step : s.steps) coded += step.sends() && step.is_coded() ? 1 : 0;
    return coded;
  };
  EXPECT_EQ(coded_of(100), 6U);
  EXPECT_EQ(coded_of(4), 3U);  // four ranks may fill it
  // Half of the values in a bitmap: 2 1/8 bytes for each element.
  EXPECT_EQ(coded_of(8), 6U);
  EXPECT_EQ(coded_of(8, DataType::kBfloat16), 3U);
  EXPECT_EQ(coded_of(100, DataType::kBfloat16), 6U);
}

TEST(CodedSplit, TakesSparseCodecsAndOthersTakeNone) {
  const LargestCodec sparse(100);
  const auto dense = codec_named("int8");
  for (const Algorithm* algorithm : algorithms()) {
    if (algorithm->collective != Collective::kAllReduce || !algorithm->codes) continue;
    const std::string name = algorithm->name;
    if (name == "coded_hierarchical" || name == "coded_sum") continue;
    const bool takes_sparse = algorithm->accepts({.size = 4, .count = 9, .codec = &sparse});
    const bool takes_dense = algorithm->accepts({.size = 4, .count = 9, .codec = dense.get()});
    EXPECT_EQ(takes_sparse, name == "coded_split" || name == "coded_one_shot") << name;
    EXPECT_EQ(takes_dense, name != "coded_split") << name;
  }
}

// --- runs ----------------------------------------------------------------------------------------

class CodedSplitOver : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Transports, CodedSplitOver, testing::Values("loopback", "shm", "tcp"),
                         [](const auto& param) { return std::string(param.param); });

TEST_P(CodedSplitOver, IsWhatASerialReferenceGives) {
  const Rank size = 4;
  RankGroup group(size, GetParam(), "coded_split");
  for (const uint64_t one_in : {3, 50, 1000}) {
    const LargestCodec codec(one_in);
    group.each([&](Communicator& comm) {
      for (const uint64_t count : {0, 1, 3, 1000, 30'011}) {
        for (const DataType type : {DataType::kFloat32, DataType::kBfloat16, DataType::kFloat64}) {
          for (const bool in_place : {false, true}) {
            std::vector<Floats> inputs;
            for (Rank r = 0; r < size; ++r) {
              inputs.push_back(
                  floats_of(type, elements_of(type, normal(static_cast<uint64_t>(r) + 1, count))));
            }
            auto input = elements_of(type, inputs[static_cast<size_t>(comm.rank())]);
            std::vector<std::byte> output(input.size());
            const Compression compression{.codec = &codec};
            CollectiveCall call{.input = input.data(),
                                .output = in_place ? input.data() : output.data(),
                                .count = count,
                                .type = type,
                                .reduction = ReduceOp::kAvg,
                                .compression = &compression};
            const auto choice = comm.explain(call, in_place);
            ASSERT_TRUE(choice) << choice.status().to_string();
            ASSERT_EQ(choice->algorithm, "coded_split");
            const Status status = comm.run(call);
            ASSERT_TRUE(status) << status.to_string();
            const Reference reference{codec, type, true, size, choice->pieces};
            EXPECT_EQ(in_place ? input : output, reference.all_reduce("coded_split", inputs))
                << count << " " << name_of(type) << " 1 in " << one_in;
          }
        }
      }
    });
  }
}

}  // namespace
}  // namespace gossamer
