// What the verifier must reject of schedules that send codes; mutants of all of them:
// verify_test.cc.

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "gossamer/codec.h"
#include "gossamer/gossip.h"
#include "gossamer/mixing.h"
#include "src/plan.h"
#include "src/verify.h"

namespace gossamer {
namespace {

// Of three elements a block, so that codes have scales of their own.
const Codec* some_codec() {
  static const std::unique_ptr<Codec> codec = make_codec("int8:block=3").value();
  return codec.get();
}

const Algorithm& named(Collective collective, const char* name) {
  return *find_algorithm(collective, name);
}

std::vector<Schedule> build(const Algorithm& algorithm, const Call& call, Rank size) {
  std::vector<Schedule> all;
  for (Rank r = 0; r < size; ++r) {
    all.push_back(build_schedule(algorithm, call, r, size, {}, 1, 2));
  }
  return all;
}

TEST(VerifierOfCodes, RejectsACodeThatIsMadeAnewOnTheWay) {
  // Every rank passes on a new code of what the last one decodes to, instead of the code itself.
  Algorithm anew = named(Collective::kAllGather, "coded_ring_all_gather");
  anew.emit = [](const Shape& shape, int round, Builder& b) {
    const Slice outgoing = shape.share(shape.rank - round);
    const Slice incoming = shape.share(shape.rank - round - 1);
    const Slice sent = b.code(shape.count, 2 * round);
    const Slice taken = b.code(shape.count, 2 * round + 1);
    const Slice input = {Buffer::kInput, 0, shape.count};
    b.encode(round == 0 ? input : outgoing, sent, input, Builder::Residual::kOwn);
    b.send(shape.next(), sent);
    if (round == 0) b.decode(sent, outgoing);
    b.recv(shape.prev(), taken);
    b.decode(taken, incoming);
  };
  const Call call{.collective = Collective::kAllGather, .count = 5, .codec = some_codec()};
  EXPECT_TRUE(verify(anew, call, 2).proved()) << verify(anew, call, 2).reason;
  const Verdict v = verify(anew, call, 3);
  EXPECT_TRUE(v.complete) << v.reason;
  EXPECT_FALSE(v.same_bits);
}

TEST(VerifierOfCodes, RejectsAnOwnerThatKeepsWhatItEncoded) {
  Algorithm keeps = named(Collective::kAllGather, "coded_all_gather");
  keeps.emit = [](const Shape& shape, int, Builder& b) {
    const Slice input = {Buffer::kInput, 0, shape.count};
    const Slice own = b.code(shape.count, 0);
    const Slice other = b.code(shape.count, 1);
    b.encode(input, own, input, Builder::Residual::kOfElements);
    b.send(1 - shape.rank, own);
    b.copy(input, shape.share(shape.rank));
    b.recv(1 - shape.rank, other);
    b.decode(other, shape.share(1 - shape.rank));
  };
  const Verdict v =
      verify(keeps, {.collective = Collective::kAllGather, .count = 5, .codec = some_codec()}, 2);
  EXPECT_TRUE(v.complete) << v.reason;
  EXPECT_FALSE(v.same_bits);
}

TEST(VerifierOfCodes, RejectsARootThatKeepsWhatItEncoded) {
  Algorithm keeps = named(Collective::kBroadcast, "coded_binomial_broadcast");
  keeps.emit = [](const Shape& shape, int, Builder& b) {
    const Slice whole = shape.whole();
    const Slice code = b.code(shape.count);
    if (!shape.is_root()) {
      b.recv(shape.root, code);
      return b.decode(code, whole);
    }
    b.encode(input_of(whole), code, whole, Builder::Residual::kOfElements);
    b.send(1 - shape.root, code);
    b.copy(input_of(whole), whole);
  };
  const Verdict v = verify(
      keeps, {.collective = Collective::kBroadcast, .count = 5, .root = 1, .codec = some_codec()},
      2);
  EXPECT_TRUE(v.complete) << v.reason;
  EXPECT_FALSE(v.same_bits);
  EXPECT_NE(v.reason.find("is what was encoded"), std::string::npos) << v.reason;
}

TEST(VerifierOfCodes, RejectsTargetsThatGetDifferentCodesOfOneInput) {
  // Every target of a round gets a code of its own.
  Algorithm anew = named(Collective::kNeighborAllGather, "coded_neighbor_all_gather");
  anew.emit = [](const Shape& shape, int, Builder& b) {
    const Slice whole = shape.whole();
    const auto code = [&](Rank peer, int side) { return b.code(shape.count, 2 * peer + side); };
    for (const Rank target : shape.mixing->targets(shape.rank)) {
      b.encode(input_of(whole), code(target, 0), whole, Builder::Residual::kOwn);
      b.send(target, code(target, 0));
    }
    int64_t share = 0;
    for (const Rank source : shape.mixing->sources(shape.rank)) {
      b.recv(source, code(source, 1));
      b.decode(code(source, 1), shape.share(share++));
    }
  };
  const auto ring = make_graph("ring", 3).value()->mixing(0);
  const Call call{.collective = Collective::kNeighborAllGather,
                  .count = 5,
                  .mixing = ring.get(),
                  .codec = some_codec()};
  const Verdict v = verify(anew, call, 3);
  EXPECT_TRUE(v.complete) << v.reason;
  EXPECT_FALSE(v.same_bits);
}

TEST(VerifierOfCodes, RejectsResidualsThatAreKeptTwiceOrNever) {
  const Algorithm& algorithm = named(Collective::kAllReduce, "coded_two_shot");
  const Call call{.count = 9, .codec = some_codec()};
  const auto reason_of = [&](const std::function<void(Schedule*)>& change) {
    auto schedules = build(algorithm, call, 3);
    change(&schedules[1]);
    const Verdict v = verify({.call = call, .size = 3}, schedules);
    EXPECT_FALSE(v.in_limits);
    return v.reason;
  };
  EXPECT_NE(reason_of([](Schedule* s) { s->encodings[2].residual_first = 0; }).find("two steps"),
            std::string::npos);
  EXPECT_NE(reason_of([](Schedule* s) { ++s->residual_count; }).find("floats"), std::string::npos);
}

TEST(VerifierOfCodes, RejectsAnInputThatIsAddedBesideItsCode) {
  // In place, rank 0 goes on from its input instead of what its code decodes to: every contribution
  // is there once, but what its code loses is in the residual and was not lost.
  const Algorithm& algorithm = named(Collective::kAllReduce, "coded_two_shot");
  const Call call{.count = 9, .in_place = true, .codec = some_codec()};
  auto schedules = build(algorithm, call, 3);
  for (Step& step : schedules[0].steps) {
    if (step.verb != Verb::kDecode) continue;
    // Onto scratch that nothing reads.
    schedules[0].scratch_count = step.count;
    step.into_buffer = Buffer::kScratch;
    step.into_first = 0;
    break;
  }
  const Verdict v = verify({.call = call, .size = 3}, schedules);
  EXPECT_FALSE(v.complete);
  EXPECT_NE(v.reason.find("what its code loses"), std::string::npos) << v.reason;
}

}  // namespace
}  // namespace gossamer
