// What the verifier says of schedules that break a collective's promise.

#include <gtest/gtest.h>

#include "src/verify.h"

namespace gossamer {
namespace {

// The verdict on a group of two that runs `emit`, whose count is 2.
Verdict verdict_on(Call call, void (*emit)(const Shape&, int, Builder&)) {
  const Algorithm algorithm = {
      "test", call.collective, false, any_shape, [](const Shape&) { return 1; }, emit};
  call.count = 2;
  return verify(algorithm, call, 2);
}

bool says(const Verdict& verdict, const std::string& part) {
  return verdict.reason.find(part) != std::string::npos;
}

// Moves two elements from rank 0 to rank 1.
void send_on(const Shape& shape, Slice from, Slice into, Builder& b) {
  if (shape.rank == 0) b.send(1, from);
  if (shape.rank == 1) b.recv(0, into);
}

TEST(VerifyBroadcast, RejectsTheInputOfAnotherThanTheRoot) {
  const Verdict v = verdict_on({.collective = Collective::kBroadcast, .root = 1},
                               [](const Shape& shape, int, Builder& b) {
                                 send_on(shape, input_of(shape.whole()), shape.whole(), b);
                               });
  EXPECT_FALSE(v.in_limits);  // rank 0 has no input
  EXPECT_TRUE(says(v, "outside its buffer")) << v.reason;
}

TEST(VerifyBroadcast, RejectsARootThatKeepsNothing) {
  const Verdict v =
      verdict_on({.collective = Collective::kBroadcast}, [](const Shape& shape, int, Builder& b) {
        send_on(shape, input_of(shape.whole()), shape.whole(), b);
      });
  EXPECT_FALSE(v.complete);
  EXPECT_TRUE(says(v, "rank 0 output element 0 was never written")) << v.reason;
}

TEST(VerifyReduce, RejectsAnOutputWhereThereIsNone) {
  const Verdict v = verdict_on(
      {.collective = Collective::kReduce},
      [](const Shape& shape, int, Builder& b) { b.copy(input_of(shape.whole()), shape.whole()); });
  EXPECT_FALSE(v.in_limits);
  EXPECT_TRUE(says(v, "rank 1 step 0 (copy, elements 0 to 2) writes outside its buffer"))
      << v.reason;
}

TEST(VerifyReduceScatter, RejectsTheShareOfAnotherRank) {
  const Verdict v = verdict_on(
      {.collective = Collective::kReduceScatter}, [](const Shape& shape, int, Builder& b) {
        b.send(shape.next(), shape.input_share(shape.rank));
        b.recv_reduce(shape.next(), shape.whole(), shape.input_share(shape.rank));
      });
  EXPECT_FALSE(v.complete);
  EXPECT_TRUE(says(v, "adds different elements")) << v.reason;
}

// Right results, and the rest of the input is gone.
TEST(VerifyReduceScatter, RejectsInputThatIsOverwrittenInPlace) {
  const auto emit = [](const Shape& shape, int, Builder& b) {
    const Rank peer = shape.next();
    b.send(peer, shape.input_share(peer));
    b.recv_reduce(peer, shape.whole(), shape.input_share(shape.rank));
    if (!shape.in_place) return;
    // From the output's begin to the other share of the memory of both.
    Slice other = shape.whole();
    other.first += (shape.rank == 0 ? 1 : -1) * shape.count;
    b.copy(shape.whole(), other);
  };
  EXPECT_TRUE(verdict_on({.collective = Collective::kReduceScatter}, emit).proved());
  const Verdict v = verdict_on({.collective = Collective::kReduceScatter, .in_place = true}, emit);
  EXPECT_FALSE(v.complete);
  EXPECT_TRUE(says(v, "was input only, and is overwritten")) << v.reason;
}

TEST(VerifyAllToAll, RejectsSharesInTheWrongPlace) {
  const Verdict v =
      verdict_on({.collective = Collective::kAllToAll}, [](const Shape& shape, int, Builder& b) {
        b.send(shape.next(), shape.input_share(shape.rank));
        b.copy(shape.input_share(shape.rank), shape.share(shape.rank));
        b.recv(shape.next(), shape.share(shape.next()));
      });
  EXPECT_FALSE(v.complete);
  EXPECT_TRUE(says(v, "rank 0 output element 2 is not what its rank put in")) << v.reason;
}

TEST(VerifyScatter, RejectsAnotherRanksShare) {
  const Verdict v =
      verdict_on({.collective = Collective::kScatter}, [](const Shape& shape, int, Builder& b) {
        send_on(shape, shape.input_share(0), shape.whole(), b);
        if (shape.rank == 0) b.copy(shape.input_share(0), shape.whole());
      });
  EXPECT_FALSE(v.complete);
  EXPECT_TRUE(says(v, "rank 1 output element 0 is not what its rank put in")) << v.reason;
}

}  // namespace
}  // namespace gossamer
