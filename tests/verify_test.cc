// A proof is worth nothing if the prover accepts anything: what it must reject.

#include "src/verify.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "gossamer/codec.h"
#include "src/plan.h"
#include "tests/schedule_draft.h"
#include "tests/some_mixing.h"
#include "tests/sparse_codec.h"

namespace gossamer {
namespace {

const Algorithm& named(Collective collective, const char* name) {
  return *find_algorithm(collective, name);
}
const Algorithm& ring() {
  return named(Collective::kAllReduce, "ring");
}

std::vector<Schedule> build(const Algorithm& algorithm, const Call& call, Rank size,
                            std::span<const Rank> hosts = {}, uint32_t pieces = 1) {
  std::vector<Schedule> all;
  for (Rank r = 0; r < size; ++r) {
    all.push_back(build_schedule(algorithm, call, r, size, hosts, pieces, 2));
  }
  return all;
}

Proof proof_of(const Algorithm& algorithm, const Call& call, Rank size) {
  return {.call = call, .size = size, .wide = accumulates_wide(algorithm, call)};
}

// Of three elements a block, so that codes have scales of their own; of one entry, where only
// sparse ones do.
const Codec* codec_for(const Algorithm& algorithm) {
  static const std::unique_ptr<Codec> dense = make_codec("int8:block=3").value();
  static const LargestCodec sparse(1000);
  static const std::unique_ptr<Codec> adding = make_codec("int8_shared:block=3").value();
  if (!algorithm.codes) return nullptr;
  if (is_for_adding_codecs(algorithm)) return adding.get();
  return is_for_sparse_codecs(algorithm) ? static_cast<const Codec*>(&sparse) : dense.get();
}

TEST(Verifier, AcceptsWhatIsRight) {
  const Verdict v = verify(ring(), {.count = 7}, 3);
  EXPECT_TRUE(v.proved()) << v.reason;
  EXPECT_TRUE(v.reason.empty());
}

TEST(Verifier, RejectsARingThatStopsOneRoundEarly) {
  Algorithm short_ring = ring();
  short_ring.rounds = [](const Shape& shape) { return 2 * (shape.size - 1) - 1; };
  const Verdict v = verify(short_ring, {.count = 7}, 3);
  EXPECT_FALSE(v.complete);
  EXPECT_NE(v.reason.find("is not the sum"), std::string::npos) << v.reason;
}

TEST(Verifier, RejectsAMissingEdge) {
  const Call call{.count = 9};
  auto schedules = build(ring(), call, 3);
  Draft draft(schedules[1]);
  draft.edges.erase(draft.edges.begin());
  schedules[1] = draft.schedule();
  const Verdict v = verify(proof_of(ring(), call, 3), schedules);
  EXPECT_FALSE(v.no_race);
  EXPECT_NE(v.reason.find("rank 1 step"), std::string::npos) << v.reason;
}

TEST(Verifier, RejectsWaitsThatDoNotMatchTheEdges) {
  const Call call{.count = 9};
  auto schedules = build(ring(), call, 3);
  --schedules[2].waits[2];
  EXPECT_FALSE(verify(proof_of(ring(), call, 3), schedules).in_limits);
}

TEST(Verifier, RejectsMessagesInAnotherOrderAtOneEnd) {
  // Rank 0 sends elements 0 and 1 on one lane; rank 1 takes 1 first.
  const Call call{.collective = Collective::kAllGather, .count = 2};
  auto schedules = build(named(Collective::kAllGather, "direct_all_gather"), call, 2, {}, 2);
  const Proof proof{.call = call, .size = 2};
  ASSERT_TRUE(verify(proof, schedules).proved());
  for (Schedule& s : schedules) {
    for (Step& step : s.steps) step.lane = 0;
  }
  ASSERT_TRUE(verify(proof, schedules).proved());
  std::vector<Step*> receives;
  for (Step& step : schedules[1].steps) {
    if (step.receives()) receives.push_back(&step);
  }
  ASSERT_EQ(receives.size(), 2U);
  std::swap(*receives[0], *receives[1]);
  EXPECT_FALSE(verify(proof, schedules).complete);
}

TEST(Verifier, RejectsAContributionCountedTwice) {
  for (Rank size : {4, 80}) {  // exact sets; random weights
    const Call call{.count = 5};
    auto schedules = build(named(Collective::kAllReduce, "one_shot"), call, size);
    Draft draft(schedules[0]);
    draft.steps.push_back({.verb = Verb::kReduce,
                           .from_buffer = Buffer::kInput,
                           .into_buffer = Buffer::kOutput,
                           .count = 5});
    const auto last = static_cast<uint32_t>(draft.steps.size() - 1);
    draft.edges.emplace_back(last - 1, last);
    schedules[0] = draft.schedule();
    const Verdict v = verify({.call = call, .size = size}, schedules);
    EXPECT_FALSE(v.complete) << size;
    EXPECT_TRUE(v.no_race) << v.reason;
  }
}

TEST(Verifier, RejectsScratchThatWasNotDeclared) {
  const Call call{.count = 16, .in_place = true};
  const Algorithm& algorithm = named(Collective::kAllReduce, "recursive_doubling");
  auto schedules = build(algorithm, call, 4);
  ASSERT_EQ(schedules[3].scratch_count, 16U);
  schedules[3].scratch_count = 15;
  EXPECT_FALSE(verify(proof_of(algorithm, call, 4), schedules).in_limits);
}

TEST(Verifier, RejectsReadingScratchThatNothingWrote) {
  const Call call{.count = 4};
  auto schedules = build(named(Collective::kAllReduce, "two_shot"), call, 2);
  schedules[0].scratch_count = 4;
  schedules[0].steps[0].from_buffer = Buffer::kScratch;
  const Verdict v = verify({.call = call, .size = 2}, schedules);
  EXPECT_FALSE(v.complete);
  EXPECT_NE(v.reason.find("nothing has written"), std::string::npos) << v.reason;
}

TEST(Verifier, RejectsAnAverageThatIsNotDivided) {
  Call sum{.count = 8};
  Call average{.op = ReduceOp::kAvg, .count = 8};
  for (const Algorithm* algorithm : algorithms()) {
    if (!reduces(algorithm->collective) || !algorithm->accepts({.size = 3})) continue;
    sum.collective = average.collective = algorithm->collective;
    const Verdict v = verify(proof_of(*algorithm, average, 3), build(*algorithm, sum, 3));
    EXPECT_FALSE(v.complete) << algorithm->name;
    EXPECT_NE(v.reason.find("never settled"), std::string::npos) << v.reason;
  }
}

TEST(Verifier, RejectsASumThatIsDividedTwice) {
  const Call call{.op = ReduceOp::kAvg, .count = 2};
  auto schedules = build(ring(), call, 2);
  Draft draft(schedules[0]);
  draft.steps.push_back({.verb = Verb::kSettle, .count = 2});
  const auto last = static_cast<uint32_t>(draft.steps.size() - 1);
  for (uint32_t i = 0; i < last; ++i) draft.edges.emplace_back(i, last);
  schedules[0] = draft.schedule();
  const Verdict v = verify(proof_of(ring(), call, 2), schedules);
  EXPECT_NE(v.reason.find("settles a value twice"), std::string::npos) << v.reason;
}

TEST(Verifier, RejectsFoldingNarrowValuesInAWidePlan) {
  const Call call{.type = DataType::kBfloat16, .count = 8};
  const Proof wide{.call = call, .size = 3, .wide = true};
  EXPECT_FALSE(verify(wide, build(ring(), call, 3)).in_limits);
}

// Every rank sends what it folds onto: each waits until its own send is taken.
Algorithm naive_exchange() {
  Algorithm a = named(Collective::kAllReduce, "one_shot");
  a.rounds = [](const Shape&) { return 1; };
  a.emit = [](const Shape& shape, int, Builder& b) {
    b.send(1 - shape.rank, input_of(shape.whole()));
    b.recv_reduce(1 - shape.rank, shape.whole(), input_of(shape.whole()));
  };
  return a;
}

TEST(Verifier, FindsTheDeadlockOfAnExchangeInPlaceUnlessSendsAreEager) {
  const Algorithm exchange = naive_exchange();
  EXPECT_TRUE(verify(exchange, {.count = 8}, 2).proved());
  const Verdict v = verify(exchange, {.count = 8, .in_place = true}, 2);
  EXPECT_FALSE(v.no_deadlock);
  EXPECT_NE(v.reason.find("deadlock"), std::string::npos) << v.reason;
  EXPECT_TRUE(verify(exchange, {.count = 8, .in_place = true, .eager_bytes = 32}, 2).proved());
  EXPECT_FALSE(verify(exchange, {.count = 9, .in_place = true, .eager_bytes = 32}, 2).proved());
}

TEST(Verifier, CountsTheWindowOfEagerSends) {
  // Two eager messages before the first is taken.
  const Call call{.count = 2, .in_place = true, .eager_bytes = 4};
  std::vector<Schedule> schedules;
  for (Rank r : {0, 1}) {
    Builder b({.rank = r, .size = 2, .count = 2, .in_place = true});
    for (uint64_t i : {0, 1}) b.send(1 - r, {Buffer::kInput, i, 1});
    // Both are sent before either is overwritten.
    for (uint64_t i : {1, 0}) b.copy({Buffer::kInput, i, 1}, {Buffer::kScratch, i, 1});
    for (uint64_t i : {0, 1}) b.recv_reduce(1 - r, {Buffer::kOutput, i, 1});
    b.scratch(2);
    Draft draft(b.finish());
    draft.edges.emplace_back(1, 4);
    schedules.push_back(draft.schedule());
  }
  Proof proof{.call = call, .size = 2, .window = 2};
  EXPECT_TRUE(verify(proof, schedules).proved()) << verify(proof, schedules).reason;
  proof.window = 1;
  EXPECT_FALSE(verify(proof, schedules).no_deadlock);
}

TEST(Verifier, RejectsSumsInAnotherOrderOnOneRank) {
  Algorithm own_first = named(Collective::kAllReduce, "one_shot");
  own_first.emit = [](const Shape& shape, int, Builder& b) {
    const Slice whole = shape.whole();
    for (Rank i = 1; i < shape.size; ++i) {
      b.send(shape.wrap(shape.rank + i), input_of(whole));
      b.recv_reduce(shape.wrap(shape.rank - i), whole, i == 1 ? input_of(whole) : whole);
    }
  };
  EXPECT_TRUE(verify(own_first, {.count = 3}, 2).proved());
  const Verdict v = verify(own_first, {.count = 3}, 3);
  EXPECT_TRUE(v.complete);
  EXPECT_FALSE(v.same_bits);
}

// --- mutants ---

struct Tally {
  int mutants = 0;
  int equivalent = 0;
};

class Mutation : public testing::TestWithParam<const Algorithm*> {
 protected:
  // Replaces one rank's schedule and expects the proof to fail.
  void expect_rejected(const Draft& mutant, Rank rank, const std::string& what) {
    const Schedule original = std::move(schedules_[static_cast<size_t>(rank)]);
    schedules_[static_cast<size_t>(rank)] = mutant.schedule();
    EXPECT_FALSE(verify(proof_, schedules_).proved())
        << GetParam()->name << ", N " << proof_.size << ", rank " << rank << ": " << what;
    schedules_[static_cast<size_t>(rank)] = original;
    ++tally_.mutants;
  }

  // Whether a copy into accumulators that is one longer does no harm: what lies behind it is
  // another's, and is written as a whole before it is read.
  static bool writes_unread_after(const Draft& draft, const Step& copy) {
    if (copy.verb != Verb::kCopy || copy.into_buffer != Buffer::kWide) return false;
    const uint64_t behind = copy.into_first + copy.count;
    const auto covers = [&](const Slice& slice) {
      return slice.buffer == Buffer::kWide && slice.first <= behind &&
             behind < slice.first + slice.count;
    };
    for (const Step& step : draft.steps) {
      if (&step <= &copy) continue;
      if (step.reads_from() && covers(step.from())) return false;
      if (step.writes_into() && covers(step.into())) return step.verb == Verb::kDecode;
    }
    return false;
  }

  // Every way to alter one step, by changing it in place.
  void alter_step(const Draft& draft, Rank rank, uint32_t i) {
    const auto change = [&](const char* what, const std::function<void(Step&)>& alter) {
      Draft mutant = draft;
      alter(mutant.steps[i]);
      expect_rejected(mutant, rank, std::string(what) + " step " + std::to_string(i));
    };
    const Step& step = draft.steps[i];
    change("shorten", [](Step& s) { --s.count; });
    if (writes_unread_after(draft, step)) {
      ++tally_.equivalent;
    } else {
      change("lengthen", [](Step& s) { ++s.count; });
    }
    if (step.reads_from()) change("read one further", [](Step& s) { ++s.from_first; });
    if (step.writes_into()) change("write one further", [](Step& s) { ++s.into_first; });
    if (step.is_message()) {
      change("next peer", [&](Step& s) { s.peer = (s.peer + 1) % proof_.size; });
      change("other lane", [](Step& s) { s.lane = static_cast<Lane>(1 - s.lane); });
    }
    if (step.sends()) change("receive", [](Step& s) { s.verb = Verb::kRecv; });
    if (step.verb == Verb::kRecv) {
      change("fold", [](Step& s) {
        s.verb = Verb::kRecvReduce;
        s.from_buffer = s.into_buffer;
        s.from_first = s.into_first;
      });
    }
    if (step.verb == Verb::kRecvReduce) {
      change("overwrite", [](Step& s) { s.verb = Verb::kRecv; });
      if (step.from() == step.into() && step.into_buffer == Buffer::kOutput &&
          !proof_.call.in_place) {
        change("forget the partial sum", [](Step& s) { s.from_buffer = Buffer::kInput; });
      }
    }
    if (step.verb == Verb::kReduce) change("copy", [](Step& s) { s.verb = Verb::kCopy; });
    if (step.verb == Verb::kSettle) change("fold", [](Step& s) { s.verb = Verb::kReduce; });
    if (step.verb == Verb::kCopy) change("fold", [](Step& s) { s.verb = Verb::kReduce; });
    if (step.codes()) change("shorter code", [](Step& s) { --s.code_count; });
    if (step.verb == Verb::kEncode) change("decode", [](Step& s) { s.verb = Verb::kDecode; });
    if (step.verb == Verb::kPack) change("encode", [](Step& s) { s.verb = Verb::kEncode; });
    if (step.verb == Verb::kUnpack) change("decode", [](Step& s) { s.verb = Verb::kDecode; });
    if (step.verb == Verb::kDecode) change("fold", [](Step& s) { s.verb = Verb::kDecodeReduce; });
    if (step.verb == Verb::kDecodeReduce) {
      change("overwrite", [](Step& s) { s.verb = Verb::kDecode; });
    }
    alter_sum_step(draft, rank, i);
  }

  void alter_sum_step(const Draft& draft, Rank rank, uint32_t i) {
    const auto become = [&](Verb verb) {
      Draft mutant = draft;
      mutant.steps[i].verb = verb;
      expect_rejected(mutant, rank, "another verb in step " + std::to_string(i));
    };
    switch (draft.steps[i].verb) {
      case Verb::kMeasure:
        return become(Verb::kEncode);
      case Verb::kAgree:
        return become(Verb::kBeginSum);
      case Verb::kEncodeAgreed:
        return become(Verb::kEncode);
      case Verb::kBeginSum:
        return become(Verb::kAddCode);
      case Verb::kAddCode:
        return become(Verb::kBeginSum);
      case Verb::kDecodeSum:
        return become(Verb::kDecode);
      default:
        return;
    }
  }

  void alter_encoding(const Draft& draft, Rank rank, uint32_t i) {
    if (!draft.steps[i].has_residual()) return;
    Draft mutant = draft;
    ++mutant.encodings[i].residual_first;
    expect_rejected(mutant, rank, "residual of step " + std::to_string(i));
  }

  void alter_factors(const Draft& draft, Rank rank, uint32_t i) {
    if (draft.factors.empty() || draft.factors[i] == Factors{}) return;
    const auto change = [&](const char* what, const std::function<void(Factors&)>& alter) {
      Draft mutant = draft;
      alter(mutant.factors[i]);
      expect_rejected(mutant, rank, std::string(what) + " of step " + std::to_string(i));
    };
    const Verb verb = draft.steps[i].verb;
    change("own weight up", [](Factors& f) { f.from = std::nextafter(f.from, 2.0); });
    change("no own weight", [](Factors& f) { f.from = 0; });
    if (verb != Verb::kRecvReduce && verb != Verb::kDecodeReduce) return;
    change("weight down", [](Factors& f) { f.wire = std::nextafter(f.wire, 0.0); });
    change("no weight", [](Factors& f) { f.wire = 0; });
    change("weights of a plain sum", [](Factors& f) { f = {}; });
  }

  void mutate(const Draft& draft, Rank rank) {
    for (uint32_t i = 0; i < draft.steps.size(); ++i) {
      alter_factors(draft, rank, i);
      alter_encoding(draft, rank, i);
      Draft mutant = draft;
      mutant.remove(i);
      expect_rejected(mutant, rank, "delete step " + std::to_string(i));
      alter_step(draft, rank, i);
    }
    for (size_t e = 0; e < draft.edges.size(); ++e) {
      // Equivalent and only then: other edges still order the two steps.
      if (draft.implied(e)) {
        ++tally_.equivalent;
        continue;
      }
      Draft mutant = draft;
      mutant.edges.erase(mutant.edges.begin() + static_cast<ptrdiff_t>(e));
      expect_rejected(mutant, rank, "delete edge " + std::to_string(e));
    }
  }

  void mutate_all(const Call& call, Rank size, uint32_t pieces) {
    std::vector<Rank> hosts;
    for (Rank r = 0; r < size; ++r) hosts.push_back(r / 2);
    Shape shape{.size = size,
                .count = call.count,
                .hosts = hosts,
                .mixing = call.mixing,
                .codec = call.codec};
    if (!GetParam()->accepts(shape)) return;
    proof_ = proof_of(*GetParam(), call, size);
    schedules_ = build(*GetParam(), call, size, hosts, pieces);
    ASSERT_TRUE(verify(proof_, schedules_).proved()) << verify(proof_, schedules_).reason;
    for (Rank r = 0; r < size; ++r) {
      mutate(Draft(schedules_[static_cast<size_t>(r)]), r);
    }
  }

  Proof proof_;
  std::vector<Schedule> schedules_;
  Tally tally_;
};

TEST_P(Mutation, EveryMutantIsRejected) {
  const bool packs = is_for_sparse_codecs(*GetParam());
  for (Rank size : {2, 3, 4, 5}) {
    for (bool in_place : {false, true}) {
      for (ReduceOp op : {ReduceOp::kSum, ReduceOp::kAvg}) {
        if (!reduces(GetParam()->collective) && op == ReduceOp::kAvg) continue;
        const Call call{.collective = GetParam()->collective,
                        .op = op,
                        // what is packed must be long enough for that to pay
                        .count = static_cast<uint64_t>(packs ? 100 * size + 1 : 2 * size + 1),
                        .in_place = in_place,
                        .root = in_place ? size - 1 : size / 2,
                        .mixing = mixing_for(GetParam()->collective, size),
                        .codec = codec_for(*GetParam())};
        mutate_all(call, size, 1);
        mutate_all(call, size, 2);
        if (!GetParam()->rounds_once && !GetParam()->codes) continue;
        Call wide = call;
        wide.type = DataType::kBfloat16;
        mutate_all(wide, size, 1);
      }
    }
  }
  EXPECT_GT(tally_.mutants, 200);
  RecordProperty("mutants", tally_.mutants);
  RecordProperty("equivalent", tally_.equivalent);
}

INSTANTIATE_TEST_SUITE_P(Registry, Mutation,
                         testing::ValuesIn(algorithms().begin(), algorithms().end()),
                         [](const auto& each) { return std::string(each.param->name); });

}  // namespace
}  // namespace gossamer
