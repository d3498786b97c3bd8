// Compressed collectives: exactly what a serial reference gives, on every transport; errors; what a
// persistent one costs.

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "gossamer/communicator.h"
#include "gossamer/gossip.h"
#include "gossamer/group.h"
#include "gossamer/mixing.h"
#include "tests/coded_calls.h"
#include "tests/count_allocations.h"
#include "tests/rank_group.h"

namespace gossamer {
namespace {

constexpr DataType kFloats[] = {DataType::kFloat32, DataType::kBfloat16,   DataType::kFloat16,
                                DataType::kFloat64, DataType::kFloat8E4M3, DataType::kFloat8E5M2};

struct Case {
  Collective collective = Collective::kAllReduce;
  DataType type = DataType::kFloat32;
  ReduceOp op = ReduceOp::kSum;
  uint64_t count = 0;
  bool in_place = false;

  std::string text() const {
    return std::string(name_of(collective)) + " of " + std::to_string(count) + " " +
           std::string(name_of(type)) + " " + std::string(name_of(op)) +
           (in_place ? ", in place" : "");
  }
};

uint64_t shares_in(const Case& c, Rank size) {
  return c.collective == Collective::kReduceScatter ? static_cast<uint64_t>(size) : 1;
}
uint64_t shares_out(const Case& c, Rank size) {
  return c.collective == Collective::kAllGather ? static_cast<uint64_t>(size) : 1;
}

void check(Communicator& comm, const Codec& codec, const Case& c) {
  SCOPED_TRACE(c.text() + " on rank " + std::to_string(comm.rank()) + " of " +
               std::to_string(comm.size()));
  const auto size = comm.size();
  const auto inputs = inputs_of(c.type, size, c.count * shares_in(c, size));
  const Compression compression{.codec = &codec};
  const uint64_t element = size_of(c.type);
  const uint64_t own = static_cast<uint64_t>(comm.rank()) * c.count * element;
  std::vector<std::byte> input = elements_of(c.type, inputs[static_cast<size_t>(comm.rank())]);
  std::vector<std::byte> output(c.count * shares_out(c, size) * element, std::byte{0x77});
  CollectiveCall call{.collective = c.collective,
                      .input = input.data(),
                      .output = output.data(),
                      .count = c.count,
                      .type = c.type,
                      .reduction = c.op,
                      .compression = &compression};
  const std::vector<std::byte> before = input;
  if (c.in_place && c.collective == Collective::kReduceScatter) {
    call.output = input.data() + own;
  } else if (c.in_place) {
    const uint64_t at = c.collective == Collective::kAllGather ? own : 0;
    std::copy(input.begin(), input.end(), output.begin() + static_cast<ptrdiff_t>(at));
    call.input = output.data() + at;
  }
  const auto choice = comm.explain(call, c.in_place);
  ASSERT_TRUE(choice) << choice.status().to_string();
  const Status status = comm.run(call);
  ASSERT_TRUE(status) << status.to_string();
  const Reference reference{codec, c.type, c.op == ReduceOp::kAvg, size, choice->pieces};
  std::vector<std::byte> expected;
  if (c.collective == Collective::kAllReduce) {
    expected = reference.all_reduce(choice->algorithm, inputs);
  } else if (size == 1) {
    expected = before;
  } else if (c.collective == Collective::kAllGather) {
    expected = reference.all_gather(inputs);
  } else {
    expected = reference.reduce_scatter(inputs, comm.rank(), c.count);
  }
  const auto* const got = static_cast<const std::byte*>(call.output);
  if (!expected.empty()) {
    EXPECT_EQ(std::memcmp(got, expected.data(), expected.size()), 0) << choice->algorithm;
  }
  if (!c.in_place) {
    EXPECT_EQ(input, before);
  }
}

std::vector<Case> some_cases(Collective collective) {
  std::vector<Case> cases;
  uint64_t n = 0;
  for (const uint64_t count : {0, 1, 3, 17, 1000, 20'011}) {
    for (const DataType type : kFloats) {
      for (const bool in_place : {false, true}) {
        const ReduceOp op = ++n % 2 == 0 ? ReduceOp::kSum : ReduceOp::kAvg;
        cases.push_back({collective, type, op, count, in_place});
      }
    }
  }
  return cases;
}

TEST(Coded, AllReduceIsWhatASerialReferenceGives) {
  const auto codec = codec_named("int8:block=64");
  for (const char* algorithm : {"coded_two_shot", "coded_one_shot", "coded_ring"}) {
    for (const Rank size : {1, 2, 3, 5}) {
      RankGroup group(size, "loopback", algorithm);
      group.each([&](Communicator& comm) {
        for (const Case& c : some_cases(Collective::kAllReduce)) check(comm, *codec, c);
      });
    }
  }
}

TEST(Coded, ReduceScatterAndAllGatherAreWhatASerialReferenceGives) {
  const auto codec = codec_named("int8:block=64");
  for (const char* algorithm : {"coded_all_gather", "coded_ring_all_gather"}) {
    for (const Rank size : {1, 2, 3, 4}) {
      RankGroup group(size, "loopback", algorithm);
      group.each([&](Communicator& comm) {
        for (const Case& c : some_cases(Collective::kAllGather)) check(comm, *codec, c);
        for (const Case& c : some_cases(Collective::kReduceScatter)) check(comm, *codec, c);
      });
    }
  }
}

class CodedOver : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Transports, CodedOver, testing::Values("loopback", "shm", "tcp"),
                         [](const auto& param) { return std::string(param.param); });

TEST_P(CodedOver, IsExactByPriceToo) {
  RankGroup group(4, GetParam());
  const auto codec = codec_named("int8:block=256");
  group.each([&](Communicator& comm) {
    for (const uint64_t count : {5, 5000, 1'000'003}) {
      for (const bool in_place : {false, true}) {
        check(comm, *codec, {.count = count, .in_place = in_place});
        check(comm, *codec,
              {.collective = Collective::kAllGather, .count = count / 4, .in_place = in_place});
        check(comm, *codec,
              {.collective = Collective::kReduceScatter,
               .type = DataType::kBfloat16,
               .op = ReduceOp::kAvg,
               .count = count / 4,
               .in_place = in_place});
      }
    }
  });
}

// Random rounding: every rank draws its own, and all have the same bits.
TEST_P(CodedOver, AllRanksGetTheSameBitsAndOneSeedGivesThemAgain) {
  const Rank size = 4;
  const auto codec = codec_named("int8:block=64,rounding=stochastic");
  for (const char* algorithm : {"coded_two_shot", "coded_one_shot", "coded_ring"}) {
    RankGroup group(size, GetParam(), algorithm);
    const auto results = [&](uint64_t seed) {
      std::vector<Floats> all(size, Floats(3001));
      group.each([&](Communicator& comm) {
        const Compression compression{.codec = codec.get(), .draws = {.own = seed}};
        const Floats input = normal(static_cast<uint64_t>(comm.rank()), 3001);
        const Status s = comm.run({.input = input.data(),
                                   .output = all[static_cast<size_t>(comm.rank())].data(),
                                   .count = 3001,
                                   .compression = &compression});
        EXPECT_TRUE(s) << s.to_string();
      });
      return all;
    };
    const auto first = results(1);
    for (const Floats& other : first) EXPECT_EQ(other, first[0]) << algorithm;
    EXPECT_EQ(results(1), first) << algorithm;
    EXPECT_NE(results(2), first) << algorithm;
  }
}

TEST_P(CodedOver, SendsTheBytesOfCodesAndNoMore) {
  const auto codec = codec_named("int8:block=256");
  RankGroup group(4, GetParam(), "coded_two_shot");
  group.each([&](Communicator& comm) {
    Floats x = normal(1, 1 << 16);
    const Compression compression{.codec = codec.get()};
    const CollectiveCall call{
        .input = x.data(), .output = x.data(), .count = x.size(), .compression = &compression};
    const uint64_t before = comm.counters().bytes_sent;
    EXPECT_TRUE(comm.run(call));
    EXPECT_EQ(comm.counters().bytes_sent - before, 2 * 3 * codec->bytes_max(x.size() / 4));
  });
}

// --- neighbors -----------------------------------------------------------------------------------

TEST_P(CodedOver, NeighborAverageIsWhatItsRowSays) {
  const Rank size = 5;
  const uint64_t count = 4001;
  const auto codec = codec_named("int8:block=64");
  const auto graph = make_graph("ring", size, 1);
  ASSERT_TRUE(graph);
  const Mixing mixing = (*graph)->mixing(0)->in_float();
  RankGroup group(size, GetParam());
  for (const DataType type : kFloats) {
    const auto inputs = inputs_of(type, size, count);
    group.each([&](Communicator& comm) {
      for (const bool in_place : {false, true}) {
        const Compression compression{.codec = codec.get()};
        auto input = elements_of(type, inputs[static_cast<size_t>(comm.rank())]);
        std::vector<std::byte> output(input.size());
        const CollectiveCall call{.collective = Collective::kNeighborAverage,
                                  .input = input.data(),
                                  .output = in_place ? input.data() : output.data(),
                                  .count = count,
                                  .type = type,
                                  .graph = graph->get(),
                                  .compression = &compression};
        EXPECT_EQ(comm.residual_count(call, in_place).value(), count);
        const Status status = comm.run(call);
        ASSERT_TRUE(status) << status.to_string();
        std::vector<double> expected(count);
        for (const Weight& w : mixing.row(comm.rank())) {
          const Floats& theirs = inputs[static_cast<size_t>(w.rank)];
          const Floats sent = w.rank == comm.rank() ? theirs : decoded(*codec, theirs);
          for (size_t i = 0; i < count; ++i) expected[i] += w.value * static_cast<double>(sent[i]);
        }
        const Floats got = floats_of(type, in_place ? input : output);
        const double unit = is_narrow_float(type) ? 0.14 : 1e-5;
        for (size_t i = 0; i < count; ++i) {
          ASSERT_NEAR(static_cast<double>(got[i]), expected[i],
                      unit * std::max(0.1, std::abs(expected[i])))
              << name_of(type) << " element " << i;
        }
      }
    });
  }
}

// --- several at a time ---------------------------------------------------------------------------

TEST_P(CodedOver, TravelsInGroupsAndAsynchronouslyLikeAnyCall) {
  RankGroup group(3, GetParam());
  const auto codec = codec_named("int8:block=64");
  group.each([&](Communicator& comm) {
    const auto inputs = inputs_of(DataType::kFloat32, 3, 900);
    Compression compression{.codec = codec.get()};
    std::vector<Floats> outputs(6, Floats(900));
    CollectiveCall call{.input = inputs[static_cast<size_t>(comm.rank())].data(),
                        .count = 900,
                        .compression = &compression};
    const auto to = [&](size_t i) {
      call.output = outputs[i].data();
      return call;
    };
    EXPECT_TRUE(comm.run(to(0)));
    Work first = comm.start(to(1));
    Work second = comm.start(to(2));
    EXPECT_TRUE(group_start());
    EXPECT_TRUE(comm.run(to(3)));
    EXPECT_TRUE(comm.run(to(4)));
    EXPECT_TRUE(group_end());
    auto plan = comm.plan(to(5));
    ASSERT_TRUE(plan) << plan.status().to_string();
    EXPECT_TRUE(plan->start());
    EXPECT_TRUE(plan->wait());
    EXPECT_TRUE(first.wait());
    EXPECT_TRUE(second.wait());
    for (const Floats& output : outputs) EXPECT_EQ(output, outputs[0]);
  });
}

TEST_P(CodedOver, ASecondRunOfAPlanAllocatesNothing) {
  for (const char* text : {"int8:block=64", "fp16"}) {
    const auto codec = codec_named(text);
    for (const DataType type : {DataType::kFloat32, DataType::kBfloat16}) {
      RankGroup group(3, GetParam());
      group.each([&](Communicator& comm) {
        auto values = elements_of(type, normal(1, 50'000));
        Compression compression{.codec = codec.get()};
        CollectiveCall call{.input = values.data(),
                            .output = values.data(),
                            .count = 50'000,
                            .type = type,
                            .reduction = ReduceOp::kAvg,
                            .compression = &compression};
        Floats residual(comm.residual_count(call, true).value());
        Floats next(residual.size());
        auto plan = comm.plan(call);
        ASSERT_TRUE(plan) << plan.status().to_string();
        for (uint64_t run = 0; run < 4; ++run) {
          compression.residual = residual.data();
          compression.next_residual = next.data();
          compression.draws.own = run;
          const uint64_t before = allocations;
          EXPECT_TRUE(plan->start());
          EXPECT_TRUE(plan->wait());
          if (run > 1 && GOSSAMER_TEST_COUNTS_ALLOCATIONS) {
            EXPECT_EQ(allocations - before, 0U) << text << " run " << run;
          }
          residual.swap(next);
        }
      });
    }
  }
}

// --- errors --------------------------------------------------------------------------------------

TEST(Coded, RefusesWhatNoCodecTakesAndSaysWhy) {
  RankGroup group(1);
  Communicator& comm = group[0];
  const auto codec = codec_named("int8:block=64");
  Compression compression{.codec = codec.get()};
  Floats x(16);
  const CollectiveCall good{
      .input = x.data(), .output = x.data(), .count = 16, .compression = &compression};
  const auto says = [&](const CollectiveCall& call, const std::string& part) {
    const Status status = comm.run(call);
    EXPECT_EQ(status.code(), Code::kInvalidArgument);
    EXPECT_NE(status.message().find(part), std::string::npos) << status.message();
    EXPECT_EQ(comm.plan(call).status().code(), Code::kInvalidArgument);
    EXPECT_EQ(comm.start(call).wait().code(), Code::kInvalidArgument);
    EXPECT_EQ(comm.residual_count(call, true).status().code(), Code::kInvalidArgument);
  };
  EXPECT_TRUE(comm.run(good));
  CollectiveCall call = good;
  call.type = DataType::kInt32;
  says(call, "convert to a float type");
  call = good;
  call.reduction = ReduceOp::kMax;
  says(call, "summed or averaged");
  call = good;
  compression.codec = nullptr;
  says(call, "make_codec() makes one");
  compression = {.codec = codec.get(), .residual = x.data(), .next_residual = x.data()};
  says(call, "swap them");
  EXPECT_TRUE(comm.status());
}

TEST(Coded, APlanKeepsItsCodec) {
  RankGroup group(1);
  const auto codec = codec_named("int8:block=64");
  const auto same = codec_named("int8:block=64");
  const auto other = codec_named("fp16");
  Compression compression{.codec = codec.get()};
  Floats x(16);
  auto plan = group[0].plan(
      {.input = x.data(), .output = x.data(), .count = 16, .compression = &compression});
  ASSERT_TRUE(plan);
  compression.codec = same.get();
  EXPECT_TRUE(plan->start());
  EXPECT_TRUE(plan->wait());
  compression.codec = other.get();
  const Status refused = plan->start();
  EXPECT_EQ(refused.code(), Code::kInvalidArgument);
  EXPECT_NE(refused.message().find(codec->name()), std::string::npos) << refused.message();
  EXPECT_NE(refused.message().find(other->name()), std::string::npos) << refused.message();
}

// `codecs[r]` is rank r's; null: it calls without one. The sentences of all ranks.
std::vector<std::string> mismatch_of(const char* transport, const std::vector<const Codec*>& codecs,
                                     const Graph* graph = nullptr) {
  RankGroup group(static_cast<Rank>(codecs.size()), transport);
  std::vector<std::string> texts(codecs.size());
  group.each([&](Communicator& comm) {
    const Codec* const codec = codecs[static_cast<size_t>(comm.rank())];
    const Compression compression{.codec = codec};
    Floats x(1000);
    const Status status = comm.run(
        {.collective = graph != nullptr ? Collective::kNeighborAverage : Collective::kAllReduce,
         .input = x.data(),
         .output = x.data(),
         .count = x.size(),
         .graph = graph,
         .compression = codec == nullptr ? nullptr : &compression});
    EXPECT_EQ(status.code(), Code::kMismatch) << status.to_string();
    texts[static_cast<size_t>(comm.rank())] = status.message();
  });
  return texts;
}

TEST_P(CodedOver, RanksWithDifferentCodecsAreToldBothNames) {
  const auto int8 = codec_named("int8:block=64");
  const auto half = codec_named("fp16");
  for (const std::string& text : mismatch_of(GetParam(), {int8.get(), half.get()})) {
    EXPECT_NE(text.find("codec " + int8->name()), std::string::npos) << text;
    EXPECT_NE(text.find("codec " + half->name()), std::string::npos) << text;
    EXPECT_NE(text.find("same codec"), std::string::npos) << text;
  }
  for (const std::string& text : mismatch_of(GetParam(), {int8.get(), nullptr})) {
    EXPECT_NE(text.find("codec " + int8->name()), std::string::npos) << text;
  }
  const auto graph = make_graph("ring", 2, 1);
  ASSERT_TRUE(graph);
  for (const std::string& text : mismatch_of(GetParam(), {int8.get(), half.get()}, graph->get())) {
    EXPECT_NE(text.find("codec " + int8->name()), std::string::npos) << text;
    EXPECT_NE(text.find("codec " + half->name()), std::string::npos) << text;
  }
}

}  // namespace
}  // namespace gossamer
