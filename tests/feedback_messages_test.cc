// State of error feedback on its way from rank to rank: longer than a message, and hostile.

#include <gtest/gtest.h>

#include <vector>

#include "gossamer/communicator.h"
#include "gossamer/feedback.h"
#include "tests/rank_group.h"

namespace gossamer {
namespace {

void fill(StateStore* store, uint64_t count, float value) {
  ASSERT_TRUE(store->arrange(Role::kSender, std::vector<StateBucket>{{{1, 0, count}}}));
  for (float& one : store->stage(Role::kSender, 0)) one = value;
  store->commit();
}

TEST(StateMessages, TakeAsManyAsItIsLong) {
  const uint64_t count = (uint64_t{64} << 20) / sizeof(float) + 12345;
  RankGroup group(2);
  std::vector<StateStore> stores(2);
  group.each([&](Communicator& comm) {
    StateStore& store = stores[static_cast<size_t>(comm.rank())];
    fill(&store, count, static_cast<float>(comm.rank() + 1));
    const Status done = store.hand_over(comm, 1, 0);
    EXPECT_TRUE(done) << done.to_string();
  });
  const auto all_are = [&](size_t rank, float expected) {
    uint64_t others = 0;
    for (const float value : stores[rank].committed(Role::kSender, 0)) {
      others += value == expected ? 0 : 1;
    }
    EXPECT_EQ(others, 0U) << "rank " << rank;
  };
  all_are(0, 3);
  all_are(1, 0);
}

// Half a terabyte is announced: nobody makes room for it before it comes.
TEST(StateMessages, MakeNoRoomForWhatIsOnlyAnnounced) {
  RankGroup group(2);
  group.each([&](Communicator& comm) {
    if (comm.rank() == 1) {
      const uint64_t announced = uint64_t{1} << 39;
      EXPECT_TRUE(comm.send(&announced, 1, DataType::kUint64, 0));
      comm.abort();
      return;
    }
    StateStore store;
    fill(&store, 100, 2);
    const Status done = store.hand_over(comm, 1, 0);
    EXPECT_FALSE(done);
    for (const float value : store.committed(Role::kSender, 0)) EXPECT_EQ(value, 2.0F);
  });
}

// A length that no state has.
TEST(StateMessages, RefuseLengthsThatAreNone) {
  for (const uint64_t announced : {uint64_t{0}, uint64_t{1} << 50}) {
    RankGroup group(2);
    group.each([&](Communicator& comm) {
      if (comm.rank() == 1) {
        EXPECT_TRUE(comm.send(&announced, 1, DataType::kUint64, 0));
        return;
      }
      StateStore store;
      const Status done = store.hand_over(comm, 1, 0);
      EXPECT_EQ(done.code(), Code::kMismatch) << done.to_string();
      EXPECT_EQ(done.rank(), 1);
    });
  }
}

}  // namespace
}  // namespace gossamer
