// The engine over a simulated network: hundreds of ranks in one thread, in virtual time, with
// delays that a seed decides.

#include "src/engine.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <memory>
#include <string>
#include <vector>

#include "src/call_buffers.h"
#include "src/plan.h"
#include "src/program.h"
#include "tests/origin.h"
#include "transports/sim.h"

namespace gossamer {
namespace {

Call call_of(const Algorithm& algorithm, uint64_t count, bool in_place) {
  Call call;
  call.collective = algorithm.collective;
  call.type = DataType::kInt64;
  call.count = count;
  call.in_place = in_place;
  return call;
}

// One engine per rank, all running the same operation.
class World {
 public:
  World(const SimNetwork::Options& options, const Algorithm& algorithm, const Call& call,
        const std::vector<Rank>& hosts, uint32_t pieces)
      : call_(call), network_(SimNetwork::create(options)), seats_(size_of_group(options)) {
    call_.eager_bytes = options.eager_bytes;
    const std::vector<std::string> addresses(seats_.size(), "sim");
    for (Rank r = 0; r < options.size; ++r) {
      Seat& seat = at(r);
      seat.transport = network_->attach(r);
      EXPECT_TRUE(seat.transport->start(addresses));
      std::vector<Transport*> transport_of(seats_.size(), seat.transport.get());
      transport_of[static_cast<size_t>(r)] = nullptr;
      seat.engine = std::make_unique<Engine>(r, std::move(transport_of),
                                             std::vector<Transport*>{seat.transport.get()});
      seat.program =
          lower(build_schedule(algorithm, call_, r, options.size, hosts, pieces, options.lanes),
                call_, options.size, {});
      seat.scratch.resize(seat.program.scratch_bytes);
    }
  }

  // Runs the operation once; returns the virtual time it took. Checks every element.
  uint64_t run(uint64_t round) {
    fill(round);
    const uint64_t begin = network_->now_ns();
    for (Rank r = 0; r < size(); ++r) start(r, round);
    // Links open as both ends ask for them.
    std::vector<Rank> ready(seats_.size());
    for (Rank r = 0; r < size(); ++r) ready[static_cast<size_t>(r)] = r;
    for (;;) {
      for (const Rank r : ready) step(r);
      ready = network_->take_ready();
      if (!ready.empty()) continue;
      if (!network_->advance()) break;
      ready = network_->take_ready();
    }
    check(round);
    return network_->now_ns() - begin;
  }

  Rank size() const { return static_cast<Rank>(seats_.size()); }
  const Program& program(Rank r) { return at(r).program; }
  const SimNetwork& network() const { return *network_; }

 private:
  struct Seat {
    std::unique_ptr<Transport> transport;
    std::unique_ptr<Engine> engine;
    Program program;
    std::vector<int64_t> input, output;
    std::vector<std::byte> scratch;
    Bindings bindings;
    bool started = false, finished = false;
  };

  static size_t size_of_group(const SimNetwork::Options& options) {
    return static_cast<size_t>(options.size);
  }
  Seat& at(Rank r) { return seats_[static_cast<size_t>(r)]; }
  static int64_t value(Rank r, uint64_t i, uint64_t round) {
    return static_cast<int64_t>((static_cast<uint64_t>(r) + 1) * 1'000'003 + i * 7919 + round);
  }

  // In place, `output` is the memory of both.
  void fill(uint64_t round) {
    for (Rank r = 0; r < size(); ++r) {
      Seat& seat = at(r);
      const CallBuffers buffers = buffers_of(call_, r, size());
      seat.output.assign(buffers.in_place ? buffers.both_count() : buffers.output_count, -1);
      seat.input.resize(buffers.input_count);
      for (uint64_t i = 0; i < seat.input.size(); ++i) seat.input[i] = value(r, i, round);
      if (!buffers.in_place) continue;
      std::copy(seat.input.begin(), seat.input.end(),
                seat.output.begin() + static_cast<ptrdiff_t>(buffers.input_first));
    }
  }

  void start(Rank r, uint64_t round) {
    Seat& seat = at(r);
    seat.bindings.input = reinterpret_cast<const std::byte*>(seat.input.data());
    seat.bindings.output = reinterpret_cast<std::byte*>(seat.output.data());
    seat.bindings.scratch = seat.scratch.data();
    seat.bindings.fingerprint = (round + 1) << 52;
    seat.bindings.reduction = call_.op;
    seat.started = false;
    seat.finished = seat.program.ops.empty();
  }

  // What a communicator's driver does, once.
  void step(Rank r) {
    Seat& seat = at(r);
    if (seat.finished) return;
    if (!seat.started) {
      const Code code = seat.engine->open(seat.program);
      ASSERT_TRUE(code == Code::kOk || code == Code::kAgain) << seat.engine->fault().text.data();
      if (code == Code::kAgain) return;
      seat.engine->start(seat.program, seat.bindings);
      seat.started = true;
    }
    Code code = Code::kPending;
    do {
      code = seat.engine->progress();
    } while (code == Code::kPending && seat.engine->progressed());
    ASSERT_TRUE(code == Code::kOk || code == Code::kPending) << seat.engine->fault().text.data();
    seat.finished = code == Code::kOk;
  }

  int64_t sum(uint64_t i, uint64_t round) const {
    int64_t all = 0;
    for (Rank r = 0; r < static_cast<Rank>(seats_.size()); ++r) all += value(r, i, round);
    return all;
  }

  void check(uint64_t round) {
    for (Rank r = 0; r < size(); ++r) {
      const CallBuffers buffers = buffers_of(call_, r, size());
      std::vector<int64_t> expected = at(r).output;
      if (buffers.in_place) {  // what is no output stays input
        std::copy(at(r).input.begin(), at(r).input.end(),
                  expected.begin() + static_cast<ptrdiff_t>(buffers.input_first));
      }
      for (uint64_t i = 0; i < buffers.output_count; ++i) {
        const Origin origin = origin_of(call_, r, i);
        expected[buffers.output_first + i] = origin.from < 0
                                                 ? sum(origin.element, round)
                                                 : value(origin.from, origin.element, round);
      }
      ASSERT_TRUE(at(r).finished) << "rank " << r << " of " << size() << ": "
                                  << at(r).engine->position();
      ASSERT_EQ(at(r).output, expected) << "rank " << r << " of " << size();
    }
  }

  Call call_;
  std::shared_ptr<SimNetwork> network_;
  std::vector<Seat> seats_;
};

// Uneven hosts: 3, 2, 3, 2, ... ranks.
std::vector<Rank> uneven_hosts(Rank size) {
  std::vector<Rank> hosts;
  for (Rank host = 0; hosts.size() < static_cast<size_t>(size); ++host) {
    for (Rank i = 0; i < 3 - host % 2 && hosts.size() < static_cast<size_t>(size); ++i) {
      hosts.push_back(host);
    }
  }
  return hosts;
}

bool accepts(const Algorithm& algorithm, const std::vector<Rank>& hosts, uint64_t count) {
  Shape shape;
  shape.size = static_cast<Rank>(hosts.size());
  shape.count = count;
  shape.hosts = hosts;
  return algorithm.accepts(shape);
}

TEST(Engine, AllAlgorithmsWithRandomDelays) {
  for (const Algorithm* algorithm : algorithms()) {
    uint64_t seed = 1;
    for (Rank size = 2; size <= 64; size += size < 20 ? 1 : 11) {
      for (const uint32_t pieces : {1U, 3U}) {
        const uint64_t count = seed % 5 == 0 ? 3 : 100 + seed % 7;
        const std::vector<Rank> hosts = uneven_hosts(size);
        if (!accepts(*algorithm, hosts, count)) continue;
        ++seed;
        SCOPED_TRACE(std::string(algorithm->name) + " x" + std::to_string(size) + ", " +
                     std::to_string(pieces) + " pieces, seed " + std::to_string(seed));
        // Few operations per link and small eager sends: windows fill, receivers come late.
        World world({.size = size,
                     .seed = seed,
                     .window = 2,
                     .eager_bytes = seed % 2 == 0 ? 64U : 16'384U,
                     .jitter_ns = 20'000},
                    *algorithm, call_of(*algorithm, count, seed % 3 == 0), hosts, pieces);
        for (uint64_t round = 0; round < 2; ++round) {
          world.run(round);
          if (HasFatalFailure()) return;
        }
      }
    }
  }
}

TEST(Engine, ReplaysFromItsSeed) {
  const Algorithm& algorithm = *find_algorithm(Collective::kAllReduce, "double_tree");
  const auto time_of = [&](uint64_t seed) {
    World world({.size = 37, .seed = seed, .jitter_ns = 50'000}, algorithm,
                call_of(algorithm, 1000, true), uneven_hosts(37), 4);
    return std::pair(world.run(0), world.network().counters().events);
  };
  EXPECT_EQ(time_of(5), time_of(5));
  EXPECT_NE(time_of(5).first, time_of(6).first);
}

// Small messages: as many latencies as the formula has steps, give or take what ports add.
TEST(Engine, AThousandRanksTakeTheStepsOfTheFormula) {
  struct Row {
    const char* name;
    Rank size;
    uint64_t latencies;
  };
  for (const Row& row : {Row{"recursive_doubling", 1024, 10}, Row{"recursive_doubling", 1000, 11},
                         Row{"reversed_bruck", 1000, 20}, Row{"bruck_all_gather", 1000, 10}}) {
    const bool gathers = std::string(row.name) == "bruck_all_gather";
    const Algorithm* algorithm =
        find_algorithm(gathers ? Collective::kAllGather : Collective::kAllReduce, row.name);
    ASSERT_NE(algorithm, nullptr);
    const uint64_t count = std::string(row.name) == "reversed_bruck" ? 1000 : 1;
    World world({.size = row.size,
                 .link =
                     [](Rank, Rank) {
                       return SimNetwork::Link{100'000, 0.001};
                     }},
                *algorithm, call_of(*algorithm, count, true), {}, 1);
    const uint64_t ns = world.run(0);
    EXPECT_EQ((ns + 50'000) / 100'000, row.latencies) << row.name << " x" << row.size;
    size_t steps = 0;
    for (Rank r = 0; r < row.size; ++r) steps = std::max(steps, world.program(r).ops.size());
    // A send and a receive per latency, twice where a run of blocks wraps, and some copies.
    EXPECT_LE(steps, 5 * row.latencies + 4) << row.name << " x" << row.size;
  }
}

// Large messages: twice the buffer over the port, whatever the number of ranks.
TEST(Engine, TheRingUsesTheWholePort) {
  const Algorithm& ring = *find_algorithm(Collective::kAllReduce, "ring");
  for (const Rank size : {4, 16, 64}) {
    const uint64_t count = 64 * 1024;
    World world({.size = size,
                 .link =
                     [](Rank, Rank) {
                       return SimNetwork::Link{100, 1.0};
                     }},
                ring, call_of(ring, count, true), {}, 1);
    const double bytes = static_cast<double>(count) * 8;
    const double n = size;
    // Transmit and receive ports in turn: a block occupies one and then the other.
    const double ideal = 2 * (n - 1) / n * bytes;
    const auto ns = static_cast<double>(world.run(0));
    EXPECT_GE(ns, ideal);
    EXPECT_LE(ns, 2.1 * ideal + 200 * n) << size;
  }
}

TEST(Engine, AFaultEndsTheOperationAndTellsWho) {
  const Algorithm& ring = *find_algorithm(Collective::kAllReduce, "ring");
  const Call call = call_of(ring, 100, true);
  const auto network = SimNetwork::create({.size = 3});
  std::vector<std::unique_ptr<Transport>> transports;
  std::vector<std::unique_ptr<Engine>> engines;
  std::vector<Program> programs;
  std::vector<std::vector<int64_t>> data(3, std::vector<int64_t>(100, 1));
  for (Rank r = 0; r < 3; ++r) {
    transports.push_back(network->attach(r));
    ASSERT_TRUE(transports.back()->start({"sim", "sim", "sim"}));
    std::vector<Transport*> transport_of(3, transports.back().get());
    engines.push_back(
        std::make_unique<Engine>(r, transport_of, std::vector<Transport*>{transport_of[0]}));
    programs.push_back(lower(build_schedule(ring, call, r, 3, {}, 1, 1), call, 3, {}));
  }
  for (int i = 0; i < 2; ++i) {
    for (size_t r = 0; r < 3; ++r) {
      const Code code = engines[r]->open(programs[r]);
      ASSERT_TRUE(code == Code::kOk || code == Code::kAgain);
    }
  }
  for (size_t r = 0; r < 2; ++r) {
    Bindings bindings;
    bindings.input = bindings.output = reinterpret_cast<std::byte*>(data[r].data());
    bindings.fingerprint = uint64_t{1} << 52;
    engines[r]->start(programs[r], bindings);
    EXPECT_EQ(engines[r]->progress(), Code::kPending);
    EXPECT_TRUE(engines[r]->running());
  }
  while (network->advance()) {
    for (size_t r = 0; r < 2; ++r) EXPECT_EQ(engines[r]->progress(), Code::kPending);
  }
  EXPECT_EQ(engines[0]->awaited(), 2);  // has not made the call
  network->crash(2);
  while (network->advance()) {
  }
  for (size_t r = 0; r < 2; ++r) {
    Code code = Code::kPending;
    for (int i = 0; i < 10 && code == Code::kPending; ++i) code = engines[r]->progress();
    EXPECT_EQ(code, Code::kPeerLost);
    EXPECT_EQ(engines[r]->fault().rank, 2) << engines[r]->fault().text.data();
    EXPECT_FALSE(engines[r]->running());
  }
}

}  // namespace
}  // namespace gossamer
