// Codecs of the caller's own in collectives: known by the names that they give themselves.

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "gossamer/gossip_compressed.h"
#include "tests/coded_calls.h"
#include "tests/every_second.h"
#include "tests/rank_group.h"

namespace gossamer {
namespace {

constexpr uint64_t kCount = 1001;

// The sum of all ranks' x[i] = rank + i % 7, of which codecs leave every second to nothing.
Floats input_of_rank(Rank rank) {
  Floats x(kCount);
  for (size_t i = 0; i < kCount; ++i) x[i] = static_cast<float>(rank) + static_cast<float>(i % 7);
  return x;
}
float sum_at(Rank size, size_t i) {
  return static_cast<float>(size * (size - 1)) / 2 +
         static_cast<float>(size) * static_cast<float>(i % 7);
}

// Calls that differ in nothing else have plans of their own, with a codec and without one.
TEST(OwnCodec, TravelsInACollectiveBesideOthers) {
  const EverySecond once("mine:times=1"), twice("mine:times=2", 2);
  RankGroup group(3);
  group.each([&](Communicator& comm) {
    const auto run = [&](const Codec* codec, float times) {
      const Floats x = input_of_rank(comm.rank());
      Floats y(kCount);
      const Compression compression{.codec = codec};
      CollectiveCall call{.input = x.data(), .output = y.data(), .count = kCount};
      if (codec != nullptr) call.compression = &compression;
      const Status done = comm.run(call);
      ASSERT_TRUE(done) << done.to_string();
      // An algorithm may encode once or twice.
      const float least = times * sum_at(3, 2);
      EXPECT_TRUE(y[2] == least || y[2] == times * least) << y[2];
      for (size_t i = 0; i < kCount; ++i) {
        EXPECT_EQ(y[i], i % 2 == 1 && codec != nullptr ? 0 : y[2] / sum_at(3, 2) * sum_at(3, i));
      }
    };
    for (int again = 0; again < 2; ++again) {
      run(&once, 1);
      run(nullptr, 1);
      run(&twice, 2);
    }
  });
}

TEST(OwnCodec, OfAnotherNameOnAnotherRankIsToldByBothNames) {
  const EverySecond codecs[] = {EverySecond("mine:a"), EverySecond("mine:b")};
  RankGroup group(2);
  group.each([&](Communicator& comm) {
    Floats x = input_of_rank(comm.rank());
    const Compression compression{.codec = &codecs[comm.rank()]};
    CollectiveCall call{.input = x.data(), .output = x.data(), .count = kCount};
    call.compression = &compression;
    const Status done = comm.run(call);
    EXPECT_EQ(done.code(), Code::kMismatch) << done.to_string();
    for (const char* name : {"mine:a", "mine:b"}) {
      EXPECT_NE(done.message().find(name), std::string::npos) << done.message();
    }
  });
}

TEST(OwnCodec, WithoutANameIsRefused) {
  const EverySecond codec("");
  EXPECT_EQ(codec.identity(), 0U);
  RankGroup group(2);
  const Compression compression{.codec = &codec};
  Floats x(kCount);
  CollectiveCall call{.input = x.data(), .output = x.data(), .count = kCount};
  call.compression = &compression;
  for (const Status& refused :
       {group[0].run(call),
        pair_gossip(group[0], x.data(), x.data(), kCount, DataType::kFloat32, 1, compression)}) {
    EXPECT_EQ(refused.code(), Code::kInvalidArgument);
    EXPECT_NE(refused.message().find("no name"), std::string::npos) << refused.message();
  }
}

// Positions have 32 bits.
TEST(LongRuns, AreRefusedByCodecsThatDoNotEncodeThem) {
  RankGroup group(2);
  Floats x(4);
  for (const char* name : {"topk:index=u32", "randomk", "block_sparse", "count_sketch"}) {
    const auto codec = codec_named(name);
    EXPECT_EQ(codec->count_max(), UINT32_MAX);
    const Compression compression{.codec = codec.get()};
    CollectiveCall call{.input = x.data(), .output = x.data(), .count = uint64_t{1} << 32};
    call.compression = &compression;
    for (const Status& refused : {group[0].run(call), group[0].residual_count(call, true).status(),
                                  pair_gossip(group[0], x.data(), x.data(), call.count,
                                              DataType::kFloat32, 1, compression)}) {
      EXPECT_EQ(refused.code(), Code::kInvalidArgument) << name;
      EXPECT_NE(refused.message().find("up to 4294967295 elements"), std::string::npos)
          << refused.message();
    }
  }
}

}  // namespace
}  // namespace gossamer
