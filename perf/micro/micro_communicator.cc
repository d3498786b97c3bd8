// NAME     micro_communicator
// PURPOSE  What communicators themselves cost: a group around one call, a message there and back,
//          creating a group, splitting it, shrinking it. Ranks are threads of this process.
// USAGE    micro_communicator [TRANSPORT] [REPEATS]     default: shm 200
//
// Medians, in microseconds. Of what several ranks do together, the time of the slowest: all begin
// after a barrier.

#include <algorithm>
#include <barrier>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "gossamer/communicator.h"
#include "gossamer/group.h"
#include "src/check.h"

namespace gossamer {
namespace {

using Clock = std::chrono::steady_clock;
using Comms = std::vector<std::unique_ptr<Communicator>>;

double us_since(Clock::time_point began) {
  return std::chrono::duration<double, std::micro>(Clock::now() - began).count();
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

void print(const std::string& what, double us) {
  std::printf("%-44s %10.3f us\n", what.c_str(), us);
}

// The median over `repeats` of what `body` takes on the slowest rank. `clean` runs after each, not
// timed.
double together(Rank size, int repeats, const std::function<void(Rank)>& body,
                const std::function<void(Rank)>& clean) {
  std::barrier meet(size);
  std::vector<std::vector<double>> times(static_cast<size_t>(size));
  std::vector<std::thread> threads;
  for (Rank rank = 0; rank < size; ++rank) {
    threads.emplace_back([&, rank] {
      for (int i = 0; i < repeats; ++i) {
        meet.arrive_and_wait();
        const auto began = Clock::now();
        body(rank);
        times[static_cast<size_t>(rank)].push_back(us_since(began));
        meet.arrive_and_wait();
        clean(rank);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  std::vector<double> slowest(static_cast<size_t>(repeats));
  for (size_t i = 0; i < slowest.size(); ++i) {
    for (const auto& mine : times) slowest[i] = std::max(slowest[i], mine[i]);
  }
  return median(slowest);
}

// Per call, over many, so that the clock costs nothing.
double per_call(int calls, const std::function<void()>& call) {
  std::vector<double> times;
  for (int round = 0; round < 21; ++round) {
    const auto began = Clock::now();
    for (int i = 0; i < calls; ++i) call();
    times.push_back(us_since(began) / calls);
  }
  return median(times);
}

// A rank alone: no message, so what is left is the way of the call.
void measure_calls(const Communicator::Options& options) {
  auto all = Communicator::create_all(1, options);
  GOSSAMER_CHECK(all.is_ok());
  Communicator& comm = *all.value()[0];
  std::vector<float> x(2), y(2);
  const auto call = [&] {
    const Status status =
        comm.all_reduce(x.data(), y.data(), x.size(), DataType::kFloat32, ReduceOp::kSum);
    GOSSAMER_CHECK(status.is_ok());
  };
  print("all_reduce of 8 bytes, 1 rank", per_call(20'000, call));
  print("the same in a group of its own", per_call(20'000, [&] {
          GOSSAMER_CHECK(group_start().is_ok());
          call();
          GOSSAMER_CHECK(group_end().is_ok());
        }));
}

void measure_messages(const Communicator::Options& options) {
  auto all = Communicator::create_all(2, options);
  GOSSAMER_CHECK(all.is_ok());
  double sum_us = 0;
  const auto sum = [&](Rank rank) {
    std::vector<float> x(2);
    const double us = per_call(2'000, [&] {
      Communicator& comm = *all.value()[static_cast<size_t>(rank)];
      GOSSAMER_CHECK(comm.all_reduce(std::span<float>(x)).is_ok());
    });
    if (rank == 0) sum_us = us;
  };
  std::thread partner([&] { sum(1); });
  sum(0);
  partner.join();
  print("all_reduce of 8 bytes, 2 ranks", sum_us);
  for (const uint64_t count : {2, 1024, 262'144}) {
    double there_and_back = 0;
    const auto play = [&](Rank rank) {
      Communicator& comm = *all.value()[static_cast<size_t>(rank)];
      std::vector<float> x(count);
      const double us = per_call(count > 10'000 ? 30 : 2'000, [&] {
        const auto pass = [&](bool sends) {
          return sends ? comm.send(x.data(), count, DataType::kFloat32, 1 - rank)
                       : comm.recv(x.data(), count, DataType::kFloat32, 1 - rank);
        };
        GOSSAMER_CHECK(pass(rank == 0).is_ok());
        GOSSAMER_CHECK(pass(rank == 1).is_ok());
      });
      if (rank == 0) there_and_back = us;
    };
    std::thread other([&] { play(1); });
    play(0);
    other.join();
    print("message of " + std::to_string(4 * count) + " bytes, one way, 2 ranks",
          there_and_back / 2);
  }
}

void measure_families(const Communicator::Options& options, Rank size, int repeats) {
  const auto at = [](Rank rank) { return static_cast<size_t>(rank); };
  Comms made(at(size));
  const auto drop = [&](Rank rank) { made[at(rank)].reset(); };
  const std::string ranks = std::to_string(size) + " ranks";
  std::vector<UniqueId> ids;
  for (int i = 0; i < repeats / 4; ++i) {
    Result<UniqueId> id = UniqueId::create();
    GOSSAMER_CHECK(id.is_ok());
    ids.push_back(*id);
  }
  std::vector<size_t> next(at(size));
  const auto create = [&](Rank rank) {
    Communicator::Options own = options;
    own.rank = rank;
    own.size = size;
    own.id = &ids[next[at(rank)]++];
    auto comm = Communicator::create(own);
    GOSSAMER_CHECK(comm.is_ok());
    made[at(rank)] = std::move(comm).value();
  };
  print("create: " + ranks + " by unique id", together(size, repeats / 4, create, drop));

  auto parent = Communicator::create_all(size, options);
  GOSSAMER_CHECK(parent.is_ok());
  for (const Rank parts : {size, size / 2, 1}) {
    const auto split = [&](Rank rank) {
      auto comm = parent.value()[at(rank)]->split(rank % parts, 0);
      GOSSAMER_CHECK(comm.is_ok());
      made[at(rank)] = std::move(comm).value();
    };
    print("split: " + ranks + " into " + std::to_string(parts),
          together(size, repeats, split, drop));
  }
  const std::vector<Rank> last = {size - 1};
  const auto shrink = [&](Rank rank) {
    if (rank == size - 1) return;
    auto comm = parent.value()[at(rank)]->shrink(last);
    GOSSAMER_CHECK(comm.is_ok());
    made[at(rank)] = std::move(comm).value();
  };
  print("shrink: " + ranks + " without one", together(size, repeats / 4, shrink, drop));
}

}  // namespace
}  // namespace gossamer

int main(int argc, char** argv) {
  setenv("GOSSAMER_SOCKET_IFNAME", "lo", 0);  // NOLINT(concurrency-mt-unsafe): before any thread
  gossamer::Communicator::Options options;
  options.transport = argc > 1 ? argv[1] : "shm";
  const int repeats = std::max(4, argc > 2 ? std::atoi(argv[2]) : 200);
  gossamer::measure_calls(options);
  gossamer::measure_messages(options);
  for (const gossamer::Rank size : {2, 8, 16}) gossamer::measure_families(options, size, repeats);
  return 0;
}
