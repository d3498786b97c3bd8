// The cost model against closed forms, and the choices it leads to.

#include "src/price.h"

#include <gtest/gtest.h>

#include <cmath>

#include "src/price_walk.h"
#include "tests/price_machines.h"
#include "tests/some_mixing.h"
#include "tests/sparse_codec.h"

namespace gossamer {
namespace {

const Algorithm& named(Collective collective, const char* name) {
  return *find_algorithm(collective, name);
}
const Algorithm& reduce_by(const char* name) {
  return named(Collective::kAllReduce, name);
}

Machine one_host(Rank size, int cores) {
  Machine m;
  m.host_of.assign(static_cast<size_t>(size), 0);
  m.cores_per_host = cores;
  m.fold_us_per_byte = 5e-5;
  m.copy_us_per_byte = 4e-5;
  m.memory_us_per_byte = 5e-5;
  m.same_host = {.latency_us = 0.12, .overhead_us = 0.05, .recv_us_per_byte = 5e-5};
  return m;
}

Call floats(uint64_t count) {
  return {.count = count};
}

TEST(Price, RingTakesItsClosedForm) {
  for (Rank n : {2, 3, 8, 17, 64}) {
    const double p = n;
    const double block = 4 * 1600;
    const double expected = 2 * (p - 1) * (kAlpha + kBeta * block) + (p - 1) * kGamma * block;
    EXPECT_NEAR(
        price(reduce_by("ring"), floats(1600 * static_cast<uint64_t>(n)), 1, one_rank_per_host(n)),
        expected, 1e-6 * expected);
  }
}

TEST(Price, RecursiveDoublingTakesItsClosedForm) {
  for (Rank n : {2, 8, 64}) {
    const double bytes = 4 * 1000;
    const double expected = std::log2(n) * (kAlpha + (kBeta + kGamma) * bytes);
    EXPECT_NEAR(price(reduce_by("recursive_doubling"), floats(1000), 1, one_rank_per_host(n)),
                expected, 1e-6 * expected);
  }
}

TEST(Price, ReversedBruckTakesItsClosedForm) {
  for (Rank n : {2, 8, 64}) {
    const double p = n;
    const double bytes = 4 * 160 * p;
    const double moved = (p - 1) / p * bytes;
    const double expected = 2 * std::log2(p) * kAlpha + 2 * moved * kBeta + moved * kGamma;
    const double us = price(reduce_by("reversed_bruck"), floats(160 * static_cast<uint64_t>(n)), 1,
                            one_rank_per_host(n));
    // A message cut by the wrap is folded while its second half arrives.
    EXPECT_LE(us, expected * (1 + 1e-6));
    EXPECT_GE(us, expected - moved * kGamma);
  }
}

TEST(Price, DirectAllGatherIsOneLatencyAndEveryShareOnTheWire) {
  const Call call{.collective = Collective::kAllGather, .count = 1000};
  EXPECT_NEAR(
      price(named(Collective::kAllGather, "direct_all_gather"), call, 1, one_rank_per_host(8)),
      kAlpha + 7 * 4000 * kBeta, 1e-6);
}

TEST(Price, PiecesHideLatencyBehindTheWire) {
  const Machine m = one_rank_per_host(8);
  const Call call = floats(8'000'000);
  const double wire = 2 * 7.0 / 8 * 32e6 * kBeta;
  const double whole = price(reduce_by("ring"), call, 1, m);
  const double cut = price(reduce_by("ring"), call, 32, m);
  EXPECT_LT(cut, whole);
  EXPECT_GE(cut, wire);
  EXPECT_LT(cut, 1.02 * wire);
}

// In place, rank 0 of two may fold into what it sends once that has left, and rank 1 waits with its
// send for that long; rank 1 itself needs scratch. Of two folds onto scratch neither waits.
TEST(Price, WhatIsFoldedIntoWhatItSendsWaitsForTheSend) {
  Machine m = one_rank_per_host(2);
  m.other_host.lends = true;
  const double wire = kBeta * 4e6;
  const double fold = kGamma * 4e6;
  Call call = floats(1'000'000);
  EXPECT_NEAR(price(reduce_by("one_shot"), call, 1, m), kAlpha + 2 * wire + fold, 1e-6 * wire);
  EXPECT_NEAR(price(reduce_by("recursive_doubling"), call, 1, m), kAlpha + wire + fold,
              1e-6 * wire);
  call.eager_bytes = 4'000'000;
  EXPECT_NEAR(price(reduce_by("one_shot"), call, 1, m), kAlpha + wire + fold, 1e-6 * wire);
  call.eager_bytes = 0;
  m.other_host.lends = false;
  EXPECT_NEAR(price(reduce_by("one_shot"), call, 1, m), kAlpha + wire + fold, 1e-6 * wire);
}

TEST(Price, ALinkMayMakeFoldedBytesDearer) {
  const Call call = floats(1'000'000);
  Machine m = one_rank_per_host(2);
  const double doubling = price(reduce_by("recursive_doubling"), call, 1, m);
  const double ring = price(reduce_by("ring"), call, 1, m);
  m.other_host.fold_us_per_byte = kBeta;
  EXPECT_NEAR(price(reduce_by("recursive_doubling"), call, 1, m), doubling + 4e6 * kBeta, 1);
  EXPECT_NEAR(price(reduce_by("ring"), call, 1, m), ring + 2e6 * kBeta, 1) << "folds half";
}

TEST(Price, SharedCoresBoundItFromBelow) {
  const Call call = floats(1 << 20);
  for (const char* name : {"ring", "two_shot", "double_tree"}) {
    Machine tight = one_host(8, 2);
    tight.memory_us_per_byte = 0;
    Machine wide = tight;
    wide.cores_per_host = 8;
    const double roomy = price(reduce_by(name), call, 1, wide);
    const double shared = price(reduce_by(name), call, 1, tight);
    // Every rank folds 7/8 of the buffer and receives 14/8 of it.
    const double work = 8 * 4 * (1 << 20) *
                        (0.875 * tight.fold_us_per_byte + 1.75 * tight.same_host.recv_us_per_byte);
    EXPECT_GE(shared, work / 2) << name;
    EXPECT_GT(shared, roomy) << name;
  }
}

TEST(Price, WaitingForACoreCostsASwitch) {
  Machine m = one_host(4, 2);
  const double with = price(reduce_by("ring"), floats(16), 1, m);
  m.switch_us = 0;
  EXPECT_GE(with, price(reduce_by("ring"), floats(16), 1, m) + 4 * 6 * 1.2 / 2 - 5);
  EXPECT_GT(with, 4 * 6 * 1.2 / 2);
}

TEST(Price, MemoryBoundsWhatDoesNotFitTheCache) {
  const Machine m = one_host(2, 2);
  const Call small = floats(1 << 18), large = floats(1 << 24);
  Machine fast = m;
  fast.memory_us_per_byte = 0;
  EXPECT_EQ(price(reduce_by("two_shot"), small, 1, m),
            price(reduce_by("two_shot"), small, 1, fast));
  EXPECT_GT(price(reduce_by("two_shot"), large, 1, m),
            price(reduce_by("two_shot"), large, 1, fast));
  // In pieces that fit, what a peer has just summed is still in the cache.
  EXPECT_LT(price(reduce_by("two_shot"), large, 16, m), price(reduce_by("two_shot"), large, 1, m));
}

TEST(Price, RanksOfAHostShareItsPort) {
  Machine m = one_rank_per_host(8);
  const Call call{.collective = Collective::kAllGather, .count = 10'000};
  const Algorithm& direct = named(Collective::kAllGather, "direct_all_gather");
  m.host_of = {0, 0, 0, 0, 1, 1, 1, 1};
  m.cores_per_host = 4;
  m.same_host = {};
  // 4 ranks send 4 shares each through one port.
  EXPECT_GE(price(direct, call, 1, m), 16 * 40'000 * kBeta);
}

TEST(Price, GrowsWithBytes) {
  const auto dense = make_codec("int8").value();
  const LargestCodec sparse(100);
  const auto adding = make_codec("int8_shared").value();
  for (const Algorithm* algorithm : algorithms()) {
    const Codec* const codec = !algorithm->codes                  ? nullptr
                               : is_for_adding_codecs(*algorithm) ? adding.get()
                               : is_for_sparse_codecs(*algorithm) ? &sparse
                                                                  : dense.get();
    Machine m = one_host(8, 2);
    m.host_of = {0, 0, 0, 0, 1, 1, 1, 1};
    m.other_host = {.latency_us = 20, .overhead_us = 1, .wire_us_per_byte = 1e-3};
    double last = 0;
    for (uint64_t count = 64; count <= (1U << 22); count *= 4) {
      const double us = price(*algorithm,
                              {.collective = algorithm->collective,
                               .count = count,
                               .mixing = mixing_for(algorithm->collective, 8),
                               .codec = codec},
                              1, m);
      EXPECT_GT(us, last) << algorithm->name << " " << count;
      EXPECT_TRUE(std::isfinite(us));
      last = us;
    }
  }
}

TEST(Price, IsInfiniteForWhatIsNotAccepted) {
  EXPECT_TRUE(std::isinf(price(reduce_by("hierarchical"), floats(100), 1, one_host(4, 2))));
  EXPECT_TRUE(std::isinf(
      price(named(Collective::kAllGather, "ring_all_gather"), floats(100), 1, one_host(4, 2))));
}

TEST(Candidates, AreSortedAndExplainWhyNot) {
  const auto found = candidates(floats(1000), one_host(4, 4), "");
  ASSERT_EQ(found.size(), 7U);
  for (size_t i = 1; i < found.size(); ++i) {
    EXPECT_LE(found[i - 1].predicted_us, found[i].predicted_us);
  }
  EXPECT_STREQ(found.back().algorithm->name, "hierarchical");
  EXPECT_EQ(found.back().why_not, "needs ranks on two hosts or more");
  for (size_t i = 0; i + 1 < found.size(); ++i) EXPECT_TRUE(found[i].why_not.empty());
}

// Four ranks on two cores, shm, measured: coded_one_shot takes 31 us, .72 ms and 10.8 ms for these
// counts, coded_split 229 us, .99 ms and 15.3 ms.
TEST(Candidates, SumSparseCodesOfAFewRanksWithoutPackingThem) {
  const auto topk = make_codec("topk:ratio=0.01").value();
  for (const uint64_t count : {16'384, 262'144, 4'194'304}) {
    const Call call{.count = count, .codec = topk.get()};
    EXPECT_STREQ(candidates(call, one_host(4, 2), "")[0].algorithm->name, "coded_one_shot");
  }
  const Call large{.count = 4 << 20, .codec = topk.get()};
  const Machine many = one_rank_per_host(64);
  EXPECT_STREQ(candidates(large, many, "")[0].algorithm->name, "coded_split");
}

TEST(Candidates, CutCodesIntoTheFewestPiecesThatAreNearlyTheBest) {
  const auto fp16 = make_codec("fp16").value();
  Machine hosts = one_rank_per_host(4);
  hosts.other_host.wire_us_per_byte = 1 / 1.17e3;  // 10 Gbit/s
  Call call = floats(25 << 18);
  const uint32_t elements = candidates(call, hosts, "two_shot")[0].pieces;
  call.codec = fp16.get();
  const Candidate chosen = candidates(call, hosts, "coded_two_shot")[0];
  EXPECT_GT(chosen.pieces, 1U);
  EXPECT_LT(chosen.pieces, elements);
  double least = chosen.predicted_us;
  for (uint32_t pieces = 1; pieces <= 256; pieces *= 2) {
    const double us = price(*chosen.algorithm, call, pieces, hosts);
    least = std::min(least, us);
    if (pieces < chosen.pieces) {
      EXPECT_GT(us, chosen.predicted_us);
    }
  }
  EXPECT_LE(chosen.predicted_us, 1.02 * least);
  const double in_half_of_them = price(*chosen.algorithm, call, chosen.pieces / 2, hosts);
  EXPECT_GT(in_half_of_them, 1.02 * least);
}

TEST(Candidates, ChooseByLatencyWhenSmallAndByBytesWhenLarge) {
  const Machine shared = one_host(4, 2);
  EXPECT_STREQ(candidates(floats(2), shared, "")[0].algorithm->name, "one_shot");
  EXPECT_STREQ(candidates(floats(4 << 20), shared, "")[0].algorithm->name, "two_shot");
  EXPECT_GT(candidates(floats(16 << 20), shared, "")[0].pieces, 1U);
  Machine hosts = one_rank_per_host(16);
  hosts.other_host.overhead_us = 5;
  EXPECT_STREQ(candidates(floats(2), hosts, "")[0].algorithm->name, "recursive_doubling");
}

TEST(Candidates, DoNotDependOnBeingInPlace) {
  for (uint64_t count : {2U, 10'000U, 8U << 20}) {
    Call call = floats(count);
    const auto apart = candidates(call, one_host(4, 2), "");
    call.in_place = true;
    const auto in_place = candidates(call, one_host(4, 2), "");
    for (size_t i = 0; i < apart.size(); ++i) {
      EXPECT_EQ(apart[i].algorithm, in_place[i].algorithm);
      EXPECT_EQ(apart[i].pieces, in_place[i].pieces);
      EXPECT_EQ(apart[i].predicted_us, in_place[i].predicted_us);
    }
  }
}

TEST(Candidates, ANameOverridesThePriceOfItsCollective) {
  const Machine m = one_host(4, 2);
  EXPECT_STREQ(candidates(floats(2), m, "ring")[0].algorithm->name, "ring");
  EXPECT_STREQ(candidates(floats(2), m, "ring_all_gather")[0].algorithm->name, "one_shot");
  EXPECT_STREQ(candidates(floats(2), m, "hierarchical")[0].algorithm->name, "one_shot");
}

TEST(Candidates, PreferToRoundNarrowFloatsOnce) {
  Machine m = one_rank_per_host(8);
  m.other_host.overhead_us = 10;  // makes 7 messages dearer than 3 rounds, but not twice as dear
  Call call = floats(2);
  EXPECT_STREQ(candidates(call, m, "")[0].algorithm->name, "recursive_doubling");
  call.type = DataType::kBfloat16;
  const auto found = candidates(call, m, "");
  EXPECT_TRUE(found[0].algorithm->rounds_once) << found[0].algorithm->name;
  call.op = ReduceOp::kMax;  // rounds nothing
  EXPECT_STREQ(candidates(call, m, "")[0].algorithm->name, "recursive_doubling");
}

// Above kWalkedRanksMax a sample of the ranks is walked: it must agree with what the whole would
// say.
TEST(Candidates, ASampleOfLargeGroupsAgreesWithClosedForms) {
  for (Rank n : {128, 1024}) {
    const double p = n;
    const double block = 4 * 160;
    const Machine m = one_rank_per_host(n);
    const Call call = floats(160 * static_cast<uint64_t>(n));
    const double ring = 2 * (p - 1) * (kAlpha + kBeta * block) + (p - 1) * kGamma * block;
    EXPECT_NEAR(price(reduce_by("ring"), call, 1, m), ring, 0.01 * ring);
    const double doubling = std::log2(p) * (kAlpha + (kBeta + kGamma) * block * p);
    EXPECT_NEAR(price(reduce_by("recursive_doubling"), call, 1, m), doubling, 0.01 * doubling);
    // Fewer elements than ranks: nobody in the sample may be at work, but somebody is.
    EXPECT_GE(price(reduce_by("ring"), floats(2), 1, m), 2 * (p - 1) * kAlpha);
  }
}

}  // namespace
}  // namespace gossamer
