// Ranks that make different calls: every rank is told, and the sentence names both sides.

#include "tests/group_threads.h"

namespace gossamer {
namespace {

struct Outcome {
  Status status;
  bool input_intact = false;
};

using Call = std::function<Status(Communicator& comm, const std::vector<float>& input,
                                  std::vector<float>* output)>;

Status sum(Communicator& comm, const std::vector<float>& input, std::vector<float>* output,
           uint64_t count, DataType type = DataType::kFloat32, ReduceOp op = ReduceOp::kSum) {
  return comm.all_reduce(input.data(), output->data(), count, type, op);
}

Status gather(Communicator& comm, const std::vector<float>& input, std::vector<float>* output,
              uint64_t count) {
  return comm.all_gather(input.data(), output->data(), count, DataType::kFloat32);
}

// Every rank but the last makes `call`, the last one `other`.
std::vector<Outcome> differ(Rank size, const std::string& transport, const Call& call,
                            const Call& other) {
  std::vector<Outcome> outcomes(static_cast<size_t>(size));
  Gate gate(size);
  run_group(size, transport, [&](Communicator& comm) {
    std::vector<float> input(100'000, 3.5F);
    std::vector<float> output(input.size() * static_cast<size_t>(size));
    Outcome& mine = outcomes[static_cast<size_t>(comm.rank())];
    mine.status =
        comm.rank() == size - 1 ? other(comm, input, &output) : call(comm, input, &output);
    mine.input_intact = input == std::vector<float>(input.size(), 3.5F);
    gate.arrive_and_wait();
  });
  return outcomes;
}

void expect_named(const std::vector<Outcome>& outcomes, const std::string& one,
                  const std::string& two) {
  for (size_t rank = 0; rank < outcomes.size(); ++rank) {
    const Status& status = outcomes[rank].status;
    EXPECT_EQ(status.code(), Code::kMismatch) << "rank " << rank << ": " << status.message();
    EXPECT_NE(status.message().find(one), std::string::npos) << rank << ": " << status.message();
    EXPECT_NE(status.message().find(two), std::string::npos) << rank << ": " << status.message();
    EXPECT_NE(status.message().find("rank " + std::to_string(outcomes.size() - 1)),
              std::string::npos)
        << status.message();
    EXPECT_TRUE(outcomes[rank].input_intact) << rank;
  }
}

class Mismatch : public testing::TestWithParam<std::tuple<const char*, Rank>> {
 public:
  std::string transport() const { return std::get<0>(GetParam()); }
  Rank size() const { return std::get<1>(GetParam()); }
};

TEST_P(Mismatch, OfCountsNamesBoth) {
  for (const auto& [a, b] : {std::pair<uint64_t, uint64_t>{1, 2},
                             {10, 1000},
                             {1000, 100'000},
                             {100'000, 99'999},
                             {100'000, 3}}) {
    const auto outcomes = differ(
        size(), transport(),
        [a = a](Communicator& c, const auto& in, auto* out) { return sum(c, in, out, a); },
        [b = b](Communicator& c, const auto& in, auto* out) { return sum(c, in, out, b); });
    expect_named(outcomes, "all_reduce of " + std::to_string(a) + " float32",
                 "all_reduce of " + std::to_string(b) + " float32");
  }
}

TEST_P(Mismatch, OfTypesNamesBoth) {
  const auto outcomes = differ(
      size(), transport(),
      [](Communicator& c, const auto& in, auto* out) { return sum(c, in, out, 500); },
      [](Communicator& c, const auto& in, auto* out) {
        return sum(c, in, out, 500, DataType::kInt32);
      });
  expect_named(outcomes, "500 float32", "500 int32");
}

TEST_P(Mismatch, OfOperationsNamesBoth) {
  const auto outcomes = differ(
      size(), transport(),
      [](Communicator& c, const auto& in, auto* out) { return sum(c, in, out, 500); },
      [](Communicator& c, const auto& in, auto* out) {
        return sum(c, in, out, 500, DataType::kFloat32, ReduceOp::kMax);
      });
  expect_named(outcomes, "(sum)", "(max)");
}

TEST_P(Mismatch, OfOrderNamesBoth) {
  for (const uint64_t count : {uint64_t{4}, uint64_t{3000}, uint64_t{100'000}}) {
    const auto outcomes = differ(
        size(), transport(),
        [count](Communicator& c, const auto& in, auto* out) {
          const Status first = sum(c, in, out, count);
          return first ? gather(c, in, out, count) : first;
        },
        [count](Communicator& c, const auto& in, auto* out) {
          const Status first = gather(c, in, out, count);
          return first ? sum(c, in, out, count) : first;
        });
    expect_named(outcomes, "all_reduce", "all_gather");
  }
}

TEST_P(Mismatch, OfOneCallTooFewNamesTheCalls) {
  const auto outcomes = differ(
      size(), transport(),
      [](Communicator& c, const auto& in, auto* out) {
        const Status first = sum(c, in, out, 20);
        return first ? sum(c, in, out, 30) : first;
      },
      [](Communicator& c, const auto& in, auto* out) { return sum(c, in, out, 30); });
  expect_named(outcomes, "call 1", "20 float32");
}

INSTANTIATE_TEST_SUITE_P(Over, Mismatch,
                         testing::Combine(testing::Values("shm", "tcp"), testing::Values(2, 3, 5)),
                         [](const auto& made) {
                           return std::string(std::get<0>(made.param)) +
                                  std::to_string(std::get<1>(made.param));
                         });

TEST(Settings, ThatDifferAreRefusedWhenJoining) {
  for (const bool algorithms : {true, false}) {
    const TemporaryFolder folder;
    std::vector<std::thread> threads;
    for (Rank rank = 0; rank < 2; ++rank) {
      threads.emplace_back([&, rank] {
        auto options = options_of(rank, 2, folder.place("id"), "auto");
        if (algorithms) {
          options.algorithm = rank == 0 ? "ring" : "recursive_doubling";
        } else {
          options.transport = rank == 0 ? "shm" : "tcp";
        }
        const auto comm = Communicator::create(options);
        ASSERT_FALSE(comm);
        EXPECT_EQ(comm.status().code(), Code::kMismatch);
        for (const char* part : {"rank 0", "rank 1", algorithms ? "ring" : "shm",
                                 algorithms ? "recursive_doubling" : "tcp", "GOSSAMER_"}) {
          EXPECT_NE(comm.status().message().find(part), std::string::npos)
              << comm.status().message();
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
  }
}

}  // namespace
}  // namespace gossamer
