// NAME     micro_engine
// PURPOSE  What the engine itself costs per step: schedules of real algorithms run over a transport
//          that completes everything at once and moves nothing.
// USAGE    micro_engine [--benchmark_filter=REGEX]
//
// The time of one iteration over `steps` is the overhead per step; messages of 4 bytes, so that
// folding and copying add next to nothing.

#include <benchmark/benchmark.h>

#include <array>
#include <string>

#include "gossamer/schedule.h"
#include "src/check.h"
#include "src/engine.h"
#include "src/plan.h"

namespace gossamer {
namespace {

// Nothing ever waits and nothing ever arrives: sinks are folded from a constant.
class Instant final : public Transport {
 public:
  const char* name() const noexcept override { return "instant"; }
  std::string address() const override { return {}; }
  Status start(std::vector<std::string>) override { return Status::ok(); }
  Limits limits() const noexcept override { return {}; }
  Code open(Rank, Fault*) noexcept override { return Code::kOk; }
  Status pin(std::span<std::byte>) override { return Status::ok(); }
  Code send(Rank, Lane, const Message& message, Token, Fault*) noexcept override {
    benchmark::DoNotOptimize(message.data);
    return Code::kOk;
  }
  Code recv(Rank, Lane, const Sink& sink, Token, Fault*) noexcept override {
    if (sink.combine != nullptr) sink.combine(sink, 0, zero_.data(), sink.bytes);
    return Code::kOk;
  }
  Code poll(std::vector<Token>*, Fault*) noexcept override { return Code::kOk; }
  void notify(const Fault&) noexcept override {}
  void abandon() noexcept override {}
  int wait_fd() const noexcept override { return -1; }
  bool arm() noexcept override { return false; }

 private:
  std::array<std::byte, 4096> zero_{};
};

void run_schedule(benchmark::State& state, const char* algorithm, Rank size) {
  const Algorithm* const found = find_algorithm(Collective::kAllReduce, algorithm);
  GOSSAMER_CHECK(found != nullptr);
  Call call;
  call.count = static_cast<uint64_t>(size);  // one element a block
  call.in_place = true;
  const Schedule schedule = build_schedule(*found, call, 0, size, {}, 1, 1);
  const Program program = lower(schedule, call, size, {});
  Instant transport;
  std::vector<Transport*> of(static_cast<size_t>(size), &transport);
  of[0] = nullptr;
  Engine engine(0, of, {&transport});
  std::vector<float> data(call.count, 1.0F);
  std::vector<std::byte> scratch(program.scratch_bytes);
  Bindings bindings;
  bindings.output = reinterpret_cast<std::byte*>(data.data());
  bindings.input = bindings.output;
  bindings.scratch = scratch.data();
  for (auto _ : state) {
    engine.start(program, bindings);
    GOSSAMER_CHECK(engine.progress() == Code::kOk);
  }
  const auto steps = static_cast<double>(program.ops.size());
  state.counters["steps"] = steps;
  state.counters["per_step"] = benchmark::Counter(
      steps, benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert);
}

BENCHMARK_CAPTURE(run_schedule, ring_8, "ring", 8);
BENCHMARK_CAPTURE(run_schedule, ring_64, "ring", 64);
BENCHMARK_CAPTURE(run_schedule, two_shot_8, "two_shot", 8);
BENCHMARK_CAPTURE(run_schedule, two_shot_64, "two_shot", 64);
BENCHMARK_CAPTURE(run_schedule, recursive_doubling_64, "recursive_doubling", 64);

}  // namespace
}  // namespace gossamer

BENCHMARK_MAIN();
