// Compressed collectives that have a root, and those that copy: exactly what a serial reference
// gives, for every type, root and awkward count; residuals; errors.

#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "gossamer/communicator.h"
#include "gossamer/gossip.h"
#include "gossamer/group.h"
#include "gossamer/mixing.h"
#include "gossamer/stream.h"
#include "src/call_buffers.h"
#include "tests/coded_calls.h"
#include "tests/rank_group.h"

namespace gossamer {
namespace {

constexpr DataType kFloats[] = {DataType::kFloat32, DataType::kBfloat16,   DataType::kFloat16,
                                DataType::kFloat64, DataType::kFloat8E4M3, DataType::kFloat8E5M2};

struct Case {
  Collective collective = Collective::kBroadcast;
  DataType type = DataType::kFloat32;
  uint64_t count = 0;
  Rank root = 0;
  bool in_place = false;
  ReduceOp op = ReduceOp::kSum;  // of a reduce

  std::string text() const {
    return std::string(name_of(collective)) + " of " + std::to_string(count) + " " +
           std::string(name_of(type)) + ", root " + std::to_string(root) +
           (in_place ? ", in place" : "");
  }
};

// A rank's buffers of a call, with input in them that the type can hold.
struct Buffers {
  Buffers(const Case& c, const Mixing* mixing, Rank rank, Rank size) {
    const Call shape{.collective = c.collective,
                     .count = c.count,
                     .in_place = c.in_place,
                     .root = c.root,
                     .mixing = mixing};
    placed = buffers_of(shape, rank, size);
    const auto exact = normal(static_cast<uint64_t>(rank) + 1, placed.input_count);
    const auto elements = elements_of(c.type, exact);
    values = floats_of(c.type, elements);
    const uint64_t element = size_of(c.type);
    output.assign((placed.in_place ? placed.both_count() : placed.output_count) * element,
                  std::byte{0x77});
    if (!placed.in_place) {
      input = elements;
    } else if (!elements.empty()) {
      std::memcpy(output.data() + placed.input_first * element, elements.data(), elements.size());
    }
    in = placed.in_place ? output.data() + placed.input_first * element : input.data();
    out = output.data() + placed.output_first * element;
  }

  CallBuffers placed;
  Floats values;
  std::vector<std::byte> input, output;
  std::byte* in = nullptr;
  std::byte* out = nullptr;
};

std::vector<std::byte> joined(std::vector<std::byte> all, const std::vector<std::byte>& more) {
  all.insert(all.end(), more.begin(), more.end());
  return all;
}

// What this rank's output must be.
std::vector<std::byte> expected_of(const Reference& reference, const std::string& algorithm,
                                   const Case& c, const Mixing* mixing, Rank rank,
                                   const std::vector<Floats>& inputs) {
  const auto share = [&](Rank from, Rank index) {
    return std::span(inputs[static_cast<size_t>(from)])
        .subspan(c.count * static_cast<uint64_t>(index), c.count);
  };
  std::vector<std::byte> all;
  switch (c.collective) {
    case Collective::kBroadcast:
      return reference.copy(share(c.root, 0), algorithm == "coded_scatter_broadcast");
    case Collective::kScatter:
      return reference.copy(share(c.root, rank));
    case Collective::kReduce:
      if (rank == c.root) all = reference.all_reduce(algorithm, inputs, c.root);
      return all;
    case Collective::kGather:
      return rank == c.root ? reference.all_gather(inputs) : all;
    case Collective::kAllToAll:
      for (Rank from = 0; from < reference.size; ++from) {
        all = joined(std::move(all), reference.copy(share(from, rank)));
      }
      return all;
    default:
      for (const Rank from : mixing->sources(rank)) {
        all = joined(std::move(all), reference.copy(share(from, 0)));
      }
      return all;
  }
}

void check(Communicator& comm, const Codec& codec, const Graph& graph, const Case& c) {
  const Rank size = comm.size();
  const Rank rank = comm.rank();
  SCOPED_TRACE(c.text() + " on rank " + std::to_string(rank) + " of " + std::to_string(size));
  const auto mixing = graph.mixing(0);
  std::vector<Floats> inputs;
  for (Rank r = 0; r < size; ++r) {
    inputs.push_back(
        Buffers({c.collective, c.type, c.count, c.root}, mixing.get(), r, size).values);
  }
  Buffers own(c, mixing.get(), rank, size);
  const Compression compression{.codec = &codec};
  const CollectiveCall call{.collective = c.collective,
                            .input = own.in,
                            .output = own.out,
                            .count = c.count,
                            .type = c.type,
                            .reduction = c.op,
                            .root = c.root,
                            .graph = has_graph(c.collective) ? &graph : nullptr,
                            .compression = &compression};
  const auto choice = comm.explain(call, c.in_place);
  ASSERT_TRUE(choice) << choice.status().to_string();
  EXPECT_TRUE(choice->algorithm.starts_with("coded_"));
  const std::vector<std::byte> before = own.input;
  const Status status = comm.run(call);
  ASSERT_TRUE(status) << status.to_string();
  EXPECT_EQ(own.input, before);
  if (size == 1) return;  // nothing travels
  const Reference reference{codec, c.type, c.op == ReduceOp::kAvg, size, choice->pieces};
  const auto expected = expected_of(reference, choice->algorithm, c, mixing.get(), rank, inputs);
  ASSERT_EQ(expected.size(), own.placed.output_count * size_of(c.type));
  if (!expected.empty()) {
    EXPECT_EQ(std::memcmp(own.out, expected.data(), expected.size()), 0) << choice->algorithm;
  }
}

constexpr Collective kAll[] = {Collective::kBroadcast, Collective::kReduce,
                               Collective::kGather,    Collective::kScatter,
                               Collective::kAllToAll,  Collective::kNeighborAllGather};

bool has_place(Collective collective) {
  return collective != Collective::kAllToAll && collective != Collective::kNeighborAllGather;
}

std::vector<Case> some_cases(Collective collective, Rank size) {
  std::vector<Case> cases;
  uint64_t n = 0;
  for (const uint64_t count : {0, 1, 3, 17, 5011}) {
    for (const DataType type : kFloats) {
      for (const bool in_place : {false, true}) {
        if (in_place && !has_place(collective)) continue;
        const Rank root = has_root(collective) ? static_cast<Rank>(++n) % size : 0;
        const ReduceOp op = reduces(collective) && n / 2 % 2 == 0 ? ReduceOp::kAvg : ReduceOp::kSum;
        cases.push_back({collective, type, count, root, in_place, op});
      }
    }
  }
  return cases;
}

void check_all(std::span<const Collective> collectives, const char* algorithm, Rank size) {
  const auto codec = codec_named("int8:block=64");
  const auto graph = make_graph("ring", size);
  ASSERT_TRUE(graph);
  RankGroup group(size, "loopback", algorithm);
  group.each([&](Communicator& comm) {
    for (const Collective collective : collectives) {
      for (const Case& c : some_cases(collective, size)) check(comm, *codec, **graph, c);
    }
  });
}

TEST(CodedCopies, AreWhatASerialReferenceGives) {
  for (const Rank size : {1, 2, 3, 5}) check_all(kAll, "", size);
}

TEST(CodedCopies, AreThatByEveryAlgorithm) {
  for (const Algorithm* algorithm : algorithms()) {
    const bool rooted = algorithm->collective == Collective::kBroadcast ||
                        algorithm->collective == Collective::kReduce;
    if (!algorithm->codes || !rooted) continue;
    check_all(std::span(&algorithm->collective, 1), algorithm->name, 4);
  }
}

class CodedCopiesOver : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Transports, CodedCopiesOver, testing::Values("loopback", "shm", "tcp"),
                         [](const auto& param) { return std::string(param.param); });

TEST_P(CodedCopiesOver, AreExactByPriceToo) {
  const auto codec = codec_named("int8:block=256");
  const auto graph = make_graph("one_peer_exponential", 4);
  ASSERT_TRUE(graph);
  RankGroup group(4, GetParam());
  group.each([&](Communicator& comm) {
    for (const Collective collective : kAll) {
      for (const uint64_t count : {5, 5000, 50'003}) {
        check(comm, *codec, **graph, {collective, DataType::kFloat32, count, 2});
      }
    }
  });
}

TEST_P(CodedCopiesOver, TravelInGroupsOnStreamsAndAsPlans) {
  const auto codec = codec_named("int8:block=64,rounding=stochastic");
  RankGroup group(3, GetParam());
  group.each([&](Communicator& comm) {
    const Floats x = normal(static_cast<uint64_t>(comm.rank()), 900);
    Compression compression{.codec = codec.get()};
    std::vector<Floats> outputs(5, Floats(900));
    CollectiveCall call{.collective = Collective::kBroadcast,
                        .input = x.data(),
                        .count = 900,
                        .root = 1,
                        .compression = &compression};
    const auto to = [&](size_t i) {
      call.output = outputs[i].data();
      return call;
    };
    EXPECT_TRUE(comm.run(to(0)));
    Work work = comm.start(to(1));
    EXPECT_TRUE(group_start());
    EXPECT_TRUE(comm.run(to(2)));
    EXPECT_TRUE(group_end());
    Stream stream;
    {
      const Stream::Use use(&stream);
      EXPECT_TRUE(comm.run(to(3)));
    }
    EXPECT_TRUE(stream.synchronize());
    auto plan = comm.plan(to(4));
    ASSERT_TRUE(plan) << plan.status().to_string();
    EXPECT_TRUE(plan->start());
    EXPECT_TRUE(plan->wait());
    EXPECT_TRUE(work.wait());
    for (const Floats& output : outputs) EXPECT_EQ(output, outputs[0]);
  });
}

// --- residuals -----------------------------------------------------------------------------------

// Over iterations of one input, what comes out and what is kept add up to what was put in.
TEST(CodedCopies, LoseNothingThatTheirResidualsDoNotKeep) {
  const Rank size = 3;
  const uint64_t count = 500;
  const auto codec = codec_named("sign:block=50");
  RankGroup group(size);
  for (const Collective collective :
       {Collective::kBroadcast, Collective::kScatter, Collective::kGather, Collective::kAllToAll}) {
    std::vector<Floats> put(static_cast<size_t>(size)), taken(static_cast<size_t>(size)),
        kept(static_cast<size_t>(size));
    group.each([&](Communicator& comm) {
      const auto rank = static_cast<size_t>(comm.rank());
      Buffers own({collective, DataType::kFloat32, count, 1}, nullptr, comm.rank(), size);
      Compression compression{.codec = codec.get()};
      const CollectiveCall call{.collective = collective,
                                .input = own.in,
                                .output = own.out,
                                .count = count,
                                .root = 1,
                                .compression = &compression};
      Floats residual(comm.residual_count(call).value()), next(residual.size());
      EXPECT_EQ(residual.size(), own.values.size());
      taken[rank].resize(own.placed.output_count);
      for (int run = 0; run < 4; ++run) {
        compression.residual = residual.data();
        compression.next_residual = next.data();
        ASSERT_TRUE(comm.run(call));
        residual.swap(next);
        const Floats got = floats_of(DataType::kFloat32, own.output);
        for (size_t i = 0; i < got.size(); ++i) taken[rank][i] += got[i];
      }
      put[rank] = own.values;
      kept[rank] = residual;
    });
    // Element i of this rank's output comes from element `at` of rank `from`'s input.
    const auto near = [&](Rank from, uint64_t at, float sum) {
      const auto f = static_cast<size_t>(from);
      EXPECT_NEAR(4 * put[f][at], sum + kept[f][at], 2e-4) << name_of(collective);
    };
    for (Rank r = 0; r < size; ++r) {
      const Floats& got = taken[static_cast<size_t>(r)];
      for (uint64_t i = 0; i < got.size(); ++i) {
        const auto share = static_cast<Rank>(i / count);
        const uint64_t own = static_cast<uint64_t>(r) * count;
        if (collective == Collective::kBroadcast) near(1, i, got[i]);
        if (collective == Collective::kScatter) near(1, own + i, got[i]);
        if (collective == Collective::kGather) near(share, i % count, got[i]);
        if (collective == Collective::kAllToAll) near(share, own + i % count, got[i]);
      }
    }
  }
}

// Of three ranks, a matching leaves one alone: it sends nothing, and keeps all.
TEST(CodedCopies, ARankThatSendsToNobodyKeepsItsResidual) {
  const Rank size = 3;
  const auto graph = make_graph("random_matching", size);
  ASSERT_TRUE(graph) << graph.status().to_string();
  const auto codec = codec_named("sign");
  RankGroup group(size);
  group.each([&](Communicator& comm) {
    const Floats x(8, 3), residual(8, 1.5F);
    Floats y(8), next(8);
    const Compression compression{
        .codec = codec.get(), .residual = residual.data(), .next_residual = next.data()};
    const CollectiveCall call{.collective = Collective::kNeighborAllGather,
                              .input = x.data(),
                              .output = y.data(),
                              .count = 8,
                              .graph = graph->get(),
                              .compression = &compression};
    EXPECT_EQ(comm.residual_count(call).value(), 8U);
    ASSERT_TRUE(comm.run(call));
    const bool alone = (*graph)->mixing(0)->targets(comm.rank()).empty();
    EXPECT_EQ(next, alone ? residual : Floats(8, 0.0F));  // equal values come back as they were
    EXPECT_EQ(y, alone ? Floats(8, 0.0F) : Floats(8, 4.5F));
  });
}

// --- errors --------------------------------------------------------------------------------------

// `change` makes rank 1's call another; the sentences of both ranks.
std::vector<std::string> mismatch_of(const char* transport, const CollectiveCall& good,
                                     const std::function<void(CollectiveCall*)>& change) {
  RankGroup group(2, transport);
  std::vector<std::string> texts(2);
  group.each([&](Communicator& comm) {
    Floats x(4000), y(8000);
    CollectiveCall call = good;
    call.input = x.data();
    call.output = y.data();
    if (comm.rank() == 1) change(&call);
    const Status status = comm.run(call);
    EXPECT_EQ(status.code(), Code::kMismatch) << status.to_string();
    texts[static_cast<size_t>(comm.rank())] = status.message();
  });
  return texts;
}

TEST_P(CodedCopiesOver, RanksWhoseCallsDifferAreToldBoth) {
  const auto int8 = codec_named("int8:block=64");
  const auto half = codec_named("fp16");
  const Compression ours{.codec = int8.get()};
  const Compression theirs{.codec = half.get()};
  const auto graph = make_graph("ring", 2);
  ASSERT_TRUE(graph);
  for (const Collective collective : {Collective::kAllToAll, Collective::kNeighborAllGather}) {
    const CollectiveCall good{
        .collective = collective, .count = 1000, .graph = graph->get(), .compression = &ours};
    for (const std::string& text :
         mismatch_of(GetParam(), good, [&](CollectiveCall* c) { c->compression = &theirs; })) {
      EXPECT_NE(text.find(std::string(name_of(collective))), std::string::npos) << text;
      EXPECT_NE(text.find("codec " + int8->name()), std::string::npos) << text;
      EXPECT_NE(text.find("codec " + half->name()), std::string::npos) << text;
    }
    if (has_graph(collective)) continue;  // messages tell the first digits of its counts alone
    for (const std::string& text :
         mismatch_of(GetParam(), good, [&](CollectiveCall* c) { c->count = 999; })) {
      EXPECT_NE(text.find("1000"), std::string::npos) << text;
      EXPECT_NE(text.find("999"), std::string::npos) << text;
      EXPECT_EQ(text.find("the same codec"), std::string::npos) << text;
    }
  }
}

TEST_P(CodedCopiesOver, ACodecThatOnlyOneRankGivesIsAMismatch) {
  const auto int8 = codec_named("int8:block=64");
  const Compression ours{.codec = int8.get()};
  const CollectiveCall good{
      .collective = Collective::kAllToAll, .count = 1000, .compression = &ours};
  for (const std::string& text :
       mismatch_of(GetParam(), good, [&](CollectiveCall* c) { c->compression = nullptr; })) {
    EXPECT_NE(text.find("same codec"), std::string::npos) << text;
  }
}

TEST(CodedCopies, RefuseIntegersAndBadRootsAndSayWhy) {
  RankGroup group(1);
  const auto codec = codec_named("int8");
  const auto zstd = codec_named("topk:index=elias");
  Compression compression{.codec = codec.get()};
  Floats x(16), y(16);
  for (const Collective collective : kAll) {
    if (has_graph(collective)) continue;
    CollectiveCall call{.collective = collective,
                        .input = x.data(),
                        .output = y.data(),
                        .count = 16,
                        .compression = &compression};
    const auto says = [&](const std::string& part) {
      const Status status = group[0].run(call);
      EXPECT_EQ(status.code(), Code::kInvalidArgument);
      EXPECT_NE(status.message().find(part), std::string::npos) << status.message();
    };
    call.type = DataType::kInt32;
    says("convert to a float type");
    call.type = DataType::kFloat32;
    if (has_root(collective)) {
      call.root = 1;
      says("root");
      call.root = 0;
    }
    if (!zstd->traits().fixed_size) {
      compression.codec = zstd.get();
      says("differ in length");
      compression.codec = codec.get();
    }
  }
}

}  // namespace
}  // namespace gossamer
